"""When a peer that was lost is dialled again: exponential backoff with jitter, bounded.

Tracks for each URL how often dialling came to nothing since a conversation went well, and when the
next attempt is due. Pure: time comes in, and `ReconnectScheduler.due` says whom to dial now.

Rules: waits double from `FIRST_SECONDS` to `LONGEST_SECONDS`, each shortened at random by up to
half, so that a crowd that lost one mirror does not come back as one; after `ATTEMPTS` in vain a URL
is given up. One that says it is busy is there and may have room soon: it is dialled `BUSY_ATTEMPTS`
times, after `BUSY_SECONDS` at most. A conversation in which parts came, or that lasted
`GOOD_SECONDS`, makes the next loss the first one: on a bad line each one ends early, and all of
them together bring everything.
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

BUSY_ATTEMPTS = 16
"""Attempts that a peer may answer by being busy: two minutes or less."""

BUSY_SECONDS = 10.0
"""Longest wait before a busy peer is dialled again."""

GOOD_SECONDS = 30.0
"""Length of a conversation after which earlier failures count no more."""

MAX_LOST = 64
"""URLs that wait at once; more than a download has peers."""

_STEPS = 1 << 16


class _Lost(Struct):
    """How it stands with a URL since a conversation went well.

    Args:
        failures: in a row.
        busy: answers that it is busy.
        due: when to dial it; None while it is dialled.
    """

    failures: int
    busy: int
    due: float | None


class ReconnectScheduler:
    """Decides when to dial lost peers again.

    Args:
        draw: returns a random number below its argument.
    """

    def __init__(self, draw: Callable[[int], int]) -> None:
        self._draw = draw
        self._lost: dict[str, _Lost] = {}

    def lost(
        self,
        url: str,
        now: float,
        lasted: float,
        *,
        has_given: bool = False,
        is_busy: bool = False,
    ) -> bool:
        """Note that a conversation ended against our will.

        Args:
            url: of the peer.
            now: seconds.
            lasted: seconds the conversation lasted.
            has_given: whether parts came in it.
            is_busy: whether it ended because the peer has too much to do.

        Returns:
            Whether it will be dialled again.
        """
        if url not in self._lost and len(self._lost) >= MAX_LOST:
            return False
        if has_given or lasted >= GOOD_SECONDS:
            self._lost.pop(url, None)
        return self._again(url, now, is_busy=is_busy)

    def failed(self, url: str, now: float, *, is_busy: bool = False) -> bool:
        """Note that dialling a lost peer came to nothing; tells whether it is tried again."""
        return url in self._lost and self._again(url, now, is_busy=is_busy)

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

    def _again(self, url: str, now: float, *, is_busy: bool) -> bool:
        known = self._lost.get(url)
        failures, busy = (0, 0) if known is None else (known.failures, known.busy)
        if is_busy:
            busy += 1
        elif known is not None:
            failures += 1
        if failures >= ATTEMPTS or busy > BUSY_ATTEMPTS:
            self._lost.pop(url, None)
            return False
        steps, most = (busy - 1, BUSY_SECONDS) if is_busy else (failures, LONGEST_SECONDS)
        longest = min(most, FIRST_SECONDS * 2**steps)
        wait = longest * (0.5 + 0.5 * self._draw(_STEPS) / _STEPS)
        self._lost[url] = _Lost(failures, busy, now + wait)
        return True
