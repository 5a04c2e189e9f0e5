"""What clones by unmodified git cost a server that many of them ask the same.

Runners of a CI clone one commit, or history without files, thousands of times a day. The rival is a
git daemon whose repository is one pack with bitmaps. Our node is asked over git:// and over HTTP: a
first time after its start, again, and by crowds that come right after its start. Counted is the
CPU time of the server with its processes, for each clone; the view that a node serves from is made
before, and what that costs is told apart.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
from measure import run
from scene import Published, Scene, Server, prepare_perfectly, remove, staged

if TYPE_CHECKING:
    from pathlib import Path

CROWDS = (16, 50)
"""Clones at once."""

DAEMON_CROWD = 16
"""Of a crowd, how many call git daemon at once: its queue of connections has five places, and on a
busy machine more of them are reset."""

SERVER_LIMIT = 0.05
"""Of git daemon's CPU time, for each clone of a crowd."""

FIRST_LIMIT = 1.1
"""Of git daemon's CPU time, for the first clone."""

SHAPES = (("--depth=1", "--bare"), ("--filter=blob:none",), ("--bare",))
"""Options of the clones; those of the second one take the files of a checkout as well."""


def _each(count: int) -> str:
    return f"server CPU s, each of {count}"


@dataclass(slots=True)
class Way:
    """One way to clone, and what it cost so far.

    Args:
        name: as shown.
        figures: by metric.
    """

    name: str
    figures: dict[str, list[float]] = field(default_factory=dict)

    def note(self, metric: str, value: float) -> None:
        """Keep a value."""
        self.figures.setdefault(metric, []).append(value)

    def result(self, shape: tuple[str, ...]) -> Contestant:
        """Return the figures."""
        digits = {metric: 2 if "wall" in metric else 4 for metric in self.figures}
        figures = (Figure(m, tuple(v), digits[m]) for m, v in self.figures.items())
        return Contestant(f"{self.name}, {' '.join(shape)}", tuple(figures))


def _clone(scene: Scene, shape: tuple[str, ...], url: str) -> float:
    """Clone into nothing; returns the seconds it took."""
    target = scene.room()
    words: list[str | Path] = ["git", "clone", "-q", *shape, url, target]
    used = run(words, scene.environ)
    remove(target)
    return used.wall


def _once(
    scene: Scene, way: Way, server: Server, shape: tuple[str, ...], url: str, of: str
) -> None:
    before = server.meter.cpu()
    way.note(f"{of}, wall s", _clone(scene, shape, url))
    way.note(f"{of}, server CPU s", server.meter.cpu() - before)


def _crowd(
    scene: Scene, way: Way, server: Server, shape: tuple[str, ...], url: str, count: int, most: int
) -> None:
    before, began = server.meter.cpu(), time.perf_counter()
    with ThreadPoolExecutor(min(count, most)) as pool:
        list(pool.map(lambda _: _clone(scene, shape, url), range(count)))
    way.note(f"last of {count}, wall s", time.perf_counter() - began)
    way.note(_each(count), (server.meter.cpu() - before) / count)


def measure(arguments: Arguments) -> Report:
    """Prepare the servers and let all clone by turns."""
    contestants: list[Contestant] = []
    comparisons: list[Comparison] = []
    with staged(arguments.work) as scene:
        say("copying and publishing the repository")
        copy, home = scene.copy_bare(arguments.repository), scene.room()
        own = scene.linked_copy(copy)
        scene.git("-C", own, "config", "gittorrent.shapes", "never")  # nobody here asks for them
        published, _ = scene.publish(own, home, "--wait")
        packed = prepare_perfectly(scene, copy)
        for name in ("allowFilter", "allowAnySHA1InWant"):
            scene.git("-C", packed, "config", f"uploadpack.{name}", "true")
        view = _make_view(scene, published, home)
        for shape in SHAPES:
            ways = Way("git daemon"), Way("our node, git://"), Way("our node, HTTP")
            for number in range(arguments.runs):
                say(f"{' '.join(shape)}: run {number + 1} of {arguments.runs}")
                _run(scene, ways, shape, published, home, packed)
            found = [way.result(shape) for way in ways]
            contestants += found
            comparisons += _compared(shape, *found)
        contestants.append(view)
    method = (
        "Server CPU: the server and its processes, divided by the clones. A crowd comes to a node",
        "that was just started and has answered nothing but one request of another kind. The",
        f"rival's repository is packed by `git repack -adfb`; at most {DAEMON_CROWD} call at once.",
    )
    return Report("stock clients", method, tuple(contestants), tuple(comparisons))


def _make_view(scene: Scene, published: Published, home: Path) -> Contestant:
    """Have the view made and packed; returns what that cost, one clone included."""
    way = Way("making the view, with a bitmap")
    with scene.node(published, home) as node:
        url = f"git://{node.host}/{published.name}.git"
        scene.take("parts", url)
        _once(scene, way, node, ("--depth=1", "--bare"), url, "first")
        node.meter.settle()
    with scene.node(published, home) as node:  # what was packed by halves is packed now
        _clone(scene, ("--depth=1", "--bare"), f"git://{node.host}/{published.name}.git")
        node.meter.settle()
    return way.result(("--depth=1",))


def _run(
    scene: Scene,
    ways: tuple[Way, Way, Way],
    shape: tuple[str, ...],
    published: Published,
    home: Path,
    packed: Path,
) -> None:
    """Let a first one clone from each server, then another one, then crowds."""
    daemon_way, *node_ways = ways
    with scene.daemon(packed, f"--max-connections={2 * max(CROWDS)}") as daemon:
        url = f"git://{daemon.host}/{packed.name}"
        _clone(scene, shape, url)
        _once(scene, daemon_way, daemon, shape, url, "again")
        for many in CROWDS:
            _crowd(scene, daemon_way, daemon, shape, url, many, DAEMON_CROWD)
    for way, scheme in zip(node_ways, ("git", "http"), strict=True):
        for count in (None, *CROWDS):
            with scene.node(published, home, http=scheme == "http") as node:
                # A node imports what it serves with when it is first asked.
                scene.take("parts", f"git://{node.host}/{published.name}.git")
                place = node.host if scheme == "git" else f"{node.address}:{node.http}"
                url = f"{scheme}://{place}/{published.name}.git"
                if count is None:
                    _once(scene, way, node, shape, url, "first")
                    _once(scene, way, node, shape, url, "again")
                else:
                    _crowd(scene, way, node, shape, url, count, count)


def _compared(shape: tuple[str, ...], rival: Contestant, *nodes: Contestant) -> list[Comparison]:
    found = []
    for ours in nodes:
        what = ours.name.partition(", ")[2]
        for metric in map(_each, CROWDS):
            found.append(ratio(f"{what}: our node / git daemon", metric, ours, rival, SERVER_LIMIT))
        first = ours.median("first, server CPU s") / rival.median("again, server CPU s")
        found.append(Comparison(f"{what}: first clone, server CPU", first, FIRST_LIMIT))
    return found


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
