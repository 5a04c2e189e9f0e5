"""Opening the node's database: made where it is missing, brought up to date, or why neither works.

SQLite in WAL mode. The schema grows by numbered migrations; a database made by a newer program is
refused. Where the file system is read-only (one that failed, an image that is looked at), what is
there can still be read, from a copy: SQLite reads no database in WAL mode without files beside it.
Must not know what the tables are for.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.durable import locked_directory
from gittorrent.errors import FULL, LocalError
from gittorrent.ownership import make_private
from gittorrent.permissions import PermissionDeniedError, denied_at

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIGRATIONS = Path(__file__).with_name("migrations")

MAX_PATH = 500
"""Bytes of the database's path: SQLite takes 512, with what it adds for its journals."""


def open_database(
    path: Path, busy_seconds: float, shown: Path | None = None
) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Return a connection that writes and one that reads.

    Any thread may use them; their user sees to it that only one has each at a time.

    Args:
        path: of the file.
        busy_seconds: how long they wait for another process's write.
        shown: what to call it in errors, where it is a copy.

    Raises:
        LocalError: it can be neither used nor made, or a newer program wrote it.
    """
    try:
        # SQLite would make it as the umask says, which may let a group write to it.
        make_private(path)
        writer = _connect(path, busy_seconds)
        # Of two that turn a new database to WAL at once SQLite refuses one without waiting.
        with locked_directory(path.parent):
            writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA synchronous = NORMAL")
        _migrate(shown or path, writer)
        return writer, _connect(path, busy_seconds)
    except (sqlite3.DatabaseError, OSError) as error:
        raise cannot_use(path, error, shown) from error


def _connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )


def _migrate(path: Path, database: sqlite3.Connection) -> None:
    scripts = sorted(_MIGRATIONS.glob("*.sql"))
    with transaction(database):
        (done,) = database.execute("PRAGMA user_version").fetchone()
        if done > len(scripts):
            raise written_by_newer(path)
        for number, script in enumerate(scripts[done:], start=done + 1):
            for statement in script.read_text(encoding="utf-8").split(";\n"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {number}")


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Carry out what follows together, or nothing of it."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # SQLite ends it by itself when the disk is full
            database.execute("ROLLBACK")
        raise


def copied_as_it_lies(path: Path, folder: Path) -> Path:
    """Copy a database that nobody can write to, with what a process wrote that had it open.

    Args:
        path: of the database, on a read-only file system.
        folder: where the copy goes.

    Returns:
        The path of the copy.
    """
    for source in (path, path.with_name(f"{path.name}-wal")):
        if source.exists():
            make_private(folder / source.name)
            (folder / source.name).write_bytes(source.read_bytes())
    return folder / path.name


_MOVE_AWAY = "move it away; what repositories hold is not lost with it"

_HINTS = {
    sqlite3.SQLITE_CORRUPT: _MOVE_AWAY,
    sqlite3.SQLITE_NOTADB: _MOVE_AWAY,
    sqlite3.SQLITE_FULL: "make room and try again",
    sqlite3.SQLITE_IOERR: "its disk is full or fails, or a quota or a limit of the size of files"
    " ('ulimit -f') is reached; GITTORRENT_HOME names another place for it",
}
"""What to do, by the code of the failure."""


def newest_schema() -> int:
    """Return the number of the newest schema that this program knows."""
    return len(list(_MIGRATIONS.glob("*.sql")))


def written_by_newer(path: Path) -> LocalError:
    """Return what to tell a user of a database that has a schema which is not known."""
    return LocalError(
        f"{path} was written by a newer gittorrent",
        hint="use that version again; this one would not understand what it wrote",
    )


def cannot_use(
    path: Path, error: sqlite3.DatabaseError | OSError, shown: Path | None = None
) -> LocalError:
    """Return what to tell a user of a database that cannot be used.

    Args:
        path: of the file.
        error: what failed.
        shown: what to call it, where it is a copy.
    """
    denied = denied_at(path, reading=False)
    if denied is not None:
        hint = f"{denied.hint}; GITTORRENT_HOME names another place for it"
        return PermissionDeniedError(str(denied), hint=hint)
    length = len(os.fsencode(path.absolute()))
    if length > MAX_PATH:
        return LocalError(
            f"{path} cannot be used as database: its path has {length} bytes, and SQLite takes"
            f" {MAX_PATH}",
            hint="set GITTORRENT_HOME to a shorter one",
        )
    if isinstance(error, OSError):
        hint = "make room and try again" if error.errno in FULL else ""
    else:
        # Of extended codes the low byte is the code.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        hint = _HINTS.get(code, "")
    return LocalError(f"{shown or path} cannot be used as database: {error}", hint=hint)
