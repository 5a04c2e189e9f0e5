"""Which repositories this machine knows to be private, in the database of its user.

The policy says it, and whoever verified a log writes it down here, so that nobody is asked for such
a repository before its log is opened: a look-up in public would say that it exists. Of a repository
that turned private everything is forgotten here that others told of its mirrors.

Source: docs/protocol/trust.md, Private repositories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gittorrent.ids import RepositoryId
    from gittorrent.store.database import Database


def is_private(database: Database, repository: RepositoryId) -> bool:
    """Tell whether a repository is known here to be private."""
    return bool(database.rows("SELECT 1 FROM private WHERE repository_id = ?", repository))


def note_private(database: Database, repository: RepositoryId, *, private: bool) -> None:
    """Write down what a verified log says; costs no write where that is known."""
    if private == is_private(database, repository):
        return
    if not private:
        database.write([("DELETE FROM private WHERE repository_id = ?", (repository,))])
        return
    database.write(
        [
            ("INSERT OR IGNORE INTO private VALUES (?)", (repository,)),
            ("DELETE FROM mirrors WHERE repository_id = ?", (repository,)),
            ("DELETE FROM withheld WHERE repository_id = ?", (repository,)),
            ("DELETE FROM remembered WHERE repository_id = ? AND trusted <> ''", (repository,)),
        ]
    )


def forget_private(database: Database, repository: RepositoryId) -> bool:
    """Ask for a repository as for any other from now on; tells whether it was private."""
    was_private = is_private(database, repository)
    if was_private:
        note_private(database, repository, private=False)
    return was_private
