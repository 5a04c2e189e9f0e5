"""What programs cost: processor time, memory and bytes, read from the kernel.

A client is a command that ends: `run` counts it and every child it waited for. A server goes on:
`ServerMeter` reads what it and its finished children used so far, and `MemoryWatch` looks at the
whole process tree while something is asked of it. `Relay` counts bytes, in runs of its own, since
being in the way costs time.

Rules: nothing is taken away for starting up, for both sides alike. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frame import BenchError, Contestant, Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

MIB = 1 << 20

SETTLE_SECONDS = 60.0
"""Time a server's children get to end after their client has."""

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_WATCH_SECONDS = 0.02
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command and the children it waited for used.

    Args:
        wall: seconds from start to end.
        user: CPU seconds outside the kernel.
        system: CPU seconds in the kernel.
        peak: resident memory of the largest single process, bytes.
        output: what it wrote on standard output.
    """

    wall: float
    user: float
    system: float
    peak: int
    output: bytes

    @property
    def cpu(self) -> float:
        """CPU seconds of both kinds."""
        return self.user + self.system


def contestant_of(name: str, used: Sequence[Usage], *others: Figure) -> Contestant:
    """Return somebody whose commands were measured.

    Args:
        name: of the contestant.
        used: what each run used.
        others: further figures, which come first.
    """
    return Contestant(
        name,
        (
            *others,
            Figure("wall s", tuple(one.wall for one in used)),
            Figure("CPU s", tuple(one.cpu for one in used)),
            Figure("peak MiB", tuple(one.peak / MIB for one in used), 0),
        ),
    )


def run(words: Sequence[str | Path], environ: Mapping[str, str]) -> Usage:
    """Run a command to its end and return what it used.

    Raises:
        BenchError: it failed; the message has the end of what it said.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            list(words), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(environ)
        )
        try:
            usage = collect(process)
        except BaseException:
            process.kill()
            raise
        wall = time.perf_counter() - began
        if process.returncode != 0:
            err.seek(0)
            said = err.read().decode("utf-8", "replace")[-2000:]
            shown = " ".join(str(word) for word in words)
            raise BenchError(f"{shown} ended with {process.returncode}:\n{said}")
        out.seek(0)
        return Usage(wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss << 10, out.read())


def collect(process: subprocess.Popen[bytes]) -> resource.struct_rusage:
    """Wait for a process and return its resource usage with that of its waited-for children."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert isinstance(usage, resource.struct_rusage)
    return usage


def children_of(pid: int) -> list[int]:
    """Return the children of all threads of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def tree_of(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for child in children_of(pid):
        found += tree_of(child)
    return found


class ServerMeter:
    """Reads the CPU time of a running server.

    Args:
        pid: of the process that starts and waits for the server's children.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        # The clock of another process's CPU time: clock_getcpuclockid(3) as Linux computes it.
        self._clock = (~pid << 3) | 2

    def cpu(self) -> float:
        """Return CPU seconds used so far by the server and all children that have ended.

        Raises:
            BenchError: children do not end though nobody is served any more.
        """
        self.settle()
        own = time.clock_gettime(self._clock)
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        # Fields 16 and 17 of proc(5); those after the name in brackets begin with the third.
        fields = stat.rpartition(") ")[2].split()
        return own + (int(fields[13]) + int(fields[14])) * _TICK

    def settle(self) -> None:
        """Wait until the server has no children."""
        until = time.monotonic() + SETTLE_SECONDS
        while children_of(self.pid):
            if time.monotonic() > until:
                raise BenchError(f"children of server {self.pid} do not end")
            time.sleep(0.005)


class MemoryWatch:
    """Watches the memory of a process tree while the ``with`` block runs.

    Tracks the highest sum over the tree, looked at fifty times a second: ``peak_own`` counts
    pages that belong to the processes alone, ``peak_resident`` mapped files too, each time they
    are mapped. Both in bytes.

    Args:
        pid: at the top of the tree.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_own = 0
        self.peak_resident = 0

    def __enter__(self) -> MemoryWatch:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_WATCH_SECONDS):
            self._look()

    def _look(self) -> None:
        own = resident = 0
        for pid in tree_of(self._pid):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("RssAnon:"):
                        own += int(line.split()[1]) << 10
                    elif line.startswith("VmRSS:"):
                        resident += int(line.split()[1]) << 10
        self.peak_own = max(self.peak_own, own)
        self.peak_resident = max(self.peak_resident, resident)


class Relay:
    """Passes connections on to a server and counts their bytes; use it in a ``with`` block.

    Args:
        port: of the server, on this machine; may be set later, before the first connection.
    """

    def __init__(self, port: int = 0) -> None:
        self.target = port
        self._lock = threading.Lock()
        self._down = 0
        self._up = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Closing alone does not wake a thread out of accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def take(self) -> tuple[int, int]:
        """Return bytes since last asked: from the server, and to it."""
        with self._lock:
            counted = (self._down, self._up)
            self._down = self._up = 0
        return counted

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                up = threading.Thread(
                    target=self._pass_on, args=(client, server, False), daemon=True
                )
                up.start()
                self._pass_on(server, client, True)
                up.join()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_down: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                with self._lock:
                    self._down += len(data) if is_down else 0
                    self._up += 0 if is_down else len(data)
                sink.sendall(data)
        # The other direction may have more to say.
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
