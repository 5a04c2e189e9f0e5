"""When each of many things is to be looked at next: a look costs what is due, whatever there is.

Pure; time comes in. Tracks one time for each key, none while nothing is due for it. Must not know
what is done then.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

Key = TypeVar("Key", bound="Hashable")

AT_ONCE = -math.inf
"""Due at the next look, whenever that is."""

NEVER = math.inf
"""Not due at any time."""


class DueTimes(Generic[Key]):
    """The times of all of them, in seconds on any steady clock."""

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._queue: list[tuple[float, int, Key]] = []  # some that do not count any more among them
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def next_due(self) -> float:
        """When the next one is due; `NEVER` if none is."""
        return min(self._due.values(), default=NEVER)

    def no_later(self, key: Key, due: float) -> None:
        """Have a key looked at by some time; it stays as it is if it is due before."""
        if due < self._due.get(key, NEVER):
            self._due[key] = due
            heapq.heappush(self._queue, (due, next(self._numbers), key))
            if len(self._queue) > 2 * len(self._due) + 16:
                self._drop_stale()

    def remove(self, key: Key) -> None:
        """Look at a key no more."""
        self._due.pop(key, None)

    def take(self, now: float) -> list[Key]:
        """Return what is due, the longest due first; it is due no more until somebody says so."""
        found = []
        while self._queue and self._queue[0][0] <= now:
            due, _, key = heapq.heappop(self._queue)
            if self._due.get(key) == due:
                del self._due[key]
                found.append(key)
        return found

    def _drop_stale(self) -> None:
        self._queue = [each for each in self._queue if self._due.get(each[2]) == each[0]]
        heapq.heapify(self._queue)
