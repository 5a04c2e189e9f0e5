"""What a thousand idle connections cost the server: memory for each, and processor time.

Contestants: our node with mirror-sync conversations that have said hello and ask for nothing, and
git daemon with clients that have heard what it serves and ask for nothing, a process for each.
Memory is what all the server's processes have with the connections, less what they have without:
their share of shared pages (PSS), and what is theirs alone (private). What the kernel has for
sockets is in neither. Processor time is taken while nothing happens.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from frame import (
    Arguments,
    BenchError,
    Comparison,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import tree_of
from scene import Server, staged

from gittorrent.wire import pktline

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 1000
END_SECONDS = 60.0
"""Idle connections; a node lets in 1,024."""

QUIET_SECONDS = 30.0
"""Time over which processor time is counted."""

SETTLE_SECONDS = 3.0
"""Time for processes to start and fall silent."""

WARM_UP = 20
"""Connections made and closed before anything is measured, so that first uses do not count."""

PRIVATE_LIMIT = 64.0
"""KiB of its own for each idle connection, not to be exceeded."""

CPU_LIMIT = 10.0
"""Milliseconds of processor time in a second: one in a hundred."""

_ROLLUP = re.compile(r"^(Pss|Private_Clean|Private_Dirty):\s+(\d+) kB$", re.MULTILINE)
_PSS, _PRIVATE = "PSS KiB each", "private KiB each"
_CPU, _PROCESSES = f"CPU ms per s, {CONNECTIONS} idle", "processes"


@dataclass(slots=True)
class Course:
    """One way to be idle, and what it cost so far.

    Args:
        name: is shown.
        server: that serves.
        hello: the first packet of a connection.
        ends: how the server's greeting ends, after which it waits for us.
    """

    name: str
    server: Server
    hello: bytes
    ends: bytes
    pss: list[float] = field(default_factory=list)
    private: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    processes: list[float] = field(default_factory=list)

    def run(self, connections: int, quiet_seconds: float) -> None:
        """Open the connections, let them be, and close them."""
        pid = self.server.meter.pid
        with ExitStack() as stack:
            for sock in self._connect(WARM_UP):
                stack.enter_context(sock)
        time.sleep(SETTLE_SECONDS)
        pss, private = _memory(pid)
        with ExitStack() as stack:
            for sock in self._connect(connections):
                stack.enter_context(sock)
            time.sleep(SETTLE_SECONDS)
            more_pss, more_private = _memory(pid)
            before = _cpu(pid)
            time.sleep(quiet_seconds)
            self.cpu.append(1000 * (_cpu(pid) - before) / quiet_seconds)
            self.processes.append(float(len(_living(pid))))
        self.pss.append((more_pss - pss) / connections)
        self.private.append((more_private - private) / connections)
        _await_end_of_children(pid)

    def _connect(self, count: int) -> Iterator[socket.socket]:
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", self.server.git), timeout=30)
            sock.sendall(self.hello)
            heard = b""
            while self.ends not in heard:
                more = sock.recv(65536)
                if not more or heard.startswith(b"ERR "):
                    raise BenchError(f"{self.name}: a connection was refused: {heard[:200]!r}")
                heard += more
            yield sock

    def result(self) -> Contestant:
        """Return the figures."""
        return Contestant(
            self.name,
            (
                Figure(_PSS, tuple(self.pss), 1),
                Figure(_PRIVATE, tuple(self.private), 1),
                Figure(_CPU, tuple(self.cpu), 2),
                Figure(_PROCESSES, tuple(self.processes), 0),
            ),
        )


def _living(pid: int) -> list[int]:
    """Return a server and its children, without those that ended and were not waited for yet.

    git daemon looks for them when something happens, and may sleep on with the last ones.
    """
    found = []
    for each in tree_of(pid):
        with suppress(OSError):
            state = Path(f"/proc/{each}/stat").read_text().rpartition(") ")[2][0]
            if state != "Z":
                found.append(each)
    return found


def _await_end_of_children(pid: int) -> None:
    until = time.monotonic() + END_SECONDS
    while len(_living(pid)) > 1:
        if time.monotonic() > until:
            raise BenchError(f"children of server {pid} do not end")
        time.sleep(0.05)


def _memory(pid: int) -> tuple[float, float]:
    """Return KiB of a server and its children: their share of what is shared, and their own."""
    pss = private = 0
    for each in _living(pid):
        found = dict(_ROLLUP.findall(Path(f"/proc/{each}/smaps_rollup").read_text()))
        pss += int(found["Pss"])
        private += int(found["Private_Clean"]) + int(found["Private_Dirty"])
    return float(pss), float(private)


def _cpu(pid: int) -> float:
    """Return CPU seconds that a server and its living children have used."""
    return sum(time.clock_gettime((~each << 3) | 2) for each in _living(pid))


def measure(arguments: Arguments) -> Report:
    """Serve in both ways, and be idle by turns."""
    connections = 100 if arguments.quick else CONNECTIONS
    seconds = 5.0 if arguments.quick else QUIET_SECONDS
    with staged(arguments.work) as scene, ExitStack() as stack:
        say("copying and publishing the repository")
        copy = scene.copy_bare(arguments.repository)
        home = scene.room()
        published, _ = scene.publish(scene.linked_copy(copy), home, "--wait")
        node = stack.enter_context(scene.node(published, home))
        rival = stack.enter_context(scene.daemon(copy, "--max-connections=0"))
        ours = f"git://127.0.0.1:{node.git}/{published.name}.git"
        say(f"serving {ours}")
        courses = [
            Course(
                "node, mirror-sync",
                node,
                _hello("mirror-sync", f"{published.name}.git"),
                b"have checkpoint",
            ),
            Course(
                "git daemon, upload-pack",
                rival,
                _hello("git-upload-pack", copy.name, b"\0version=2\0"),
                b"0000",
            ),
        ]
        for number in range(arguments.runs):
            say(f"run {number + 1} of {arguments.runs}")
            for course in courses:
                course.run(connections, seconds)
        results = [course.result() for course in courses]
    method = (
        f"{connections} connections from one address, idle; CPU over {seconds:.0f} s.",
        "Each is what the memory of all the server's processes grew by, by the connection.",
    )
    return Report("idle", method, tuple(results), _comparisons(results))


def _hello(service: str, name: str, extra: bytes = b"") -> bytes:
    return pktline.encode(f"{service} /{name}\0host=127.0.0.1\0".encode() + extra)


def _comparisons(results: list[Contestant]) -> tuple[Comparison, ...]:
    ours, rival = results
    return (
        Comparison("node: private memory each", ours.median(_PRIVATE), PRIVATE_LIMIT, " KiB"),
        Comparison("node: CPU", ours.median(_CPU), CPU_LIMIT, " ms/s"),
        ratio("node / git daemon", _PRIVATE, ours, rival),
        ratio("node / git daemon", _PSS, ours, rival),
    )


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
