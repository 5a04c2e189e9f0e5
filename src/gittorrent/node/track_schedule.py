"""When a node looks at each upstream that it tracks.

Pure; time and chance come in. Tracks one entry for each: when it is due, and whether somebody asked
for a look since the last one began.

Rules: each is looked at as often as its operator says, spread so that those of one server do not
come in one second. One that fails waits twice as long each time, up to `LONGEST` or what its
operator says, whichever is longer. Who asks for a look at once gets it, but no sooner than `GAP`
after the last one began: a burst of webhooks is one look, and one more where the burst went on
while that ran. Who says again what was said before, as whoever replays a webhook does, gets one no
sooner than `KNOWN_GAP` after that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.node.due_queue import DueQueue

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 3600.0
"""Longest wait after failures, in seconds."""

GAP = 5.0
"""Seconds from the beginning of one look to that of the next one, whoever asks for it."""

KNOWN_GAP = 60.0
"""The same where only what was heard before asks for it."""

SPREAD = 0.1
"""Share of a wait by which it is made longer or shorter."""


class _Entry(Struct):
    """One upstream; it is in no queue while it is looked at.

    ``asked_gap`` is the shortest gap of those who have asked for a look since the last one began.
    """

    every: float
    began: float = float("-inf")
    asked_gap: float | None = None


class TrackSchedule:
    """Says which upstream is to be looked at next.

    Args:
        random: returns a number from 0 to 1.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._entries: dict[str, _Entry] = {}
        self._queue = DueQueue()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: str, every: float, now: float, due_in: float) -> None:
        """Look at one from now on, or at other times than before.

        Args:
            key: of it.
            every: seconds between looks.
            now: seconds that never run backwards.
            due_in: seconds until the first look; for one that is known already that stays, unless
                its new time comes sooner.
        """
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(every)
            self._queue.put(key, now + due_in)
        elif entry.every != every:
            entry.every = every
            if (due := self._queue.due(key)) is not None:
                self._queue.put(key, min(due, now + every))

    def remove(self, key: str) -> None:
        """Look at one no more."""
        self._entries.pop(key, None)
        self._queue.remove(key)

    def due(self, key: str) -> float | None:
        """Return when one is due; None while it is looked at, and for unknown ones."""
        return self._queue.due(key)

    def take(self, now: float) -> str | None:
        """Return what is to be looked at now, the longest due first; it has to be `done` then."""
        key = self._queue.take(now)
        if key is not None:
            entry = self._entries[key]
            entry.began, entry.asked_gap = now, None
        return key

    def at_once(self, key: str, now: float, gap: float = GAP) -> None:
        """Look at one as soon as may be: somebody says that there is news.

        Args:
            key: of it.
            now: seconds that never run backwards.
            gap: seconds that have to lie between the beginnings of the last look and of this one.
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        asked = entry.asked_gap
        entry.asked_gap = gap if asked is None else min(asked, gap)
        if (due := self._queue.due(key)) is not None:
            self._queue.put(key, min(due, max(now, entry.began + gap)))

    def done(self, key: str, now: float, failures: int) -> None:
        """Plan the next look.

        Args:
            key: of what was looked at.
            now: seconds that never run backwards.
            failures: how often looks have failed in a row; 0 after a success.
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        longest = max(LONGEST, entry.every)
        wait = min(longest, entry.every * 2 ** min(max(0, failures - 1), 16))
        due = now + wait * (1 + SPREAD * (2 * self._random() - 1))
        if entry.asked_gap is not None:
            due = min(due, max(now, entry.began + entry.asked_gap))
        self._queue.put(key, due)
