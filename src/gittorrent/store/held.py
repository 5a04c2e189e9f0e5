"""What disappeared suddenly and is held back, in the node's database, and what was decided of it.

Written by whoever follows something (what is held) and by ``gittorrent confirm`` (decisions); a
running node sees a decision by `FollowTable.change_number`. Must not know what is done about it.
Rules: names that disappeared together are one row, so that what somebody confirms is what was
shown.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from gittorrent.push.purge_guard import WINDOW_SECONDS, Decision, Held

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from gittorrent.store.database import Database


class HeldKind(StrEnum):
    """What the names are that are held back."""

    REFS = "refs"
    """Refs of a mirror: the log deleted them, and their objects are kept."""
    REPOSITORIES = "repositories"
    """Repositories of a collection: it does not name them any more, and they are carried on."""
    TRACKED = "tracked"
    """Refs of a repository that is followed over plain git: they are published on."""


class HeldRow(Struct, frozen=True):
    """Names that disappeared together.

    Args:
        kind: what they are.
        subject: id of the repository, or name of the tracked one, that they belong to.
        title: what people call that.
        names: with what each stood for: refs with their values, ids of repositories with names.
        total: how many names there were before.
        since: when they disappeared, in seconds since 1970.
        until: when they go though nobody says anything; 0 for never.
        decision: what somebody said.
        number: of the row; 0 before it is recorded.
    """

    kind: HeldKind
    subject: str
    title: str
    names: Mapping[str, str] = field(default_factory=dict)
    total: int = 0
    since: int = 0
    until: int = 0
    decision: Decision = Decision.WAITING
    number: int = 0

    @property
    def is_of_collection(self) -> bool:
        """Whether the names are ids of repositories, and what they stand for their names."""
        return self.kind is HeldKind.REPOSITORIES

    def for_judging(self) -> Held[str]:
        """Return it as `gittorrent.push.purge_guard.judge` takes it."""
        return Held(frozenset(self.names), self.until, self.decision)


_COLUMNS = "number, kind, subject, title, total, since, until, decision"


Statements = list[tuple[str, tuple[object, ...]]]
"""What `Database.write` carries out in one transaction."""


def holding(row: HeldRow) -> Statements:
    """Return what records that names are held back from now on."""
    head = (row.kind.value, row.subject, row.title, row.total, row.since, row.until)
    statement = (
        "INSERT INTO held (kind, subject, title, total, since, until, decision)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
    )
    one = "INSERT INTO held_names SELECT MAX(number), ?, ? FROM held"
    return [
        (statement, (*head, row.decision.value)),
        *((one, (name, value)) for name, value in row.names.items()),
    ]


def releasing(kind: HeldKind, subject: str, names: Iterable[str]) -> Statements:
    """Return what records that names are held no more."""
    of = "SELECT number FROM held WHERE kind = ? AND subject = ?"
    values = (kind.value, subject)
    some = f"DELETE FROM held_names WHERE name = ? AND number IN ({of})"  # noqa: S608
    rest = (
        "DELETE FROM held WHERE kind = ? AND subject = ?"
        " AND number NOT IN (SELECT number FROM held_names)"
    )
    return [*((some, (name, *values)) for name in names), (rest, values)]


def departing(kind: HeldKind, subject: str, count: int, now: int) -> Statements:
    """Return what records that names disappeared, whether they are held or not."""
    return [
        ("DELETE FROM departed WHERE moment < ?", (now - WINDOW_SECONDS,)),
        ("INSERT INTO departed VALUES (?, ?, ?, ?)", (kind.value, subject, now, count)),
    ]


def arriving(kind: HeldKind, subject: str, count: int, now: int) -> Statements:
    """Return what records that names came."""
    return [
        ("DELETE FROM arrived WHERE moment < ?", (now - WINDOW_SECONDS,)),
        ("INSERT INTO arrived VALUES (?, ?, ?, ?)", (kind.value, subject, now, count)),
    ]


class HeldTable:
    """What is held back, in the database of a node.

    Args:
        database: it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[HeldRow]:
        """Return all that is held, the oldest first, also what was decided and not carried out."""
        return self._filled(self._database.rows(f"SELECT {_COLUMNS} FROM held ORDER BY number"))  # noqa: S608

    def of(self, kind: HeldKind, subject: str) -> list[HeldRow]:
        """Return what is held of one subject, the oldest first."""
        query = f"SELECT {_COLUMNS} FROM held WHERE kind = ? AND subject = ? ORDER BY number"  # noqa: S608
        return self._filled(self._database.rows(query, kind.value, subject))

    def hold(self, row: HeldRow) -> None:
        """Record that names are held back from now on."""
        self._database.write(holding(row))

    def decide(self, numbers: Collection[int], decision: Decision) -> None:
        """Record what somebody said of some rows; what is refused has no end any more."""
        statement = "UPDATE held SET decision = ?, until = until * ? WHERE number = ?"
        ends = int(decision is not Decision.REFUSED)
        self._database.write((statement, (decision.value, ends, number)) for number in numbers)

    def release(self, kind: HeldKind, subject: str, names: Iterable[str]) -> None:
        """Record that names are held no more: they are there again, or have gone for good."""
        self._database.write(releasing(kind, subject, names))

    def forget(self, kind: HeldKind, subject: str) -> None:
        """Record that nothing is held any more of one subject, which is gone itself."""
        names = [name for row in self.of(kind, subject) for name in row.names]
        self.release(kind, subject, names)
        self._database.write(
            (f"DELETE FROM {table} WHERE kind = ? AND subject = ?", (kind.value, subject))  # noqa: S608
            for table in ("departed", "arrived")
        )

    def forget_number(self, number: int) -> None:
        """Record that what one row says is held no more."""
        self._database.write(
            (f"DELETE FROM {table} WHERE number = ?", (number,))  # noqa: S608
            for table in ("held_names", "held")
        )

    def note_departed(self, kind: HeldKind, subject: str, count: int, now: int) -> None:
        """Record that names disappeared, whether they are held or not."""
        self._database.write(departing(kind, subject, count, now))

    def recently_departed(self, kind: HeldKind, subject: str, now: int) -> int:
        """Return how many names disappeared within `WINDOW_SECONDS`."""
        return self._recently("departed", kind, subject, now)

    def note_arrived(self, kind: HeldKind, subject: str, count: int, now: int) -> None:
        """Record that names came where others were."""
        self._database.write(arriving(kind, subject, count, now))

    def recently_arrived(self, kind: HeldKind, subject: str, now: int) -> int:
        """Return how many names came within `WINDOW_SECONDS`."""
        return self._recently("arrived", kind, subject, now)

    def _recently(self, table: str, kind: HeldKind, subject: str, now: int) -> int:
        query = (
            f"SELECT COALESCE(SUM(count), 0) FROM {table}"  # noqa: S608
            " WHERE kind = ? AND subject = ? AND moment >= ?"
        )
        rows = self._database.rows(query, kind.value, subject, now - WINDOW_SECONDS)
        return int(rows[0][0])

    def _filled(self, rows: Iterable[tuple[Any, ...]]) -> list[HeldRow]:
        found = []
        for number, kind, subject, title, total, since, until, decision in rows:
            query = "SELECT name, value FROM held_names WHERE number = ? ORDER BY name"
            found.append(
                HeldRow(
                    HeldKind(kind),
                    subject,
                    title,
                    dict(self._database.rows(query, number)),
                    total,
                    since,
                    until,
                    Decision(decision),
                    number,
                )
            )
        return found
