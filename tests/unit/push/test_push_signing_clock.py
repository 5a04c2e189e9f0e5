"""By which time a keeper signs: a clock that leaps ahead moves no date, wherever it came from."""

from __future__ import annotations

from random import Random

import pytest

from gittorrent.push.signing_clock import SLACK, Reading, SigningClock

NOW = 1_700_000_000.0
DAY = 86400.0


def at(passed: float, off: float = 0.0) -> Reading:
    """Read both clocks when some seconds have passed, the one that people set being off."""
    return Reading(NOW + passed + off, 1000.0 + passed)


def believing(off: float = 0.0) -> SigningClock:
    return SigningClock(at(0.0, off))


@pytest.mark.parametrize("off", [-40 * DAY, -DAY, -5.0, 0.0, 5.0, SLACK])
def test_a_clock_that_is_not_far_ahead_is_signed_by(off: float) -> None:
    clock = believing()
    assert clock.time(at(60.0, off)) == NOW + 60.0 + off
    assert not clock.wants_others(at(60.0, off))


@pytest.mark.parametrize("off", [SLACK + 1.0, DAY, 40 * DAY])
def test_a_leap_ahead_moves_no_date_and_is_over_when_the_clock_is_right(off: float) -> None:
    clock = believing()
    for passed in (1.0, 60.0, 3600.0):
        assert clock.ahead(at(passed, off)) == off
        assert clock.time(at(passed, off)) == NOW + passed
        assert clock.wants_others(at(passed, off))
    assert clock.time(at(3700.0)) == NOW + 3700.0
    assert not clock.wants_others(at(3700.0))


def test_back_and_right_again_is_no_leap() -> None:
    clock = believing()
    assert clock.time(at(10.0, -DAY)) == NOW + 10.0 - DAY
    assert clock.time(at(20.0)) == NOW + 20.0


def test_a_machine_that_was_resumed_from_a_snapshot_is_right_when_mirrors_agree() -> None:
    """Its steady clock stood still for a week."""
    clock = believing()
    resumed = at(1.0, 7 * DAY)
    assert clock.time(resumed) == NOW + 1.0
    assert clock.heard(resumed, [resumed.time - 2.0])
    assert clock.time(resumed) == resumed.time


def test_who_is_off_line_says_so() -> None:
    clock = believing()
    leapt = at(1.0, 7 * DAY)
    assert not clock.heard(leapt, [])
    assert clock.ahead(leapt) == 7 * DAY
    clock.confirm(leapt)
    assert clock.ahead(leapt) == 0.0


@pytest.mark.parametrize(
    ("others", "believed"),
    [
        ((0, 0), True),
        ((0, -30), False),
        ((0, 0, -30), True),
        ((0, -30, -30), False),
        ((-30,), False),
    ],
)
def test_most_mirrors_have_to_agree(others: tuple[float, ...], believed: bool) -> None:
    clock = believing()
    leapt = at(1.0, 30 * DAY)
    clock.heard(leapt, [leapt.time + days * DAY for days in others])
    assert (clock.ahead(leapt) == 0.0) is believed


@pytest.mark.parametrize(
    ("others", "days"),
    [((), 0), ((0,), 0), ((-40,), -40), ((0, -40), -40), ((0, 0, -40), 0), ((0, -40, -41), -41)],
)
def test_after_a_start_mirrors_say_whether_the_clock_is_ahead(
    others: tuple[float, ...], days: float
) -> None:
    """There is nothing but the clock to go by; a date that is too early costs next to nothing."""
    clock = SigningClock()
    assert clock.wants_others(at(0.0))
    clock.heard(at(0.0), [NOW + each * DAY for each in others])
    assert clock.time(at(60.0)) == NOW + 60.0 + days * DAY


def test_mirrors_whose_clocks_are_behind_make_dates_early_until_they_are_right() -> None:
    clock = SigningClock()
    clock.heard(at(0.0), [NOW - DAY])
    assert clock.time(at(60.0)) == NOW + 60.0 - DAY
    clock.heard(at(120.0), [NOW + 120.0])
    assert clock.time(at(120.0)) == NOW + 120.0


def test_mirrors_that_lie_take_nobody_ahead_of_the_clock() -> None:
    draw = Random(20)
    for _ in range(300):
        clock = believing() if draw.random() < 0.5 else SigningClock()
        passed = 0.0
        for _ in range(20):
            passed += draw.uniform(0.0, 3600.0)
            lies = [NOW + draw.uniform(-90 * DAY, 90 * DAY) for _ in range(draw.randrange(6))]
            now = at(passed, draw.choice([0.0, 0.0, -DAY, 100.0]))
            clock.heard(now, lies)
            assert clock.time(now) <= now.time


def test_a_right_clock_is_not_doubted_because_mirrors_lie() -> None:
    clock = believing()
    assert not clock.heard(at(60.0), [NOW - 40 * DAY] * 5)
    assert clock.time(at(60.0)) == NOW + 60.0


def test_what_was_believed_may_have_been_wrong_itself() -> None:
    """A machine began with a clock that was a day ahead, and it leaps once more."""
    clock = believing(DAY)
    leapt = at(60.0, 2 * DAY)
    assert clock.time(leapt) == NOW + 60.0 + DAY
    assert clock.heard(leapt, [NOW + 60.0, NOW + 61.0])
    assert clock.time(leapt) == NOW + 60.0
