"""Whom a mirror calls, and the graph that comes of it."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from gittorrent.push.call_plan import (
    CALLED,
    FIRST_RETRY,
    GOOD_SECONDS,
    LAST_LOOK_UP_SECONDS,
    LAST_RETRY,
    LOOK_UP_SECONDS,
    CallPlan,
    LookUps,
)

ORIGIN = "git://origin/"


def url(number: int) -> str:
    return f"git://mirror{number}/"


MANY = [url(number) for number in range(30)]


def plan(seed: int = 1) -> CallPlan:
    return CallPlan(random.Random(seed).randrange)


def test_the_origin_and_some_at_random_are_called() -> None:
    found = plan().due(ORIGIN, MANY, 0.0)
    assert found[0] == ORIGIN
    assert len(set(found)) == CALLED
    assert found != plan(2).due(ORIGIN, MANY, 0.0)


def test_nobody_is_called_twice() -> None:
    calls = plan()
    calls.due(ORIGIN, MANY, 0.0)
    assert calls.due(ORIGIN, MANY, 0.0) == []
    assert plan().due(None, [MANY[0], MANY[0]], 0.0) == [MANY[0]]


def test_another_one_takes_the_place_of_who_was_lost() -> None:
    calls = plan()
    lost = calls.due(ORIGIN, MANY, 0.0)[1]
    calls.ended(lost, 100.0, GOOD_SECONDS)
    (instead,) = calls.due(ORIGIN, MANY, 100.0)
    assert instead != lost


def test_the_origin_is_called_again_whoever_was_called_meanwhile() -> None:
    calls = plan()
    calls.due(ORIGIN, MANY, 0.0)
    calls.ended(ORIGIN, 100.0, GOOD_SECONDS)
    assert calls.due(ORIGIN, MANY, 100.0) == []
    assert calls.due(ORIGIN, MANY, 100.0 + FIRST_RETRY) == [ORIGIN]


def test_waits_double_and_are_shortened_by_half_at_most() -> None:
    calls, now, wait = plan(), 0.0, FIRST_RETRY
    for _ in range(12):
        assert calls.due(None, [ORIGIN], now) == [ORIGIN]
        calls.ended(ORIGIN, now, 0.0)
        assert calls.due(None, [ORIGIN], now + wait / 2 - 0.01) == []
        now += wait
        wait = min(2 * wait, LAST_RETRY)
    calls.due(None, [ORIGIN], now)
    calls.ended(ORIGIN, now, GOOD_SECONDS)
    assert calls.due(None, [ORIGIN], now + FIRST_RETRY) == [ORIGIN]


def test_who_does_not_want_to_talk_is_left_alone_for_long() -> None:
    calls = plan()
    calls.due(None, [ORIGIN], 0.0)
    calls.refused(ORIGIN, 0.0)
    assert calls.due(None, [ORIGIN], LAST_RETRY / 2 - 0.01) == []
    assert calls.due(None, [ORIGIN], LAST_RETRY) == [ORIGIN]


def test_the_graph_is_even_and_survives_the_loss_of_its_middle() -> None:
    """Mirrors come one after the other, and are told of those before; then the origin is gone."""
    for seed in range(20):
        edges: set[tuple[str, str]] = set()
        for number in range(30):
            for called in plan(100 * seed + number).due(ORIGIN, MANY[:number], 0.0):
                edges.add((url(number), called))
        degrees = Counter(end for edge in edges for end in edge if end != ORIGIN)
        assert max(degrees.values()) <= 5 * CALLED
        assert reached(MANY[0], {edge for edge in edges if ORIGIN not in edge}) == set(MANY)


def reached(start: str, edges: set[tuple[str, str]]) -> set[str]:
    found = {start}
    while more := {b for a, b in edges | {e[::-1] for e in edges} if a in found} - found:
        found |= more
    return found


def test_mirrors_are_looked_up_ever_more_rarely_while_nothing_happens() -> None:
    ups, looks = LookUps(), []
    for second in range(1000):
        if ups.is_due(float(second)):
            looks.append(second)
            ups.done(float(second), is_other=False)
    waits = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert waits[0] == 2 * LOOK_UP_SECONDS
    assert waits == sorted(waits)
    assert waits[-1] == LAST_LOOK_UP_SECONDS
    assert len(looks) < 20


def test_whoever_is_new_or_gone_has_mirrors_looked_up_soon() -> None:
    ups = LookUps()
    for _ in range(10):
        ups.done(0.0, is_other=False)
    assert not ups.is_due(LAST_LOOK_UP_SECONDS - 1)
    ups.call_ended(1.0)
    assert not ups.is_due(1.0)
    assert ups.is_due(1.0 + LOOK_UP_SECONDS)
    ups.done(10.0, is_other=True)
    assert ups.is_due(10.0 + LOOK_UP_SECONDS)
