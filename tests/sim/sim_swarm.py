"""Whole swarms on the virtual network: who takes part, what happens to them, what came of it.

    python tests/sim/sim_swarm.py --peers 1000 --parts 64 --seed 1
    python tests/sim/sim_swarm.py --help

prints the report of one swarm with its seed; the same arguments replay it exactly. Rates are in
bytes per second, sizes in bytes, times in virtual seconds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sim_end import End
from sim_network import Clock, Link, Network, Partition, Stream
from sim_node import MOST_NEIGHBOURS, Conduct, Node

from gittorrent.swarm.settings import Settings
from gittorrent.wire.reelname import PackShape

RATE = 20e6 / 8
"""Bytes per second of a line of 20 Mbit/s."""

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """An access line: bytes per second each way, seconds to the backbone, share of chunks lost."""

    up: float = RATE
    down: float = RATE
    latency: float = 0.02
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a swarm; times are from each downloader's start, ratios are to the bound."""

    seed: int
    peers: int
    finished: int
    unfinished: tuple[int, ...]
    median: float
    last: float
    bound: float
    origin_copies: float
    duplicates: float
    starved: int
    most_answers: int
    most_connections: int
    events: int
    wall: float

    @property
    def ratio(self) -> float:
        """The last one's time as a multiple of the bound."""
        return self.last / self.bound

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.finished} of {self.peers} finished; "
            f"median {self.median:.1f} s, last {self.last:.1f} s = {self.ratio:.3f} x bound "
            f"{self.bound:.1f} s; origin {self.origin_copies:.2f} copies, duplicates "
            f"{100 * self.duplicates:.2f} %; starved {self.starved} times; at most "
            f"{self.most_connections} connections, {self.most_answers} questions; "
            f"{self.events} events in {self.wall:.1f} s"
        )


