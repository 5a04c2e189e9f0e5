"""The node's database: what it carries, whom it knows, how far it has seen each log.

SQLite in WAL mode, so that commands, helpers and the daemon can use it at the same time. Within
one process several threads may: what reads has a connection of its own, and does not wait for a
write that waits for another process. `gittorrent.store.opening` makes it and brings it up to date.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.durable import temporary_directory
from gittorrent.errors import LocalError, UsageError
from gittorrent.ids import PushId, RepositoryId
from gittorrent.permissions import is_read_only
from gittorrent.store.carried_rows import CARRIED, carried_rows, path_of, stored_path
from gittorrent.store.copied_home import own_places
from gittorrent.store.home import Home
from gittorrent.store.opening import cannot_use, copied_as_it_lies, open_database, transaction
from gittorrent.swarm.fair_shares import fair_shares
from gittorrent.wire.limits import MAX_VALID_SECONDS
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.urls import AddressClass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gittorrent.store.carried_rows import CarriedRow

BUSY_SECONDS = 30.0
"""How long to wait for another process's write."""

CLOSE_SECONDS = 2.0
"""How long closing waits for a thread that uses the database, perhaps waiting for a write."""


class MirrorRow(Struct, frozen=True):
    """A mirror that announced itself and answered when it was called back."""

    url: str
    state: MirrorState
    source: str
    verified: int
    expires: int
    renewals: int

    def seconds_left(self, now: int) -> int:
        """Return for how long others are told of it; ``now`` in seconds since 1970.

        A clock that was ahead when it was listed makes that no longer than there are words for.
        """
        return max(1, min(self.expires - now, MAX_VALID_SECONDS))


class CheckRow(Struct, frozen=True):
    """What looking for news of a mirrored repository came to.

    Args:
        succeeded: when it last was brought up to date, in seconds since 1970; 0 for never.
        source: URL of the mirror that the last success came from.
        failed: when it last failed; 0 for never.
        error: why it last failed.
        failures: how often it failed since the last success.
        head: checkpoint that the last whole update came to; empty for none.
        whole: when that was.
        next: when the node looks again; 0 where no node follows it.
        live: whether a conversation of the node tells of news meanwhile.
    """

    succeeded: int = 0
    source: str = ""
    failed: int = 0
    error: str = ""
    failures: int = 0
    head: str = ""
    whole: int = 0
    next: int = 0
    live: bool = False


class RememberedMirror(Struct, frozen=True):
    """A mirror of a repository that may be turned to when the one named is gone.

    Args:
        url: where it is.
        trusted: kind of address it was learned from; None where the user named it.
        found: how it was found, as `gittorrent.discovery.ports.Way` calls it.
        teller: on whose word; empty where the way says it all.
        served: when it last gave what it was asked for, in seconds since 1970; 0 for never.
        failures: in a row.
    """

    url: str
    trusted: AddressClass | None
    found: str = "listed"
    teller: str = ""
    served: int = 0
    failures: int = 0

    @property
    def source(self) -> tuple[str, str]:
        """Whose share of the table it is in: its own, once it proved to be of use."""
        if self.trusted is None or self.served:
            return ("proved", self.url)
        return (self.found, self.teller)


INFO_FILE = "gittorrent/repository.json"
"""What every carried repository has in its git directory; without it, nobody can go on with it."""

MAX_REMEMBERED = 32
"""Mirrors remembered of one repository: more than are ever asked."""

MAX_FAILURES = 8
"""Times in a row that a learned mirror may fail before it is forgotten."""


_REMEMBERED = (
    "SELECT url, trusted, found, teller, served, failures FROM remembered WHERE repository_id = ?"
)


def _remembered(rows: Iterable[tuple[Any, ...]]) -> list[RememberedMirror]:
    return [
        RememberedMirror(url, AddressClass(trusted) if trusted else None, *others)
        for url, trusted, *others in rows
    ]


