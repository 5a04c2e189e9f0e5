"""When a peer that was lost is dialled again: exponential backoff with jitter, bounded.

Tracks for each URL how often dialling came to nothing since a conversation went well, and when the
next attempt is due. Pure: time comes in, and `ReconnectScheduler.due` says whom to dial now.

Rules: waits double from `FIRST_SECONDS` to `LONGEST_SECONDS`, each shortened at random by up to
half, so that a crowd that lost one mirror does not come back as one; after `ATTEMPTS` in vain a URL
is given up. A conversation in which parts came, or that lasted `GOOD_SECONDS`, makes the next loss
the first one: on a bad line each one ends early, and all of them together bring everything.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

FIRST_SECONDS = 1.0
"""Longest wait before the first attempt: a mirror that restarts is back in no time."""

LONGEST_SECONDS = 60.0
"""Longest wait before any attempt."""

ATTEMPTS = 5
"""Attempts in a row that may fail: with the waits above at most half a minute and the dialling."""

GOOD_SECONDS = 30.0
"""Length of a conversation after which earlier failures count no more."""

MAX_LOST = 64
"""URLs that wait at once; more than a download has peers."""

_STEPS = 1 << 16


class _Lost(Struct):
    """How it stands with a URL: failures in a row; when it is due, None while it is dialled."""

    failures: int
    due: float | None


class ReconnectScheduler:
    """Decides when to dial lost peers again.

    Args:
        draw: returns a random number below its argument.
    """

    def __init__(self, draw: Callable[[int], int]) -> None:
        self._draw = draw
        self._lost: dict[str, _Lost] = {}

    def lost(self, url: str, now: float, lasted: float, *, has_given: bool = False) -> bool:
        """Note that a conversation ended against our will.

        Args:
            url: of the peer.
            now: seconds.
            lasted: seconds the conversation lasted.
            has_given: whether parts came in it.

        Returns:
            Whether it will be dialled again.
        """
        if url not in self._lost and len(self._lost) >= MAX_LOST:
            return False
        if has_given or lasted >= GOOD_SECONDS:
            self._lost.pop(url, None)
        return self._again(url, now)

    def failed(self, url: str, now: float) -> bool:
        """Note that dialling a lost peer came to nothing; tells whether it is tried again."""
        return url in self._lost and self._again(url, now)

    def due(self, now: float) -> list[str]:
        """Return the URLs to dial now; for each, `failed` or later `lost` is to be called."""
        found = [
            url for url, lost in self._lost.items() if lost.due is not None and lost.due <= now
        ]
        for url in found:
            self._lost[url].due = None
        return found

    def forget(self, url: str) -> None:
        """Dial a peer no more: it was banned, or is of no use."""
        self._lost.pop(url, None)

    def next_deadline(self) -> float | None:
        """Return when the next attempt is due; None when there is none."""
        waiting = [lost.due for lost in self._lost.values() if lost.due is not None]
        return min(waiting, default=None)

    def _again(self, url: str, now: float) -> bool:
        known = self._lost.get(url)
        failures = 0 if known is None else known.failures + 1
        if failures >= ATTEMPTS:
            self._lost.pop(url, None)
            return False
        longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2**failures)
        wait = longest * (0.5 + 0.5 * self._draw(_STEPS) / _STEPS)
        self._lost[url] = _Lost(failures, now + wait)
        return True
