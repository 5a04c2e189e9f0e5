"""How many bytes may gather before a payload is read on."""

from __future__ import annotations

import pytest

from gittorrent.transfer.appetite import (
    BUFFER_SHARE,
    GATHER_SECONDS,
    MOST_BYTES,
    NEAR_SECONDS,
    Appetite,
)

PART = 256 << 10
BUFFER = 128 << 10


def fed(rate: float, seconds: float = 2.0, round_trip: float | None = 0.001) -> Appetite:
    """Return one that was fed at so many bytes per second, in packets."""
    appetite = Appetite(0.0, round_trip)
    packets = int(seconds * rate / 1400)
    for number in range(1, packets + 1):
        appetite.ate(1400, number * 1400 / rate)
    return appetite


def test_outside_of_payloads_every_byte_counts() -> None:
    appetite = fed(4e5)
    assert appetite.choose(PART, BUFFER)
    assert appetite.choose(0, BUFFER)
    assert appetite.least == 1


def test_a_stranger_is_read_byte_by_byte() -> None:
    appetite = Appetite(0.0, 0.001)
    assert not appetite.choose(PART, BUFFER)
    assert appetite.least == 1


def test_what_gathers_follows_the_rate() -> None:
    appetite = fed(4e5)
    appetite.choose(PART, BUFFER)
    assert 0.8 < appetite.least / (4e5 * GATHER_SECONDS) < 1.2


def test_it_is_bounded_on_fast_lines() -> None:
    appetite = fed(1e9, 0.1)
    appetite.choose(2 * MOST_BYTES, BUFFER)
    assert appetite.least == MOST_BYTES


def test_never_more_than_the_payload_has_left() -> None:
    """Or its end would be waited for in vain."""
    appetite = fed(4e5)
    for remaining in range(PART, 0, -1000):
        appetite.choose(remaining, BUFFER)
        assert 1 <= appetite.least <= remaining


def test_small_changes_are_not_worth_a_call() -> None:
    appetite = fed(4e5)
    assert appetite.choose(PART, BUFFER)
    appetite.ate(1400, 2.0 + 1400 / 0.9e6)
    assert not appetite.choose(PART, BUFFER)


def test_a_line_that_slows_down_is_noticed_soon() -> None:
    appetite = fed(4e5)
    appetite.choose(PART, BUFFER)
    now = 2.0
    for _ in range(4):
        now += appetite.least / 10_000
        appetite.ate(appetite.least, now)
        appetite.choose(PART, BUFFER)
    assert appetite.least < 1.1 * 10_000 * GATHER_SECONDS


@pytest.mark.parametrize("round_trip", [None, NEAR_SECONDS * 1.01, 0.6])
def test_from_afar_most_of_the_buffer_stays_free(round_trip: float | None) -> None:
    """Or the other end would pause for a round trip each time."""
    appetite = fed(1e7, 0.5, round_trip)
    appetite.choose(PART, BUFFER)
    assert appetite.least == BUFFER // BUFFER_SHARE
    appetite.choose(PART, 10 * BUFFER)  # the kernel has made it larger since
    assert appetite.least == 10 * BUFFER // BUFFER_SHARE
