"""Swarms under trouble, with every message encoded and parsed by the real session code.

Each test prints its report with its seed; ``pytest -s`` shows it, and so does a failure. The same
seed replays a run exactly. A pack here is 96 parts of 64 KiB over lines of 2.5 Mbit/s: the
proportions of 24 MiB in parts of 256 KiB at 10 Mbit/s, with less memory.
"""

from __future__ import annotations

import random

import pytest
from sim_node import Conduct, Node
from sim_swarm import Line, Report, Swarm, flash_crowd

from gittorrent.wire.limits import MAX_PIPELINED

RATE = 2.5e6 / 8
PART = 64 << 10
PARTS = 96


def line(draw: random.Random) -> Line:
    return Line(RATE, RATE, draw.uniform(0.005, 0.05))


def swarm(seed: int, *, byte_mode: bool = True) -> Swarm:
    return Swarm(seed, PARTS, PART, byte_mode)


def checked(made: Swarm, ratio: float, *, copies: float, duplicates: float = 0.03) -> Report:
    """Run a swarm and hold it to what every swarm must keep."""
    report = made.run(40 * made.bound())
    print(report)
    assert report.unfinished == (), f"{report}"
    assert report.ratio <= ratio, f"{report}"
    assert report.origin_copies <= copies, f"{report}"
    assert report.duplicates <= duplicates, f"{report}"
    assert report.most_answers <= MAX_PIPELINED, f"{report}"
    assert report.most_connections <= 80, f"{report}"
    for node in made.downloaders:
        assert node.download is not None
        node.download.check_invariant()
    return report


def check_garbage(made: Swarm) -> int:
    """See that every noise was answered with a ban; return how many bans there were."""
    bans = 0
    for node in made.downloaders:
        for sender, times in node.wrong.items():
            assert sender in node.bans, f"{node.number} did not ban {sender}"
            assert times == 1, f"{node.number} took {times} wrong parts from {sender}"
            bans += 1
        for banned, why in node.bans.items():
            assert made.nodes[banned].conduct is not Conduct.HONEST, f"{banned} was innocent: {why}"
    return bans


def test_a_single_downloader_notices_nothing() -> None:
    checked(flash_crowd(1, PARTS, 1, part_size=PART, rate=RATE, byte_mode=True), 1.1, copies=1.01)


def test_two_downloaders_share() -> None:
    made = flash_crowd(2, PARTS, 1, part_size=PART, rate=RATE, byte_mode=True)
    checked(made, 1.5, copies=1.5)


@pytest.mark.parametrize(("peers", "seed", "ratio"), [(8, 1, 1.25), (40, 2, 1.35)])
def test_flash_crowd(peers: int, seed: int, ratio: float) -> None:
    made = flash_crowd(peers, 2 * PARTS, seed, part_size=PART, rate=RATE, byte_mode=True)
    report = checked(made, ratio, copies=1.2)
    assert report.median <= ratio * report.bound


def test_lines_of_1_mbit_and_parts_of_1_mib() -> None:
    """A part takes a minute here; once that was taken for a standstill, and all sent thrice."""
    made = flash_crowd(12, 48, 3, rate=1e6 / 8)
    checked(made, 1.6, copies=1.5, duplicates=0.06)


def test_fast_lines() -> None:
    made = flash_crowd(12, 400, 3, rate=1e9 / 8)
    checked(made, 2.6, copies=1.5)


def test_the_origin_leaves_after_one_copy() -> None:
    made = swarm(4)
    origin = made.origin(line(made.draw))
    made.crowd(30, (origin,), line)

    def watch() -> None:
        if origin.link.sent >= 1.1 * made.shape.pack_size:
            origin.stop()
        else:
            made.clock.at(made.clock.now + 0.25, watch)

    made.clock.at(1.0, watch)
    checked(made, 2.0, copies=1.2)


def test_a_fifth_leaves_at_random() -> None:
    made = swarm(5)
    crowd = made.crowd(40, (made.origin(line(made.draw)),), line)
    for node in made.draw.sample(crowd, 8):
        made.leave(node, made.draw.uniform(2.0, 20.0))
    checked(made, 2.0, copies=1.5)


