"""Chooses the receive low watermark (``SO_RCVLOWAT``) while a payload is read.

On a line of some Mbit/s a packet comes every half millisecond, and a task that wakes for each of
them costs many times what the packet is worth. So within a payload, whose bytes nobody can use
before the last one, the kernel is asked to wake us only when a fifth of a second's worth is there.

What gathers takes room in the kernel's receive buffer, and for lack of that room the other end
pauses until it hears that we have read. Nearby it hears so at once. From afar that would cost a
round trip each time, so there no more gathers than leaves most of the buffer free.

Tracks the rate at which bytes come. Time comes in. Must not know sockets.
"""

from __future__ import annotations

import math

GATHER_SECONDS = 0.2
"""Time in which bytes may gather: too short for anybody to be taken for silent."""

MOST_BYTES = 512 << 10
"""Bytes that gather at most; beyond that, waking up costs next to nothing."""

NEAR_SECONDS = 0.004
"""Round trip up to which a pause for each gathering is not felt: a fiftieth of its time."""

BUFFER_SHARE = 8
"""The part of the receive buffer that may fill from afar; about half of it is the window."""

MEMORY_SECONDS = 0.5
"""Time over which the rate is averaged."""

TOLERANCE = 1.25
"""A bound that would change by less than this factor is left alone."""


class ReceiveLowWatermark:
    """Decides on the least number of bytes worth waking up for.

    Args:
        now: seconds on a clock that never runs backwards.
        round_trip: to the other end and back in seconds; None if that is not known.
    """

    def __init__(self, now: float, round_trip: float | None) -> None:
        self.is_near = round_trip is not None and round_trip <= NEAR_SECONDS
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

    def choose(self, remaining: int, buffer: int) -> bool:
        """Set ``least`` for what is left of a payload; tells whether it changed.

        Args:
            remaining: bytes of the payload still to come; 0 outside of payloads, where every byte
                may end a message.
            buffer: size of the kernel's receive buffer in bytes; plays no part nearby.
        """
        wanted = 1
        if remaining and self._seconds:
            wanted = int(self._bytes / self._seconds * GATHER_SECONDS)
            most = MOST_BYTES if self.is_near else min(MOST_BYTES, buffer // BUFFER_SHARE)
            wanted = max(1, min(wanted, most, remaining))
        too_much = self.least > max(remaining, 1)
        if not too_much and self.least / TOLERANCE <= wanted <= self.least * TOLERANCE:
            return False
        changed = wanted != self.least
        self.least = wanted
        return changed
