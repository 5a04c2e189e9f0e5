"""When lost peers are dialled again."""

from __future__ import annotations

import random

import pytest

from gittorrent.swarm.reconnect import (
    ATTEMPTS,
    BUSY_ATTEMPTS,
    BUSY_SECONDS,
    FIRST_SECONDS,
    GOOD_SECONDS,
    LONGEST_SECONDS,
    MAX_LOST,
    ReconnectScheduler,
)

URL = "git://mirror.example.org/x.git"


def fail_until_given_up(reconnect: ReconnectScheduler) -> list[float]:
    """Lose a peer, fail whenever it is due, and return the waits."""
    now, waits = 100.0, []
    again = reconnect.lost(URL, now, lasted=0.0)
    while again:
        deadline = reconnect.next_deadline()
        assert deadline is not None
        assert reconnect.due(deadline - 1e-6) == []
        assert reconnect.due(deadline) == [URL]
        assert reconnect.due(deadline) == [], "nobody is dialled twice at a time"
        waits.append(deadline - now)
        now = deadline
        again = reconnect.failed(URL, now)
    return waits


@pytest.mark.parametrize("seed", range(20))
def test_waits_double_within_their_jitter_and_end(seed: int) -> None:
    waits = fail_until_given_up(ReconnectScheduler(random.Random(seed).randrange))
    assert len(waits) == ATTEMPTS
    for number, wait in enumerate(waits):
        longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2**number)
        assert longest / 2 <= wait < longest
    assert sum(waits) < 35


def test_a_crowd_does_not_come_back_as_one() -> None:
    draw = random.Random(1).randrange
    first = {fail_until_given_up(ReconnectScheduler(draw))[0] for _ in range(50)}
    assert len(first) == 50


def test_whoever_gives_something_each_time_is_never_given_up() -> None:
    reconnect, now = ReconnectScheduler(lambda _n: 0), 0.0
    for _ in range(10 * ATTEMPTS):
        assert reconnect.lost(URL, now, lasted=0.5, has_given=True)
        now += FIRST_SECONDS
        assert reconnect.due(now) == [URL]


def test_a_good_conversation_makes_the_next_loss_the_first() -> None:
    reconnect = ReconnectScheduler(lambda _n: 0)
    assert reconnect.lost(URL, 0.0, lasted=0.0)
    assert reconnect.due(10.0) == [URL]
    assert reconnect.lost(URL, 11.0, lasted=1.0)  # it answered, and went at once
    assert reconnect.next_deadline() == 11.0 + FIRST_SECONDS
    assert reconnect.due(20.0) == [URL]
    assert reconnect.lost(URL, 60.0, lasted=GOOD_SECONDS)
    assert reconnect.next_deadline() == 60.0 + FIRST_SECONDS / 2


def test_a_mirror_that_answers_and_hangs_up_is_given_up_too() -> None:
    reconnect, now, dialled = ReconnectScheduler(lambda _n: 0), 0.0, 0
    again = reconnect.lost(URL, now, lasted=0.1)
    while again:
        deadline = reconnect.next_deadline()
        assert deadline is not None
        now = deadline
        assert reconnect.due(now) == [URL]
        dialled += 1
        again = reconnect.lost(URL, now, lasted=0.1)
    assert dialled == ATTEMPTS


def test_whoever_was_banned_is_left_alone() -> None:
    reconnect = ReconnectScheduler(lambda _n: 0)
    reconnect.lost(URL, 0.0, lasted=5.0)
    reconnect.forget(URL)
    assert reconnect.next_deadline() is None
    assert reconnect.due(1000.0) == []
    assert not reconnect.failed(URL, 1000.0)


def test_what_is_remembered_is_bounded() -> None:
    reconnect = ReconnectScheduler(lambda _n: 0)
    kept = [reconnect.lost(f"git://192.0.2.1:{port}/x", 0.0, lasted=1.0) for port in range(1000)]
    assert sum(kept) == MAX_LOST
    assert len(reconnect.due(1e9)) == MAX_LOST


def test_who_is_busy_is_dialled_more_often_and_not_for_ever() -> None:
    reconnect, now, waits = ReconnectScheduler(lambda _n: 0), 0.0, []
    assert reconnect.lost("a", now, 0.0, is_busy=True)
    while (due := reconnect.next_deadline()) is not None:
        waits.append(due - now)
        now = due
        assert reconnect.due(now) == ["a"]
        reconnect.failed("a", now, is_busy=True)
    assert len(waits) == BUSY_ATTEMPTS
    assert waits[:5] == [0.5, 1.0, 2.0, 4.0, BUSY_SECONDS / 2]
    assert max(waits) <= BUSY_SECONDS


def test_what_fails_after_busy_answers_counts_by_itself() -> None:
    reconnect = ReconnectScheduler(lambda _n: 0)
    assert reconnect.lost("a", 0.0, 0.0, is_busy=True)
    for _ in range(BUSY_ATTEMPTS - 1):
        assert reconnect.failed("a", 0.0, is_busy=True)
    for _ in range(ATTEMPTS - 1):
        assert reconnect.failed("a", 0.0)
    assert not reconnect.failed("a", 0.0)
