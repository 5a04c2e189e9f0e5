"""Which collections are followed, within which limits, and what they name: in the node's database.

Tables of the node's database, written by commands (what is followed) and by whoever follows (what
is named). Must not know the form of collections, nor what becomes of what they name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, field

from gittorrent.ids import RepositoryId
from gittorrent.push.carry_limits import CollectionLimits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.store.database import Database
    from gittorrent.store.held import Statements


class CollectionRow(Struct, frozen=True):
    """A collection that is followed.

    Args:
        url: of it, as it was named.
        limits: of what it brings here.
        by_config: whether the node's configuration names it.
        since: when it was first followed, in seconds since 1970.
        repository_id: its id; None until that is known.
        checkpoint: of the newest content that was taken; empty for none.
        taken: when that was.
        faults: what was wrong in it.
        problem: why newer content, or none, was taken; empty if there is no reason.
    """

    url: str
    limits: CollectionLimits = CollectionLimits()
    by_config: bool = False
    since: int = 0
    repository_id: RepositoryId | None = None
    checkpoint: str = ""
    taken: int = 0
    faults: tuple[str, ...] = ()
    problem: str = ""


class CollectedRow(Struct, frozen=True):
    """A repository that a collection names, or named until that is confirmed.

    Args:
        repository: its id.
        name: to carry it under; empty for the policy's.
        priority: those with a higher one are wanted first.
        place: its order in the collection.
        urls: where it may be had.
        since: when it was first named, in seconds since 1970.
    """

    repository: RepositoryId
    name: str = ""
    priority: int = 0
    place: int = 0
    urls: tuple[str, ...] = field(default_factory=tuple)
    since: int = 0


class CollectionTable:
    """Collections in the database of a node.

    Args:
        database: it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def follow(self, row: CollectionRow) -> None:
        """Follow a collection from now on, or within other limits; what it names stays."""
        statement = (
            "INSERT INTO collections (url, by_config, since, limits, repository_id)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (url) DO UPDATE"
            " SET by_config = excluded.by_config, limits = excluded.limits"
        )
        limits = msgspec.json.encode(row.limits).decode()
        values = (row.url, int(row.by_config), row.since, limits, row.repository_id or "")
        self._database.write([(statement, values)])

    def identify(self, url: str, repository: RepositoryId) -> None:
        """Record which repository a collection is."""
        statement = "UPDATE collections SET repository_id = ? WHERE url = ?"
        self._database.write([(statement, (repository, url))])

    def unfollow(self, urls: Iterable[str]) -> None:
        """Follow some no more; what they name is forgotten once none of that id is followed."""
        self._database.write(
            [
                *(("DELETE FROM collections WHERE url = ?", (url,)) for url in urls),
                (
                    "DELETE FROM collected WHERE collection_id NOT IN"
                    " (SELECT repository_id FROM collections)",
                    (),
                ),
            ]
        )

    def all(self) -> list[CollectionRow]:
        """Return those that are followed, the longest followed first."""
        rows = self._database.rows(
            "SELECT url, limits, by_config, since, repository_id, checkpoint, taken, faults,"
            " problem FROM collections ORDER BY since, url"
        )
        return [
            CollectionRow(
                url,
                msgspec.json.decode(limits, type=CollectionLimits),
                bool(by_config),
                since,
                RepositoryId(repository) if repository else None,
                checkpoint,
                taken,
                tuple(json.loads(faults)),
                problem,
            )
            for (
                url,
                limits,
                by_config,
                since,
                repository,
                checkpoint,
                taken,
                faults,
                problem,
            ) in rows
        ]

    def named(self, collection: RepositoryId) -> list[CollectedRow]:
        """Return what a collection names, in its order."""
        rows = self._database.rows(
            "SELECT repository_id, name, priority, place, urls, since FROM collected"
            " WHERE collection_id = ? ORDER BY place, repository_id",
            collection,
        )
        return [
            CollectedRow(RepositoryId(i), name, priority, place, tuple(json.loads(urls)), since)
            for i, name, priority, place, urls, since in rows
        ]

    def note_problem(self, collection: RepositoryId, checkpoint: str, problem: str) -> None:
        """Record why a checkpoint's content was not taken; what was taken before stays."""
        statement = "UPDATE collections SET problem = ?, checkpoint = ? WHERE repository_id = ?"
        self._database.write([(statement, (problem, checkpoint, collection))])

    def take(
        self,
        collection: RepositoryId,
        checkpoint: str,
        names: Sequence[CollectedRow],
        faults: Sequence[str],
        now: int,
        more: Statements,
    ) -> None:
        """Record what a collection names now, with whatever follows from it, in one transaction.

        Args:
            collection: id of its repository.
            checkpoint: id of the one at which it does.
            names: all that it names, or that stays until it is confirmed.
            faults: what was wrong in it.
            now: seconds since 1970.
            more: statements that belong to it.
        """
        insert = "INSERT INTO collected VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._database.write(
            [
                ("DELETE FROM collected WHERE collection_id = ?", (collection,)),
                *(
                    (
                        insert,
                        (
                            collection,
                            row.repository,
                            row.name,
                            row.priority,
                            row.place,
                            json.dumps(row.urls),
                            row.since,
                        ),
                    )
                    for row in names
                ),
                *more,
                (
                    "UPDATE collections SET checkpoint = ?, taken = ?, faults = ?, problem = ''"
                    " WHERE repository_id = ?",
                    (checkpoint, now, json.dumps(list(faults)), collection),
                ),
            ]
        )

    def refuse(self, repository: RepositoryId, reason: str, now: int) -> None:
        """Record why a repository was not taken when its log was looked at."""
        statement = "INSERT OR REPLACE INTO refused VALUES (?, ?, ?)"
        self._database.write([(statement, (repository, reason, now))])

    def accept(self, repository: RepositoryId) -> None:
        """Record that there is no such reason any more."""
        if self._database.rows("SELECT 1 FROM refused WHERE repository_id = ?", repository):
            statement = "DELETE FROM refused WHERE repository_id = ?"
            self._database.write([(statement, (repository,))])

    def refused(self) -> dict[RepositoryId, str]:
        """Return why repositories were not taken."""
        rows = self._database.rows("SELECT repository_id, reason FROM refused")
        return {RepositoryId(repository): reason for repository, reason in rows}

    def exclude(self, repository: RepositoryId) -> None:
        """Record that no collection is to bring a repository again."""
        self._database.write([("INSERT OR IGNORE INTO excluded VALUES (?)", (repository,))])

    def include(self, repository: RepositoryId) -> None:
        """Record that one may."""
        if repository in self.excluded():
            statement = "DELETE FROM excluded WHERE repository_id = ?"
            self._database.write([(statement, (repository,))])

    def excluded(self) -> frozenset[RepositoryId]:
        """Return what no collection is to bring."""
        rows = self._database.rows("SELECT repository_id FROM excluded")
        return frozenset(RepositoryId(repository) for (repository,) in rows)
