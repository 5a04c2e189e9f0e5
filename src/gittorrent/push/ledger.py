"""All that a node knows of one log: which checkpoint it adopts, and the state it shows.

Pure. It is told of policies, checkpoints and pushes whose signatures were verified, in any order
and as often as they come, and what it says depends on what it was told and on the checkpoint that
it adopted last, not on the order (docs/protocol/trust.md, "Which checkpoint").

Tracks: where it stands; the pushes known, and those that the adopted checkpoint has not taken. The
policy versions (`gittorrent.push.policy_versions`) and the checkpoints that were replayed or wait
for something (`gittorrent.push.replay`) are tracked for it.

Rules: forward only along checkpoints that follow by replay; elsewhere only where a policy with a
new keeper says so; nothing further once the keeper has signed two that follow from one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.certificate import MAX_COUNT, Nonce
from gittorrent.push.chain import (
    CheckpointError,
    Composed,
    Point,
    keeper_since,
    nonce_on,
    placeable,
    units_on,
)
from gittorrent.push.composing import compose
from gittorrent.push.policy_chain import (
    PolicyVersion,
    is_kept_by,
    keeper_version,
    last_mover,
)
from gittorrent.push.policy_versions import PolicyVersions
from gittorrent.push.provisional import View, extended, view
from gittorrent.push.replay import Replay
from gittorrent.push.rule import UnknownObjectError, is_refused

if TYPE_CHECKING:
    from collections.abc import Collection

    from gittorrent.ids import PushId
    from gittorrent.push.checkpoint import Checkpoint
    from gittorrent.push.replay import SignedCheckpoint, Twins
    from gittorrent.push.rule import Evidence, Push


class _Place(Struct, frozen=True):
    """Where a node stands: a checkpoint, the policy that counts, and what stops it."""

    point: Point
    policy: PolicyVersion
    mover: PolicyVersion | None
    stopped: str = ""


class Ledger:
    """What a node knows of one log.

    Args:
        point: the checkpoint adopted last, or the first one.
        evidence: facts about objects and keys.
        followed: checkpoints up to that one that were believed, to be replayed when that can be.
    """

    def __init__(self, point: Point, evidence: Evidence, followed: Collection[PushId] = ()) -> None:
        self._evidence = evidence
        self._anchor = point
        self._policies = PolicyVersions()
        self._replay = Replay(point, self, self._policies, followed)
        self._points, self._waiting = self._replay.points, self._replay.waiting
        self._pushes: dict[PushId, Push] = {}
        self._copies: dict[PushId, dict[str, Push]] = {}
        self._open: dict[PushId, Push] = {}
        self.add_policy(point.policy)
        self._place = _Place(point, point.policy, None)
        self._view: View | None = None
        self._composed: Composed | None = None

    # -- what it is told

    def add_policy(self, version: PolicyVersion) -> None:
        """Take note of a policy version, and of those it extends."""
        self._policies.add(version)

    def add_push(self, push: Push) -> None:
        """Take note of a push, or of another copy of one: with other certificates."""
        copies = self._copies.setdefault(push.id, {})
        if push.copy in copies:
            return
        copies[push.copy] = push
        if len(copies) > 1:
            push = max(copies.values(), key=self._worth)
            self._view = None
        self._pushes[push.id] = push
        if self._place.point.took(push.id) is None:
            self._open[push.id] = push
            self._show(push)

    def _worth(self, push: Push) -> tuple[int, str]:
        """Rank copies of a push: stripped of certifications, it must not stand for the whole."""
        point, policy = self._place.point, self._place.policy
        try:
            units = units_on(point, [push], keeper_since(point, policy))
            refused = sum(
                is_refused(point.listing, unit, policy.policy, self._evidence) for unit in units
            )
        except UnknownObjectError:
            refused = 0
        return -refused, push.copy

    def add_checkpoint(self, signed: SignedCheckpoint) -> None:
        """Take note of a checkpoint; it is replayed as soon as everything it names is here."""
        if not self.holds(signed.id):
            self._waiting[signed.id] = signed
            self._view = None

    def add_refuted(self, checkpoint: PushId, why: str) -> None:
        """Take note of a checkpoint that was found not to follow before."""
        self._replay.refuted[checkpoint] = why

    def add_aside(self, checkpoint: PushId) -> None:
        """Take note that a checkpoint holds which no keeper can go on from that still counts."""
        self._replay.aside.add(checkpoint)
        self._view = None

    def is_aside(self, checkpoint: PushId) -> bool:
        """Tell whether a checkpoint is one that `add_aside` told of."""
        return checkpoint in self._replay.aside

    def add_replayed(self, checkpoint: PushId) -> None:
        """Take note that a checkpoint that was believed had been replayed before."""
        self._replay.followed.discard(checkpoint)

    def settle(self, *, short: bool = False) -> Point:
        """Replay what can be, and adopt what follows.

        Args:
            short: whether a checkpoint whose pushes are not here is believed, as by a clone.

        Returns:
            The checkpoint adopted.
        """
        self._replay.replay_waiting(self._evidence, self._composed, short=short)
        before = self._place
        place = self._settled()
        self._place = place
        if (before.point.id, before.policy.digest) != (place.point.id, place.policy.digest):
            self._view = self._composed = None
        if before.point.id != place.point.id:
            self._reopen(before.point, place.point)
        return place.point

    def _reopen(self, before: Point, point: Point) -> None:
        """Find out which pushes are open after a move from one checkpoint to another."""
        at: Point | None = point
        while at is not None and at.number > before.number:
            for push in at.checkpoint.pushes:
                self._open.pop(push, None)
            at = at.previous
        if at is None or at.id != before.id:
            self._open = {
                push: known for push, known in self._pushes.items() if point.took(push) is None
            }

    def judge_again(self, evidence: Evidence) -> None:
        """Replay what was only believed, and judge anew what is shown, now that more is known.

        Checkpoints of no use any more are forgotten by that; `settle` says what follows from it.

        Args:
            evidence: from now on.

        Raises:
            CheckpointError: a checkpoint that was adopted does not follow.
        """
        self._evidence = evidence
        self._view = self._composed = None
        self._replay.replay_followed(evidence, self._place.point.has)

    # -- what it says

    @property
    def adopted(self) -> Point:
        """The newest checkpoint that counts: what is final."""
        return self._place.point

    @property
    def policy(self) -> PolicyVersion:
        """The newest policy version that counts."""
        return self._place.policy

    @property
    def is_linear(self) -> bool:
        """Whether all checkpoints known were replayed and adopted, one after the other."""
        if self._waiting or self._replay.refuted or self._replay.aside or self._replay.followed:
            return False
        return len(self._points) == self._place.point.number - self._replay.oldest + 1

    @property
    def stopped(self) -> str:
        """Why no further checkpoint is adopted, for people; empty if nothing is wrong."""
        return self._place.stopped

    @property
    def twins(self) -> tuple[Twins, ...]:
        """Proofs that a keeper signed two checkpoints in the same place."""
        return tuple(self._replay.twins)

    @property
    def rivals(self) -> tuple[PolicyVersion, ...]:
        """Policy versions that extend the one that counts, of which none counts."""
        found = self._policies.extending(self._place.policy)
        return tuple(found) if len(found) > 1 else ()

    @property
    def refuted(self) -> dict[PushId, str]:
        """Checkpoints that a keeper signed and that do not follow, and why."""
        return dict(self._replay.refuted)

    @property
    def followed(self) -> frozenset[PushId]:
        """Checkpoints that were believed by their signature, not replayed."""
        return frozenset(self._replay.followed)

    @property
    def lacking(self) -> frozenset[PushId]:
        """Entries that waiting checkpoints name and that are not here, policies among them."""
        found: set[PushId] = set()
        policies = {version.id for version in self._policies.values()}
        for signed in self._waiting.values():
            previous = signed.checkpoint.previous
            if previous is not None and previous not in self._points:
                found.add(previous)
            found.update(set(signed.checkpoint.adopted) - policies)
            found.update(
                push
                for push, copy in signed.checkpoint.push_copies.items()
                if copy not in self._copies.get(push, ())
            )
        return frozenset(found - self._waiting.keys())

    @property
    def missing(self) -> frozenset[PushId]:
        """Checkpoints that waiting ones, or the policy, go on from and that were not replayed."""
        found = {signed.checkpoint.previous for signed in self._waiting.values()}
        mover = self._place.mover
        found.add(None if mover is None else mover.policy.checkpoint)
        if _back_to(self._anchor, self._policies.standing(self._anchor.policy)) is None:
            found.add(_oldest(self._anchor).checkpoint.previous)
        return frozenset(entry for entry in found if entry and entry not in self._points)

    def copies(self, push: PushId) -> int:
        """Return how many copies of a push are known, with other certificates each."""
        return len(self._copies.get(push, ()))

    @property
    def without_policy(self) -> frozenset[PushId]:
        """Checkpoints that wait for the policy that they name."""
        waiting = self._waiting.values()
        return frozenset(s.id for s in waiting if s.checkpoint.policy not in self._policies)

    def push(self, push: PushId) -> Push | None:
        """Return a push that is known."""
        return self._pushes.get(push)

    def push_copy(self, push: PushId, digest: str) -> Push | None:
        """Return a push that is known, in the copy with these certificates; "" for none."""
        return self._copies.get(push, {}).get(digest)

    def point(self, checkpoint: PushId) -> Point | None:
        """Return the state at a checkpoint that holds, adopted or not."""
        return self._points.get(checkpoint)

    def policy_version(self, digest: str) -> PolicyVersion | None:
        """Return a policy version that is known."""
        return self._policies.get(digest)

    def holds(self, checkpoint: PushId) -> bool:
        """Tell whether a checkpoint is known, whatever became of it."""
        return checkpoint in self._replay

    def passes_over(self, checkpoint: Checkpoint) -> bool:
        """Tell whether the chain goes on without a checkpoint, by the policies known.

        A version that extends its own names another keeper, who goes on from before it.
        """
        own = self._policies.get(checkpoint.policy)
        place = self._moved(self._anchor)
        since = keeper_version(place.policy)
        begun = since.policy.checkpoint
        if own is None or begun is None or since.digest == own.digest or since.since(own) is None:
            return False
        number = place.point.number_of(begun)
        return number is not None and checkpoint.number > number

    def can_place(self, checkpoint: PushId) -> bool:
        """Tell whether a push may name a checkpoint: one held, or in the adopted one's past."""
        return self._place.point.number_of(checkpoint) is not None or self.holds(checkpoint)

    @property
    def unfinal(self) -> tuple[Push, ...]:
        """The pushes known that the adopted checkpoint has not taken."""
        return tuple(self._open.values())

    def view(self) -> View:
        """Return what is shown: the adopted checkpoint and the pushes on top of it."""
        if self._view is None:
            point, policy = self._place.point, self._place.policy
            shown = [push for push in self._open.values() if self._is_shown(push)]
            units, unjudged = placeable(point, shown, keeper_since(point, policy))
            self._view = view(point.listing, units, policy, self._evidence, unjudged)
        return self._view

    def nonce(self) -> Nonce:
        """Return what a depot offers now."""
        return nonce_on(self._place.point, min(self.view().highest_shown + 1, MAX_COUNT))

    def proposal(self, *, tagger: bytes, time: int) -> Checkpoint:
        """Return the checkpoint that the keeper signs next.

        Args:
            tagger: who makes it, as git writes people.
            time: now, in seconds.
        """
        if self._place.stopped:
            raise CheckpointError(f"no checkpoint can follow: {self._place.stopped}")
        place = self._place
        made = compose(place.point, self.view(), place.policy, tagger=tagger, time=time)
        self._composed = made
        return made.checkpoint

    @property
    def composed(self) -> Composed | None:
        """The last `proposal`, and what its units came to; None once something else is adopted."""
        return self._composed

    # -- showing

    def _is_shown(self, push: Push) -> bool:
        return self.can_place(push.certificate.nonce.checkpoint)

    def _show(self, push: Push) -> None:
        """Put a push on top of the view if it comes last; otherwise have it made again."""
        if self._view is None or not self._is_shown(push):
            return
        if push.certificate.nonce.count <= self._view.highest:
            self._view = None
            return
        point, policy = self._place.point, self._place.policy
        units, unjudged = placeable(point, [push], keeper_since(point, policy))
        self._view = None if unjudged else extended(self._view, units, self._evidence)

    # -- adoption

    def _settled(self) -> _Place:
        place = self._moved(self._anchor)
        while not place.stopped:
            known = self._replay.followers.get(place.point.id, ())
            following = [point for point in known if self._counts(point, place)]
            if len(following) != 1:
                break
            self._anchor = following[0]
            place = self._moved(self._anchor)
        return place

    def _moved(self, point: Point) -> _Place:
        """Return where a node stands that has adopted ``point``, given the policies known."""
        policy = self._policies.standing(point.policy)
        newest = self._policies.newest(policy)
        mover = last_mover(newest, policy)
        target = _back_to(point, policy) if mover is None else self._begun_by(mover)
        if target is None:
            version = (mover or newest).policy.version
            reason = f"policy {version} goes on from a checkpoint that is not here"
            return _Place(point, newest, mover, reason)
        point = target
        place = _Place(point, newest, mover)
        barring = (twins for twins in self._replay.twins if self._bars(twins, place))
        twins = min(barring, key=lambda twins: (twins.first.number, twins.first.id), default=None)
        if twins is None:
            return place
        return _Place(
            point, newest, mover,
            f"the keeper signed two checkpoints number {twins.first.number}, {twins.first.id} and"
            f" {twins.second.id}: the roots must name another keeper",
        )  # fmt: skip

    def _begun_by(self, mover: PolicyVersion) -> Point | None:
        """Return the checkpoint from which a version has its keeper go on; None if it is not here.

        One under a version that it does not extend counts as none.
        """
        target = self._points.get(mover.policy.checkpoint or mover.id)
        return None if target is None or mover.since(target.policy) is None else target

    def _counts(self, point: Point, place: _Place) -> bool:
        """Tell whether a checkpoint is one of the keeper that counts where a node stands.

        Its policy extends the version that named that keeper and names no other one after it.
        """
        if self._policies.standing(point.policy).digest != point.policy.digest:
            return False
        return is_kept_by(point.policy, keeper_version(place.policy))

    def _bars(self, twins: Twins, place: _Place) -> bool:
        """Tell whether two checkpoints in one place keep a node from adopting further ones."""
        previous = twins.first.previous
        if previous is None or not place.point.has(previous):
            return False
        return self._counts(twins.first, place) and self._counts(twins.second, place)


def _oldest(point: Point) -> Point:
    while point.previous is not None:
        point = point.previous
    return point


def _back_to(point: Point, policy: PolicyVersion) -> Point | None:
    """Return a checkpoint, or the last one before it, whose version ``policy`` is or extends."""
    at: Point | None = point
    while at is not None and policy.since(at.policy) is None:
        at = at.previous
    return at
