"""From how small a pack on it pays that an origin shows each downloader other parts.

Figures are means over a few seeds: with so few parts single runs differ by a third.
"""

from __future__ import annotations

import statistics

import pytest
from sim_swarm import Line, Report, Swarm, flash_crowd

from gittorrent.swarm.super_seeder import CROWD, SHAPED_CROWD, SMALLEST_PACK, SuperSeeder

PART = 256 << 10
SEEDS = range(1, 9)


def runs(peers: int, parts: int, rate: float, *, steered: bool, crowd: int = CROWD) -> list[Report]:
    """Run small swarms in which the origin shows some parts to each, or everything to all."""
    reports = []
    for seed in SEEDS:
        made = flash_crowd(peers, parts, seed, part_size=PART, rate=rate)
        for node in made.nodes:
            if node.is_origin:
                node.super_seeder = SuperSeeder(parts, crowd) if steered else None
        reports.append(made.run(100 * made.bound() + 60))
        assert reports[-1].unfinished == (), f"{reports[-1]}"
    return reports


def means(reports: list[Report]) -> tuple[float, float]:
    """Return the copies that the origin sent, and the time of the last one."""
    copies = statistics.mean(report.origin_copies for report in reports)
    return copies, statistics.mean(report.last for report in reports)


@pytest.mark.parametrize("parts", [SMALLEST_PACK, 9])
@pytest.mark.parametrize(
    ("mbit", "copies", "time"), [(10, 0.5, 0.85), (100, 0.5, 1.1), (1000, 0.55, 1.1)]
)
def test_small_packs_profit(parts: int, mbit: int, copies: float, time: float) -> None:
    """Five that start together cost half as much; on fast lines nobody waits much longer."""
    rate = mbit * 1e6 / 8
    before, after = (means(runs(5, parts, rate, steered=steered)) for steered in (False, True))
    print(f"{mbit} Mbit/s, {parts} parts: {before} -> {after} (copies, seconds)")
    assert after[0] <= copies * before[0]
    assert after[1] <= time * before[1]


@pytest.mark.parametrize("peers", [1, 2])
def test_one_or_two_notice_nothing(peers: int) -> None:
    plain, steered = (
        [report.last for report in runs(peers, SMALLEST_PACK, 10e6 / 8, steered=steered)]
        for steered in (False, True)
    )
    assert plain == steered


def test_smaller_packs_are_shown_to_all() -> None:
    """With four parts the last one of five waits longer on fast lines than it is worth."""
    for parts, expected in ((SMALLEST_PACK - 1, False), (SMALLEST_PACK, True)):
        made = flash_crowd(5, parts, 1, part_size=PART)
        (origin,) = [node for node in made.nodes if node.is_origin]
        assert (origin.super_seeder is not None) is expected


@pytest.mark.parametrize(("parts", "copies"), [(6, 1.7), (50, 1.2)])
@pytest.mark.parametrize("mbit", [100, 1000])
def test_sixteen_take_little_more_than_a_copy_of_other_shapes(
    parts: int, copies: float, mbit: int
) -> None:
    """The second of them is not shown what the first is about to have."""
    rate = mbit * 1e6 / 8
    before = means(runs(16, parts, rate, steered=parts >= SMALLEST_PACK))
    after = means(runs(16, parts, rate, steered=True, crowd=SHAPED_CROWD))
    print(f"{mbit} Mbit/s, {parts} parts: {before} -> {after} (copies, seconds)")
    assert after[0] <= copies
    assert after[0] < before[0]
    assert after[1] <= 1.1 * before[1]


def test_two_that_cannot_meet_wait_no_longer_than_a_moment() -> None:
    parts, line = 50, Line(100e6 / 8, 100e6 / 8, 0.02)
    found = []
    for crowd in (CROWD, SHAPED_CROWD):
        swarm = Swarm(1, parts, PART)
        origin = swarm.origin(line)
        origin.super_seeder = SuperSeeder(parts, crowd)
        for number in range(2):
            swarm.add(line, mirrors=(origin,), joins=0.1 * number, listens=False)
        found.append(swarm.run(60))
    assert found[0].unfinished == found[1].unfinished == ()
    assert found[1].last <= found[0].last + 1.5
