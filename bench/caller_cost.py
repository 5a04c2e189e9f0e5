"""What one caller can cost a server of stock git, against git daemon.

Three callers, each against our node and a git daemon that allows filters, by turns: one that
combines many filters in one request; one that hangs up while git counts; and a crowd
that asks for everything at once and reads none of it. What is counted is the memory and CPU time of
the server with its processes.
"""

from __future__ import annotations

import contextlib
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from frame import (
    Arguments,
    Comparison,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import MIB, MemoryWatch, tree_of
from scene import Scene, Server, staged

from gittorrent.wire import pktline
from gittorrent.wire.service import UPLOAD_PACK, ServiceRequest, encode_request

if TYPE_CHECKING:
    from collections.abc import Iterator

FILTERS = 30
"""Filters in one request: each costs a server that takes them as much memory as the first."""

CROWD = 64
"""Connections at once: what one address may open with a node."""

LEAVE_SECONDS = 0.5
"""Time after which a caller hangs up: git counts objects."""

CROWD_SECONDS = 5.0
"""Time the crowd is looked at."""

ANSWER_SECONDS = 120.0
"""Silence of a server after which a caller gives up."""

_FILTER_MIB, _FILTER_CPU = "combined filters, peak MiB", "combined filters, CPU s"
_LEFT = "caller gone, s until git is"
_CROWD_MIB, _CROWD_PROCESSES = f"{CROWD} callers, peak MiB", f"{CROWD} callers, processes"


@dataclass(slots=True)
class Course:
    """One server, and what callers cost it.

    Args:
        name: is shown.
        server: that serves.
        path: of the repository.
        figures: by metric.
    """

    name: str
    server: Server
    path: str
    figures: dict[str, list[float]] = field(default_factory=dict)

    def note(self, metric: str, value: float) -> None:
        """Keep a value."""
        self.figures.setdefault(metric, []).append(value)

    def call(self, head: str, *lines: str) -> socket.socket:
        """Ask for everything and return the connection."""
        sock = socket.create_connection((self.server.address, self.server.git))
        sock.settimeout(ANSWER_SECONDS)
        request = ServiceRequest(
            UPLOAD_PACK, self.path.encode("ascii"), b"localhost", (b"version=2",)
        )
        words = ["no-progress", f"want {head}", *lines, "done"]
        body = b"".join(pktline.encode(word.encode("ascii")) for word in words)
        command = pktline.encode(b"command=fetch")
        sock.sendall(pktline.encode(encode_request(request)) + command + b"0001" + body + b"0000")
        return sock

    def take_filters(self, head: str) -> None:
        """Be asked for many filters at once, and read whatever the answer is."""
        before = self.server.meter.cpu()
        with MemoryWatch(self.server.meter.pid) as watch:
            chosen = "filter combine:" + "+".join(["tree:9"] * FILTERS)
            with self.call(head, chosen) as sock:
                sock.shutdown(socket.SHUT_WR)
                with contextlib.suppress(OSError):
                    while sock.recv(1 << 18):
                        pass
        self.note(_FILTER_MIB, watch.peak_own / MIB)
        self.note(_FILTER_CPU, self.server.meter.cpu() - before)

    def take_leaver(self, head: str) -> None:
        """Be asked for everything by somebody who hangs up after a while."""
        with self.call(head):
            time.sleep(LEAVE_SECONDS)
            working = set(tree_of(self.server.meter.pid)) - {self.server.meter.pid}
        began = time.monotonic()
        while any(map(_lives, working)) and time.monotonic() < began + ANSWER_SECONDS:
            time.sleep(0.01)
        self.note(_LEFT, time.monotonic() - began)
        self.server.meter.settle()

    def take_crowd(self, head: str) -> None:
        """Be asked for everything by a crowd that reads nothing."""
        most = 0
        with MemoryWatch(self.server.meter.pid) as watch, self._crowd(head):
            until = time.monotonic() + CROWD_SECONDS
            while time.monotonic() < until:
                most = max(most, len(tree_of(self.server.meter.pid)) - 1)
                time.sleep(0.1)
        self.note(_CROWD_MIB, watch.peak_own / MIB)
        self.note(_CROWD_PROCESSES, float(most))
        self.server.meter.settle()

    @contextlib.contextmanager
    def _crowd(self, head: str) -> Iterator[None]:
        with ExitStack() as stack:
            for _ in range(CROWD):
                stack.enter_context(self.call(head))
            yield

    def result(self) -> Contestant:
        """Return the figures."""
        digits = {_FILTER_CPU: 2, _LEFT: 1}
        return Contestant(
            self.name,
            tuple(Figure(m, tuple(v), digits.get(m, 0)) for m, v in self.figures.items()),
        )


def measure(arguments: Arguments) -> Report:
    """Prepare both servers and have them called by turns."""
    with staged(arguments.work) as scene, ExitStack() as stack:
        say("copying and publishing the repository")
        copy = scene.copy_bare(arguments.repository)
        scene.git("-C", copy, "config", "uploadpack.allowFilter", "true")
        home = scene.room()
        published, _ = scene.publish(scene.linked_copy(copy), home, "--wait")
        head = scene.git("-C", copy, "rev-parse", "HEAD")
        courses = [
            Course("node", stack.enter_context(scene.node(published, home)), _path(published.name)),
            Course("git daemon", stack.enter_context(_daemon(scene, copy)), f"/{copy.name}"),
        ]
        say("warming up")
        for course in courses:
            course.take_leaver(head)
            course.figures.clear()
        for number in range(arguments.runs):
            say(f"run {number + 1} of {arguments.runs}")
            for course in courses:
                course.take_filters(head)
            for course in courses:
                course.take_leaver(head)
            for course in courses:
                course.take_crowd(head)
        results = [course.result() for course in courses]
    method = (
        f"One request with {FILTERS} combined filters; a caller that hangs up after half a second;",
        f"{CROWD} callers of one address that ask for everything and read nothing, for"
        f" {CROWD_SECONDS:.0f} s.",
        "Peak: memory that belongs to the server's processes alone, summed.",
    )
    return Report("caller_cost", method, tuple(results), _comparisons(results))


def _lives(pid: int) -> bool:
    """Tell whether a process runs, whoever its parent is by now."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def _path(name: str) -> str:
    return f"/{name}.git"


def _daemon(scene: Scene, copy: Path) -> contextlib.AbstractContextManager[Server]:
    """Return a git daemon that takes as many connections as a crowd opens."""
    return scene.daemon(copy, f"--max-connections={2 * CROWD}")


def _comparisons(results: list[Contestant]) -> tuple[Comparison, ...]:
    ours, rival = results
    metrics = (_FILTER_MIB, _FILTER_CPU, _LEFT, _CROWD_MIB, _CROWD_PROCESSES)
    return tuple(ratio("node / git daemon", metric, ours, rival, 1.0) for metric in metrics)


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
