"""How many bytes may gather before a payload is read on."""

from __future__ import annotations

from gittorrent.transfer.appetite import GATHER_SECONDS, MOST_BYTES, Appetite

PART = 256 << 10


def fed(rate: float, seconds: float = 2.0) -> Appetite:
    """Return one that was fed at so many bytes per second, in packets."""
    appetite = Appetite(0.0)
    packets = int(seconds * rate / 1400)
    for number in range(1, packets + 1):
        appetite.ate(1400, number * 1400 / rate)
    return appetite


def test_outside_of_payloads_every_byte_counts() -> None:
    appetite = fed(4e5)
    assert appetite.choose(PART)
    assert appetite.choose(0)
    assert appetite.least == 1


def test_a_stranger_is_read_byte_by_byte() -> None:
    appetite = Appetite(0.0)
    assert not appetite.choose(PART)
    assert appetite.least == 1


def test_what_gathers_follows_the_rate() -> None:
    appetite = fed(4e5)
    appetite.choose(PART)
    assert 0.8 < appetite.least / (4e5 * GATHER_SECONDS) < 1.2


def test_it_is_bounded_on_fast_lines() -> None:
    appetite = fed(1e9, 0.1)
    appetite.choose(2 * MOST_BYTES)
    assert appetite.least == MOST_BYTES


def test_never_more_than_the_payload_has_left() -> None:
    """Or its end would be waited for in vain."""
    appetite = fed(4e5)
    for remaining in range(PART, 0, -1000):
        appetite.choose(remaining)
        assert 1 <= appetite.least <= remaining


def test_small_changes_are_not_worth_a_call() -> None:
    appetite = fed(4e5)
    assert appetite.choose(PART)
    appetite.ate(1400, 2.0 + 1400 / 0.9e6)
    assert not appetite.choose(PART)


def test_a_line_that_slows_down_is_noticed_soon() -> None:
    appetite = fed(4e5)
    appetite.choose(PART)
    now = 2.0
    for _ in range(4):
        now += appetite.least / 10_000
        appetite.ate(appetite.least, now)
        appetite.choose(PART)
    assert appetite.least < 1.1 * 10_000 * GATHER_SECONDS
