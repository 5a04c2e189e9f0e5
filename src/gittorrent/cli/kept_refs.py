"""Refs of mirrors that are kept, among all that ``status`` and ``confirm`` show as held back.

What is kept stands in each mirror (`gittorrent.repository.kept_refs`), and gets its number in the
node's database when it is first shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError
from gittorrent.push.purge_guard import Decision
from gittorrent.repository.carried import MIRROR, Carried, object_format_of
from gittorrent.repository.layout import Layout
from gittorrent.store.held import HeldKind, HeldRow, HeldTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.repository.kept_refs import KeptSet
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.database import Database


def all_held(database: Database) -> list[HeldRow]:
    """Return all that is held back, kept refs of mirrors among it, which get their numbers now.

    Where the database cannot be written, as on a disk that is full or read-only, what it does not
    have yet comes without a number.
    """
    table = HeldTable(database)
    rows = table.all()
    known: dict[tuple[str, int], HeldRow] = {
        (row.subject, row.since): row for row in rows if row.kind is HeldKind.REFS
    }
    fresh = []
    for row in database.carried():
        if row.role != MIRROR or not Layout(Path(row.path)).kept.exists():
            continue
        for kept in _carried(row).kept_refs.sets():
            before = known.get((row.repository_id, kept.since))
            if before is not None and len(before.names) == len(kept.refs):
                del known[row.repository_id, kept.since]
            else:
                fresh.append(_held(row, kept))
    gone = {row.number for row in known.values()}
    try:
        for number in gone:
            table.forget_number(number)
        for held in fresh:
            table.hold(held)
    except LocalError:
        return [*(row for row in rows if row.number not in gone), *fresh]
    return table.all() if gone or fresh else rows


def carry_out(rows: Iterable[HeldRow], decision: Decision, database: Database) -> None:
    """Let refs of mirrors go that were confirmed, or keep those for good that were refused."""
    carried = {row.repository_id: row for row in database.carried() if row.role == MIRROR}
    for row in rows:
        mirror = next((each for id_, each in carried.items() if id_ == row.subject), None)
        if row.kind is not HeldKind.REFS or mirror is None:
            continue
        repository = _carried(mirror)
        with repository.writing():
            if decision is Decision.CONFIRMED:
                repository.kept_refs.release(row.since)
            else:
                repository.kept_refs.keep_for_good(row.since)
        if decision is Decision.CONFIRMED:
            HeldTable(database).forget_number(row.number)


def _carried(row: CarriedRow) -> Carried:
    path = Path(row.path)
    return Carried(path, object_format_of(path), row.repository_id)


def _held(row: CarriedRow, kept: KeptSet) -> HeldRow:
    names = {
        name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"): value
        for name, value in kept.refs.items()
    }
    decision = Decision.WAITING if kept.until else Decision.REFUSED
    return HeldRow(
        HeldKind.REFS,
        row.repository_id,
        row.name,
        names,
        kept.total,
        kept.since,
        kept.until,
        decision,
    )
