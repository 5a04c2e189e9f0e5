"""What a crowd costs one server: a thousand downloads at once beside five thousand idle peers.

Contestants: our node, from which a thousand clients take a reel in parts while five thousand
conversations on twenty connections are idle, and git daemon, from which as many fetch the same
commits as one prepared pack, with nobody else; it lets in 32 unless told otherwise. Clients read
as fast as they can and keep nothing. Rates are each client's bytes by its time from the beginning
of all to its last byte; how even they are is Jain's index, 1 for all the same. Memory is what all
the server's processes have to themselves, at most; CPU is the server's, by the GB that was sent.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
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
from light_client import crowd_request
from measure import tree_of
from scene import Server, prepare_perfectly, staged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scene import Scene

DOWNLOADS = 1000
CONNECTIONS, EACH = 20, 250
"""Connections with idle conversations, and how many each has: five thousand in all."""

LOOK_SECONDS = 0.5
"""How often memory and descriptors are looked at."""

MEMORY_LIMIT = 400.0
"""MiB of its own that the node may have with all of them: 64 KiB for each of six thousand."""

FAIR = 0.8
"""Jain's index not to be fallen below."""

_IDLE, _MIB, _FILES = "KiB each idle", "MiB at most", "descriptors"
_RATE, _FAIR, _CPU, _FAILED = "MB/s", "Jain's index", "CPU s per GB", "failed"
_CLIENT = Path(__file__).resolve().parent / "crowd_client.py"


@dataclass(slots=True)
class Watch:
    """Looks at a server again and again, in a thread."""

    pid: int
    memory: float = 0.0
    files: int = 0
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    _thread: threading.Thread = field(init=False)

    def _run(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            self.memory = max(self.memory, own_memory(self.pid))
            self.files = max(self.files, open_files(self.pid))


def own_memory(pid: int) -> float:
    """Return MiB that a server's processes have to themselves."""
    total = 0
    for each in tree_of(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return total / 1024


def open_files(pid: int) -> int:
    """Return how many files a server's processes have open."""
    total = 0
    for each in tree_of(pid):
        with contextlib.suppress(OSError):
            total += len(list(Path(f"/proc/{each}/fd").iterdir()))
    return total


@dataclass(slots=True)
class Course:
    """One server, what its clients ask, and the figures so far."""

    name: str
    server: Server
    request: Path
    size: int
    figures: dict[str, list[float]] = field(default_factory=dict)

    def note(self, **found: float) -> None:
        """Take note of figures."""
        for name, value in found.items():
            self.figures.setdefault(name, []).append(value)

    def download(self, scene: Scene, count: int) -> None:
        """Have a crowd download."""
        before = self.server.meter.cpu()
        words = [sys.executable, _CLIENT, "download", self.server.address]
        words += [self.server.git, count, self.request, self.size]
        with Watch(self.server.meter.pid) as watch:
            done = subprocess.run(
                list(map(str, words)), env=scene.environ, stdout=subprocess.PIPE, check=True
            )
        told = json.loads(done.stdout)
        seconds = told["seconds"]
        if not seconds:
            raise BenchError(f"{self.name}: no download ended")
        sent = len(seconds) * self.size
        rates = [self.size / each for each in seconds]
        self.note(
            memory=watch.memory,
            files=watch.files,
            failed=told["failed"],
            rate=sent / max(seconds) / 1e6,
            fair=sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates)),
            cpu=(self.server.meter.cpu() - before) / (sent / 1e9),
        )

    def result(self) -> Contestant:
        """Return the figures."""
        names = {
            "each": (_IDLE, 1),
            "memory": (_MIB, 0),
            "files": (_FILES, 0),
            "failed": (_FAILED, 0),
            "rate": (_RATE, 1),
            "fair": (_FAIR, 3),
            "cpu": (_CPU, 2),
        }
        found = (
            Figure(shown, tuple(self.figures[name]), digits)
            for name, (shown, digits) in names.items()
            if name in self.figures
        )
        return Contestant(self.name, tuple(found))


@contextlib.contextmanager
def idle_peers(scene: Scene, server: Server, path: str, count: int, each: int) -> Iterator[None]:
    """Hold idle conversations while the block runs."""
    words = [sys.executable, _CLIENT, "idle", server.address, server.git, count, each, path]
    process = subprocess.Popen(
        list(map(str, words)), env=scene.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise BenchError("idle conversations were refused")
        yield
    finally:
        process.communicate()


def measure(arguments: Arguments) -> Report:
    """Serve a crowd in both ways."""
    downloads = 100 if arguments.quick else DOWNLOADS
    connections, each = (4, 50) if arguments.quick else (CONNECTIONS, EACH)
    with staged(arguments.work) as scene, contextlib.ExitStack() as stack:
        say("copying and publishing the repository")
        copy = scene.copy_bare(arguments.repository)
        home = scene.room()
        published, _ = scene.publish(scene.linked_copy(copy), home, "--wait")
        packed = prepare_perfectly(scene, copy)
        node = stack.enter_context(scene.node(published, home))
        rival = stack.enter_context(scene.daemon(packed, "--max-connections=0"))
        path = f"/{published.name}.git"
        courses = []
        for name, server, kind, place in (
            ("node", node, "parts", path),
            ("git daemon", rival, "pack", f"/{packed.name}"),
        ):
            request, size = crowd_request(kind, f"git://{server.host}{place}")
            file = scene.room()
            file.write_bytes(request)
            courses.append(Course(name, server, file, size))
        ours, theirs = courses
        for number in range(arguments.runs):
            say(f"run {number + 1} of {arguments.runs}")
            before = own_memory(node.meter.pid)
            with idle_peers(scene, node, path, connections, each):
                time.sleep(3.0)
                grown = own_memory(node.meter.pid) - before
                ours.note(each=1024 * grown / (connections * each))
                ours.download(scene, downloads)
            theirs.download(scene, downloads)
        results = [course.result() for course in courses]
    method = (
        f"{downloads} downloads of {ours.size:,} bytes (git daemon: {theirs.size:,}) at once;"
        f" {connections * each} idle conversations",
        f"on {connections} connections at the node, none at git daemon, which was told to let in"
        " everybody (32 by default).",
        "All clients are one process on the same machine, whose processors they share.",
    )
    return Report("crowd", method, tuple(results), _comparisons(*results))


def _comparisons(ours: Contestant, theirs: Contestant) -> tuple[Comparison, ...]:
    return (
        Comparison("node: own memory", ours.median(_MIB), MEMORY_LIMIT, " MiB"),
        Comparison("node: unfairness, 1 less Jain's index", 1 - ours.median(_FAIR), 1 - FAIR, ""),
        Comparison("node: failed downloads", ours.median(_FAILED), 0.0, ""),
        ratio("node / git daemon", _CPU, ours, theirs),
        ratio("node / git daemon", _MIB, ours, theirs),
    )


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=1, quick_runs=1), measure)