class Database:
    """An open database; any thread may use it, and somebody closes it.

    Args:
        path: of its file. On a read-only file system it must be there, and can only be read.
        busy_seconds: how long to wait for another process's write.
        as_it_is: whether to leave what it says of another home's repositories as it is.
    """

    def __init__(
        self, path: Path, busy_seconds: float = BUSY_SECONDS, *, as_it_is: bool = False
    ) -> None:
        self._path = path
        self._writes = threading.Lock()
        self._reads = threading.Lock()
        self._reads_only = path.exists() and is_read_only(path)
        with contextlib.ExitStack() as opened:
            if self._reads_only:
                folder = opened.enter_context(temporary_directory("database"))
                path = copied_as_it_lies(path, folder)
            self._db, self._reader = open_database(path, busy_seconds, self._path)
            self._temporary = opened.pop_all()
        if as_it_is or self._reads_only:
            return
        try:
            self._keep_to_own_files()
        except BaseException:
            self.close()
            raise

    @property
    def home(self) -> Home:
        """The home that it is the database of."""
        return Home(self._path.parent)

    def close(self) -> None:
        """Close it; what another thread still waits for in it ends with the process."""
        for lock, connection in ((self._reads, self._reader), (self._writes, self._db)):
            if lock.acquire(timeout=CLOSE_SECONDS):
                connection.close()
                lock.release()
        self._temporary.close()

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query finds.

        Raises:
            LocalError: another process holds the whole database locked, or it is damaged.
        """
        try:
            with self._reads:
                return self._reader.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            raise LocalError(
                f"cannot read {self._path}: {error}", hint="see which program holds it locked"
            ) from error
        except sqlite3.DatabaseError as error:
            raise cannot_use(self._path, error) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        if self._reads_only:
            raise cannot_use(self._path, OSError(errno.EROFS, os.strerror(errno.EROFS)))
        try:
            with self._writes, transaction(self._db):
                yield
        except sqlite3.OperationalError as error:
            raise LocalError(
                f"cannot write to {self._path}: {error}", hint="make room and try again"
            ) from error
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise cannot_use(self._path, error) from error

    def _keep_to_own_files(self) -> None:
        """Name what lies here instead of what lies in the home that this one is a copy of.

        Looked at once, and again in another place: there may be thousands of repositories.
        """
        status = self.home.root.stat()
        place = f"{stored_path(str(self.home.root))} {status.st_dev} {status.st_ino}"
        if self._read("SELECT home FROM place") == [(place,)]:
            return
        paths = (path_of(path) for (path,) in self._read("SELECT path FROM repositories"))
        meant = own_places(paths, self.home, self._is_mirror)
        # On a full disk it is looked again the next time; most can go on without.
        with (
            contextlib.nullcontext() if meant else contextlib.suppress(LocalError),
            self._writing(),
        ):
            for path, own in meant.items():
                # What is recorded here already stays as it is.
                self._db.execute(
                    "UPDATE OR IGNORE repositories SET path = ? WHERE path = ?",
                    (stored_path(own), stored_path(path)),
                )
                self._db.execute("DELETE FROM repositories WHERE path = ?", (stored_path(path),))
            self._db.execute("DELETE FROM place")
            self._db.execute("INSERT INTO place VALUES (?)", (place,))

    def _is_mirror(self, path: str) -> bool:
        query = "SELECT role = 'mirror' FROM repositories WHERE path = ?"
        return bool(self._read(query, stored_path(path))[0][0])

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query finds; for the modules of this package that have tables of their own.

        Raises:
            LocalError: another process holds the whole database locked.
        """
        return self._read(query, *values)

    def write(self, statements: Iterable[tuple[str, tuple[object, ...]]]) -> None:
        """Carry out statements with their values in one transaction; likewise.

        Raises:
            LocalError: there is no room, or another process writes for long.
        """
        with self._writing():
            for statement, values in statements:
                self._db.execute(statement, values)

    def carry(self, row: CarriedRow) -> None:
        """Record that this node carries a repository.

        Raises:
            UsageError: the name is taken by another repository.
        """
        with self._writing():
            self.require_free(row.name, row.path, row.repository_id)
            self._db.execute("DELETE FROM repositories WHERE path = ?", (stored_path(row.path),))
            self._db.execute(
                "INSERT OR REPLACE INTO repositories VALUES (?, ?, ?, ?, ?)",
                (row.name, row.repository_id, stored_path(row.path), row.role, row.source),
            )

    def uncarry(self, row: CarriedRow) -> None:
        """Record that this node carries a repository no more.

        Mirrors that announced themselves here for it go with it, and so does the result of its last
        check for news. What protects clones stays: ids seen at URLs, newest heads, distrusted keys,
        remembered mirrors.
        """
        with self._writing():
            self._db.execute(
                "DELETE FROM repositories WHERE name = ? AND path = ?",
                (row.name, stored_path(row.path)),
            )
            self._db.execute(
                "DELETE FROM mirrors WHERE repository_id = ? AND repository_id NOT IN"
                " (SELECT repository_id FROM repositories)",
                (row.repository_id,),
            )
            for table in ("checks", "following"):
                self._db.execute(
                    f"DELETE FROM {table} WHERE repository_id = ? AND repository_id NOT IN"  # noqa: S608
                    " (SELECT repository_id FROM repositories)",
                    (row.repository_id,),
                )

    def require_free(self, name: str, path: str, repository: RepositoryId | None = None) -> None:
        """Make sure that a repository may be carried under a name.

        Args:
            name: the name.
            path: of its git directory.
            repository: its id, None if it has none yet.

        Raises:
            UsageError: the name is taken by another repository.
        """
        found = self._read("SELECT repository_id, path FROM repositories WHERE name = ?", name)
        taken = (found[0][0], path_of(found[0][1])) if found else None
        if taken is None or _is_same(taken[1], path):
            return
        if taken[0] == repository and not (Path(taken[1]) / INFO_FILE).exists():
            return  # what is left of one that is gone
        raise UsageError(
            f"the name {name} is taken by the repository in {taken[1]}",
            hint="give one of the two another name ('gittorrent publish' and 'gittorrent mirror'"
            f" have --name), or 'gittorrent remove {name}' stops carrying that one",
        )

    def carried(self) -> list[CarriedRow]:
        """Return all repositories this node carries, by name."""
        return carried_rows(self._read(CARRIED))

    def known_url(self, url: str) -> RepositoryId | None:
        """Return the id that was found at ``url`` at first contact, named there or not."""
        rows = self._read("SELECT repository_id FROM known_urls WHERE url = ?", url)
        return RepositoryId(rows[0][0]) if rows else None

    def remember_url(self, url: str, repository: RepositoryId, now: int) -> None:
        """Remember the id found at ``url``; what was remembered before stays."""
        if self.known_url(url) is not None:
            return
        with self._writing():
            self._db.execute(
                "INSERT OR IGNORE INTO known_urls VALUES (?, ?, ?)", (url, repository, now)
            )

    def forget_url(self, url: str) -> bool:
        """Forget what was found at ``url``; tells whether anything was."""
        with self._writing():
            done = self._db.execute("DELETE FROM known_urls WHERE url = ?", (url,))
            self._db.execute("DELETE FROM remembered WHERE url = ?", (url,))
        return done.rowcount > 0

    def remember_mirrors(
        self, repository: RepositoryId, mirrors: Sequence[RememberedMirror], now: int
    ) -> None:
        """Remember mirrors of a repository; those that served or were seen last are kept.

        What the user named once is not made a thing that was only learned, and stays in the share
        of whoever told of it first. Beyond `MAX_REMEMBERED` each source keeps a fair share.
        """
        with self._writing():
            for mirror in mirrors:
                trusted = "" if mirror.trusted is None else mirror.trusted.value
                self._db.execute(
                    "INSERT INTO remembered (repository_id, url, trusted, seen, found, teller)"
                    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (repository_id, url) DO UPDATE"
                    " SET seen = excluded.seen, trusted ="
                    " CASE WHEN remembered.trusted = '' THEN '' ELSE excluded.trusted END",
                    (repository, mirror.url, trusted, now, mirror.found, mirror.teller),
                )
            best_first = _REMEMBERED + " ORDER BY failures > 0, served DESC, seen DESC"
            known = _remembered(self._db.execute(best_first, (repository,)))
            kept = fair_shares(known, lambda each: each.source, MAX_REMEMBERED)
            for url in {each.url for each in known} - {each.url for each in kept}:
                self._db.execute(
                    "DELETE FROM remembered WHERE repository_id = ? AND url = ?", (repository, url)
                )

    def mirror_served(self, repository: RepositoryId, url: str, now: int) -> None:
        """Record that a mirror gave what it was asked for."""
        with self._writing():
            self._db.execute(
                "UPDATE remembered SET served = ?, failures = 0"
                " WHERE repository_id = ? AND url = ?",
                (now, repository, url),
            )

    def mirror_failed(self, repository: RepositoryId, url: str) -> None:
        """Record that one did not; a learned one is forgotten after `MAX_FAILURES` in a row."""
        with self._writing():
            self._db.execute(
                "UPDATE remembered SET failures = failures + 1 WHERE repository_id = ? AND url = ?",
                (repository, url),
            )
            self._db.execute(
                "DELETE FROM remembered WHERE repository_id = ? AND trusted != ''"
                " AND failures >= ?",
                (repository, MAX_FAILURES),
            )

    def remembered_mirrors(self, repository: RepositoryId) -> list[RememberedMirror]:
        """Return the mirrors remembered of a repository, the most promising first."""
        best_first = _REMEMBERED + " ORDER BY failures, served DESC, seen DESC"
        return _remembered(self._read(best_first, repository))

    def seen_head(self, repository: RepositoryId) -> tuple[PushId, int] | None:
        """Return the newest log head verified of a repository and the log's length there."""
        rows = self._read("SELECT head, length FROM heads WHERE repository_id = ?", repository)
        return (PushId(rows[0][0]), int(rows[0][1])) if rows else None

    def saw_head(self, repository: RepositoryId, head: PushId, length: int, now: int) -> None:
        """Record a verified log head; a shorter log never replaces a longer one."""
        with self._writing():
            self._db.execute(
                "INSERT INTO heads VALUES (?, ?, ?, ?) ON CONFLICT (repository_id) DO UPDATE"
                " SET head = excluded.head, length = excluded.length, seen = excluded.seen"
                " WHERE excluded.length >= heads.length",
                (repository, head, length, now),
            )

    def check_succeeded(
        self, repository: RepositoryId, source: str, now: int, head: str = ""
    ) -> None:
        """Record that a mirrored repository was brought up to date from ``source``.

        Args:
            repository: it.
            source: URL of the mirror that it came from.
            now: seconds since 1970.
            head: the checkpoint that a whole update came to; empty where only the log was
                looked at.
        """
        with self._writing():
            self._db.execute(
                "INSERT INTO checks (repository_id, succeeded, source, head, whole)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (repository_id) DO UPDATE"
                " SET succeeded = excluded.succeeded, source = excluded.source, failures = 0,"
                " head = CASE excluded.head WHEN '' THEN head ELSE excluded.head END,"
                " whole = CASE excluded.head WHEN '' THEN whole ELSE excluded.whole END",
                (repository, now, source, head, now if head else 0),
            )

    def check_current(self, current: Iterable[tuple[RepositoryId, str]], now: int) -> None:
        """Record that mirrored repositories have all that some source has, as it says itself.

        Args:
            current: each repository, and the URL of its source.
            now: seconds since 1970.
        """
        with self._writing():
            self._db.executemany(
                "INSERT INTO checks (repository_id, succeeded, source) VALUES (?, ?, ?)"
                " ON CONFLICT (repository_id) DO UPDATE SET succeeded = excluded.succeeded,"
                " source = excluded.source, failures = 0",
                [(repository, now, source) for repository, source in current],
            )

    def check_failed(self, repository: RepositoryId, error: str, now: int) -> None:
        """Record why looking for news of a mirrored repository failed."""
        with self._writing():
            self._db.execute(
                "INSERT INTO checks (repository_id, failed, error, failures) VALUES (?, ?, ?, 1)"
                " ON CONFLICT (repository_id) DO UPDATE SET failed = excluded.failed,"
                " error = excluded.error, failures = checks.failures + 1",
                (repository, now, error),
            )

    def check(self, repository: RepositoryId) -> CheckRow:
        """Return what looking for news of a mirrored repository came to."""
        rows = self._read(
            "SELECT succeeded, source, failed, error, failures, head, whole, next, live"
            " FROM checks WHERE repository_id = ?",
            repository,
        )
        if not rows:
            return CheckRow()
        *figures, live = rows[0]
        return replace(CheckRow(*figures), live=bool(live))

    def failing(self) -> dict[RepositoryId, str]:
        """Return why the last look for each repository failed that failed."""
        rows = self._read("SELECT repository_id, error FROM checks WHERE failures > 0")
        return {RepositoryId(repository): str(error) for repository, error in rows}

    def distrust(self, repository: RepositoryId, key: str, reason: str, now: int) -> None:
        """Believe no manifest of ``key`` any more for a repository."""
        with self._writing():
            self._db.execute(
                "INSERT OR IGNORE INTO distrusted VALUES (?, ?, ?, ?)",
                (repository, key, reason, now),
            )

    def distrusted(self, repository: RepositoryId, key: str) -> str | None:
        """Return why manifests of ``key`` are not believed, None when they are."""
        rows = self._read(
            "SELECT reason FROM distrusted WHERE repository_id = ? AND key = ?", repository, key
        )
        return str(rows[0][0]) if rows else None

    def list_mirror(self, repository: RepositoryId, row: MirrorRow) -> None:
        """Add or renew a mirror."""
        with self._writing():
            self._db.execute(
                "INSERT OR REPLACE INTO mirrors VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    repository,
                    row.url,
                    row.state.value,
                    row.source,
                    row.verified,
                    row.expires,
                    row.renewals,
                ),
            )

    def note_answer(self, repository: RepositoryId, url: str, now: int) -> None:
        """Record that a mirror answered; it is listed no longer for that."""
        with self._writing():
            self._db.execute(
                "UPDATE mirrors SET verified = ? WHERE repository_id = ? AND url = ?",
                (now, repository, url),
            )

    def drop_mirror(self, repository: RepositoryId, url: str) -> None:
        """Remove a mirror that does not answer any more."""
        with self._writing():
            self._db.execute(
                "DELETE FROM mirrors WHERE repository_id = ? AND url = ?", (repository, url)
            )

    def clock_was_set(self, was: int, now: int) -> None:
        """Keep what is left of the time for which mirrors are listed, now that the clock leapt.

        Args:
            was: what the clock would say, in seconds.
            now: what it says.
        """
        last = now + MAX_VALID_SECONDS
        with self._writing():
            self._db.execute(
                "UPDATE mirrors SET verified = verified + ?1, expires = expires + ?1"
                " WHERE expires > ?2 AND expires <= ?3",
                (now - was, was, was + MAX_VALID_SECONDS),
            )
            self._db.execute(
                "UPDATE mirrors SET verified = min(verified, ?1), expires = min(expires, ?2)"
                " WHERE verified > ?1 OR expires > ?2",
                (now, last),
            )
            self._db.execute(
                "UPDATE remembered SET seen = min(seen, ?1), served = min(served, ?1)"
                " WHERE seen > ?1 OR served > ?1",
                (now,),
            )

    def mirrors(self, repository: RepositoryId, now: int) -> list[MirrorRow]:
        """Return the mirrors whose time has not run out, most recently verified first."""
        rows = self._read(
            "SELECT url, state, source, verified, expires, renewals FROM mirrors"
            " WHERE repository_id = ? AND expires > ? ORDER BY verified DESC",
            repository,
            now,
        )
        return [MirrorRow(u, MirrorState(s), o, v, e, r) for u, s, o, v, e, r in rows]


def _is_same(one: str, other: str) -> bool:
    """Tell whether two paths are one place: a repository that was moved may have left a link."""
    return one == other or bool(one and other and Path(one).resolve() == Path(other).resolve())
