"""Which of a repository's trackers to ask next, and when.

Pure. One tracker is asked at a time. It stays the one as long as it answers; when it fails,
whichever of the others may be asked soonest takes its place, in the order given. One that fails is
left alone for longer each time.
Source: docs/protocol/gtp01.md, Tracker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORTEST_WAIT = 20.0
"""Seconds between two requests to one tracker, whatever it says."""

FIRST_RETRY = 10.0
LONGEST_RETRY = 1800.0


class _Tracker(Struct):
    url: str
    due: float = 0.0
    failures: int = 0


class TrackerRotation:
    """The trackers of one repository; see the module.

    Args:
        urls: at least one, in an order of chance.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._trackers = [_Tracker(url) for url in urls]
        self._current = self._trackers[0]

    @property
    def url(self) -> str:
        """The tracker to ask next."""
        return self._current.url

    @property
    def due(self) -> float:
        """When to ask it, in the seconds of those that were told."""
        return self._current.due

    def answered(self, now: float, wait: float) -> None:
        """Note that it answered, and wants to be asked again after ``wait`` seconds."""
        self._current.failures = 0
        self._current.due = now + max(wait, SHORTEST_WAIT)

    def failed(self, now: float, wait: float = 0.0) -> None:
        """Note that it did not answer, or wants to be left alone for ``wait`` seconds."""
        failing = self._current
        failing.failures += 1
        retry = min(FIRST_RETRY * 2 ** (failing.failures - 1), LONGEST_RETRY)
        failing.due = now + max(wait or retry, SHORTEST_WAIT)
        self._current = min(self._trackers, key=lambda tracker: tracker.due)
