"""What a clone costs the server: processor time and memory, against git daemon.

Contestants: our node giving parts over git:// and HTTP, our node answering stock git, git daemon
with a perfectly packed, bitmapped repository, and git daemon with the repository as it was cloned.
Clients take everything and index nothing, so that the server is what is measured. CPU time is
taken over clones one after the other, by turns; memory with one clone and with several at once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

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
from measure import MIB, MemoryWatch
from scene import Scene, Server, prepare_perfectly, staged

AT_ONCE = 4
"""Clones at the same time, when memory is looked at."""

PACKED_LIMIT = 0.25
"""Of the CPU time of a perfectly packed git daemon, per clone."""

UNPREPARED_LIMIT = 0.03
"""Of the CPU time of a git daemon whose repository nobody prepared, per clone."""

FLAT_MIB = 2.0
"""Growth of memory per further clone up to which it counts as flat: a connection's buffers."""

_SEQUENTIAL, _CONCURRENT = "CPU s per clone", f"CPU s per clone, {AT_ONCE} at once"
_ONE, _MANY = "peak MiB, 1 clone", f"peak MiB, {AT_ONCE} at once"


@dataclass(slots=True)
class Course:
    """One way to be served, and what it cost so far.

    Args:
        name: is shown.
        server: that serves.
        kind: of client.
        url: it asks for.
    """

    name: str
    server: Server
    kind: str
    url: str
    cpu: list[float] = field(default_factory=list)
    cpu_at_once: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    peaks_at_once: list[float] = field(default_factory=list)
    bytes: int = 0

    def take(self, scene: Scene) -> None:
        """Clone once."""
        self.bytes = scene.take(self.kind, self.url)

    def run_sequential(self, scene: Scene, clones: int) -> None:
        """Clone several times, one after the other, and note the CPU seconds of one."""
        before = self.server.meter.cpu()
        with MemoryWatch(self.server.meter.pid) as watch:
            for _ in range(clones):
                self.take(scene)
        self.cpu.append((self.server.meter.cpu() - before) / clones)
        self.peaks.append(watch.peak_own / MIB)

    def run_concurrent(self, scene: Scene) -> None:
        """Clone several times at once."""
        before = self.server.meter.cpu()
        with MemoryWatch(self.server.meter.pid) as watch, ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.take, [scene] * AT_ONCE))
        self.cpu_at_once.append((self.server.meter.cpu() - before) / AT_ONCE)
        self.peaks_at_once.append(watch.peak_own / MIB)

    def result(self) -> Contestant:
        """Return the figures."""
        gigabytes = self.bytes / 1e9
        return Contestant(
            self.name,
            (
                Figure("bytes", (float(self.bytes),), 0),
                Figure(_SEQUENTIAL, tuple(self.cpu), 3),
                Figure("CPU s per GB", tuple(one / gigabytes for one in self.cpu)),
                Figure(_CONCURRENT, tuple(self.cpu_at_once), 3),
                Figure(_ONE, tuple(self.peaks), 1),
                Figure(_MANY, tuple(self.peaks_at_once), 1),
            ),
        )


def measure(arguments: Arguments) -> Report:
    """Prepare the servers and ask all of them by turns."""
    clones = 2 if arguments.quick else 4
    with staged(arguments.work) as scene, ExitStack() as stack:
        say("copying and publishing the repository")
        copy = scene.copy_bare(arguments.repository)
        home = scene.room()
        published, _ = scene.publish(scene.linked_copy(copy), home, "--wait")
        packed = prepare_perfectly(scene, copy)
        # A node of its own for each course, so that memory of one does not count for another.
        nodes = [
            stack.enter_context(scene.node(published, home, http=http))
            for http in (False, True, False)
        ]
        rivals = [stack.enter_context(scene.daemon(path)) for path in (packed, copy)]
        ours = f"{published.name}.git"
        courses = [
            _course("node, parts over git://", nodes[0], "parts", ours),
            _course("node, parts over HTTP", nodes[1], "parts", ours, http=True),
            _course("node, stock git", nodes[2], "pack", ours),
            _course("git daemon, packed, bitmaps", rivals[0], "pack", packed.name),
            _course("git daemon, unprepared", rivals[1], "pack", copy.name),
        ]
        say("warming up")
        for course in courses:
            course.take(scene)
        for number in range(arguments.runs):
            say(f"run {number + 1} of {arguments.runs}")
            for course in courses:
                course.run_sequential(scene, clones)
            for course in courses:
                course.run_concurrent(scene)
        results = [course.result() for course in courses]
    method = (
        f"CPU: the server and its children, {clones} clones one after the other. Peak: memory that",
        "belongs to the server's processes alone, summed; mapped pack files are not in it.",
    )
    return Report("serve_cost", method, tuple(results), _comparisons(results))


def _course(name: str, server: Server, kind: str, path: str, *, http: bool = False) -> Course:
    base = f"http://127.0.0.1:{server.http}" if http else f"git://127.0.0.1:{server.git}"
    return Course(name, server, kind, f"{base}/{path}")


def _comparisons(results: list[Contestant]) -> tuple[Comparison, ...]:
    by_git, by_http, stock, packed, unprepared = results
    found = []
    for ours in (by_git, by_http, stock):
        # Limits are for what clients of ours ask for; stock git makes a node do git's work.
        limits = (None, None) if ours is stock else (PACKED_LIMIT, UNPREPARED_LIMIT)
        for rival, limit in zip((packed, unprepared), limits, strict=True):
            found.append(ratio(f"{ours.name} / {rival.name}", _SEQUENTIAL, ours, rival, limit))
    for one in results:
        growth = (one.median(_MANY) - one.median(_ONE)) / (AT_ONCE - 1)
        flat = FLAT_MIB if one in (by_git, by_http) else None
        found.append(Comparison(f"{one.name}: memory per further clone", growth, flat, " MiB"))
    return tuple(found)


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
