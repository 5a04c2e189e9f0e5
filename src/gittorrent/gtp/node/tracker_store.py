"""A tracker's table on disk, so that a restart does not scatter its swarms.

SQLite in WAL mode; one row a listed peer. Times are seconds since 1970.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError
from gittorrent.gtp.messages import PeerAddress
from gittorrent.gtp.tracker_table import ListedPeer
from gittorrent.ownership import make_private

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS peer (
    repo_hash BLOB NOT NULL, peer_id BLOB NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL,
    source TEXT NOT NULL, completed INTEGER NOT NULL, has_data INTEGER NOT NULL,
    expires REAL NOT NULL, lifetime INTEGER NOT NULL, PRIMARY KEY (repo_hash, peer_id)
) WITHOUT ROWID
"""


class TrackerStore:
    """An open store; use it in one thread at a time and close it.

    Args:
        path: of the database file.

    Raises:
        LocalError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        try:
            make_private(path)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if found > _VERSION:
                raise LocalError(
                    f"{path} was made by a newer version of this program",
                    hint="update this program, or name another file with --database",
                )
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        except (sqlite3.Error, OSError) as error:
            raise LocalError(f"cannot use {path}: {error}") from error

    def load(self, now: float) -> list[ListedPeer]:
        """Return the peers whose time is not over, and forget the others."""
        self._db.execute("DELETE FROM peer WHERE expires < ?", (now,))
        rows = self._db.execute(
            "SELECT repo_hash, peer_id, host, port, source, completed, has_data, expires, lifetime"
            " FROM peer"
        )
        return [
            ListedPeer(
                row[0],
                PeerAddress(row[1], row[2], row[3]),
                row[4],
                bool(row[5]),
                bool(row[6]),
                row[7],
                row[8],
            )
            for row in rows
        ]

    def put(self, entry: ListedPeer) -> None:
        """Keep an entry.

        Raises:
            LocalError: it cannot be written.
        """
        peer = entry.peer
        values = (
            entry.repo_hash, peer.peer_id, peer.host, peer.port, entry.source,
            entry.completed, entry.has_data, entry.expires, entry.lifetime,
        )  # fmt: skip
        self._change("INSERT OR REPLACE INTO peer VALUES (?,?,?,?,?,?,?,?,?)", values)

    def remove(self, repo_hash: bytes, peer_id: bytes) -> None:
        """Forget an entry.

        Raises:
            LocalError: it cannot be written.
        """
        self._change("DELETE FROM peer WHERE repo_hash = ? AND peer_id = ?", (repo_hash, peer_id))

    def _change(self, words: str, values: tuple[object, ...]) -> None:
        try:
            self._db.execute(words, values)
        except sqlite3.Error as error:
            raise LocalError(f"cannot write to the tracker's database: {error}") from error

    def close(self) -> None:
        """Close it."""
        self._db.close()
