"""From how small a pack on it pays that an origin shows each downloader other parts.

Figures are means over a few seeds: with so few parts single runs differ by a third.
"""

from __future__ import annotations

import statistics

import pytest
from sim_swarm import Report, flash_crowd

from gittorrent.swarm.super_seeder import SMALLEST_PACK, SuperSeeder

PART = 256 << 10
SEEDS = range(1, 9)


def runs(peers: int, parts: int, rate: float, *, steered: bool) -> list[Report]:
    """Run small swarms in which the origin shows some parts to each, or everything to all."""
    reports = []
    for seed in SEEDS:
        made = flash_crowd(peers, parts, seed, part_size=PART, rate=rate)
        for node in made.nodes:
            if node.is_origin:
                node.super_seeder = SuperSeeder(parts) if steered else None
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
