"""Where a clone begins: the newest whole checkpoint, believed by its keeper's signature.

Pure. Mirrors replay a log from its first checkpoint; a clone would need all old objects for that.
It takes the state from the newest checkpoint with a whole listing, and from the checkpoints of the
last 30 days before it which pushes were taken; those are chained to it by their ids
(docs/protocol/push.md, "Which checkpoint").

Must not be used for a mirror, or for what is to be proved to others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.push.chain import WINDOW, CheckpointError, Point
from gittorrent.push.checkpoint import parse_listing
from gittorrent.push.listing import listing_of
from gittorrent.push.tree_map import TreeMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.push.ledger import SignedCheckpoint
    from gittorrent.push.policy_chain import PolicyVersion


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
    said = last.checkpoint
    policies = _versions(policy)
    if not said.whole or said.policy != policy.digest or said.version != policy.policy.version:
        raise CheckpointError(f"checkpoint {last.id} has no whole listing, or another policy")
    first = chained[0].checkpoint
    if first.number > 1 and first.time >= said.time - WINDOW:
        raise CheckpointError(f"the checkpoints before {last.id} are missing: 30 days are needed")
    taken, numbers, times = TreeMap[int](), TreeMap[int](), TreeMap[int]()
    since = first.number
    for before, signed in zip([None, *chained[:-1]], chained, strict=True):
        checkpoint = signed.checkpoint
        if before is not None:
            _check_next(before, signed)
            if before.signer != signed.signer:
                since = checkpoint.number
        version = policies.get(checkpoint.policy)
        if version is None or version.policy.keeper != signed.signer:
            raise CheckpointError(f"checkpoint {signed.id} is not by the keeper of its policy")
        for push in checkpoint.pushes:
            taken = taken.set(push.encode("ascii"), checkpoint.number)
        numbers = numbers.set(signed.id.encode("ascii"), checkpoint.number)
        times = times.set(checkpoint.number.to_bytes(8, "big"), checkpoint.time)
    entries = parse_listing(said.listing, said.object_format)
    listing = listing_of(said.head, said.head_mark, entries)
    if listing.digest != said.state:
        raise CheckpointError(f"checkpoint {last.id} lists other refs than its digest is of")
    return Point(
        id=last.id,
        checkpoint=said,
        policy=policy,
        listing=listing,
        taken=taken,
        numbers=numbers,
        times=times,
        keeper_since=since,
        unlisted=0,
        previous=None,
        oldest=first.number,
    )


def _versions(policy: PolicyVersion) -> dict[str, PolicyVersion]:
    found = {}
    at: PolicyVersion | None = policy
    while at is not None:
        found[at.digest] = at
        at = at.previous
    return found


def _check_next(before: SignedCheckpoint, signed: SignedCheckpoint) -> None:
    one, other = before.checkpoint, signed.checkpoint
    if (
        other.previous != before.id
        or other.number != one.number + 1
        or other.repository != one.repository
        or other.time < one.time
    ):
        raise CheckpointError(f"checkpoint {signed.id} is not the next one after {before.id}")
