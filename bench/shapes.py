"""Clones of less than everything, one and 16 at once, against git from a perfectly packed daemon.

Two shapes: ``--depth 1``, which takes one commit, and ``--filter=blob:none``, which takes the
history and then the files of the checkout. Both with checkout, as people and their CI clone, each
time into nothing and with nothing remembered. The rival's repository is one pack with bitmaps and
allows filters; ours is published, with reels of these shapes. Bytes are counted in runs of their
own, through a relay; what leaves the origin while 16 clone at once is counted there, too.

Further contestants: a clone after one more commit was published, of which no reel knows yet, and
our node's answers to stock git.
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
from measure import Relay, Usage, run
from scene import LOOPBACK, Published, Scene, Server, prepare_perfectly, program, remove, staged

if TYPE_CHECKING:
    from pathlib import Path

CROWD = 16
"""Clones at once."""

SERVER_LIMIT = 0.02
"""Of git daemon's CPU time."""

WALL_LIMIT = 0.5
"""Of git clone's wall time."""

COPIES_LIMIT = 1.2
"""Copies that leave the origin for a crowd."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is cloned.

    Args:
        option: of git clone.
        bytes_limit: of git clone's bytes on the wire.
    """

    option: str
    bytes_limit: float


SHAPES = (Shape("--depth=1", 1.05), Shape("--filter=blob:none", 1.0))


@dataclass(slots=True)
class Way:
    """One way to clone, and what it cost so far.

    Args:
        name: as shown.
        url: of the repository, with ``{host}`` for the server's address and port.
        server: that is asked.
    """

    name: str
    url: str
    server: Server
    walls: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)
    crowd_walls: list[float] = field(default_factory=list)
    crowd_cpu: list[float] = field(default_factory=list)

    def clone(self, scene: Scene, option: str, host: str = "") -> Usage:
        """Clone into nothing, with an empty home."""
        home, target = scene.room(), scene.room()
        url = self.url.format(host=host or self.server.host)
        words: list[str | Path] = ["git", "clone", "-q", option, url, target]
        used = run(words, scene.with_home(home))
        remove(home, target)
        return used

    def crowd(self, scene: Scene, option: str, host: str = "") -> float:
        """Clone `CROWD` times at once; returns the seconds until the last is there."""
        began = time.perf_counter()
        with ThreadPoolExecutor(CROWD) as pool:
            list(pool.map(lambda _: self.clone(scene, option, host), range(CROWD)))
        return time.perf_counter() - began

    def measure(self, scene: Scene, option: str, *, with_crowd: bool) -> None:
        """Clone once and, if wanted, in a crowd, and note what that cost."""
        before = self.server.meter.cpu()
        used = self.clone(scene, option)
        self.cpu.append(self.server.meter.cpu() - before)
        self.walls.append(used.wall)
        self.client.append(used.cpu)
        if with_crowd:
            before = self.server.meter.cpu()
            self.crowd_walls.append(self.crowd(scene, option))
            self.crowd_cpu.append((self.server.meter.cpu() - before) / CROWD)

    def result(self, shape: Shape, sent: tuple[float, ...]) -> Contestant:
        """Return the figures, bytes first."""
        figures = [
            *((Figure("bytes", sent[:1], 0),) if sent else ()),
            Figure("wall s", tuple(self.walls)),
            Figure("client CPU s", tuple(self.client)),
            Figure("server CPU s", tuple(self.cpu), 4),
        ]
        if self.crowd_walls:
            figures.append(Figure(f"last of {CROWD}, wall s", tuple(self.crowd_walls)))
            figures.append(Figure(f"server CPU s, each of {CROWD}", tuple(self.crowd_cpu), 4))
        if sent[1:]:
            figures.append(Figure(f"bytes of the origin for {CROWD}", sent[1:], 0))
        return Contestant(f"{self.name}, {shape.option}", tuple(figures))


