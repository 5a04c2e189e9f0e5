"""Tells a flood of lines from a lively conversation.

Each line costs its reader some time, whatever it says, so whoever sends them without end could keep
a node busy with nothing. Lines that answer a question of ours were asked for and do not count; the
others may come in a burst, and then as fast as an honest peer could have a use for.
"""

from __future__ import annotations

LINES_AT_ONCE = 10_000
"""Lines nobody asked for that may come in a burst: a pipeline's worth many times over."""

LINES_PER_SECOND = 1_000.0
"""The same for ever: requests for small parts at a gigabyte a second come at this rate."""


class UnsolicitedMessageLimit:
    """Counts the lines of one peer that nobody asked for.

    Args:
        now: seconds on any steady clock.
    """

    def __init__(self, now: float) -> None:
        self._seen = 0
        self._level = 0.0
        self._at = now

    def is_over(self, lines: int, now: float) -> bool:
        """Note that ``lines`` came so far; tells whether that is more than may be."""
        drained = (now - self._at) * LINES_PER_SECOND
        self._level = max(0.0, self._level - drained) + (lines - self._seen)
        self._seen, self._at = lines, now
        return self._level > LINES_AT_ONCE
