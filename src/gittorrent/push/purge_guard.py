"""Tells an ordinary disappearance from a sudden one, and holds the sudden one back.

A stolen key or a mistake can make many refs or repositories disappear at once. Whoever follows
compares what was there with what is there, and asks here what may go.

Pure; tracks nothing: what is held back already comes in, and what is held from now on goes out.
Rules: a disappearance is sudden when more than a number *and* more than a share of what there was
has gone, together with what went a short time before, so that a purge in small steps is one too.
What came a short time before does not make that share smaller.
What is held stays until somebody confirms it, or until its time is up; what comes back is held no
more; what somebody refused stays until somebody confirms it after all. Must not know what the
names stand for, nor what is done about them.
Source: docs/protocol/collections.md, Sudden disappearance.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

WINDOW_SECONDS = 24 * 3600
"""How far back disappearances count together: a purge in small steps would take days, in which
somebody sees it."""

T = TypeVar("T")


class Threshold(Struct, frozen=True):
    """From where on a disappearance is sudden.

    Args:
        count: it is if more than so many names have gone;
        percent: and more than so many per cent of those that there were.
    """

    count: int
    percent: int


REFS = Threshold(count=10, percent=30)
"""For refs: topic branches that were merged are often deleted by the handful, and in a small
repository most of them; a third of many is hardly ever deleted in a day."""

REPOSITORIES = Threshold(count=2, percent=25)
"""For repositories: they leave one by one, and bringing one back costs a whole download."""


class Decision(Enum):
    """What somebody said about something that is held."""

    WAITING = "waiting"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


class Held(Struct, Generic[T], frozen=True):
    """Names that disappeared at once and are held back.

    Args:
        names: that they are.
        until: when they go though nobody says anything, in seconds since 1970; 0 for never.
        decision: what somebody said.
    """

    names: frozenset[T]
    until: int = 0
    decision: Decision = Decision.WAITING

    def is_released(self, now: int) -> bool:
        """Tell whether it may go: somebody confirmed it, or its time is up."""
        if self.decision is Decision.WAITING:
            return 0 < self.until <= now
        return self.decision is Decision.CONFIRMED


class Judgement(Struct, Generic[T], frozen=True):
    """What becomes of names that are not there any more.

    Args:
        go: those that go now, whether they disappeared just now or are released.
        newly_held: those that are held back from now on.
        held: all that are held back, these among them.
        back: those that were held and are there again.
        departed: how many disappeared just now; to be counted as ``recent`` later.
    """

    go: frozenset[T]
    newly_held: frozenset[T]
    held: frozenset[T]
    back: frozenset[T]
    departed: int


def judge(
    before: Collection[T],
    now_there: Collection[T],
    threshold: Threshold,
    *,
    now: int,
    held: Sequence[Held[T]] = (),
    recent: int = 0,
    arrived: int = 0,
) -> Judgement[T]:
    """Return what may go of what was there.

    Args:
        before: names that were there, those that are held among them.
        now_there: names that are there now.
        threshold: from where on a disappearance is sudden.
        now: seconds since 1970.
        held: what is held back already.
        recent: how many disappeared within `WINDOW_SECONDS`, whether they went or are held.
        arrived: how many of those that were there came within that time: whoever wants many to go
            unseen could else add as many more of no worth before.
    """
    there = frozenset(now_there)
    known = frozenset(before)
    was_held: frozenset[T] = frozenset().union(*(each.names for each in held))
    back = was_held & there
    released: frozenset[T] = frozenset().union(
        *(each.names for each in held if each.is_released(now))
    )
    still = was_held - there - released
    gone = known - there - was_held
    total = len(known - was_held)
    holds = is_sudden(len(gone), total, threshold, recent=recent, arrived=arrived)
    newly_held = gone if holds else frozenset[T]()
    return Judgement(
        go=(gone - newly_held) | (released & known - there),
        newly_held=newly_held,
        held=still | newly_held,
        back=back,
        departed=len(gone),
    )


def is_sudden(
    gone: int, total: int, threshold: Threshold, *, recent: int = 0, arrived: int = 0
) -> bool:
    """Tell whether a disappearance is sudden.

    Args:
        gone: how many disappear.
        total: of how many that were there.
        threshold: from where on it is.
        recent: how many disappeared within `WINDOW_SECONDS`.
        arrived: how many came within that time.
    """
    # Those that went recently were there as well when all of this began, and what came was not.
    all_gone, were_there = gone + recent, total + recent - arrived
    return all_gone > threshold.count and all_gone * 100 > were_there * threshold.percent
