"""Where a log begins that is not replayed from its first checkpoint.

Pure. A clone takes the state from the newest checkpoint with a whole listing, believed by its
keeper's signature, and from the checkpoints of the last 30 days before it which pushes were taken;
those are chained to it by their ids (docs/protocol/trust.md, "What clones verify"). A node that
verified a log before takes both from what it kept.

Must not be used for what is to be proved to others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.push.chain import WINDOW, CheckpointError, Older, Point, begin
from gittorrent.push.checkpoint import parse_listing
from gittorrent.push.listing import listing_of
from gittorrent.push.policy_chain import is_kept_by, keeper_version, last_mover, replaced_by
from gittorrent.push.records import Held, record_of
from gittorrent.push.tree_map import TreeMap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gittorrent.ids import PushId
    from gittorrent.push.chain import KnownPolicies
    from gittorrent.push.policies import Policies
    from gittorrent.push.policy_chain import PolicyVersion
    from gittorrent.push.records import Record
    from gittorrent.push.replay import SignedCheckpoint


def point_from(chained: Sequence[SignedCheckpoint], policy: PolicyVersion) -> Point:
    """Return the state at a whole checkpoint without replaying what led to it.

    Args:
        chained: checkpoints in order, each the one before the next, with verified signatures; the
            last has the whole listing, and the first is number 1 or more than 30 days older.
        policy: the version that the last one names, verified.

    Raises:
        CheckpointError: they do not hang together, or the last does not say what it is.
    """
    last = chained[-1]
    policies = _versions(policy)
    if not last.checkpoint.whole:
        raise CheckpointError(f"checkpoint {last.id} has no whole listing")
    first = chained[0].checkpoint
    if first.number > 1 and first.time >= last.checkpoint.time - WINDOW:
        raise CheckpointError(f"the checkpoints before {last.id} are missing: 30 days are needed")
    for before, signed in zip([None, *chained[:-1]], chained, strict=True):
        if before is not None:
            _check_next(before, signed)
        version = policies.get(signed.checkpoint.policy)
        if version is None or version.policy.keeper != signed.signer:
            raise CheckpointError(f"checkpoint {signed.id} is not by the keeper of its policy")
    return point_at(last, policy, [record_of(one, Held.FOLLOWED) for one in chained])


def point_at(signed: SignedCheckpoint, policy: PolicyVersion, chain: Sequence[Record]) -> Point:
    """Return the state at a checkpoint that has the whole listing.

    Args:
        signed: the checkpoint.
        policy: the version that it names.
        chain: records of the checkpoints up to this one, as many as can still be named.

    Raises:
        CheckpointError: the checkpoint names another policy, or its digest is of other refs.
        TrustError: the listing breaks the grammar.
    """
    said = signed.checkpoint
    if said.policy != policy.digest or said.version != policy.policy.version:
        raise CheckpointError(f"checkpoint {signed.id} names another policy")
    found = listing_of(said.head, said.head_mark, parse_listing(said.listing, said.object_format))
    if found.digest != said.state:
        raise CheckpointError(f"checkpoint {signed.id} lists other refs than its digest is of")
    return Point(
        id=signed.id,
        checkpoint=said,
        policy=policy,
        listing=found,
        taken=TreeMap(),
        numbers=TreeMap(),
        times=TreeMap(),
        keeper_since=_keeper_since(policy, chain),
        unlisted=0,
        previous=None,
        older=older_of(chain),
    )


def older_of(chain: Sequence[Record]) -> Older:
    """Return what is known of the checkpoints that these are records of."""
    return Older(
        numbers={record.id: record.number for record in chain},
        taken={push: record.number for record in chain for push in record.pushes},
        times={record.number: record.time for record in chain},
        begins=chain[0].number,
    )


def _keeper_since(policy: PolicyVersion, chain: Sequence[Record]) -> int:
    """Return the number of the first checkpoint of the keeper in force, or the first known."""
    oldest = policy
    while oldest.previous is not None:
        oldest = oldest.previous
    mover = last_mover(policy, oldest)
    since = 1 if mover is None else mover.policy.version
    return next(record.number for record in chain if record.version >= since)


def _versions(policy: PolicyVersion) -> dict[str, PolicyVersion]:
    found = {}
    at: PolicyVersion | None = policy
    while at is not None:
        found[at.digest] = at
        at = at.previous
    return found


class NoBeginningError(TrustError):
    """A log that was sent cannot be begun."""


def beginning(
    checkpoints: Mapping[PushId, SignedCheckpoint], policies: Policies, *, short: bool
) -> tuple[Point, list[Record]]:
    """Return where a log begins that was never held before.

    Args:
        checkpoints: those at hand, with verified signatures.
        policies: of the log.
        short: whether it may begin at a whole checkpoint, believed by its signature.

    Returns:
        The state there, and the records of the checkpoints before it, in order.

    Raises:
        NoBeginningError: those at hand do not suffice.
        CheckpointError: they do not hang together.
    """
    first = next((one for one in checkpoints.values() if one.checkpoint.number == 1), None)
    chain = [] if first is None else [first]
    if short and (newest := _newest_policy(checkpoints, policies)) is not None:
        chain = newest_chain(checkpoints, policies, newest)
    if not chain:
        raise NoBeginningError(
            "the log that was sent begins neither with its first checkpoint nor with a whole one"
            " and those of the 30 days before it",
            hint="get it from another mirror",
        )
    last = chain[-1]
    policy = policies.policy_version(last.checkpoint.policy)
    if policy is None:
        raise NoBeginningError(f"checkpoint {last.id} names a policy that was not sent")
    if last.checkpoint.number == 1:
        return begin(last.id, last.checkpoint, last.signer, policy), []
    below = [record_of(signed, Held.FOLLOWED) for signed in chain[:-1]]
    return point_from(chain, policy), below


def newest_chain(
    checkpoints: Mapping[PushId, SignedCheckpoint], policies: KnownPolicies, policy: PolicyVersion
) -> list[SignedCheckpoint]:
    """Return what `point_from` wants, for the newest checkpoint it can be done for.

    Args:
        checkpoints: those at hand, with verified signatures.
        policies: of the log.
        policy: the newest version that counts; what a keeper before its own signed on its own
            does not, nor what is signed under a rival.

    Returns:
        The checkpoints, in order; empty if those at hand do not suffice.
    """
    at = _newest(checkpoints, policies, policy)
    path: list[SignedCheckpoint] = []
    while at is not None:
        path.append(at)
        at = checkpoints.get(at.checkpoint.previous) if at.checkpoint.previous else None
    for place, signed in enumerate(path):
        if signed.checkpoint.whole:
            past = path[place:]
            since = signed.checkpoint.time - WINDOW
            enough = next((n for n, one in enumerate(past) if one.checkpoint.time < since), None)
            if enough is not None:
                return past[enough::-1]
            if past[-1].checkpoint.number == 1:
                return past[::-1]
    return []


def _newest_policy(
    checkpoints: Mapping[PushId, SignedCheckpoint], policies: Policies
) -> PolicyVersion | None:
    """Return the newest version that counts; of rivals the one that their keeper named does."""
    named = set()
    for signed in checkpoints.values():
        at = policies.policy_version(signed.checkpoint.policy)
        while at is not None and at.policy.keeper == signed.signer and at.digest not in named:
            named.add(at.digest)
            at = at.previous
    found, replaced = policies.first, replaced_by(policies.versions)
    while found is not None:
        following = [version for version in policies.versions if version.previous is found]
        following = [version for version in following if version.digest not in replaced]
        if len(following) > 1:
            following = [version for version in following if version.digest in named]
        if len(following) != 1:
            break
        found = following[0]
    return found


def _newest(
    checkpoints: Mapping[PushId, SignedCheckpoint], policies: KnownPolicies, policy: PolicyVersion
) -> SignedCheckpoint | None:
    """Return the last checkpoint of the keeper in force, or the one that its own begin from."""
    since = keeper_version(policy)
    counting = []
    for signed in checkpoints.values():
        version = policies.policy_version(signed.checkpoint.policy)
        # Such a version extends what counts, or what counts extends it: rivals do neither.
        if version is not None and is_kept_by(version, since) and _are_in_line(version, policy):
            counting.append(signed)
    if counting:
        return max(counting, key=lambda one: (one.checkpoint.number, one.id))
    named = since.policy.checkpoint
    return None if named is None else checkpoints.get(named)


def _are_in_line(one: PolicyVersion, other: PolicyVersion) -> bool:
    return one.since(other) is not None or other.since(one) is not None


def _check_next(before: SignedCheckpoint, signed: SignedCheckpoint) -> None:
    one, other = before.checkpoint, signed.checkpoint
    if (
        other.previous != before.id
        or other.number != one.number + 1
        or other.repository != one.repository
        or other.time < one.time
    ):
        raise CheckpointError(f"checkpoint {signed.id} is not the next one after {before.id}")
