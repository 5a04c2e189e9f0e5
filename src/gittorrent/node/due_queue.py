"""What is due next, one at a time: the queue of schedules.

Pure; time comes in. Tracks one time for each key that waits. Each step costs the logarithm of their
number. Must not know what follows from being due.
"""

from __future__ import annotations

import heapq
import itertools


class DueQueue:
    """Keys with the times when they are due, in seconds on any steady clock."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, int]] = {}  # and the turn that counts
        self._queue: list[tuple[int, float, int, str]] = []  # rank, due, turn, key
        self._turns = itertools.count()

    def put(self, key: str, due: float, rank: int = 0) -> None:
        """Have a key wait until it is due, whenever it was due before; lower ranks come first."""
        turn = next(self._turns)
        self._due[key] = due, turn
        heapq.heappush(self._queue, (rank, due, turn, key))

    def remove(self, key: str) -> None:
        """Let a key wait no more."""
        self._due.pop(key, None)

    def due(self, key: str) -> float | None:
        """Return when a key is due; None for one that does not wait."""
        found = self._due.get(key)
        return None if found is None else found[0]

    def take(self, now: float) -> str | None:
        """Return the first key if it is due by now; it does not wait any more then."""
        while self._queue:
            _, due, turn, key = self._queue[0]
            if self._due.get(key) == (due, turn):
                if due > now:
                    return None
                heapq.heappop(self._queue)
                del self._due[key]
                return key
            heapq.heappop(self._queue)  # it was removed, or is due at another time
        return None
