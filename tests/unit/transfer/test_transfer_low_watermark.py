"""How many bytes may gather before a payload is read on."""

from __future__ import annotations

import pytest

from gittorrent.transfer.low_watermark import (
    BUFFER_SHARE,
    GATHER_SECONDS,
    MOST_BYTES,
    NEAR_SECONDS,
    ReceiveLowWatermark,
)

PART = 256 << 10
BUFFER = 128 << 10


def fed(rate: float, seconds: float = 2.0, round_trip: float | None = 0.001) -> ReceiveLowWatermark:
    """Return one that was fed at so many bytes per second, in packets."""
    low_watermark = ReceiveLowWatermark(0.0, round_trip)
    packets = int(seconds * rate / 1400)
    for number in range(1, packets + 1):
        low_watermark.ate(1400, number * 1400 / rate)
    return low_watermark


def test_outside_of_payloads_every_byte_counts() -> None:
    low_watermark = fed(4e5)
    assert low_watermark.choose(PART, BUFFER)
    assert low_watermark.choose(0, BUFFER)
    assert low_watermark.least == 1


def test_a_stranger_is_read_byte_by_byte() -> None:
    low_watermark = ReceiveLowWatermark(0.0, 0.001)
    assert not low_watermark.choose(PART, BUFFER)
    assert low_watermark.least == 1


def test_what_gathers_follows_the_rate() -> None:
    low_watermark = fed(4e5)
    low_watermark.choose(PART, BUFFER)
    assert 0.8 < low_watermark.least / (4e5 * GATHER_SECONDS) < 1.2


def test_it_is_bounded_on_fast_lines() -> None:
    low_watermark = fed(1e9, 0.1)
    low_watermark.choose(2 * MOST_BYTES, BUFFER)
    assert low_watermark.least == MOST_BYTES


def test_never_more_than_the_payload_has_left() -> None:
    """Or its end would be waited for in vain."""
    low_watermark = fed(4e5)
    for remaining in range(PART, 0, -1000):
        low_watermark.choose(remaining, BUFFER)
        assert 1 <= low_watermark.least <= remaining


def test_small_changes_are_not_worth_a_call() -> None:
    low_watermark = fed(4e5)
    assert low_watermark.choose(PART, BUFFER)
    low_watermark.ate(1400, 2.0 + 1400 / 0.9e6)
    assert not low_watermark.choose(PART, BUFFER)


def test_a_line_that_slows_down_is_noticed_soon() -> None:
    low_watermark = fed(4e5)
    low_watermark.choose(PART, BUFFER)
    now = 2.0
    for _ in range(4):
        now += low_watermark.least / 10_000
        low_watermark.ate(low_watermark.least, now)
        low_watermark.choose(PART, BUFFER)
    assert low_watermark.least < 1.1 * 10_000 * GATHER_SECONDS


@pytest.mark.parametrize("round_trip", [None, NEAR_SECONDS * 1.01, 0.6])
def test_from_afar_most_of_the_buffer_stays_free(round_trip: float | None) -> None:
    """Or the other end would pause for a round trip each time."""
    low_watermark = fed(1e7, 0.5, round_trip)
    low_watermark.choose(PART, BUFFER)
    assert low_watermark.least == BUFFER // BUFFER_SHARE
    low_watermark.choose(PART, 10 * BUFFER)  # the kernel has made it larger since
    assert low_watermark.least == 10 * BUFFER // BUFFER_SHARE
