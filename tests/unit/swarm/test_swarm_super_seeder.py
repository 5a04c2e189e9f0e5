"""Super-seeding: what a lone origin shows to whom."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.keys import ParticipantKey
from gittorrent.swarm.super_seeder import (
    CROWD,
    LEAST_WINDOW,
    PATIENCE_SECONDS,
    SEED_SECONDS,
    SHAPED_CROWD,
    STALL_SECONDS,
    UNPROVED_WINDOW,
    VAIN_SECONDS,
    SuperSeeder,
)

PARTS = 64


def peers(count: int) -> list[ParticipantKey]:
    return [ParticipantKey(n) for n in range(count)]


def crowd(count: int, parts: int = PARTS) -> SuperSeeder:
    super_seeder = SuperSeeder(parts)
    for peer in peers(count):
        super_seeder.joined(peer, 0.0)
    return super_seeder


def having(*parts: int) -> PartSet:
    made = PartSet(PARTS)
    for part in parts:
        made.add(part)
    return made


def shown(super_seeder: SuperSeeder, peer: int, now: float) -> set[int]:
    found = super_seeder.reveal(ParticipantKey(peer), now)
    assert found is not None
    return set(found)


def test_few_see_everything() -> None:
    super_seeder = crowd(CROWD - 1)
    assert not super_seeder.is_crowded
    assert super_seeder.reveal(ParticipantKey(0), 0.0) is None
    assert super_seeder.changed(ParticipantKey(0), 0.0) is False


def test_a_crowd_is_shown_different_parts() -> None:
    super_seeder = crowd(4)
    seen: Counter[int] = Counter()
    for peer in peers(4):
        found = super_seeder.changed(peer, 0.0)
        assert isinstance(found, PartSet)
        seen.update(found)
    assert seen == Counter(range(LEAST_WINDOW))
    assert super_seeder.changed(ParticipantKey(0), 0.1) is False


def test_a_newcomer_is_told_to_see_everything_no_more() -> None:
    super_seeder = crowd(2)
    assert super_seeder.changed(ParticipantKey(0), 0.0) is False
    super_seeder.joined(ParticipantKey(2), 0.1)
    assert isinstance(super_seeder.changed(ParticipantKey(0), 0.2), PartSet)
    super_seeder.left(ParticipantKey(2))
    assert super_seeder.changed(ParticipantKey(0), 0.3) is None


def test_what_is_sent_makes_room_for_more() -> None:
    super_seeder = crowd(4)
    first = shown(super_seeder, 0, 0.0)
    super_seeder.sent(ParticipantKey(0), min(first))
    assert len(set().union(*(shown(super_seeder, n, 0.1) for n in range(4)))) > LEAST_WINDOW


def test_the_window_follows_the_rate() -> None:
    super_seeder = crowd(4, 1000)
    for part in range(100):
        super_seeder.sent(ParticipantKey(part % 4), part)
    assert super_seeder.window == 200
    super_seeder.reveal(ParticipantKey(0), 10.0)
    assert super_seeder.window == LEAST_WINDOW


def copy_out(
    super_seeder: SuperSeeder, count: int, gap: float, *, spread: bool
) -> tuple[int, float]:
    """Send what is shown, one part each ``gap``; return how many were sent until all have all."""
    have = {peer: set[int]() for peer in peers(count)}
    sent, now = 0, 0.0
    while any(len(parts) < PARTS for parts in have.values()) and now < 200 * PARTS * gap + 100:
        now += gap
        for peer, parts in have.items():
            found = super_seeder.reveal(peer, now)
            missing = [p for p in (range(PARTS) if found is None else found) if p not in parts]
            if len(parts) < PARTS and missing:
                parts.add(missing[0])
                sent += 1
                super_seeder.sent(peer, missing[0])
                break
        if spread:
            everything = set().union(*have.values())
            for parts in have.values():
                parts |= everything
        for peer, parts in have.items():
            super_seeder.has(peer, having(*parts), now)
    return sent, now


def test_a_swarm_that_multiplies_costs_one_copy() -> None:
    for gap in (0.01, 0.4, 30.0):
        sent, _ = copy_out(crowd(10), 10, gap, spread=True)
        assert sent == PARTS, f"with {gap} s for a part"


def test_a_crowd_that_does_not_reach_each_other_is_served_all_the_same() -> None:
    gap = 0.4
    sent, took = copy_out(crowd(4), 4, gap, spread=False)
    assert sent == 4 * PARTS
    assert took <= 4 * PARTS * gap + PATIENCE_SECONDS + 20 * gap + 10 * STALL_SECONDS


def test_what_only_a_leaver_had_is_shown_again() -> None:
    super_seeder = crowd(4)
    lost = shown(super_seeder, 0, 0.0)
    for part in lost:
        super_seeder.sent(ParticipantKey(0), part)
    super_seeder.left(ParticipantKey(0))
    again = set().union(*(shown(super_seeder, n, 0.1) for n in (1, 2, 3)))
    assert lost <= again


def test_what_others_have_is_not_shown_again_when_somebody_leaves() -> None:
    super_seeder = crowd(4)
    kept = shown(super_seeder, 0, 0.0)
    for part in kept:
        super_seeder.sent(ParticipantKey(0), part)
    super_seeder.has(ParticipantKey(1), having(*kept), 0.1)
    super_seeder.left(ParticipantKey(0))
    assert not kept & set().union(*(shown(super_seeder, n, 0.2) for n in (1, 2, 3)))


def test_who_takes_nothing_does_not_keep_parts_from_others() -> None:
    super_seeder = crowd(4)
    silent = shown(super_seeder, 0, 0.0)
    for n in (1, 2, 3):
        for part in shown(super_seeder, n, 0.0):
            super_seeder.sent(ParticipantKey(n), part)
    later = 4 * 10 * VAIN_SECONDS
    super_seeder.reveal(ParticipantKey(1), later)
    again = set().union(*(shown(super_seeder, n, later + 0.1) for n in (1, 2, 3)))
    assert silent <= again
    assert not shown(super_seeder, 0, later + 0.2) & silent


@pytest.mark.parametrize(("idle", "seconds"), [(8, 3.0), (23, 5.0)])
def test_a_crowd_of_idlers_keeps_nobody_out(idle: int, seconds: float) -> None:
    """They ask what there is and take nothing; a client gives up after 20 s without a part."""
    super_seeder, now, got = crowd(idle + 1), 0.0, set[int]()
    first = None
    while now < 120.0 and len(got) < PARTS:
        now += 0.1
        for part in shown(super_seeder, idle, now) - got:
            first = first or now
            got.add(part)
            super_seeder.asked(ParticipantKey(idle), part, part)
            super_seeder.sent(ParticipantKey(idle), part)
            super_seeder.has(ParticipantKey(idle), having(*got), now)
            if len(got) == PARTS:
                break
    assert first is not None
    assert first < seconds
    assert now < VAIN_SECONDS + seconds  # then what they were shown is shown to others


def test_whoever_asks_is_given_time() -> None:
    super_seeder = crowd(4)
    first, second = (min(shown(super_seeder, n, 0.0)) for n in (0, 1))
    super_seeder.asked(ParticipantKey(0), first, first)
    super_seeder.asked(ParticipantKey(1), second, second)
    super_seeder.cancelled(ParticipantKey(1), second, second)
    for now in (VAIN_SECONDS + 0.1, 2 * VAIN_SECONDS):
        assert first in shown(super_seeder, 0, now)
        assert second not in shown(super_seeder, 1, now)


def test_who_goes_on_taking_nothing_rests_longer_each_time() -> None:
    super_seeder, now = crowd(CROWD), 0.0
    rests: list[float] = []
    for _ in range(4):
        while not shown(super_seeder, 0, now):
            now += 0.5
        rests.append(now)
        while shown(super_seeder, 0, now):
            now += 0.5
    pauses = [after - before for before, after in itertools.pairwise(rests)]
    assert pauses[1] > 1.3 * pauses[0]
    assert pauses[2] > 1.3 * pauses[1]


def test_whoever_has_everything_is_no_downloader() -> None:
    super_seeder = crowd(4)
    super_seeder.has(ParticipantKey(0), PartSet.full(PARTS), 0.1)
    assert len(super_seeder) == 3
    assert super_seeder.changed(ParticipantKey(0), 0.2) is False
    assert super_seeder.reveal(ParticipantKey(0), 0.2) is None


def test_claims_do_not_hide_a_part_that_nobody_got() -> None:
    super_seeder = crowd(5)
    super_seeder.has(ParticipantKey(4), having(*range(PARTS - 1)), 0.0)  # a liar
    for now in range(40):
        for n in range(4):
            for part in shown(super_seeder, n, now):
                super_seeder.sent(ParticipantKey(n), part)
    assert set().union(*(shown(super_seeder, n, 41.0) for n in range(4))) == set(range(PARTS))


def test_strangers_are_ignored() -> None:
    super_seeder = crowd(3)
    super_seeder.left(ParticipantKey(99))
    super_seeder.has(ParticipantKey(99), having(1), 0.0)
    super_seeder.sent(ParticipantKey(99), 1)
    assert len(super_seeder) == 3


def one_after_another() -> SuperSeeder:
    """A pack that crowds take: 0 has everything and stays, and 1 got a part from it."""
    super_seeder = SuperSeeder(PARTS, SHAPED_CROWD, counts_seeds=True)
    for peer in peers(2):
        super_seeder.joined(peer, 0.0)
        super_seeder.listens(peer)
        super_seeder.wants(peer, 0.0)
    for part in range(PARTS):
        super_seeder.sent(ParticipantKey(0), part)
    super_seeder.has(ParticipantKey(0), PartSet.full(PARTS), 0.1)
    super_seeder.has(ParticipantKey(1), having(0), 0.2)
    return super_seeder


def newcomer(super_seeder: SuperSeeder, peer: int, now: float) -> set[int]:
    super_seeder.joined(ParticipantKey(peer), now)
    super_seeder.wants(ParticipantKey(peer), now)
    return shown(super_seeder, peer, now)


def test_who_has_everything_and_stays_gives_it_to_the_next_one() -> None:
    super_seeder = one_after_another()
    super_seeder.has(ParticipantKey(1), PartSet.full(PARTS), 0.3)
    assert newcomer(super_seeder, 2, 0.4) == set()
    super_seeder.left(ParticipantKey(0))
    assert newcomer(super_seeder, 2, 0.5) == set(), "one of them is there still"
    super_seeder.left(ParticipantKey(1))
    assert len(super_seeder) == 1
    assert super_seeder.reveal(ParticipantKey(2), 0.6) is None


def test_nobody_waits_for_those_who_have_everything_before_they_are_known_to_give() -> None:
    super_seeder = SuperSeeder(PARTS, SHAPED_CROWD, counts_seeds=True)
    super_seeder.joined(ParticipantKey(0), 0.0)
    super_seeder.listens(ParticipantKey(0))
    for part in range(PARTS):
        super_seeder.sent(ParticipantKey(0), part)
    super_seeder.has(ParticipantKey(0), PartSet.full(PARTS), 0.1)
    assert newcomer(super_seeder, 1, 5.0) == set(range(UNPROVED_WINDOW))


def test_who_has_everything_and_cannot_be_reached_counts_no_more() -> None:
    super_seeder = SuperSeeder(PARTS, SHAPED_CROWD, counts_seeds=True)
    super_seeder.joined(ParticipantKey(0), 0.0)
    super_seeder.has(ParticipantKey(0), PartSet.full(PARTS), 0.1)
    assert len(super_seeder) == 0


def test_who_gets_nothing_from_those_who_have_everything_gets_it_here() -> None:
    super_seeder = one_after_another()
    assert newcomer(super_seeder, 2, 1.0) == set()
    late = 1.0 + SEED_SECONDS + 0.1
    assert shown(super_seeder, 2, late)
    # Others are not left to wait either, until somebody is known to get something.
    super_seeder.joined(ParticipantKey(3), late)
    for peer in (1, 2, 3, 1, 2, 3):
        for part in shown(super_seeder, peer, late + 0.1):
            super_seeder.sent(ParticipantKey(peer), part)
    assert shown(super_seeder, 3, late + 0.1)
    super_seeder.has(ParticipantKey(3), having(*range(PARTS - 1)), late + 0.2)
    assert newcomer(super_seeder, 4, late + 0.3) == set()


def beginners(parts: int) -> SuperSeeder:
    """Three that take a small pack at the same moment, and have what they were shown."""
    super_seeder = SuperSeeder(parts, SHAPED_CROWD, counts_seeds=True)
    for peer in peers(3):
        super_seeder.joined(peer, 0.0)
        super_seeder.listens(peer)
    for peer in peers(2):
        super_seeder.wants(peer, 0.0)
    for peer in peers(3):
        got = PartSet(parts)
        for part in sorted(shown(super_seeder, peer, 0.1)):
            super_seeder.sent(peer, part)
            got.add(part)
        super_seeder.has(peer, got, 0.2)
    return super_seeder


def test_a_crowd_of_busy_machines_has_time_to_begin_to_give() -> None:
    super_seeder = beginners(6)
    before = [shown(super_seeder, peer, 0.3) for peer in range(3)]
    assert sorted(itertools.chain(*before)) == list(range(6))
    assert [shown(super_seeder, peer, SEED_SECONDS) for peer in range(3)] == before
    after = [shown(super_seeder, peer, SEED_SECONDS + 0.3) for peer in range(3)]
    assert sum(map(len, after)) > 6, "whoever reaches nobody goes on here"


def test_who_comes_to_want_the_pack_late_has_not_waited_before() -> None:
    super_seeder = beginners(6)
    late = 2 * PATIENCE_SECONDS
    super_seeder.wants(ParticipantKey(2), late)
    before = shown(super_seeder, 2, 0.3)
    assert shown(super_seeder, 2, late + 0.1) == before
    assert shown(super_seeder, 2, late + SEED_SECONDS + 0.2) > before


def test_who_does_not_want_the_pack_says_nothing_of_those_who_have_it() -> None:
    super_seeder = one_after_another()
    super_seeder.joined(ParticipantKey(2), 1.0)  # it was told of the pack among others
    assert newcomer(super_seeder, 3, 1.0 + SEED_SECONDS + 0.1) == set()


def test_what_was_asked_for_before_anybody_came_is_not_shown_to_others() -> None:
    super_seeder = SuperSeeder(PARTS, SHAPED_CROWD, counts_seeds=True)
    super_seeder.joined(ParticipantKey(0), 0.0)
    super_seeder.listens(ParticipantKey(0))
    super_seeder.asked(ParticipantKey(0), 0, PARTS - 5)
    found = newcomer(super_seeder, 1, 0.1)
    assert found
    assert found <= set(range(PARTS - 4, PARTS))
    super_seeder.cancelled(ParticipantKey(0), PARTS - 5, PARTS - 5)
    assert PARTS - 5 in shown(super_seeder, 0, 0.2) | shown(super_seeder, 1, 0.2)
    super_seeder.left(ParticipantKey(0))
    assert super_seeder.reveal(ParticipantKey(1), 1.9) is None, "it is alone now"


def test_those_who_claim_everything_do_not_hide_a_part_that_nobody_got() -> None:
    super_seeder = SuperSeeder(PARTS, SHAPED_CROWD, counts_seeds=True)
    for liar in peers(2):
        super_seeder.joined(liar, 0.0)
        super_seeder.listens(liar)
    super_seeder.has(ParticipantKey(0), PartSet.full(PARTS), 0.1)
    super_seeder.has(ParticipantKey(1), PartSet.full(PARTS), 0.1)
    super_seeder.joined(ParticipantKey(2), 1.0)
    super_seeder.wants(ParticipantKey(2), 1.0)
    for _ in range(PARTS):
        for part in shown(super_seeder, 2, 1.0):
            super_seeder.sent(ParticipantKey(2), part)
    assert shown(super_seeder, 2, 1.0) == set(range(PARTS))
