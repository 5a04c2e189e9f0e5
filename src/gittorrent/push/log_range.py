"""Which entries of a log somebody is sent who has a part of it, or nothing.

Pure; goes by the `Record` of each entry and reads none of them. Clones believe the keeper for what
was before they came, so they are sent less (docs/protocol/mirrorsync.md, "Logs"). What waits for
something, or was found not to follow, is sent to nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.push.chain import WINDOW
from gittorrent.push.object import PushKind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gittorrent.ids import PushId
    from gittorrent.push.records import Record


def entries_after(
    records: Sequence[Record],
    base: PushId | None,
    *,
    short: bool,
    unshown: Collection[PushId] = (),
) -> list[Record]:
    """Return the entries to send, each after those that it names.

    Args:
        records: of all entries, each after those that it names.
        base: the newest checkpoint that the other one has adopted; None if it has nothing. One
            that was not adopted here counts as nothing.
        short: whether it is a clone's question.
        unshown: pushes that no checkpoint has taken and that are not shown here.
    """
    known = _Known(records, base)
    start = _first_for_newcomers(records) if short and known.place < 0 else 0
    taken_by = {push: r.number for r in records if r.is_in_chain for push in r.pushes}
    taken, untaken, policies = [], [], 0
    for place, record in enumerate(records):
        if record.kind is PushKind.POLICY:
            policies += 1
            if place > known.place or policies > known.version:
                taken.append(record)
        elif record.kind is PushKind.CHECKPOINT:
            is_sent = record.is_in_chain or record.is_aside
            if is_sent and place > known.place and record.number >= start:
                taken.append(record)
        elif record.id not in taken_by:
            if record.id not in unshown:
                untaken.append(record)
        elif not short and taken_by[record.id] > known.number:
            taken.append(record)
    return taken + untaken


def policies_beyond(records: Sequence[Record]) -> list[PushId]:
    """Return the policies if some are held that the newest adopted checkpoint does not name.

    Then it is all of them, so that whoever has other ones than somebody else finds that out, and
    both come to the same however they heard of rivals. While checkpoints name all, it is none.
    """
    policies = [record.id for record in records if record.kind is PushKind.POLICY]
    named = max((record.version for record in records if record.is_in_chain), default=0)
    return policies if len(policies) > named else []


class _Known:
    """How far somebody is who has adopted a checkpoint.

    Tracks its place among the entries, -1 for nowhere, its number, and the version of the policy
    there: what it names stands before it, and so many policies at least.
    """

    def __init__(self, records: Sequence[Record], base: PushId | None) -> None:
        self.place, self.number, self.version = -1, 0, 0
        for place, record in enumerate(records):
            if record.id == base and record.is_in_chain:
                self.place, self.number, self.version = place, record.number, record.version


def _first_for_newcomers(records: Sequence[Record]) -> int:
    """Return the number of the first checkpoint that a new clone needs.

    That is the last one older than the pushes that can still be valid at the newest whole one.
    """
    chain = [record for record in records if record.is_in_chain]
    whole = next((record for record in reversed(chain) if record.is_whole), None)
    if whole is None:
        return 0
    return max((r.number for r in chain if r.time < whole.time - WINDOW), default=0)
