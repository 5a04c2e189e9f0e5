"""How a checkpoint follows from the one before, replayed push by push or believed.

Pure. A `Point` is a checkpoint that was replayed, with the state it comes to. Points are immutable
and share what did not change, so a node keeps one for each checkpoint and can go back to any. What
`extend` accepts is signed by the keeper its policy names, takes its pushes in by the rule, and
says of each what the rule says; what `follow` accepts is only believed to
(docs/protocol/trust.md, "Checkpoint" and "The rule").

Signatures were verified before (`gittorrent.push.signed`); ids are computed by git and handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.errors import TrustError
from gittorrent.push.certificate import Nonce
from gittorrent.push.checkpoint import Checkpoint, parse_changes, parse_listing
from gittorrent.push.listing import BEGINNING, Age, Listing, empty_listing, listing_of
from gittorrent.push.policy_chain import PolicyVersion, last_mover
from gittorrent.push.rule import Push, Reason, Standing, Unit, UnknownObjectError, judge, units_of
from gittorrent.push.tree_map import TreeMap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gittorrent.ids import PushId, RefName
    from gittorrent.push.rule import Evidence
    from gittorrent.trust.keys import KeyRef

WINDOW = 30 * 86400
"""Seconds for which a checkpoint can be pushed on after the next one: long uploads, laptops."""


class CheckpointError(TrustError):
    """A checkpoint does not follow from the one before."""


class Older(Struct, frozen=True):
    """What is known of the checkpoints up to the one that a log was begun at.

    It is the same for all points after that, so it need not be a map that is never changed.

    Args:
        numbers: by push id.
        taken: numbers of those that took pushes, by the pushes' ids.
        times: in seconds, by number.
        begins: the lowest number known; above 1 where a clone began later.
    """

    numbers: Mapping[PushId, int]
    taken: Mapping[PushId, int]
    times: Mapping[int, int]
    begins: int = 1


class Point(Struct, frozen=True):
    """A checkpoint that holds, and the state there.

    Args:
        id: its push id.
        checkpoint: what it says.
        policy: the version in force.
        listing: the state.
        taken: numbers of the checkpoints that took pushes, by push id; as far as not in ``older``,
            and so are the next two.
        numbers: numbers of all checkpoints up to here, by id.
        times: their times in seconds, by number.
        keeper_since: number of the first checkpoint of the keeper in force.
        unlisted: bytes of changes since the last whole listing.
        previous: the checkpoint before; None where this node began.
        older: what is known besides, of the checkpoints up to where the log was begun.
    """

    id: PushId
    checkpoint: Checkpoint
    policy: PolicyVersion
    listing: Listing
    taken: TreeMap[int]
    numbers: TreeMap[int]
    times: TreeMap[int]
    keeper_since: int
    unlisted: int
    previous: Point | None
    older: Older = Older({}, {}, {})

    @property
    def number(self) -> int:
        """Its place in the chain, from 1."""
        return self.checkpoint.number

    @property
    def time(self) -> int:
        """Its time in seconds."""
        return self.checkpoint.time

    @property
    def keeper(self) -> KeyRef:
        """Who signed it."""
        return self.policy.policy.keeper

    def has(self, other: Point) -> bool:
        """Tell whether ``other`` is this one or one before it, as far back as can be told."""
        return self.number_of(other.id) is not None

    def number_of(self, checkpoint: PushId) -> int | None:
        """Return the number of a checkpoint of the chain up to here; None if it is none."""
        found = self.numbers.get(checkpoint.encode("ascii"))
        return self.older.numbers.get(checkpoint) if found is None else found

    def took(self, push: PushId) -> int | None:
        """Return the number of the checkpoint that took a push; None if none did."""
        found = self.taken.get(push.encode("ascii"))
        return self.older.taken.get(push) if found is None else found

    def standing(self, push: Push, since: int) -> Standing:
        """Tell where a push stands that the next checkpoint could take.

        Args:
            push: the push.
            since: number of the first checkpoint of the keeper that signs the next one.

        Raises:
            UnknownObjectError: it names a checkpoint that may be older than all that is known
                here, or none of the chain: then it would be good.
        """
        nonce = push.certificate.nonce
        number = self.number_of(nonce.checkpoint)
        if number is None:
            number = max(since - 1, 1)
            if self.older.begins > 1 and number >= self.first_valid:
                raise UnknownObjectError(f"nothing is known here of checkpoint {nonce.checkpoint}")
        time = self._time_of(min(number, self.number))
        refusal = None
        if self.took(push.id) is not None:
            refusal = Reason.TAKEN
        elif number < self.first_valid:
            refusal = Reason.TOO_OLD
        return Standing(Age(number, nonce.count), time, refusal)

    @property
    def first_valid(self) -> int:
        """The lowest number of a checkpoint that the pushes of the next one may name."""
        low, high = self.older.begins, self.number
        while low < high:
            middle = (low + high) // 2
            if self._time_of(middle + 1) < self.time - WINDOW:
                low = middle + 1
            else:
                high = middle
        return low

    def _time_of(self, number: int) -> int:
        time = self.times.get(_key(number))
        if time is None:
            time = self.older.times.get(number)
        return self.time if time is None else time


class Composed(Struct, frozen=True):
    """A checkpoint that was written here from a view, and what the units in it came to there.

    The view judged them by the rule, in the order in which the checkpoint takes them.

    Args:
        before: the checkpoint that it follows.
        checkpoint: what it says.
        listing: the state that it comes to.
        size: bytes of the changes.
    """

    before: Point
    checkpoint: Checkpoint
    listing: Listing
    size: int

    def is_of(self, before: Point, checkpoint: Checkpoint) -> bool:
        """Tell whether a checkpoint says exactly this, on top of this very point."""
        return before is self.before and checkpoint == self.checkpoint


class KnownPolicies(Protocol):
    """Where the policies are that a checkpoint names."""

    def policy_version(self, digest: str) -> PolicyVersion | None:
        """Return a policy version that is known and verified."""


class Log(KnownPolicies, Protocol):
    """Where the pushes and policies are that a checkpoint names."""

    def push_copy(self, push: PushId, digest: str) -> Push | None:
        """Return a push that is known, in the copy with these certificates; "" for none."""


def begin(push: PushId, checkpoint: Checkpoint, signer: KeyRef, policy: PolicyVersion) -> Point:
    """Judge the first checkpoint of a log.

    Args:
        push: its id.
        checkpoint: what it says.
        signer: who signed it.
        policy: version 1.

    Raises:
        CheckpointError: it is not the first checkpoint of that repository.
    """
    listing = empty_listing(policy.policy.head)
    expected = replace(
        checkpoint, number=1, previous=None, version=1, policy=policy.digest,
        adopted=(policy.id,), taken=(), copies=(), head=listing.head, head_mark=BEGINNING,
        state=listing.digest, listing=b"",
    )  # fmt: skip
    if checkpoint != expected or policy.policy.version != 1:
        raise CheckpointError(f"checkpoint {push} is not the beginning of this log")
    _check_signer(push, signer, policy)
    return Point(
        id=push,
        checkpoint=checkpoint,
        policy=policy,
        listing=listing,
        taken=TreeMap(),
        numbers=TreeMap[int]().set(push.encode("ascii"), 1),
        times=TreeMap[int]().set(_key(1), checkpoint.time),
        keeper_since=1,
        unlisted=0,
        previous=None,
    )


def extend(
    before: Point,
    push: PushId,
    checkpoint: Checkpoint,
    signer: KeyRef,
    log: Log,
    evidence: Evidence,
    composed: Composed | None = None,
) -> Point:
    """Replay a checkpoint on top of the one before.

    One that was composed here is not replayed again: what it takes in was judged for the view that
    it was written from, by the same evidence.

    Args:
        before: the checkpoint that it names as previous.
        push: its id.
        checkpoint: what it says.
        signer: who signed it.
        log: has every push and policy that it names.
        evidence: facts about objects and keys.
        composed: what was composed here last, by this evidence; passed over if it is another.

    Raises:
        CheckpointError: it does not follow; the message says where.
        UnknownObjectError: that cannot be said here, for want of an object.
    """
    policy = _policy_of(before, push, checkpoint, log)
    _check_signer(push, signer, policy)
    if composed is not None and composed.is_of(before, checkpoint):
        return _next_point(before, push, checkpoint, policy, composed.listing, composed.size)
    since = keeper_since(before, policy)
    listing, touched = _replay(before, push, checkpoint, policy, since, log, evidence)
    size = _check_listing(before, push, checkpoint, listing, touched)
    return _next_point(before, push, checkpoint, policy, listing, size)


def follow(
    before: Point, push: PushId, checkpoint: Checkpoint, signer: KeyRef, log: KnownPolicies
) -> Point:
    """Believe a checkpoint on top of the one before, by its keeper's signature.

    What it says of the state must still be consistent: its listing applied to the one before gives
    its digest. Whether its pushes come to that, nobody asked.

    Args:
        before: the checkpoint that it names as previous.
        push: its id.
        checkpoint: what it says.
        signer: who signed it.
        log: has every policy that it names.

    Raises:
        CheckpointError: it is not the next one of the keeper, or contradicts itself.
        TrustError: its listing breaks the grammar.
    """
    policy = _policy_of(before, push, checkpoint, log)
    _check_signer(push, signer, policy)
    listing = _listed(before, push, checkpoint)
    if checkpoint.state != listing.digest:
        raise CheckpointError(f"checkpoint {push} lists other refs than its digest is of")
    return _next_point(before, push, checkpoint, policy, listing, len(checkpoint.listing))


def _listed(before: Point, push: PushId, checkpoint: Checkpoint) -> Listing:
    """Return the state that a checkpoint lists."""
    head, mark, text = checkpoint.head, checkpoint.head_mark, checkpoint.listing
    if checkpoint.whole:
        return listing_of(head, mark, parse_listing(text, checkpoint.object_format))
    listing = before.listing.with_head(head, mark)
    entries = parse_changes(text, checkpoint.object_format)
    for entry in entries:
        listing = listing.with_entry(entry)
    if any(entry.value is not None and listing.clashes(entry.ref) for entry in entries):
        raise CheckpointError(f"checkpoint {push} lists a ref that is a directory of another")
    return listing


def _next_point(
    before: Point,
    push: PushId,
    checkpoint: Checkpoint,
    policy: PolicyVersion,
    listing: Listing,
    size: int,
) -> Point:
    taken = before.taken
    for item in checkpoint.pushes:
        taken = taken.set(item.encode("ascii"), checkpoint.number)
    return Point(
        id=push,
        checkpoint=checkpoint,
        policy=policy,
        listing=listing,
        taken=taken,
        numbers=before.numbers.set(push.encode("ascii"), checkpoint.number),
        times=before.times.set(_key(checkpoint.number), checkpoint.time),
        keeper_since=keeper_since(before, policy),
        unlisted=0 if checkpoint.whole else before.unlisted + size,
        previous=before,
        older=before.older,
    )


def nonce_on(point: Point, count: int) -> Nonce:
    """Return the nonce of a push on top of a checkpoint."""
    return Nonce(point.checkpoint.repository, point.id, count)


def units_on(before: Point, pushes: Iterable[Push], since: int) -> list[Unit]:
    """Return the units of pushes that could be taken next, refused ones included."""
    return [unit for push in pushes for unit in units_of(push, before.standing(push, since))]


def placeable(
    before: Point, pushes: Iterable[Push], since: int
) -> tuple[list[Unit], tuple[Push, ...]]:
    """Return the units of pushes as `units_on` does, and the pushes of which it cannot be said."""
    units: list[Unit] = []
    unknown = []
    for push in pushes:
        try:
            units += units_on(before, [push], since)
        except UnknownObjectError:
            unknown.append(push)
    return units, tuple(unknown)


def keeper_since(before: Point, policy: PolicyVersion) -> int:
    """Return the number of the first checkpoint of ``policy``'s keeper: the next one's or older."""
    moved = last_mover(policy, before.policy) is not None
    return before.number + 1 if moved else before.keeper_since


def _policy_of(
    before: Point, push: PushId, checkpoint: Checkpoint, log: KnownPolicies
) -> PolicyVersion:
    if (
        checkpoint.previous != before.id
        or checkpoint.number != before.number + 1
        or checkpoint.repository != before.checkpoint.repository
        or checkpoint.time < before.time
    ):
        raise CheckpointError(f"checkpoint {push} is not the next one after {before.id}")
    policy = log.policy_version(checkpoint.policy)
    if policy is None or policy.policy.version != checkpoint.version:
        raise CheckpointError(f"checkpoint {push} names a policy that is not known")
    adopted = policy.since(before.policy)
    if adopted is None or tuple(version.id for version in adopted) != checkpoint.adopted:
        raise CheckpointError(f"checkpoint {push} names a policy that does not extend the last")
    mover = last_mover(policy, before.policy)
    if mover is not None and mover.policy.checkpoint != before.id:
        raise CheckpointError(
            f"checkpoint {push} follows {before.id}, and its keeper goes on from"
            f" {mover.policy.checkpoint}"
        )
    return policy


def _check_signer(push: PushId, signer: KeyRef, policy: PolicyVersion) -> None:
    if signer != policy.policy.keeper:
        raise CheckpointError(
            f"checkpoint {push} is signed by {signer}, and the keeper is {policy.policy.keeper}"
        )


def _replay(
    before: Point,
    push: PushId,
    checkpoint: Checkpoint,
    policy: PolicyVersion,
    since: int,
    log: Log,
    evidence: Evidence,
) -> tuple[Listing, list[RefName]]:
    """Apply the units that a checkpoint names; return the state and what may differ."""
    units = _units(before, push, checkpoint, since, log)
    listing = before.listing
    touched: list[RefName] = []
    for item, unit in zip(checkpoint.taken, units, strict=True):
        outcome = judge(listing, unit, policy.policy, evidence)
        if outcome.verdict is not item.verdict:
            raise CheckpointError(
                f"checkpoint {push} says that push {item.push} is {item.verdict.value}, by the"
                f" rule it is {outcome.verdict.value}"
            )
        listing = outcome.listing
        touched += outcome.touched
    listing, swept = listing.sweep(before.first_valid)
    return listing, [*touched, *swept]


def _units(before: Point, push: PushId, checkpoint: Checkpoint, since: int, log: Log) -> list[Unit]:
    """Return the units named, in order; all of each push or none."""
    known: dict[tuple[PushId, RefName | None], Unit] = {}
    for name, copy in checkpoint.push_copies.items():
        found = log.push_copy(name, copy)
        if found is None:
            raise CheckpointError(f"checkpoint {push} takes in push {name}, which is not here")
        for unit in units_of(found, before.standing(found, since)):
            known[(name, unit.ref)] = unit
    units = [known.pop((item.push, item.ref), None) for item in checkpoint.taken]
    if known or None in units:
        raise CheckpointError(f"checkpoint {push} takes in parts of a push, or what it has not")
    return [unit for unit in units if unit is not None]


def _check_listing(
    before: Point,
    push: PushId,
    checkpoint: Checkpoint,
    listing: Listing,
    touched: Sequence[RefName],
) -> int:
    """Check what a checkpoint says of the state; return the bytes of the changes."""
    if (checkpoint.head, checkpoint.head_mark) != (listing.head, listing.head_mark):
        raise CheckpointError(f"checkpoint {push} has another HEAD than its pushes come to")
    if checkpoint.state != listing.digest:
        raise CheckpointError(f"checkpoint {push} has another state than its pushes come to")
    text = listing.whole_text() if checkpoint.whole else None
    changes = listing.changes_text(before.listing, touched)
    if checkpoint.listing != (changes if text is None else text):
        raise CheckpointError(f"checkpoint {push} lists other refs than its pushes come to")
    return len(changes)


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")
