"""Requests of runners' nodes count once, in whatever order they come."""

from __future__ import annotations

import random

from gittorrent.wire.ci_replays import MAX_SESSIONS, WINDOW, Replays

ONE, TWO = "0a" * 16, "0b" * 16


def test_each_counts_once() -> None:
    replays = Replays(600)
    for number in (1, 2, 5, 3, 4, 100):
        assert replays.is_new(ONE, number, 0.0)
    for number in (1, 2, 3, 4, 5, 100):
        assert not replays.is_new(ONE, number, 0.0)
    assert replays.is_new(TWO, 1, 0.0)
    assert not replays.is_new(TWO, 0, 0.0)


def test_any_order_is_good_within_the_window() -> None:
    chance = random.Random(20261130)
    replays, came = Replays(600), set[int]()
    numbers = list(range(1, WINDOW + 1))
    chance.shuffle(numbers)
    for number in [*numbers, *numbers]:
        assert replays.is_new(ONE, number, 0.0) == (number not in came)
        came.add(number)


def test_what_is_too_far_back_counts_as_having_come() -> None:
    replays = Replays(600)
    assert replays.is_new(ONE, WINDOW + 1, 0.0)
    assert replays.is_new(ONE, 2, 0.0)
    assert not replays.is_new(ONE, 1, 0.0)
    assert replays.is_new(ONE, 10**18, 0.0)
    assert not replays.is_new(ONE, WINDOW + 1, 0.0)
    assert replays.is_new(ONE, 10**18 - WINDOW + 1, 0.0)


def test_no_session_is_displaced_while_its_requests_count() -> None:
    replays = Replays(600)
    for number in range(MAX_SESSIONS):
        assert replays.is_new(f"{number:032x}", 1, float(number % 2))
    assert not replays.is_new(ONE, 1, 600.0)
    assert not replays.is_new(f"{0:032x}", 1, 600.0)
    assert replays.is_new(ONE, 1, 600.5)  # half of them are too old to count
    assert replays.is_new(TWO, 1, 600.5)
    assert not replays.is_new(f"{1:032x}", 1, 600.5)
