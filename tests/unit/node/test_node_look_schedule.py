"""When repositories are looked at, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from gittorrent.node.look_schedule import FIRST_LOOKS_A_SECOND, LONGEST, SPREAD, LookSchedule

EVERY = 60.0


def even() -> float:
    """Be in the middle, so that waits are what they are."""
    return 0.5


def schedule(random: Callable[[], float] = even) -> LookSchedule:
    return LookSchedule(random, EVERY)


def waits(looks: LookSchedule, key: str, count: int, **outcome: bool) -> list[float]:
    """Return the waits after so many looks that came to the same."""
    found = []
    for _ in range(count):
        now = looks.due(key)
        assert now is not None
        assert looks.take(now) == key
        looks.done(key, now, **{"has_news": False, **outcome})
        due = looks.due(key)
        assert due is not None
        found.append(due - now)
    return found


def test_what_is_not_here_comes_first_by_priority() -> None:
    looks = schedule()
    looks.add("here", 0.0, is_here=True)
    for name, priority in (("low", -1), ("none", 0), ("high", 5), ("none too", 0)):
        looks.add(name, 0.0, is_here=False, priority=priority)
    taken = [looks.take(1000.0) for _ in range(6)]
    assert taken == ["high", "none", "none too", "low", "here", None]


def test_a_source_without_news_is_asked_ever_more_rarely() -> None:
    looks = schedule()
    looks.add("a", 0.0, is_here=True)
    assert waits(looks, "a", 8) == [60, 120, 240, 480, 960, 1920, LONGEST, LONGEST]
    assert waits(looks, "a", 1, has_news=True) == [60]
    assert waits(looks, "a", 2) == [120, 240]


def test_a_source_that_fails_is_asked_ever_more_rarely() -> None:
    looks = schedule()
    looks.add("a", 0.0, is_here=True)
    assert waits(looks, "a", 8, failed=True) == [60, 120, 240, 480, 960, 1920, LONGEST, LONGEST]
    assert waits(looks, "a", 1) == [60]


def test_a_look_is_for_safety_only_where_a_conversation_tells_of_news() -> None:
    looks = schedule()
    looks.add("a", 0.0, is_here=True)
    assert waits(looks, "a", 2, is_live=True) == [LONGEST, LONGEST]


def test_one_that_is_looked_at_is_due_only_once_that_is_done() -> None:
    looks = schedule()
    looks.add("a", 0.0, is_here=False)
    assert looks.take(0.0) == "a"
    looks.at_once("a", 0.0)
    assert looks.take(1e9) is None
    assert looks.due("a") is None
    looks.done("a", 5.0, has_news=True)
    assert looks.due("a") == 65.0


def test_what_was_removed_is_not_looked_at() -> None:
    looks = schedule()
    looks.add("a", 0.0, is_here=False)
    looks.add("b", 0.0, is_here=False)
    looks.remove("a")
    assert looks.take(0.0) == "b"
    looks.remove("b")
    looks.done("b", 0.0, has_news=False)
    assert looks.take(1e9) is None
    assert len(looks) == 0


def test_many_repositories_are_spread_when_a_node_begins_and_later() -> None:
    looks = schedule(Random(7).random)
    count = 2000
    for number in range(count):
        looks.add(str(number), 0.0, is_here=True)
    whole = count / FIRST_LOOKS_A_SECOND
    in_one_second = 0
    for second in range(int(whole) + 1):
        taken = 0
        while (key := looks.take(float(second))) is not None:
            looks.done(key, float(second), has_news=False, is_live=True)
            taken += 1
        in_one_second = max(in_one_second, taken)
    assert in_one_second < 10 * FIRST_LOOKS_A_SECOND
    dues = [looks.due(str(number)) or 0.0 for number in range(count)]
    assert max(dues) - min(dues) > LONGEST * SPREAD


def test_what_somebody_waits_for_comes_before_everything_else() -> None:
    looks = schedule()
    looks.add("here", 0.0, is_here=True)
    looks.add("missing", 0.0, is_here=False, priority=9)
    looks.at_once("here", 0.0)
    looks.at_once("unknown", 0.0)
    assert [looks.take(0.0) for _ in range(3)] == ["here", "missing", None]


def test_who_is_told_of_news_no_more_looks_soon_once() -> None:
    looks = schedule()
    looks.add("a", 0.0, is_here=True)
    waits(looks, "a", 4)
    assert waits(looks, "a", 1, is_live=True) == [LONGEST]
    now = looks.due("a")
    assert now is not None
    now -= LONGEST / 2
    assert looks.silent("a", now)
    assert looks.due("a") == now + EVERY
    assert not looks.silent("a", now + 1)
    assert looks.due("a") == now + EVERY
    assert waits(looks, "a", 2) == [EVERY, 2 * EVERY]


def test_who_was_told_of_nothing_waits_as_before() -> None:
    looks = schedule()
    looks.add("a", 0.0, is_here=True)
    waits(looks, "a", 4, failed=True)
    due = looks.due("a")
    assert not looks.silent("a", 0.0)
    assert not looks.silent("unknown", 0.0)
    assert looks.due("a") == due
    # One that is about to be looked at anyhow is left, and one that is being looked at.
    now = due or 0.0
    assert looks.take(now) == "a"
    looks.done("a", now, has_news=False, is_live=True)
    assert looks.take(now + LONGEST) == "a"
    assert not looks.silent("a", now + LONGEST)
