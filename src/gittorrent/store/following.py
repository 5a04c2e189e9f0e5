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
    """

    paused: bool = False
    by_config: bool = False


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
        if row == FollowRow():
            statement = "DELETE FROM following WHERE repository_id = ?"
            self._database.write([(statement, (repository,))])
            return
        statement = (
            "INSERT INTO following VALUES (?, ?, ?) ON CONFLICT (repository_id) DO UPDATE"
            " SET paused = excluded.paused, by_config = excluded.by_config"
        )
        self._database.write([(statement, (repository, row.paused, row.by_config))])

    def followed(self, repository: RepositoryId) -> FollowRow:
        """Return how a mirror is followed."""
        rows = self._database.rows(
            "SELECT paused, by_config FROM following WHERE repository_id = ?", repository
        )
        return FollowRow(*map(bool, rows[0])) if rows else FollowRow()

    def all_followed(self) -> dict[RepositoryId, FollowRow]:
        """Return how all are followed for which that is not as usual."""
        rows = self._database.rows("SELECT repository_id, paused, by_config FROM following")
        return {RepositoryId(i): FollowRow(bool(p), bool(c)) for i, p, c in rows}

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
