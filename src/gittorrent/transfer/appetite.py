"""How many bytes to let gather before a payload is read on.

On a line of some Mbit/s a packet comes every half millisecond, and a task that wakes for each of
them costs many times what the packet is worth. So within a payload, whose bytes nobody can use
before the last one, the kernel is asked to wake us only when a fifth of a second's worth
is there.

Tracks the rate at which bytes come. Time comes in. Must not know sockets.
"""

from __future__ import annotations

import math

GATHER_SECONDS = 0.2
"""Time in which bytes may gather: too short for anybody to be taken for silent."""

MOST_BYTES = 512 << 10
"""Bytes that gather at most; beyond that, waking up costs next to nothing."""

MEMORY_SECONDS = 0.5
"""Time over which the rate is averaged."""

TOLERANCE = 1.25
"""A bound that would change by less than this factor is left alone."""


class Appetite:
    """Decides on the least number of bytes worth waking up for.

    Args:
        now: seconds on a clock that never runs backwards.
    """

    def __init__(self, now: float) -> None:
        self._bytes = 0.0
        self._seconds = 0.0
        self._last = now
        self.least = 1

    def ate(self, count: int, now: float) -> None:
        """Note that ``count`` bytes were read."""
        elapsed = now - self._last
        self._last = now
        fade = math.exp(-elapsed / MEMORY_SECONDS)
        self._bytes = self._bytes * fade + count
        self._seconds = self._seconds * fade + elapsed

    def choose(self, remaining: int) -> bool:
        """Set ``least`` for what is left of a payload; tells whether it changed.

        Args:
            remaining: bytes of the payload still to come; 0 outside of payloads, where every byte
                may end a message.
        """
        wanted = 1
        if remaining and self._seconds:
            wanted = int(self._bytes / self._seconds * GATHER_SECONDS)
            wanted = max(1, min(wanted, MOST_BYTES, remaining))
        too_much = self.least > max(remaining, 1)
        if not too_much and self.least / TOLERANCE <= wanted <= self.least * TOLERANCE:
            return False
        changed = wanted != self.least
        self.least = wanted
        return changed
