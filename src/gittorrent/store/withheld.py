"""Mirrors that offered what they did not give, in the database of a user.

Each run that listens to such a mirror loses some seconds before it does without. So it is
remembered for a day, by its URL: next time others are asked, and it only where they do not do. It
may give parts all the same, and is forgiven when it does. What is kept is bounded.

Source: docs/protocol/mirrorsync.md, Offers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import RepositoryId
    from gittorrent.store.database import Database

REMEMBERED_SECONDS = 24 * 3600
"""Time after which a mirror is asked like all others again."""

MAX_OF_ONE = 64
"""Mirrors of one repository; a run listens to fewer."""

MAX_WITHHELD = 1000
"""Mirrors of all repositories; the newest are kept."""


def withheld_lately(database: Database, repository: RepositoryId, now: int) -> set[str]:
    """Return the URLs of mirrors that withheld something; ``now`` in seconds since 1970."""
    query = "SELECT url FROM withheld WHERE repository_id = ? AND moment > ? AND moment <= ?"
    return {str(url) for (url,) in database.rows(query, repository, now - REMEMBERED_SECONDS, now)}


def note_withheld(
    database: Database, repository: RepositoryId, urls: Iterable[str], now: int
) -> None:
    """Remember mirrors that withheld something just now."""
    add = "INSERT OR REPLACE INTO withheld VALUES (?, ?, ?)"
    old = "DELETE FROM withheld WHERE moment <= ? OR moment > ?"
    beyond = (
        "DELETE FROM withheld WHERE rowid IN (SELECT rowid FROM withheld WHERE ? IN"
        " ('', repository_id) ORDER BY moment DESC, rowid DESC LIMIT -1 OFFSET ?)"
    )
    database.write(
        [
            *((add, (repository, url, now)) for url in urls),
            (old, (now - REMEMBERED_SECONDS, now)),
            (beyond, (repository, MAX_OF_ONE)),
            (beyond, ("", MAX_WITHHELD)),
        ]
    )


def forgive(database: Database, repository: RepositoryId, urls: Iterable[str]) -> None:
    """Forget that mirrors withheld something: they gave parts."""
    gone = "DELETE FROM withheld WHERE repository_id = ? AND url = ?"
    database.write([(gone, (repository, url)) for url in urls])