def measure(arguments: Arguments) -> Report:
    """Prepare the servers and let all clone by turns."""
    contestants: list[Contestant] = []
    comparisons: list[Comparison] = []
    with staged(arguments.work) as scene:
        say("copying and publishing the repository")
        copy = scene.copy_bare(arguments.repository)
        home, own = scene.room(), scene.linked_copy(copy)
        scene.git("-C", own, "config", "gittorrent.shapes", "always")
        published, used = scene.publish(own, home, "--wait")
        packed = prepare_perfectly(scene, copy)
        for name in ("allowFilter", "allowAnySHA1InWant"):
            scene.git("-C", packed, "config", f"uploadpack.{name}", "true")
        for shape in SHAPES:
            say(f"{shape.option}: counting bytes")
            sent = _count(scene, published, home, packed, shape)
            with scene.node(published, home) as node, scene.daemon(packed) as daemon:
                # A node imports what it serves with when it is first asked.
                scene.take("parts", f"git://{node.host}/{published.name}.git")
                ways = [
                    Way("gittorrent", _ours(published), node),
                    Way("git", f"git://{{host}}/{packed.name}", daemon),
                    Way("git from our node", f"git://{{host}}/{published.name}.git", node),
                ]
                for number in range(arguments.runs):
                    say(f"{shape.option}: run {number + 1} of {arguments.runs}")
                    for way in ways:
                        way.measure(scene, shape.option, with_crowd=way is not ways[2])
            found = [
                way.result(shape, counted) for way, counted in zip(ways, (*sent, ()), strict=True)
            ]
            contestants += found
            comparisons += _compared(shape, *found)
        contestants.append(Contestant("publishing, with all reels", (_cpu(used),)))
        contestants += _after_a_commit(scene, published, home, arguments.runs)
    method = (
        "Client: the clone command and its children, with checkout. Bytes: both directions, at a",
        f"relay in front of the origin, in one clone and with {CROWD} at once. The rival's",
        "repository is packed by `git repack -adfb`. All clones share this machine's processors",
        "with the server, and a crowd's clones with each other.",
    )
    return Report("shapes", method, tuple(contestants), tuple(comparisons))


def _ours(published: Published) -> str:
    return f"gittorrent://{published.repository_id}@{{host}}/{published.name}.git"


def _cpu(used: Usage) -> Figure:
    return Figure("client CPU s", (used.cpu,))


def _compared(
    shape: Shape, ours: Contestant, rival: Contestant, stock: Contestant
) -> list[Comparison]:
    crowd, each = f"last of {CROWD}, wall s", f"server CPU s, each of {CROWD}"
    limits = {
        "bytes": shape.bytes_limit,
        "wall s": WALL_LIMIT,
        "client CPU s": None,
        "server CPU s": SERVER_LIMIT,
        crowd: WALL_LIMIT,
        each: SERVER_LIMIT,
    }
    found = [ratio(shape.option, metric, ours, rival, limit) for metric, limit in limits.items()]
    copies = ours.median(f"bytes of the origin for {CROWD}") / ours.median("bytes")
    found.append(Comparison(f"{shape.option}: copies for {CROWD}", copies, COPIES_LIMIT))
    found.append(ratio(f"{shape.option}: git from our node / git", "server CPU s", stock, rival))
    return found


def _count(
    scene: Scene, published: Published, home: Path, packed: Path, shape: Shape
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Count the bytes of one clone from each, and of a crowd from our origin."""
    with Relay() as relay:
        host = f"{LOOPBACK}:{relay.port}"
        # The node says that it is reached at the relay, so that nothing goes around it.
        with scene.node(published, home, "--url", f"git://{host}") as node:
            relay.target = node.git
            way = Way("", _ours(published), node)
            way.clone(scene, shape.option, host)
            ours = [float(sum(relay.take()))]
            way.crowd(scene, shape.option, host)
            ours.append(float(sum(relay.take())))
        with scene.daemon(packed) as daemon:
            relay.target = daemon.git
            Way("", f"git://{{host}}/{packed.name}", daemon).clone(scene, shape.option, host)
            return tuple(ours), (float(sum(relay.take())),)


def _after_a_commit(scene: Scene, published: Published, home: Path, runs: int) -> list[Contestant]:
    """Publish a commit that gets no shaped reels, and clone."""
    scene.git("-C", published.path, "config", "gittorrent.shapes", "auto")
    scene.commit(published.path, "one more line\n")
    words = [*program(), "publish", published.path, "--wait", "--quiet"]
    run(words, scene.with_home(home))
    found = []
    with scene.node(published, home) as node:
        scene.take("parts", f"git://{node.host}/{published.name}.git")
        for shape in SHAPES:
            way = Way("gittorrent, a commit later", _ours(published), node)
            for _ in range(runs):
                way.measure(scene, shape.option, with_crowd=False)
            found.append(way.result(shape, ()))
    return found


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
