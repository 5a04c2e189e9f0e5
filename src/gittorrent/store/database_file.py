"""The node's database as a file: looked at without leaving anything behind, and copied.

`gittorrent.store.opening` makes what is not there and brings old schemas up to date. Here neither
happens. Rules: who looks has a connection that can only read, and takes a database that nobody has
open as it lies, so that SQLite makes no file beside it; who copies opens it as a writer would, so
that it is the database of one moment.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gittorrent.durable import temporary_directory
from gittorrent.errors import LocalError
from gittorrent.permissions import is_read_only
from gittorrent.store.carried_rows import CARRIED, carried_rows
from gittorrent.store.opening import copied_as_it_lies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gittorrent.store.carried_rows import CarriedRow

BUSY_SECONDS = 5.0
"""How long to wait for a process that holds the whole database locked."""

_AS_IT_LIES = "mode=ro&immutable=1"


def look_at_carried(path: Path) -> list[CarriedRow]:
    """Return what a database says is carried, by name, and change nothing.

    Raises:
        LocalError: it is not there, or cannot be read.
    """
    if schema_of(path) == 0:
        return []  # whoever began to make it was killed
    return carried_rows(look_at(path, CARRIED))


def schema_of(path: Path) -> int:
    """Return the number of a database's schema, and change nothing; raises like `look_at`."""
    ((version,),) = look_at(path, "PRAGMA user_version")
    return int(version)


def look_at(path: Path, query: str, *values: str | int) -> list[tuple[Any, ...]]:
    """Return what a database answers to a query, and change nothing.

    Args:
        path: of the database.
        query: it may be of an older schema, or a newer one, than the query is for.
        values: for the question marks in it.

    Raises:
        LocalError: it is not there, cannot be read, or does not have what is asked for.
    """
    try:
        try:
            return _rows(path, "mode=ro" if _is_open(path) else _AS_IT_LIES, query, values)
        except sqlite3.DatabaseError:
            if not _is_open(path):
                raise
            return _rows(path, "mode=ro", query, values)  # somebody opened it meanwhile
    except sqlite3.DatabaseError as error:
        raise LocalError(f"{path} cannot be read as database: {error}") from error


def _rows(path: Path, how: str, query: str, values: tuple[str | int, ...]) -> list[tuple[Any, ...]]:
    with (
        _readable(path, how) as (readable, as_it_is),
        contextlib.closing(_connect(readable, as_it_is)) as connection,
    ):
        return connection.execute(query, values).fetchall()


def _is_open(path: Path) -> bool:
    """Tell whether some process has a database open, or died while it had."""
    return path.with_name(f"{path.name}-wal").exists()


def _connect(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(os.fsencode(path))}?{how}", timeout=BUSY_SECONDS, uri=True)


@contextlib.contextmanager
def _readable(path: Path, how: str) -> Iterator[tuple[Path, str]]:
    """Yield which file to open, and how, to read a database.

    Where the disk is read-only SQLite can make no file beside it, and nobody writes: it is taken as
    it lies, or, with what a process wrote that had it open then, from a copy.
    """
    if not is_read_only(path.parent):
        yield path, how
    elif not _is_open(path):
        yield path, _AS_IT_LIES
    else:
        with temporary_directory("backup") as folder:
            yield copied_as_it_lies(path, folder), "mode=rw"


def copy_database(path: Path, target: Path) -> None:
    """Copy a database as it is at one moment, whoever writes to it meanwhile.

    Args:
        path: of the database.
        target: a file that is empty, or not there.

    Raises:
        LocalError: it cannot be read, the copy is not sound, or there is no room.
    """
    try:
        with (
            _readable(path, "mode=rw") as (readable, how),
            contextlib.closing(_connect(readable, how)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            (said,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        raise LocalError(f"{path} cannot be copied to {target}: {error}") from error
    if said != "ok":
        raise LocalError(
            f"{path} is damaged: {said}",
            hint="move it away; what repositories hold is not lost with it",
        )