@dataclass(slots=True)
class Swarm:
    """A swarm about one pack of ``parts`` parts of ``part_size`` bytes."""

    seed: int
    parts: int = 64
    part_size: int = MIB
    byte_mode: bool = False
    settings: Settings | None = None
    clock: Clock = field(default_factory=Clock)
    nodes: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.network = Network(self.clock, self.draw)
        self.shape = PackShape(self.parts * self.part_size, self.part_size)
        self.by_url: dict[str, Node] = {}
        self._keys = 0
        self.most_connections = 0

    draw: random.Random = field(init=False)
    network: Network = field(init=False)
    shape: PackShape = field(init=False)
    by_url: dict[str, Node] = field(init=False)
    _keys: int = field(init=False)
    most_connections: int = field(init=False)

    # Who takes part

    def add(
        self,
        line: Line | None = None,
        *,
        whole: bool = False,
        introduces: bool = False,
        conduct: Conduct = Conduct.HONEST,
        listens: bool = True,
        joins: float = 0.0,
        mirrors: tuple[Node, ...] = (),
    ) -> Node:
        """Add a node that starts at ``joins`` and dials ``mirrors``."""
        line = line or Line()
        number = len(self.nodes)
        link = Link(number, line.up, line.down, line.latency, line.loss)
        node = Node(
            number,
            link,
            self.clock,
            self.network,
            self.shape,
            random.Random(self.draw.getrandbits(64)),
            dial=self.dial,
            conduct=conduct,
            whole=whole,
            listens=listens,
            introduces=introduces,
            settings=self.settings,
        )
        node.mirrors = [mirror.url for mirror in mirrors]
        node.known.update(node.mirrors)
        self.nodes.append(node)
        if listens:
            self.by_url[node.url] = node
        self.clock.at(joins, self._begin, node)
        return node

    def origin(self, line: Line | None = None) -> Node:
        """Add a mirror that has the whole pack and introduces downloaders to each other."""
        return self.add(line, whole=True, introduces=True)

    def crowd(
        self,
        count: int,
        mirrors: tuple[Node, ...],
        line: Callable[[random.Random], Line] = lambda _draw: Line(),
        over: float = 0.5,
    ) -> list[Node]:
        """Add downloaders that start within ``over`` seconds."""
        return [
            self.add(line(self.draw), mirrors=mirrors, joins=self.draw.random() * over)
            for _ in range(count)
        ]

    def _begin(self, node: Node) -> None:
        node.start()
        for url in node.mirrors:
            self.dial(node, url)

    # What happens

    def leave(self, node: Node, when: float) -> None:
        """Let a node vanish."""
        self.clock.at(when, node.stop)

    def split(self, begins: float, heals: float, side: Callable[[int], bool]) -> None:
        """Part the network in two for a while."""
        self.network.partitions.append(Partition(begins, heals, side))

    def dial(self, caller: Node, url: str) -> None:
        """Connect after one and a half round trips, if there is somebody who takes the call."""
        called = self.by_url.get(url)
        if called is None:
            return
        delay = 3 * self.network.delay(caller.link, called.link)
        self.clock.at(self.clock.now + delay, self._connect, caller, called)

    def _connect(self, caller: Node, called: Node) -> None:
        if not (caller.alive and called.alive) or caller is called:
            return
        if caller.number in called.bans or called.number in caller.bans:
            return
        if not called.is_origin and len(called.ends) >= 2 * MOST_NEIGHBOURS:
            return
        if any(end.other.node is called for end in caller.ends.values()):
            return
        self._keys += 1
        near = End(caller, self._keys, True, self.byte_mode)
        far = End(called, self._keys, False, self.byte_mode)
        near.other, far.other = far, near
        for end in (near, far):
            other = end.other
            end.out = Stream(self.network, end.node.link, other.node.link, other.deliver)
            end.out.on_sent = end.sent
        caller.connected(near)
        called.connected(far)
        if not called.is_origin:
            self.most_connections = max(self.most_connections, len(called.ends))

    # What came of it

    @property
    def downloaders(self) -> list[Node]:
        """Those whose success counts: honest and still there."""
        return [node for node in self.nodes if node.download is not None and node.alive]

    def run(self, limit: float) -> Report:
        """Run until every downloader has finished, or ``limit``; return the report."""
        began = time.perf_counter()
        left = [node for node in self.nodes if node.download is not None]

        def done() -> bool:
            while left and (left[-1].figures.finished_at is not None or not left[-1].alive):
                left.pop()
            return not left

        self.clock.run(limit, done)
        return self._report(time.perf_counter() - began)

    def bound(self) -> float:
        """Return the time in which even the best schedule could not serve everybody.

        The largest of the time the complete nodes need for one copy, the time the slowest
        downlink needs, and that of N copies over all uplinks.
        """
        size = self.shape.pack_size
        whole = [n for n in self.nodes if n.download is None and n.conduct is Conduct.HONEST]
        seeds = sum(node.link.up for node in whole)
        honest = self.downloaders
        given = seeds + sum(node.link.up for node in honest)
        slowest = min(node.link.down for node in honest)
        return max(size / seeds, size / slowest, len(honest) * size / given)

    def _report(self, wall: float) -> Report:
        honest = self.downloaders
        times = [
            node.figures.finished_at - node.began
            for node in honest
            if node.figures.finished_at is not None
        ]
        size = self.shape.pack_size
        origins = [node for node in self.nodes if node.is_origin]
        useful = sum(node.figures.useful for node in honest)
        extra = sum(n.figures.received - n.figures.useful - n.figures.garbage for n in honest)
        return Report(
            seed=self.seed,
            peers=len(honest),
            finished=len(times),
            unfinished=tuple(n.number for n in honest if n.figures.finished_at is None),
            median=statistics.median(times) if times else 0.0,
            last=max(times, default=0.0),
            bound=self.bound(),
            origin_copies=sum(node.link.sent for node in origins) / size,
            duplicates=extra / max(useful, 1),
            starved=sum(node.starved for node in honest),
            most_answers=max(node.figures.most_answers for node in self.nodes),
            most_connections=self.most_connections,
            events=self.clock.happened,
            wall=wall,
        )


def flash_crowd(
    peers: int,
    parts: int = 64,
    seed: int = 1,
    *,
    part_size: int = MIB,
    rate: float = RATE,
    byte_mode: bool = False,
    settings: Settings | None = None,
) -> Swarm:
    """Return a swarm in which everybody starts at once, on equal lines."""
    swarm = Swarm(seed, parts, part_size, byte_mode, settings)

    def line(draw: random.Random) -> Line:
        return Line(rate, rate, draw.uniform(0.005, 0.05))

    swarm.crowd(peers, (swarm.origin(Line(rate, rate)),), line)
    return swarm


def main() -> None:
    """Run one flash crowd and print its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=int, default=100)
    parser.add_argument("--parts", type=int, default=64, help="parts of 1 MiB")
    parser.add_argument("--part-kib", type=int, default=1024, help="size of a part")
    parser.add_argument("--rate", type=float, default=20.0, help="Mbit/s of every line")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bytes", action="store_true", help="encode and parse every message")
    parser.add_argument("--profile", action="store_true")
    words = parser.parse_args()
    swarm = flash_crowd(
        words.peers,
        words.parts,
        words.seed,
        part_size=words.part_kib << 10,
        rate=words.rate * 1e6 / 8,
        byte_mode=words.bytes,
    )
    limit = 50 * swarm.bound()
    if words.profile:
        import cProfile
        import pstats

        profile = cProfile.Profile()
        report = profile.runcall(swarm.run, limit)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    else:
        report = swarm.run(limit)
    print(report)


if __name__ == "__main__":
    main()
