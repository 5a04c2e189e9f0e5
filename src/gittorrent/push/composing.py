"""Writes the checkpoints that a keeper signs: from what a node shows, and the first of a log.

Pure. What `compose` writes is what `gittorrent.push.chain.extend` accepts on top of the same
checkpoint (docs/protocol/trust.md, "Checkpoint").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.push.chain import CheckpointError, Composed
from gittorrent.push.checkpoint import Checkpoint, Copy, Taken
from gittorrent.push.listing import BEGINNING, empty_listing

if TYPE_CHECKING:
    from gittorrent.ids import ObjectFormat, RepositoryId
    from gittorrent.push.chain import Point
    from gittorrent.push.policy_chain import PolicyVersion
    from gittorrent.push.provisional import View


def compose(
    before: Point, view: View, policy: PolicyVersion, *, tagger: bytes, time: int
) -> Composed:
    """Write the checkpoint that takes in exactly what a node shows.

    Args:
        before: the checkpoint that ``view`` is on top of.
        view: what is shown, under ``policy``.
        policy: the version that it names.
        tagger: who makes it, as git writes people.
        time: now, in seconds; the checkpoint's is never below that of ``before``.
    """
    adopted = policy.since(before.policy)
    if adopted is None:
        raise CheckpointError(f"policy {policy.digest} does not extend that of {before.id}")
    pushes = {item.unit.push.id: item.unit.push for item in view.judged}
    touched = [ref for item in view.judged for ref in item.outcome.touched]
    listing, swept = view.listing.sweep(before.first_valid)
    changes = listing.changes_text(before.listing, [*touched, *swept])
    checkpoint = Checkpoint(
        object_format=before.checkpoint.object_format,
        repository=before.checkpoint.repository,
        number=before.number + 1,
        previous=before.id,
        version=policy.policy.version,
        policy=policy.digest,
        adopted=tuple(version.id for version in adopted),
        taken=tuple(
            Taken(item.unit.push.id, item.unit.ref, item.outcome.verdict) for item in view.judged
        ),
        copies=tuple(Copy(push.id, push.copy) for push in pushes.values() if push.certificates),
        head=listing.head,
        head_mark=listing.head_mark,
        state=listing.digest,
        whole=False,
        listing=changes,
        tagger=tagger,
        time=max(time, before.time),
    )
    if before.unlisted + len(changes) >= listing.size:
        checkpoint = replace(checkpoint, whole=True, listing=listing.whole_text())
    return Composed(before, checkpoint, listing, len(changes))


def first_checkpoint(
    repository: RepositoryId,
    policy: PolicyVersion,
    object_format: ObjectFormat,
    *,
    tagger: bytes,
    time: int,
) -> Checkpoint:
    """Write the first checkpoint of a log, which takes nothing in."""
    listing = empty_listing(policy.policy.head)
    return Checkpoint(
        object_format=object_format,
        repository=repository,
        number=1,
        previous=None,
        version=1,
        policy=policy.digest,
        adopted=(policy.id,),
        taken=(),
        copies=(),
        head=listing.head,
        head_mark=BEGINNING,
        state=listing.digest,
        whole=True,
        listing=b"",
        tagger=tagger,
        time=time,
    )