def test_liars_noise_and_silence() -> None:
    made = swarm(6)
    origin = made.origin(line(made.draw))
    conducts = [Conduct.LIAR] * 4 + [Conduct.GARBAGE] * 4 + [Conduct.SILENT] * 2
    for conduct in conducts:
        made.add(line(made.draw), conduct=conduct, mirrors=(origin,), joins=made.draw.random())
    made.crowd(30, (origin,), line)
    checked(made, 2.2, copies=1.8)
    assert check_garbage(made) >= 20


def test_half_behind_nat() -> None:
    made = swarm(7)
    origin = made.origin(line(made.draw))
    for number in range(40):
        made.add(
            line(made.draw),
            listens=number % 2 == 0,
            mirrors=(origin,),
            joins=made.draw.random() * 0.5,
        )
    checked(made, 2.0, copies=1.5)


def test_nobody_reaches_anybody() -> None:
    made = swarm(8)
    origin = made.origin(line(made.draw))
    for _ in range(6):
        made.add(line(made.draw), listens=False, mirrors=(origin,))
    report = made.run(60 * made.bound())
    print(report)
    assert report.unfinished == ()
    alone = 6 * made.shape.pack_size / origin.link.up
    assert report.last <= 1.3 * alone, "the origin was not kept busy"


def test_one_slow_mirror_among_fast_ones() -> None:
    made = swarm(9)
    fast = [made.add(line(made.draw), whole=True) for _ in range(3)]
    slow = made.add(Line(RATE / 20, RATE, 0.1), whole=True)
    made.add(Line(RATE, 10 * RATE), mirrors=(*fast, slow))
    report = made.run(1000)
    print(report)
    assert report.unfinished == ()
    ideal = made.shape.pack_size / (3 * RATE + RATE / 20)
    assert report.last <= 1.15 * ideal
    assert report.duplicates <= 0.03


def test_late_comers() -> None:
    made = swarm(10)
    origin = made.origin(line(made.draw))
    made.crowd(10, (origin,), line)
    for _ in range(15):
        made.add(line(made.draw), mirrors=(origin,), joins=made.draw.uniform(5.0, 40.0))
    checked(made, 1.6, copies=2.0)


def test_seeds_that_leave_as_soon_as_they_have_it() -> None:
    made = swarm(11)
    origin = made.origin(line(made.draw))
    crowd = [
        made.add(line(made.draw), mirrors=(origin,), joins=made.draw.uniform(0.0, 30.0))
        for _ in range(25)
    ]

    def watch(node: Node) -> None:
        if node.figures.finished_at is not None:
            for end in list(node.ends.values()):
                node.hang_up(end)
        else:
            made.clock.at(made.clock.now + 1.0, watch, node)

    for node in crowd:
        made.clock.at(node.began + 1.0, watch, node)
    checked(made, 2.5, copies=4.0)


def test_two_partitions_that_heal() -> None:
    made = swarm(12)
    made.crowd(30, (made.origin(line(made.draw)),), line)
    made.split(5.0, 20.0, lambda number: number % 2 == 0)
    # Both halves asked for the same while they were apart: 1.7 to 3.4 % over ten seeds.
    checked(made, 2.4, copies=1.8, duplicates=0.04)


def test_loss_and_unequal_lines() -> None:
    made = swarm(13)

    def unequal(draw: random.Random) -> Line:
        return Line(RATE * draw.uniform(0.2, 2), RATE * draw.uniform(1, 4), 0.03, loss=0.02)

    made.crowd(30, (made.origin(Line(RATE, RATE, 0.02, loss=0.01)),), unequal)
    checked(made, 2.0, copies=2.0)


def test_the_same_seed_gives_the_same_run() -> None:
    def trace() -> list[float | None]:
        made = flash_crowd(12, 32, 14, part_size=PART, rate=RATE, byte_mode=True)
        made.run(1000)
        return [node.figures.finished_at for node in made.nodes]

    assert trace() == trace()


def test_messages_unencoded_give_the_same_swarm() -> None:
    def times(byte_mode: bool) -> list[float | None]:
        made = flash_crowd(10, 32, 15, part_size=PART, rate=RATE, byte_mode=byte_mode)
        made.run(1000)
        return [node.figures.finished_at for node in made.nodes]

    assert times(True) == times(False)
