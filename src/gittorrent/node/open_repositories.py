"""Which repositories of a node have their logs open, and which are only looked at now and then.

Pure. An open log takes memory, tasks, and looks at files every second; a node may carry ten
thousand repositories that nobody has touched for weeks. Tracks those that are open, when each was
used last, and those that could not be opened.

Rules: up to `most` are open, whoever they are, so that small nodes have all of them open; beyond
that, those that were used last. Whoever calls or pushes has a repository opened, also beyond the
bound; it is closed when nobody uses it any more and others need the room. One that could not be
opened is tried again after a while, and at once when somebody asks for it or its log changes.
Who is not open is looked at in turns, some each time, and few are opened each time that nobody
asked for, so that a round costs the same whatever is carried, were none of it to be opened.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable

    Key = TypeVar("Key", bound=Hashable)
else:
    Key = TypeVar("Key")

MOST_OPEN = 256
"""Repositories that are open though nobody uses them: some tens of megabytes of logs."""

AGAIN_SECONDS = 10.0
"""Time after which one that could not be opened is tried again; doubled each time."""

LAST_AGAIN_SECONDS = 1280.0
"""Longest such time."""

TRIED_AT_ONCE = 16
"""Repositories that are opened each time though nobody asked for them: reading a log takes some
milliseconds, and a damaged one as long."""

LOOKED_AT = 100
"""Repositories that are not open and looked at each time: some milliseconds of a disk."""


class OpenRepositories(Generic[Key]):
    """Says what to open, to close and to look at.

    Args:
        most: that are open though nobody uses them.
    """

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        self._carried: dict[Key, int] = {}  # and its place in the order of opening
        self._used: dict[Key, float] = {}
        self._asked: dict[Key, None] = {}
        self._due: dict[Key, float] = {}  # when one may be tried without being asked for
        self._waits: dict[Key, float] = {}  # of those that could not be opened
        self._queue: list[tuple[float, int, Key]] = []  # due, place, key; stale ones among them
        self._turns: deque[Key] = deque()
        self._states: dict[Key, object] = {}

    def carry(self, keys: Iterable[Key]) -> None:
        """Take note of everything that may be open, those first that are to be opened first.

        Costs as much as there is of it: to be called when it has changed.
        """
        wanted = {key: place for place, key in enumerate(keys)}
        for key in self._carried.keys() - wanted.keys():
            for table in (self._used, self._asked, self._due, self._waits, self._states):
                table.pop(key, None)
        self._turns = deque(key for key in self._turns if key in wanted)
        self._turns.extend(key for key in wanted if key not in self._carried)
        self._carried = wanted
        for key in wanted:
            self._due.setdefault(key, -math.inf)
        self._drop_stale()

    def _drop_stale(self) -> None:
        self._queue = [(due, self._carried[key], key) for key, due in self._due.items()]
        heapq.heapify(self._queue)

    def ask(self, key: Key) -> None:
        """Take note that somebody needs one to be open."""
        self._asked[key] = None
        self._waits.pop(key, None)

    def to_open(self, now: float, is_open: Collection[Key]) -> list[Key]:
        """Return what is to be opened now: what was asked for, and some that there is room for.

        One that is not open after that is tried again later.

        Args:
            now: seconds that never run backwards.
            is_open: what is open.
        """
        found = [key for key in self._asked if key in self._carried and key not in is_open]
        self._asked.clear()
        taken = set(found)
        room = min(self._most - len(is_open) - len(found), TRIED_AT_ONCE)
        while room > 0 and self._queue and self._queue[0][0] <= now:
            due, _, key = heapq.heappop(self._queue)
            if self._due.get(key) != due or key in taken:
                continue  # it is not carried any more, due at another time, or here twice
            if key in is_open:
                del self._due[key]  # until it is closed
                continue
            found.append(key)
            taken.add(key)
            room -= 1
        for key in found:
            self._try_again(key, now + AGAIN_SECONDS)
        return found

    def _try_again(self, key: Key, due: float) -> None:
        if key in self._carried:
            self._due[key] = due
            heapq.heappush(self._queue, (due, self._carried[key], key))
            if len(self._queue) > 2 * len(self._carried) + MOST_OPEN:
                self._drop_stale()

    def opened(self, key: Key, now: float) -> None:
        """Take note that one is open."""
        self._used[key] = now
        self._waits.pop(key, None)

    def used(self, key: Key, now: float) -> None:
        """Take note that somebody used one that is open."""
        self._used[key] = now

    def closed(self, key: Key) -> None:
        """Take note that one is open no more."""
        self._try_again(key, -math.inf)

    def could_not(self, key: Key, now: float) -> None:
        """Take note that one could not be opened."""
        wait = min(LAST_AGAIN_SECONDS, 2 * self._waits.get(key, AGAIN_SECONDS / 2))
        self._waits[key] = wait
        self._try_again(key, now + wait)

    def to_close(
        self, now: float, is_open: Collection[Key], in_use: Callable[[Key], bool]
    ) -> list[Key]:
        """Return what is to be closed, the longest unused first; looks at none if all may stay.

        Args:
            now: seconds that never run backwards.
            is_open: what is open.
            in_use: tells whether somebody uses one.
        """
        too_many = len(is_open) - self._most
        if too_many <= 0:
            return []
        idle = []
        for key in is_open:
            if in_use(key):
                self._used[key] = now
            else:
                idle.append(key)
        idle.sort(key=lambda key: self._used.get(key, 0.0))
        return idle[:too_many]

    def to_look_at(self, is_open: Collection[Key]) -> list[Key]:
        """Return those that are not open and whose turn it is to be looked at."""
        found: list[Key] = []
        for _ in range(min(LOOKED_AT, len(self._turns))):
            key = self._turns.popleft()
            if key in self._carried:
                self._turns.append(key)
                if key not in is_open:
                    found.append(key)
        return found

    def saw(self, key: Key, state: object) -> None:
        """Take note of what a look found; one that changed since the last look is to be opened."""
        if self._states.setdefault(key, state) != state:
            self._states[key] = state
            self.ask(key)
