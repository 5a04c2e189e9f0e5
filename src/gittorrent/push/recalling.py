"""Begins a log again with what was verified before, and says what has to be kept for that.

Pure. A ledger is begun at a whole checkpoint that is old enough for all that is still open:
checkpoints aside of the chain that was adopted, a policy that goes on from an earlier one. From
there on the checkpoints adopted are followed, which their signatures and their replay allow:
both were verified when they were adopted.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.push.chain import WINDOW, follow
from gittorrent.push.entries import KeptEntryError
from gittorrent.push.ledger import Ledger
from gittorrent.push.object import PushKind
from gittorrent.push.policy_chain import keeper_version
from gittorrent.push.records import Held, Record, record_of
from gittorrent.push.replay import SignedCheckpoint
from gittorrent.push.starting import older_of, point_at

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gittorrent.ids import PushId
    from gittorrent.push.chain import Point
    from gittorrent.push.entries import Entries
    from gittorrent.push.listing import Listing
    from gittorrent.push.policies import Policies
    from gittorrent.push.rule import Evidence, Push
    from gittorrent.push.snapshot import Snapshot


class Begun(Struct, frozen=True):
    """A ledger, and records of the adopted checkpoints before the first that it has, in order."""

    ledger: Ledger
    below: list[Record]


def begin_kept(
    entries: Entries,
    policies: Policies,
    evidence: Evidence,
    records: Sequence[Record],
    *,
    until: int | None = None,
    followed: Collection[PushId] = (),
    snapshot: Snapshot | None = None,
) -> Begun | None:
    """Begin with what was verified before.

    Args:
        entries: those that ``records`` are of.
        policies: of the log.
        evidence: facts about objects and keys.
        records: what was kept.
        until: number of a checkpoint that must be among those of the ledger.
        followed: checkpoints that are to be replayed when that can be done.
        snapshot: of an adopted checkpoint.

    Returns:
        The ledger; None if no checkpoint was adopted yet.

    Raises:
        TrustError: what was kept does not hang together.
    """
    chain = adopted_in(records)
    if not chain:
        return None
    since = 1 if until is not None else _keeper_version(entries, policies, chain[-1])
    aside = [record for record in records if record.is_aside and record.version >= since]
    waiting = [record for record in records if record.held is Held.WAITING]
    wanted = [record.number - 1 for record in (*aside, *waiting)]
    base = min([chain[-1].number, *wanted, *([] if until is None else [until])])
    start = _base_in(chain, base)
    place = -1 if snapshot is None else _place_of(chain, snapshot, base)
    if place < start:
        place, snapshot = start, None
    if place < 0:
        raise KeptEntryError("no whole checkpoint is kept to begin with")
    point = _followed(entries, policies, chain, place, snapshot)
    ledger = Ledger(point, evidence, followed)
    for version in policies.versions:
        ledger.add_policy(version)
    _tell_aside(ledger, entries, records, aside)
    for record in records:
        if record.held is Held.REFUTED:
            ledger.add_refuted(record.id, "it was found not to follow before")
    for record in waiting:
        ledger.add_checkpoint(entries.checkpoint(record.id))
    taken = [record for record in chain if until is None or record.number <= until]
    for push in (*entries.pushes_not_in(taken), *entries.known_pushes):
        ledger.add_push(push)
    ledger.settle()
    oldest = _oldest(point)
    return Begun(ledger, [record for record in chain if record.number < oldest])


def _tell_aside(
    ledger: Ledger, entries: Entries, records: Sequence[Record], aside: Sequence[Record]
) -> None:
    """Tell a ledger of the checkpoints that hold beside those adopted.

    Args:
        ledger: it.
        entries: of the log.
        records: of all entries.
        aside: those that something can still go on from.
    """
    for record in aside:
        ledger.add_checkpoint(entries.checkpoint(record.id))
    ledger.settle(short=True)
    for record in records:
        if record.is_aside and ledger.point(record.id) is None:
            ledger.add_aside(record.id)
        elif record.held is Held.ASIDE:
            ledger.add_replayed(record.id)


def earlier_needed(begun: Begun, entries: Entries) -> int | None:
    """Return the number of an adopted checkpoint that a ledger must have that asks for one kept."""
    below = {record.id: record.number for record in begun.below}
    numbers = []
    for entry in begun.ledger.missing:
        record = entries.records.get(entry)
        if entry in below:
            numbers.append(below[entry])
        elif record is not None and record.is_aside:
            numbers += [r.number - 1 for r in entries.records.values() if r.is_aside]
    number = min(numbers, default=None)
    if number is None or _base_in(begun.below, number) < 0:
        return None
    return number


def pushes_needed(begun: Begun, entries: Entries, before: Point) -> list[Push]:
    """Return pushes that are kept, that the ledger was not told of, and that it needs now.

    Args:
        begun: the ledger.
        entries: of the log.
        before: the checkpoint that was adopted last; what it took may have to be shown again.
    """
    ledger = begun.ledger
    wanted = set(ledger.lacking)
    at: Point | None = before
    while at is not None and not ledger.adopted.has(at):
        wanted.update(at.checkpoint.pushes)
        at = at.previous
    return [
        entries.push(push)
        for push in entries.of_kind(PushKind.CERTIFICATE)
        if push in wanted and ledger.push(push) is None
    ]


def listing_at(
    entries: Entries, policies: Policies, chain: Sequence[Record], number: int
) -> Listing:
    """Return the state at an adopted checkpoint, by following from the last whole one before it.

    Args:
        entries: of the log.
        policies: of the log.
        chain: records of the checkpoints adopted, in order.
        number: of the checkpoint.

    Raises:
        TrustError: there is none, or what was kept does not hang together.
    """
    until = [record for record in chain if record.number <= number]
    start = max((place for place, r in enumerate(until) if r.is_whole), default=-1)
    if start < 0:
        raise KeptEntryError(f"no whole checkpoint up to number {number} is kept")
    return _followed(entries, policies, until, start, None).listing


def adopted_in(records: Sequence[Record]) -> list[Record]:
    """Return the checkpoints among them that were adopted, in the order of their numbers."""
    return sorted((r for r in records if r.is_in_chain), key=lambda record: record.number)


def adopted_by(begun: Begun | None, entries: Entries) -> list[Record]:
    """Return records of the checkpoints that are adopted now, in order."""
    if begun is None:
        return []
    found = []
    at: Point | None = begun.ledger.adopted
    followed = begun.ledger.followed
    while at is not None:
        before = entries.records.get(at.id)
        was_followed = before is not None and before.held is Held.FOLLOWED
        held = Held.FOLLOWED if was_followed or at.id in followed else Held.ADOPTED
        found.append(record_of(SignedCheckpoint(at.id, at.checkpoint, at.keeper), held))
        at = at.previous
    return [*begun.below, *reversed(found)]


def records_of(begun: Begun | None, entries: Entries) -> list[Record]:
    """Return what to keep of all entries, in their order."""
    adopted = {record.id: record for record in adopted_by(begun, entries)}
    ledger = None if begun is None else begun.ledger
    found = []
    for entry, kind in entries.kinds.items():
        if kind is not PushKind.CHECKPOINT:
            found.append(entries.records.get(entry) or Record(entry, kind))
        elif entry in adopted:
            found.append(adopted[entry])
        else:
            found.append(_record_aside(entries, ledger, entry))
    return found


def records_since(entries: Entries, count: int) -> list[Record]:
    """Return what to keep of the entries after the first ones, where all checkpoints are adopted.

    Args:
        entries: all of them.
        count: how many are passed over.
    """
    found = []
    for entry in islice(reversed(entries.kinds), len(entries.kinds) - count):
        kind = entries.kinds[entry]
        if kind is PushKind.CHECKPOINT:
            found.append(record_of(entries.checkpoint(entry), Held.ADOPTED))
        else:
            found.append(Record(entry, kind))
    return found[::-1]


def _record_aside(entries: Entries, ledger: Ledger | None, entry: PushId) -> Record:
    before = entries.records.get(entry)
    if ledger is None or (before is not None and ledger.is_aside(entry)):
        return before or record_of(entries.checkpoint(entry), Held.WAITING)
    if ledger.point(entry) is not None:
        held = Held.ASIDE_FOLLOWED if entry in ledger.followed else Held.ASIDE
    else:
        held = Held.REFUTED if entry in ledger.refuted else Held.WAITING
    if before is not None:
        return replace(before, held=held)
    return record_of(entries.checkpoint(entry), held)


def _followed(
    entries: Entries,
    policies: Policies,
    chain: Sequence[Record],
    start: int,
    snapshot: Snapshot | None,
) -> Point:
    """Return the state at the last of a chain, from a whole listing at one place of it on."""
    signed = entries.checkpoint(chain[start].id)
    policy = policies.policy_version(signed.checkpoint.policy)
    if policy is None:
        raise KeptEntryError(f"checkpoint {signed.id} names a policy that is not kept")
    known = chain[: start + 1]
    if snapshot is not None:
        point = replace(snapshot.point(signed, policy), older=older_of(known))
    else:
        point = point_at(signed, policy, known)
    for record in chain[start + 1 :]:
        signed = entries.checkpoint(record.id)
        point = follow(point, signed.id, signed.checkpoint, signed.signer, policies)
    return point


def _base_in(chain: Sequence[Record], number: int) -> int:
    """Return the place of the last whole checkpoint up to a number, or else of the first after it.

    It must have all before it that pushes on it can name, which a clone has since it began; -1 if
    there is none.
    """
    places = [
        place
        for place, record in enumerate(chain)
        if record.is_whole and (chain[0].number == 1 or chain[0].time < record.time - WINDOW)
    ]
    before = [place for place in places if chain[place].number <= number]
    return max(before, default=min(places, default=-1))


def _keeper_version(entries: Entries, policies: Policies, record: Record) -> int:
    """Return the number of the policy version that named the keeper of a checkpoint."""
    version = policies.policy_version(entries.checkpoint(record.id).checkpoint.policy)
    return 1 if version is None else keeper_version(version).policy.version


def _place_of(chain: Sequence[Record], snapshot: Snapshot, base: int) -> int:
    """Return the place in ``chain`` of the checkpoint that a snapshot is of; -1 beyond ``base``."""
    for place in range(len(chain) - 1, -1, -1):
        if chain[place].id == snapshot.checkpoint:
            return place if chain[place].number <= base else -1
    return -1


def _oldest(point: Point) -> int:
    while point.previous is not None:
        point = point.previous
    return point.number
