"""What is a flood of lines, and what is only lively."""

from __future__ import annotations

from gittorrent.transfer.unsolicited import LINES_AT_ONCE, LINES_PER_SECOND, UnsolicitedMessageLimit


def test_a_burst_is_no_flood() -> None:
    limit = UnsolicitedMessageLimit(100.0)
    assert not limit.is_over(LINES_AT_ONCE, 100.0)
    assert limit.is_over(LINES_AT_ONCE + 1, 100.0)


def test_what_is_not_used_is_not_saved_up() -> None:
    calm = UnsolicitedMessageLimit(0.0)
    lines = 0
    for second in range(1, 1000):
        lines += int(LINES_PER_SECOND)
        assert not calm.is_over(lines, float(second))
    assert not calm.is_over(lines + LINES_AT_ONCE, 10_000.0)
    assert calm.is_over(lines + 2 * LINES_AT_ONCE, 10_000.1)
