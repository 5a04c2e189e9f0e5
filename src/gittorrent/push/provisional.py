"""The order among pushes that no checkpoint has taken, and the state they lead to.

Pure. Everybody who knows the same checkpoint and the same pushes comes to the same view, with or
without a keeper; a keeper's next checkpoint takes exactly this (docs/protocol/trust.md,
"Provisional view").

Rules: by count; among equal counts repeatedly the first unit that fits, in an order that a policy
version shuffles; what is left of them are conflicts. Which unit fits can change only with refs
that it speaks of, so a unit that did not fit is looked at again when one of these changed.
"""

from __future__ import annotations

import hashlib
from heapq import heappop, heappush
from itertools import groupby
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.certificate import subject_of
from gittorrent.push.listing import directories_of
from gittorrent.push.rule import (
    Outcome,
    Unit,
    UnknownObjectError,
    Verdict,
    judge,
    judge_if_it_fits,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import PushId, RefName
    from gittorrent.push.listing import Listing
    from gittorrent.push.policy_chain import PolicyVersion
    from gittorrent.push.rule import Evidence, Push

_HEAD = b"HEAD"


class Judged(Struct, frozen=True):
    """A unit and what became of it."""

    unit: Unit
    outcome: Outcome


class View(Struct, frozen=True):
    """A state on top of a checkpoint, and how it came about.

    Args:
        listing: the state.
        policy: what the units were judged under.
        highest: the highest count among them, 0 without any.
        highest_shown: the same among those that were not refused; what a depot counts from.
        newest: the units of the highest count, in the order in which they were applied.
        before: the view without these; None if there is nothing before.
        unjudged: pushes left out, because an object is not here that decides about them.
    """

    listing: Listing
    policy: PolicyVersion
    highest: int = 0
    highest_shown: int = 0
    newest: tuple[Judged, ...] = ()
    before: View | None = None
    unjudged: tuple[Push, ...] = ()

    @property
    def judged(self) -> list[Judged]:
        """All units, in the order in which they were applied."""
        parts = []
        at: View | None = self
        while at is not None:
            parts.append(at.newest)
            at = at.before
        return [item for part in reversed(parts) for item in part]


def view(
    listing: Listing,
    units: Iterable[Unit],
    policy: PolicyVersion,
    evidence: Evidence,
    unjudged: tuple[Push, ...] = (),
) -> View:
    """Apply units on top of a listing.

    Args:
        listing: that of the adopted checkpoint.
        units: of every push known that it has not taken, in any order.
        policy: the newest that counts.
        evidence: facts about objects and keys.
        unjudged: pushes whose units cannot even be told.
    """
    return extended(View(listing, policy, unjudged=unjudged), units, evidence)


def extended(before: View, units: Iterable[Unit], evidence: Evidence) -> View:
    """Apply further units, all with higher counts than those of ``before``."""
    at = before
    for count, group in groupby(sorted(units, key=_count), key=_count):
        listing, judged, unjudged = _judged(at.listing, list(group), before.policy, evidence)
        refused = all(item.outcome.verdict is Verdict.REFUSED for item in judged)
        shown = at.highest_shown if refused and not unjudged else count
        left_out = (*at.unjudged, *unjudged)
        at = View(listing, before.policy, count, shown, tuple(judged), at, left_out)
    return at


def _judged(
    listing: Listing, units: list[Unit], policy: PolicyVersion, evidence: Evidence
) -> tuple[Listing, list[Judged], list[Push]]:
    """Apply units of one count, without the pushes of which one cannot be judged."""
    unjudged: dict[PushId, Push] = {}
    while True:
        equals = _Equals(listing, units, policy, evidence)
        judged = equals.run()
        if not equals.unjudged:
            return equals.listing, judged, list(unjudged.values())
        # Another unit of such a push may have been applied: once more, without all of it.
        unjudged.update(equals.unjudged)
        units = [unit for unit in units if unit.push.id not in unjudged]


def _count(unit: Unit) -> int:
    return unit.standing.age.place


class _Equals:
    """Units of one count."""

    def __init__(
        self, listing: Listing, units: Iterable[Unit], policy: PolicyVersion, evidence: Evidence
    ) -> None:
        self.listing = listing
        self.unjudged: dict[PushId, Push] = {}
        self._policy = policy
        self._evidence = evidence
        digest = policy.digest
        ranked = sorted(units, key=lambda unit: _rank(digest, unit))
        self._units = dict(enumerate(ranked))
        self._blocked: set[int] = set()
        self._at: dict[bytes, list[int]] = {}
        self._below: dict[bytes, list[int]] = {}

    def run(self) -> list[Judged]:
        judged = []
        candidates = list(self._units)
        while candidates:
            place = heappop(candidates)
            unit = self._units[place]
            if unit.push.id in self.unjudged:
                continue
            try:
                outcome = judge_if_it_fits(self.listing, unit, self._policy.policy, self._evidence)
            except UnknownObjectError:
                self.unjudged[unit.push.id] = unit.push
                continue
            if outcome is None:
                self._block(place)
                continue
            head, self.listing = self.listing.head, outcome.listing
            judged.append(Judged(unit, outcome))
            woken = self._woken(outcome.touched, head != self.listing.head)
            for again in woken & self._blocked:
                self._blocked.discard(again)
                heappush(candidates, again)
        for place in sorted(self._blocked):
            unit = self._units[place]
            try:
                outcome = judge(self.listing, unit, self._policy.policy, self._evidence)
            except UnknownObjectError:
                self.unjudged[unit.push.id] = unit.push
                continue
            self.listing = outcome.listing
            judged.append(Judged(unit, outcome))
        return judged

    def _block(self, place: int) -> None:
        """Put a unit aside until something that it depends on changes."""
        self._blocked.add(place)
        unit = self._units[place]
        names = {subject_of(line.ref) for line in unit.lines}
        if unit.push.certificate.head is not None:
            names.add(unit.push.certificate.head)
        for name in names:
            self._at.setdefault(name, []).append(place)
            for above in directories_of(name):
                self._below.setdefault(above, []).append(place)
        if unit.push.certificate.head is not None or any(line.new is None for line in unit.lines):
            self._at.setdefault(_HEAD, []).append(place)

    def _woken(self, touched: Iterable[RefName], head: bool) -> set[int]:
        found = set(self._at.pop(_HEAD, ())) if head else set()
        for ref in touched:
            found.update(self._at.pop(ref, ()))
            found.update(self._below.pop(ref, ()))
            for above in directories_of(ref):
                found.update(self._at.pop(above, ()))
        return found


def _rank(policy: str, unit: Unit) -> tuple[bytes, str, bytes]:
    key = hashlib.sha256(f"{policy}\n{unit.push.key}".encode("ascii")).digest()
    return key, unit.push.id, unit.ref or b""
