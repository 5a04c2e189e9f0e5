"""Limits the rate of messages that a peer sends unasked.

Each line costs time to read, whatever it says, so a peer that sends them without end could keep a
node busy. Answers to questions of ours do not count; other lines may come in a burst, and then at
the highest rate that an honest peer could have a use for.
"""

from __future__ import annotations

LINES_AT_ONCE = 10_000
"""Unsolicited lines that may come in a burst: many times a full pipeline."""

LINES_PER_SECOND = 1_000.0
"""The same for ever: requests for small parts at a gigabyte a second come at this rate."""


class UnsolicitedMessageLimit:
    """Counts the unsolicited lines of one peer.

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
