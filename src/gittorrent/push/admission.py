"""Which verified pushes and checkpoints a node hands to its log now, and which have to wait.

Pure. The ledger shows whatever it is told; so that nobody can make a node show nonsense by what
they send first, or hold what it cannot use, this stands before it
(docs/protocol/push.md, "Bounds").

Tracks what waits: a push for the one that it builds on, for `PUSH_PATIENCE` at most, because
somebody between may be withholding that one; a push or checkpoint for one that it names and that is
not here; a checkpoint dated ahead of the clock. Rules: everything waits in bounded places; what is
over the quota of its key is not kept; the oldest of what waits makes room.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from gittorrent.push.certificate import CONFLICTS
from gittorrent.push.fresh import MAX_AHEAD
from gittorrent.push.quota import Quota
from gittorrent.push.rule import UnknownObjectError
from gittorrent.push.signed import has_a_say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import Oid, PushId, RefName
    from gittorrent.push.chain import Point
    from gittorrent.push.ledger import Ledger
    from gittorrent.push.replay import SignedCheckpoint
    from gittorrent.push.rule import Push

PUSH_PATIENCE = 3600.0
"""Seconds for which a push waits for the one that it builds on before it counts as it is."""

MAX_WAITING_PUSHES = 1024
"""Pushes that wait: four keys that use their whole quota."""

MAX_WAITING_CHECKPOINTS = 64
"""Checkpoints dated ahead: a keeper whose clock is wrong signs them one by one."""


class Containment(Protocol):
    """Tells which value contains which; part of `gittorrent.push.rule.Evidence`."""

    def contains(self, outer: Oid, inner: Oid) -> bool:
        """Tell whether ``inner`` is ``outer``, or both are commits and it is an ancestor.

        Raises:
            UnknownObjectError: that cannot be said here.
        """


class Admitted(Enum):
    """What becomes of something that arrived."""

    NOW = "now"
    LATER = "later"
    KNOWN = "known"
    REFUSED = "refused"


class Decision(Struct, frozen=True):
    """What becomes of something that arrived.

    Args:
        admitted: the word for it.
        reason: why it is refused, for people.
        again: whether it may be taken after the next checkpoint, under the same policy.
    """

    admitted: Admitted
    reason: str = ""
    again: bool = False


_KNOWN = Decision(Admitted.KNOWN)
_NOW = Decision(Admitted.NOW)
_LATER = Decision(Admitted.LATER)


class _WaitingPush(Struct, frozen=True):
    push: Push
    until: float


class Admission:
    """Stands before one repository's ledger.

    Args:
        evidence: facts about objects.
        quota: of untaken pushes; shared with the depot.
    """

    def __init__(self, evidence: Containment, quota: Quota) -> None:
        self._evidence = evidence
        self.quota = quota
        self._pushes: dict[PushId, _WaitingPush] = {}
        self._checkpoints: dict[PushId, SignedCheckpoint] = {}

    @property
    def waiting(self) -> tuple[PushId, ...]:
        """What is held and not handed over."""
        return (*self._pushes, *self._checkpoints)

    def push(self, push: Push, size: int, ledger: Ledger, now: float) -> Decision:
        """Decide about a push.

        Args:
            push: it, verified.
            size: bytes of its certificate and of the pack that came with it.
            ledger: what is known.
            now: seconds on a steady clock.
        """
        if ledger.push(push.id) is not None or push.id in self._pushes:
            return _KNOWN
        if not has_a_say(ledger.policy.policy, push.key):
            return Decision(Admitted.REFUSED, f"the policy knows nothing of key {push.key}")
        over = self.quota.refusal(push.key, size)
        if over:
            return Decision(Admitted.REFUSED, over, again=True)
        self.quota.add(push.key, push.id, size)
        if not lacks(push, ledger, _Given(ledger), self._evidence):
            return _NOW
        if len(self._pushes) >= MAX_WAITING_PUSHES:
            del self._pushes[next(iter(self._pushes))]
        self._pushes[push.id] = _WaitingPush(push, now + PUSH_PATIENCE)
        return _LATER

    def checkpoint(self, signed: SignedCheckpoint, ledger: Ledger, time: float) -> Decision:
        """Decide about a checkpoint.

        Args:
            signed: it, verified.
            ledger: what is known.
            time: seconds since 1970.
        """
        if ledger.holds(signed.id) or signed.id in self._checkpoints:
            return _KNOWN
        if _is_due(signed, ledger, time):
            return _NOW
        if len(self._checkpoints) >= MAX_WAITING_CHECKPOINTS:
            del self._checkpoints[next(iter(self._checkpoints))]
        self._checkpoints[signed.id] = signed
        return _LATER

    def named(self, checkpoint: SignedCheckpoint) -> list[Push]:
        """Return those that waited and that a checkpoint takes in, which ends their waiting."""
        found = [self._pushes.pop(push, None) for push in checkpoint.checkpoint.pushes]
        return [waiting.push for waiting in found if waiting is not None]

    def due(self, ledger: Ledger, now: float) -> list[Push]:
        """Return the pushes that wait no more: what they build on is here, or their hour is over.

        To be called again after these were handed over, since others may build on them.
        """
        if not self._pushes:
            return []
        given = _Given(ledger)
        ready = [
            waiting.push
            for waiting in self._pushes.values()
            if now >= waiting.until or not lacks(waiting.push, ledger, given, self._evidence)
        ]
        for push in ready:
            del self._pushes[push.id]
        return ready

    def due_checkpoints(self, ledger: Ledger, time: float) -> list[SignedCheckpoint]:
        """Return the checkpoints whose time has come, or whose date means nothing any more.

        Args:
            ledger: what is known.
            time: seconds since 1970.
        """
        waiting = self._checkpoints.values()
        ready = [signed for signed in waiting if _is_due(signed, ledger, time)]
        for signed in ready:
            del self._checkpoints[signed.id]
        return ready

    @property
    def dated_ahead(self) -> Iterable[SignedCheckpoint]:
        """The checkpoints that wait for their date."""
        return self._checkpoints.values()

    @property
    def is_date_awaited(self) -> bool:
        """Tell whether a checkpoint waits for its date."""
        return bool(self._checkpoints)

    def next_deadline(self) -> float | None:
        """Return when the first push has waited for an hour; None if none waits."""
        return min((waiting.until for waiting in self._pushes.values()), default=None)

    def settle(self, ledger: Ledger) -> None:
        """Count what no checkpoint has taken; to be called when one was adopted."""
        unfinal = {push.id for push in ledger.unfinal}
        self.quota.keep(lambda push: push in unfinal or push in self._pushes)


def _is_due(signed: SignedCheckpoint, ledger: Ledger, time: float) -> bool:
    """Tell whether a checkpoint is not dated ahead, or has a date that means nothing."""
    checkpoint = signed.checkpoint
    return checkpoint.time <= time + MAX_AHEAD or ledger.passes_over(checkpoint)


class _Given:
    """Which values known pushes gave refs: those that no checkpoint has taken, and taken ones."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._values: set[tuple[RefName, Oid | None]] = set()
        for push in ledger.unfinal:
            self._add(push)
        self._taken_down_to: Point | None = ledger.adopted

    def has(self, ref: RefName, value: Oid, since: int) -> bool:
        """Tell whether a push that is not taken, or was after checkpoint ``since``, gave it."""
        at = self._taken_down_to
        while at is not None and at.number > since:
            for push in map(self._ledger.push, at.checkpoint.pushes):
                if push is not None:
                    self._add(push)
            at = self._taken_down_to = at.previous
        return (ref, value) in self._values

    def _add(self, push: Push) -> None:
        self._values.update((line.ref, line.new) for line in push.certificate.lines)


def lacks(push: Push, ledger: Ledger, given: _Given, evidence: Containment) -> bool:
    """Tell whether a push builds on something that is not here, which may only be late.

    Its nonce's checkpoint, or a push that gave one of its refs the value that it names as old.
    """
    nonce = push.certificate.nonce
    if not ledger.can_place(nonce.checkpoint):
        return True
    if nonce.count == 1:
        return False  # nothing came before it on that checkpoint
    point = ledger.point(nonce.checkpoint)
    if point is None:
        return False  # off the chain: no depot's word says what was there
    listing = ledger.view().listing
    for line in push.certificate.lines:
        if line.old is None or line.ref.startswith(CONFLICTS):
            continue
        value = listing.value(line.ref)
        if value is not None and _contains(evidence, value, line.old):
            continue
        if point.listing.value(line.ref) == line.old:
            continue
        if not given.has(line.ref, line.old, point.number):
            return True
    return False


def _contains(evidence: Containment, outer: Oid, inner: Oid) -> bool:
    """Tell whether a value is known to contain another: one whose objects are not here is not."""
    try:
        return evidence.contains(outer, inner)
    except UnknownObjectError:
        return False
