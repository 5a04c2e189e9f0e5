"""Which plain git servers a node tracks, and what looking at them came to.

A table of the node's database (`gittorrent.store.database`), written by commands and by the node.
Rules: what is to be done counts as a change that a node sees (`FollowTable.change_number`), what
came of it does not. The database can be lost: what was published is in the repositories, and the
first look after that finds out how far it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from gittorrent.store.database import Database


class Track(Struct, frozen=True):
    """A plain git server that is tracked.

    Args:
        name: under which it is published here.
        url: of the server, as git takes it.
        every: seconds between looks; 0 where only ``gittorrent track --once`` looks.
        patterns: of further refs that are followed, and with ``^`` of refs that are not.
        key: what names the key that signs.
        secret: file of the secret that webhooks are signed with; empty where none are taken.
        paused: whether somebody paused it.
        by_config: whether the node's configuration named it, so that it ends when that does not.
    """

    name: str
    url: str
    every: int
    patterns: tuple[str, ...] = ()
    key: str = ""
    secret: str = ""
    paused: bool = False
    by_config: bool = False


class TrackState(Struct, frozen=True):
    """What looks at an upstream came to; times are seconds since 1970, 0 for never.

    Args:
        settled: digest of the upstream's refs that are published whole; empty for none.
        headed: when its HEAD was looked at.
        succeeded: when it last answered, and all of it was published.
        failed: when a look last failed.
        error: why.
        failures: how often since the last success.
        next: when the node looks again; 0 for none.
    """

    settled: str = ""
    headed: int = 0
    succeeded: int = 0
    failed: int = 0
    error: str = ""
    failures: int = 0
    next: int = 0


_TRACK = "name, url, every, patterns, key, secret, paused, by_config"
_STATE = "settled, headed, succeeded, failed, error, failures, next"


class TrackTable:
    """What is tracked, in the database of a node.

    Args:
        database: it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Track]:
        """Return all that is tracked, by name."""
        rows = self._database.rows(f"SELECT {_TRACK} FROM tracks ORDER BY name")  # noqa: S608
        return [_track(*row) for row in rows]

    def find(self, name: str) -> Track | None:
        """Return what is tracked under a name; None if nothing is."""
        rows = self._database.rows(f"SELECT {_TRACK} FROM tracks WHERE name = ?", name)  # noqa: S608
        return _track(*rows[0]) if rows else None

    def put(self, track: Track) -> None:
        """Track something from now on, or otherwise than before; what looks came to stays.

        Where other refs are followed than before, or another server, the next look is a whole one.
        """
        values = (
            track.name,
            track.url,
            track.every,
            "\n".join(track.patterns),
            track.key,
            track.secret,
            track.paused,
            track.by_config,
        )
        changed = ", ".join(f"{c} = excluded.{c}" for c in _TRACK.split(", ")[1:])
        is_same = "tracks.url = excluded.url AND tracks.patterns = excluded.patterns"
        statement = (
            f"INSERT INTO tracks ({_TRACK}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
            f" ON CONFLICT (name) DO UPDATE SET {changed},"
            f" settled = CASE WHEN {is_same} THEN tracks.settled ELSE '' END"
        )
        self._database.write([(statement, values)])

    def remove(self, name: str) -> bool:
        """Track it no more; tells whether it was."""
        if self.find(name) is None:
            return False
        self._database.write([("DELETE FROM tracks WHERE name = ?", (name,))])
        return True

    def state(self, name: str) -> TrackState:
        """Return what looks at one came to."""
        rows = self._database.rows(f"SELECT {_STATE} FROM tracks WHERE name = ?", name)  # noqa: S608
        return TrackState(*rows[0]) if rows else TrackState()

    def unsettle(self, name: str) -> None:
        """Let the next look be a whole one."""
        self._database.write([("UPDATE tracks SET settled = '' WHERE name = ?", (name,))])

    def succeeded(self, track: Track, settled: str, now: int, headed: int | None) -> None:
        """Record that an upstream answered, and that what it has is published.

        Args:
            track: as it was when the look began: nothing is settled if it is another one by now.
            settled: see `TrackState`.
            now: seconds since 1970.
            headed: the same where HEAD was looked at; None to leave that as it was.
        """
        statement = (
            "UPDATE tracks SET settled = ?, succeeded = ?, failures = 0,"
            " headed = COALESCE(?, headed) WHERE name = ? AND url = ? AND patterns = ?"
        )
        patterns = "\n".join(track.patterns)
        values = (settled, now, headed, track.name, track.url, patterns)
        self._database.write([(statement, values)])

    def failed(self, name: str, error: str, now: int) -> None:
        """Record why a look failed."""
        statement = (
            "UPDATE tracks SET failed = ?, error = ?, failures = failures + 1 WHERE name = ?"
        )
        self._database.write([(statement, (now, error, name))])

    def plan(self, name: str, moment: int) -> None:
        """Record when the node looks again; 0 for none."""
        self._database.write([("UPDATE tracks SET next = ? WHERE name = ?", (moment, name))])


def _track(
    name: str,
    url: str,
    every: int,
    patterns: str,
    key: str,
    secret: str,
    paused: int,
    by_config: int,
) -> Track:
    chosen = tuple(patterns.split("\n")) if patterns else ()
    return Track(name, url, every, chosen, key, secret, bool(paused), bool(by_config))
