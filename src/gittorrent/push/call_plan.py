"""Whom a mirror calls about a repository, and when again: a random graph with few edges.

Pure; randomness and time come in. Everybody calls the mirror that it was made from and a few others
chosen at random, so that the graph stays connected when many vanish at once, no mirror is called by
all, and each ends up with about twice as many conversations as it began.

Tracks who is talked to, and for whom it is too early. Rules: who was lost is called again after a
wait that doubles, each shortened at random by up to half, so that a crowd does not come back as
one; meanwhile another one takes its place, but for the mirror that this one was made from. Must not
know connections. Source: docs/protocol/mirrorsync.md, Live conversations.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CALLED = 4
"""Conversations about a repository that are begun from here, and as many are begun by others."""

FIRST_RETRY = 1.0
"""Longest wait before a mirror is called again; doubled each time."""

LAST_RETRY = 300.0
"""Longest wait of all."""

GOOD_SECONDS = 30.0
"""Length of a conversation after which earlier failures count no more."""

MAX_REMEMBERED = 256
"""URLs of which it is remembered that it is too early: more than are known of a repository."""

LOOK_UP_SECONDS = 5.0
"""How soon it is looked again which mirrors are known, as long as there are calls to be made; twice
as rarely each time that nobody is new and no call ended."""

LAST_LOOK_UP_SECONDS = 320.0
"""Longest time between two such looks: most repositories never have mirrors enough, and those who
come call."""

_STEPS = 1 << 16


class _Lost(Struct, frozen=True):
    """When somebody may be called again, and the longest wait that led to that."""

    due: float
    wait: float


class CallPlan:
    """The calls of one repository.

    Args:
        draw: returns a random number below its argument.
    """

    def __init__(self, draw: Callable[[int], int]) -> None:
        self._draw = draw
        self._talking: set[str] = set()
        self._lost: dict[str, _Lost] = {}

    def due(self, first: str | None, others: Iterable[str], now: float) -> list[str]:
        """Return whom to call now; `ended` must follow for each.

        Args:
            first: the mirror that this one was made from; it is always to be talked to.
            others: further mirrors that are known.
            now: seconds on a clock that never runs backwards.
        """
        found = [first] if first is not None and self._is_free(first, now) else []
        free = [u for u in dict.fromkeys(others) if u not in found and self._is_free(u, now)]
        busy = len(self._talking - {first}) + (first is not None)
        while free and busy < CALLED:
            found.append(free.pop(self._draw(len(free))))
            busy += 1
        self._talking.update(found)
        return found

    def next_due(self, now: float) -> float:
        """Return when it is not too early any more for somebody else; endless for nobody."""
        waits = (lost.due for lost in self._lost.values() if lost.due > now)
        return min(waits, default=math.inf)

    def ended(self, url: str, now: float, lasted: float) -> None:
        """Take note that a conversation, or the attempt at one, is over.

        Args:
            url: of the mirror.
            now: seconds.
            lasted: seconds for which it was talked to; 0 where it did not answer.
        """
        self._talking.discard(url)
        before = self._lost.pop(url, None)
        wait = FIRST_RETRY
        if before is not None and lasted < GOOD_SECONDS:
            wait = min(2 * before.wait, LAST_RETRY)
        self._note(url, now, wait)

    def refused(self, url: str, now: float, again: float = LAST_RETRY) -> None:
        """Take note that there is no use in talking to a mirror, such as to this one itself.

        Args:
            url: of the mirror.
            now: seconds.
            again: seconds after which there may be; half as many at least.
        """
        self._talking.discard(url)
        self._note(url, now, again)

    def _note(self, url: str, now: float, wait: float) -> None:
        shortened = wait * (1 - self._draw(_STEPS) / (2 * _STEPS))
        self._lost.pop(url, None)
        self._lost[url] = _Lost(now + shortened, wait)
        while len(self._lost) > MAX_REMEMBERED:
            del self._lost[next(iter(self._lost))]

    def _is_free(self, url: str, now: float) -> bool:
        lost = self._lost.get(url)
        return url not in self._talking and (lost is None or now >= lost.due)


class LookUps:
    """When it is looked again which mirrors of one repository are known."""

    def __init__(self) -> None:
        self._wait = LOOK_UP_SECONDS
        self._due: float | None = None

    def is_due(self, now: float) -> bool:
        """Tell whether to look.

        Args:
            now: seconds on a clock that never runs backwards.
        """
        return now >= self.due

    @property
    def due(self) -> float:
        """When to look."""
        return -math.inf if self._due is None else self._due

    def done(self, now: float, *, is_other: bool) -> None:
        """Take note of a look, and whether it found others than the one before."""
        self._wait = LOOK_UP_SECONDS if is_other else min(LAST_LOOK_UP_SECONDS, 2 * self._wait)
        self._due = now + self._wait

    def call_ended(self, now: float) -> None:
        """Take note that somebody else may have to be called."""
        self._wait = LOOK_UP_SECONDS
        if self._due is not None:
            self._due = min(self._due, now + self._wait)
