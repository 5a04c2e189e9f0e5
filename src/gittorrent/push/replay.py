"""Checkpoints of one log: those that hold, those that wait for something, those that do not hold.

Pure. Tracks the checkpoints that were replayed, or believed by their signature, and which follows
which; those that wait until everything they name is here; why others do not hold; and proofs
against keepers. Rules: a checkpoint is judged as soon as it can be, and once; what was believed is
replayed when that can be. Must not know which checkpoint is adopted (`gittorrent.push.ledger`).
Source: docs/protocol/trust.md, "Which checkpoint".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.push.chain import CheckpointError, Point, extend, follow
from gittorrent.push.rule import UnknownObjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gittorrent.ids import PushId
    from gittorrent.push.chain import Composed, Log
    from gittorrent.push.checkpoint import Checkpoint
    from gittorrent.push.policy_versions import PolicyVersions
    from gittorrent.push.rule import Evidence
    from gittorrent.trust.keys import KeyRef


class SignedCheckpoint(Struct, frozen=True):
    """A checkpoint whose signature was verified: its id, what it says, and who signed it."""

    id: PushId
    checkpoint: Checkpoint
    signer: KeyRef


class Twins(Struct, frozen=True):
    """Proof against a keeper: two checkpoints that hold, and follow from the same one."""

    first: Point
    second: Point


class Replay:
    """The checkpoints known of one log.

    Args:
        point: one that holds, with those before it.
        log: has the pushes and policies that checkpoints name.
        versions: of the policy; told which of them checkpoints name.
        followed: checkpoints that were believed, to be replayed when that can be.
    """

    def __init__(
        self, point: Point, log: Log, versions: PolicyVersions, followed: Collection[PushId]
    ) -> None:
        self._log = log
        self._versions = versions
        self.points: dict[PushId, Point] = {}
        self.followers: dict[PushId, list[Point]] = {}
        self.waiting: dict[PushId, SignedCheckpoint] = {}
        self.refuted: dict[PushId, str] = {}
        self.aside: set[PushId] = set()
        self.twins: list[Twins] = []
        self.followed = set(followed)
        at: Point | None = point
        while at is not None:
            self.points[at.id] = at
            if at.previous is not None:
                self.followers[at.previous.id] = [at]
            self.oldest = at.number
            at = at.previous

    def __contains__(self, checkpoint: PushId) -> bool:
        """Tell whether a checkpoint is known, whatever became of it."""
        places = (self.points, self.waiting, self.refuted, self.aside)
        return any(checkpoint in found for found in places)

    def replay_waiting(self, evidence: Evidence, composed: Composed | None, *, short: bool) -> None:
        """Judge those that wait, as far as what they name is here.

        Args:
            evidence: facts about objects and keys.
            composed: what was composed here last, by this evidence.
            short: whether one whose pushes are not here is believed, as by a clone.
        """
        progress = True
        while progress:
            progress = False
            for signed in sorted(self.waiting.values(), key=_place):
                checkpoint = signed.checkpoint
                if checkpoint.previous in self.points and checkpoint.policy in self._versions:
                    has_pushes = self._has_pushes(checkpoint)
                    if has_pushes or short:
                        del self.waiting[signed.id]
                        previous = self.points[checkpoint.previous]
                        judge = partial(self._replayed, signed, previous, evidence, composed)
                        self._take_in(signed, previous, judge if has_pushes else _believed)
                        progress = True

    def replay_followed(self, evidence: Evidence, is_adopted: Callable[[Point], bool]) -> None:
        """Replay those that were only believed; what does not follow is forgotten.

        Args:
            evidence: facts about objects and keys.
            is_adopted: tells of one that does not follow whether it was adopted.

        Raises:
            CheckpointError: one that was adopted does not follow.
        """
        points = [point for entry in self.followed if (point := self.points.get(entry))]
        for point in sorted(points, key=lambda point: point.number):
            if point.id in self.points and point.previous is not None:
                self._replay_followed(point, point.previous, evidence, is_adopted)

    def _replay_followed(
        self,
        point: Point,
        previous: Point,
        evidence: Evidence,
        is_adopted: Callable[[Point], bool],
    ) -> None:
        if not self._has_pushes(point.checkpoint):
            return
        try:
            extend(previous, point.id, point.checkpoint, point.keeper, self._log, evidence)
        except UnknownObjectError:
            return
        except CheckpointError as error:
            if is_adopted(point):
                raise
            self._drop(point, str(error))
            return
        self.followed.discard(point.id)

    def _drop(self, point: Point, why: str) -> None:
        """Forget a checkpoint that was believed, and what follows from it."""
        dropped = [point]
        while dropped:
            at = dropped.pop()
            dropped += self.followers.pop(at.id, [])
            self.points.pop(at.id)
            self.followed.discard(at.id)
            self.refuted[at.id] = why
            self.twins = [t for t in self.twins if at.id not in (t.first.id, t.second.id)]
        if point.previous is not None:
            siblings = self.followers[point.previous.id]
            self.followers[point.previous.id] = [p for p in siblings if p.id != point.id]

    def _has_pushes(self, checkpoint: Checkpoint) -> bool:
        copies = checkpoint.push_copies.items()
        return all(self._log.push_copy(push, copy) is not None for push, copy in copies)

    def _take_in(
        self, signed: SignedCheckpoint, previous: Point, judge: Callable[[], Point | None]
    ) -> None:
        """Replay a checkpoint, or believe it where that cannot be done."""
        try:
            point = judge()
            if point is None:
                point = follow(previous, signed.id, signed.checkpoint, signed.signer, self._log)
                self.followed.add(point.id)
        except TrustError as error:
            self.refuted[signed.id] = str(error)
            return
        self.points[point.id] = point
        self._add_follower(point, previous)

    def _replayed(
        self,
        signed: SignedCheckpoint,
        previous: Point,
        evidence: Evidence,
        composed: Composed | None,
    ) -> Point | None:
        """Replay a checkpoint; None if an object is not here that decides about a push."""
        try:
            return extend(
                previous, signed.id, signed.checkpoint, signed.signer, self._log, evidence,
                composed,
            )  # fmt: skip
        except UnknownObjectError:
            return None

    def _add_follower(self, point: Point, previous: Point) -> None:
        self._versions.name(point.policy, previous.policy.digest)
        followers = self.followers.setdefault(previous.id, [])
        self.twins += [
            Twins(*sorted((other, point), key=lambda point: point.id))
            for other in followers
            if other.policy.policy.keeper == point.policy.policy.keeper
        ]
        followers.append(point)


def _believed() -> None:
    """Replay nothing: the pushes are not here."""


def _place(signed: SignedCheckpoint) -> int:
    return signed.checkpoint.number
