"""When lost neighbours are dialled again."""

from __future__ import annotations

import random

import pytest

from gittorrent.swarm.redial import (
    ATTEMPTS,
    FIRST_SECONDS,
    GOOD_SECONDS,
    LONGEST_SECONDS,
    MAX_LOST,
    Redial,
)

URL = "git://mirror.example.org/x.git"


def fail_until_given_up(redial: Redial) -> list[float]:
    """Lose a neighbour, fail whenever it is due, and return the waits."""
    now, waits = 100.0, []
    again = redial.lost(URL, now, lasted=0.0)
    while again:
        deadline = redial.next_deadline()
        assert deadline is not None
        assert redial.due(deadline - 1e-6) == []
        assert redial.due(deadline) == [URL]
        assert redial.due(deadline) == [], "nobody is dialled twice at a time"
        waits.append(deadline - now)
        now = deadline
        again = redial.failed(URL, now)
    return waits


@pytest.mark.parametrize("seed", range(20))
def test_waits_double_within_their_jitter_and_end(seed: int) -> None:
    waits = fail_until_given_up(Redial(random.Random(seed).randrange))
    assert len(waits) == ATTEMPTS
    for number, wait in enumerate(waits):
        longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2**number)
        assert longest / 2 <= wait < longest
    assert sum(waits) < 35


def test_a_crowd_does_not_come_back_as_one() -> None:
    draw = random.Random(1).randrange
    first = {fail_until_given_up(Redial(draw))[0] for _ in range(50)}
    assert len(first) == 50


def test_a_good_conversation_makes_the_next_loss_the_first() -> None:
    redial = Redial(lambda _n: 0)
    assert redial.lost(URL, 0.0, lasted=0.0)
    assert redial.due(10.0) == [URL]
    assert redial.lost(URL, 11.0, lasted=1.0)  # it answered, and went at once
    assert redial.next_deadline() == 11.0 + FIRST_SECONDS
    assert redial.due(20.0) == [URL]
    assert redial.lost(URL, 60.0, lasted=GOOD_SECONDS)
    assert redial.next_deadline() == 60.0 + FIRST_SECONDS / 2


def test_a_mirror_that_answers_and_hangs_up_is_given_up_too() -> None:
    redial, now, dialled = Redial(lambda _n: 0), 0.0, 0
    again = redial.lost(URL, now, lasted=0.1)
    while again:
        deadline = redial.next_deadline()
        assert deadline is not None
        now = deadline
        assert redial.due(now) == [URL]
        dialled += 1
        again = redial.lost(URL, now, lasted=0.1)
    assert dialled == ATTEMPTS


def test_whoever_was_banned_is_left_alone() -> None:
    redial = Redial(lambda _n: 0)
    redial.lost(URL, 0.0, lasted=5.0)
    redial.forget(URL)
    assert redial.next_deadline() is None
    assert redial.due(1000.0) == []
    assert not redial.failed(URL, 1000.0)


def test_what_is_remembered_is_bounded() -> None:
    redial = Redial(lambda _n: 0)
    kept = [redial.lost(f"git://192.0.2.1:{port}/x", 0.0, lasted=1.0) for port in range(1000)]
    assert sum(kept) == MAX_LOST
    assert len(redial.due(1e9)) == MAX_LOST
