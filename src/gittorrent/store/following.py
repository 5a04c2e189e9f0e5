"""What the node follows by itself: what is wanted and not here yet, what is paused, and looks.

Tables of the node's database (`gittorrent.store.database`), written by commands and by the node.
Rules: what commands change here a node sees by `change_number`, at the cost of one query; results
of looks that found nothing are written many at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.ids import RepositoryId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.store.database import Database


class WantedRow(Struct, frozen=True):
    """A repository that is to be carried and is not here yet.

    Args:
        url: where it comes from, as it was named.
        name: to carry it under; empty for the policy's.
    """

    url: str
    name: str = ""


class FollowRow(Struct, frozen=True):
    """How a mirror is followed, where that is not as usual.

    Args:
        paused: whether somebody paused it.
        by_config: whether the node's configuration named it, so that it ends when that does not.
        by_collection: whether nobody but a collection asked for it.
        leaving: whether the owners of the collection took it out, so that it is to be deleted.
    """

    paused: bool = False
    by_config: bool = False
    by_collection: bool = False
    leaving: bool = False


class LookRow(Struct, frozen=True):
    """What a look for news came to that found nothing new, and when the next one is due.

    Args:
        repository: it.
        succeeded: when the source answered, in seconds since 1970; 0 to leave that as it was.
        source: its URL.
        next: when the next look is due; 0 for none.
        live: whether a conversation tells of news meanwhile.
    """

    repository: RepositoryId
    succeeded: int = 0
    source: str = ""
    next: int = 0
    live: bool = False


_FOLLOW_COLUMNS = "paused, by_config, by_collection, leaving"


def following(repository: RepositoryId, row: FollowRow) -> tuple[str, tuple[object, ...]]:
    """Return the statement, with its values, that records how a mirror is followed."""
    if row == FollowRow():
        return "DELETE FROM following WHERE repository_id = ?", (repository,)
    columns = _FOLLOW_COLUMNS.split(", ")
    same = ", ".join(f"{each} = excluded.{each}" for each in columns)
    statement = (
        f"INSERT INTO following (repository_id, {_FOLLOW_COLUMNS}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608
        f" ON CONFLICT (repository_id) DO UPDATE SET {same}"
    )
    values = (int(row.paused), int(row.by_config), int(row.by_collection), int(row.leaving))
    return statement, (repository, *values)


class FollowTable:
    """What is followed, in the database of a node.

    Args:
        database: it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def change_number(self) -> int:
        """Return a number that differs once anything is carried or followed otherwise."""
        return int(self._database.rows("SELECT number FROM changes")[0][0])

    def want(self, row: WantedRow, now: int) -> None:
        """Record that a repository is to be carried."""
        statement = "INSERT OR REPLACE INTO wanted VALUES (?, ?, ?)"
        self._database.write([(statement, (row.url, row.name, now))])

    def unwant(self, url: str) -> bool:
        """Record that one is here, or not wanted any more; tells whether it was wanted."""
        if not self._database.rows("SELECT 1 FROM wanted WHERE url = ?", url):
            return False
        self._database.write([("DELETE FROM wanted WHERE url = ?", (url,))])
        return True

    def wanted(self) -> list[WantedRow]:
        """Return what is wanted, the longest wanted first."""
        rows = self._database.rows("SELECT url, name FROM wanted ORDER BY since, url")
        return [WantedRow(*row) for row in rows]

    def follow(self, repository: RepositoryId, row: FollowRow) -> None:
        """Record how a mirror is followed."""
        self._database.write([following(repository, row)])

    def followed(self, repository: RepositoryId) -> FollowRow:
        """Return how a mirror is followed."""
        query = f"SELECT {_FOLLOW_COLUMNS} FROM following WHERE repository_id = ?"  # noqa: S608
        rows = self._database.rows(query, repository)
        return FollowRow(*map(bool, rows[0])) if rows else FollowRow()

    def all_followed(self) -> dict[RepositoryId, FollowRow]:
        """Return how all are followed for which that is not as usual."""
        rows = self._database.rows(f"SELECT repository_id, {_FOLLOW_COLUMNS} FROM following")  # noqa: S608
        return {RepositoryId(row[0]): FollowRow(*map(bool, row[1:])) for row in rows}

    def looked(self, rows: Iterable[LookRow]) -> None:
        """Record what looks came to, all in one transaction."""
        statement = (
            "INSERT INTO checks (repository_id, succeeded, source, next, live)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (repository_id) DO UPDATE"
            " SET succeeded = MAX(excluded.succeeded, checks.succeeded),"
            " source = CASE WHEN excluded.succeeded THEN excluded.source ELSE checks.source END,"
            " failures = CASE WHEN excluded.succeeded THEN 0 ELSE checks.failures END,"
            " next = excluded.next, live = excluded.live"
        )
        self._database.write(
            (statement, (row.repository, row.succeeded, row.source, row.next, row.live))
            for row in rows
        )
