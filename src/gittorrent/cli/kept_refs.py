"""Refs of mirrors that are kept, among all that ``status`` and ``confirm`` show as held back.

What is kept stands in each mirror (`gittorrent.repository.kept_refs`), and gets its number in the
node's database when it is first shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.push.purge_guard import Decision
from gittorrent.repository.carried import MIRROR, Carried, object_format_of
from gittorrent.repository.layout import Layout
from gittorrent.store.held import HeldKind, HeldRow, HeldTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.repository.kept_refs import KeptSet
    from gittorrent.store.database import CarriedRow, Database


def note_kept(database: Database) -> None:
    """Let the database have what is kept of refs of mirrors, and nothing else of that kind."""
    table = HeldTable(database)
    known: dict[tuple[str, int], HeldRow] = {
        (row.subject, row.since): row for row in table.all() if row.kind is HeldKind.REFS
    }
    for row in database.carried():
        if row.role != MIRROR or not Layout(Path(row.path)).kept.exists():
            continue
        for kept in _carried(row).kept_refs.sets():
            before = known.pop((row.repository_id, kept.since), None)
            if before is None or len(before.names) != len(kept.refs):
                if before is not None:
                    table.forget_number(before.number)
                table.hold(_held(row, kept))
    for gone in known.values():
        table.forget_number(gone.number)


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
