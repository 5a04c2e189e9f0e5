"""Which entries of a log somebody is sent who has a part of it, or nothing.

Pure; goes by the `Record` of each entry and reads none of them. Clones believe the keeper for what
was before they came, so they are sent less (docs/protocol/mirrorsync.md, "Logs").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.push.chain import WINDOW
from gittorrent.push.object import PushKind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gittorrent.ids import PushId
    from gittorrent.push.log import Record


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
    start = 0
    if short and not known.number:
        start = _first_for_newcomers(records)
    taken, untaken = [], []
    for place, record in enumerate(records):
        if known.has(place, record):
            continue
        if record.kind is PushKind.CERTIFICATE and not record.number:
            if record.id not in unshown:
                untaken.append(record)
        elif not short or _is_for_clones(record, start):
            taken.append(record)
    return taken + untaken


class _Known:
    """What of a log somebody has who has adopted a checkpoint."""

    def __init__(self, records: Sequence[Record], base: PushId | None) -> None:
        self._place = -1
        self._version = 0
        self.number = 0
        if base is None:
            return
        for place, record in enumerate(records):
            if record.id == base and record.is_adopted:
                self._place, self._version, self.number = place, record.version, record.number

    def has(self, place: int, record: Record) -> bool:
        """Tell whether an entry is in the past of the checkpoint, or was proof before it."""
        if place > self._place:
            return False
        if record.kind is PushKind.CERTIFICATE:
            return 0 < record.number <= self.number
        if record.kind is PushKind.POLICY:
            return record.number <= self._version
        return True


def _first_for_newcomers(records: Sequence[Record]) -> int:
    """Return the number of the first checkpoint that a new clone needs.

    That is the last one older than the pushes that can still be valid at the newest whole one.
    """
    adopted = [r for r in records if r.kind is PushKind.CHECKPOINT and r.is_adopted]
    whole = next((record for record in reversed(adopted) if record.is_whole), None)
    if whole is None:
        return 0
    old = [r.number for r in adopted if r.time < whole.time - WINDOW]
    return max(old, default=0)


def _is_for_clones(record: Record, start: int) -> bool:
    if record.kind is PushKind.CHECKPOINT:
        return record.number >= start
    return record.kind is PushKind.POLICY
