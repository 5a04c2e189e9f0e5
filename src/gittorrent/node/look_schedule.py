"""When a node looks for news of what it follows, and in which order it brings what is not here yet.

Pure; time and chance come in. Tracks one entry for each repository: when it is due, and the wait
after a look that finds nothing.

Rules: what is not here yet comes first, by priority; then whatever is due longest. A source that
has news is asked again soon; one that has none twice as rarely each time, up to `LONGEST`, and so
is one that fails. Where a conversation tells of news, a look is only there for safety, and is made
soon when there is none any more. Waits are spread, so that a thousand repositories of one source
are not asked for in one second. Each step costs the logarithm of their number, whoever is idle
costs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.node.due_queue import DueQueue

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_EVERY = 60.0
"""Seconds between looks at a source that has news, unless the operator says otherwise."""

LONGEST = 3600.0
"""Longest wait between two looks, and the wait where a conversation tells of news."""

FIRST_LOOKS_A_SECOND = 10.0
"""Repositories that were here when the node began and are looked at again in one second."""

SPREAD = 0.25
"""Share of a wait by which it is made longer or shorter, so that waits that began together part."""

FIRST, LAST = -(1 << 30), 1 << 30
"""Ranks of what somebody waits for, and of what is here; between them priorities."""


class _Entry(Struct):
    """One repository: the wait after the next look that finds nothing; failures in a row; whether
    the next look is put off since a conversation tells of news."""

    wait: float
    failures: int = 0
    is_live: bool = False


class LookSchedule:
    """Says which repository is to be looked at next.

    Args:
        random: returns a number from 0 to 1.
        look_every: seconds between looks at a source that has news.
    """

    def __init__(self, random: Callable[[], float], look_every: float = LOOK_EVERY) -> None:
        self._random = random
        self._look_every = look_every
        self._entries: dict[str, _Entry] = {}
        self._queue = DueQueue()

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def set_look_every(self, seconds: float) -> None:
        """Go by another time between looks, from the next look at each on."""
        self._look_every = seconds

    def add(self, key: str, now: float, *, is_here: bool, priority: int = 0) -> None:
        """Look at a repository from now on.

        Args:
            key: of it.
            now: seconds that never run backwards.
            is_here: whether there is a copy already.
            priority: those that are not here are brought in this order, the highest first.
        """
        self._entries[key] = _Entry(self._look_every)
        if is_here:
            within = max(self._look_every / 4, len(self._entries) / FIRST_LOOKS_A_SECOND)
            self._queue.put(key, now + self._random() * within, LAST)
        else:
            self._queue.put(key, now, -priority)

    def remove(self, key: str) -> None:
        """Look at one no more."""
        self._entries.pop(key, None)
        self._queue.remove(key)

    def due(self, key: str) -> float | None:
        """Return when a repository is due; None while it is looked at, and for unknown ones."""
        return self._queue.due(key)

    def take(self, now: float) -> str | None:
        """Return what is to be looked at now, the most urgent first; it has to be `done` then."""
        return self._queue.take(now)

    def at_once(self, key: str, now: float) -> None:
        """Look at a repository before all others, unless it is looked at: somebody waits for it."""
        if self._queue.due(key) is not None:
            self._queue.put(key, now, FIRST)

    def put_back(self, key: str, now: float, *, is_here: bool, priority: int = 0) -> None:
        """Look at one again that was taken and had to wait; nothing else changes; see `add`."""
        if key in self._entries:
            self._queue.put(key, now, LAST if is_here else -priority)

    def done(
        self, key: str, now: float, *, has_news: bool, failed: bool = False, is_live: bool = False
    ) -> None:
        """Take note what a look came to, and plan the next one.

        Args:
            key: of the repository.
            now: seconds that never run backwards.
            has_news: whether it brought something.
            failed: whether it failed.
            is_live: whether a conversation tells of news.
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.is_live = is_live and not failed
        if failed:
            wait = min(LONGEST, self._look_every * 2 ** min(entry.failures, 16))
            entry.failures += 1
        else:
            entry.failures = 0
            if has_news:
                entry.wait = self._look_every
            wait = LONGEST if is_live else entry.wait
            entry.wait = min(LONGEST, 2 * entry.wait)
        self._queue.put(key, now + wait * (1 + SPREAD * (2 * self._random() - 1)), LAST)

    def silent(self, key: str, now: float) -> bool:
        """Take note that no conversation tells of news any more.

        Args:
            key: of the repository.
            now: seconds that never run backwards.

        Returns:
            Whether it is looked at earlier for that.
        """
        entry = self._entries.get(key)
        if entry is None or not entry.is_live:
            return False
        entry.is_live = False
        entry.wait = self._look_every
        due = self._queue.due(key)
        soon = now + self._look_every * (1 + SPREAD * (2 * self._random() - 1))
        if due is None or due <= soon:
            return False
        self._queue.put(key, soon, LAST)
        return True
