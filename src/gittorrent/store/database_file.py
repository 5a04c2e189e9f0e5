"""The node's database as a file: looked at by programs that must leave nothing behind.

`gittorrent.store.database` makes what is not there and brings old schemas up to date. Here neither
happens. Rules: a connection that can only read; while nobody has the database open it is taken as
it lies, so that SQLite makes no file beside it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import quote

from gittorrent.errors import LocalError
from gittorrent.ids import RepositoryId
from gittorrent.store.database import CarriedRow

if TYPE_CHECKING:
    from pathlib import Path

BUSY_SECONDS = 5.0
"""How long to wait for a process that holds the whole database locked."""


def look_at_carried(path: Path) -> list[CarriedRow]:
    """Return what a database says is carried, by name, and change nothing.

    Raises:
        LocalError: it is not there, or cannot be read.
    """
    query = "SELECT name, repository_id, path, role, source FROM repositories ORDER BY name"
    try:
        with contextlib.closing(_connect(path)) as connection:
            rows = connection.execute(query).fetchall()
    except sqlite3.DatabaseError as error:
        raise LocalError(f"{path} cannot be read as database: {error}") from error
    return [CarriedRow(n, RepositoryId(i), p, r, s) for n, i, p, r, s in rows]


def _connect(path: Path) -> sqlite3.Connection:
    """Return a connection that can only read."""
    in_use = path.with_name(f"{path.name}-wal").exists()
    how = "mode=ro" if in_use else "mode=ro&immutable=1"
    return sqlite3.connect(f"file:{quote(str(path))}?{how}", timeout=BUSY_SECONDS, uri=True)
