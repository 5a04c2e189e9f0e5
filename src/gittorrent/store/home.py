"""The node's home: the one directory that holds everything which is not in a repository.

``GITTORRENT_HOME`` names it; without it, it is ``gittorrent`` in the user's data directory
(XDG). Layout::

    node.sqlite            what the node carries and whom it knows
    node.toml              how the node runs, written by people
    node-id                random name, of which the node's own is made
    repositories/<name>.git
    keys/                  signing keys made on request
    partial/<manifest id>/ downloads that are not finished
    cache/<repository id>.git  what the node keeps for clones of this machine, for a while
    views/                 what git's own clients are served from
    ci/                    what the node keeps for CI jobs, for a while
    run/                   what running processes are doing; the node's control socket
    dht                    nodes of the DHT that were there lately
    clock                  a reading of the clock that keepers here believed

Whoever may write to any of this decides what this user's clones take for granted, and which key
signs. So a home that is another user's, or that others may write to, is refused.

Some users have no place for one: the user of a container, whose number no password file knows, or
whose home directory is the system's. Clones need none, so what they keep goes to a temporary
directory then (`usable_home`). A home that is named and cannot be used is an error for everybody.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from msgspec import Struct

from gittorrent.durable import locked_directory, temporary_directory, write_atomically
from gittorrent.errors import FULL, LocalError
from gittorrent.ids import SHA1
from gittorrent.ownership import require_own, user_name
from gittorrent.permissions import denied_at, is_read_only

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "GITTORRENT_HOME"

_HINT = f"set {VARIABLE} to a directory of your own"


class NoHomeError(LocalError):
    """This user has no place for a node's home, and named none."""


class Home(Struct, frozen=True):
    """The home directory and where things are in it.

    Args:
        root: the directory.
        lacking: of one that is gone when this process ends: why the user has no other.
    """

    root: Path
    lacking: str = ""

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "node.sqlite"

    @property
    def config(self) -> Path:
        """The node's configuration, if somebody wrote one."""
        return self.root / "node.toml"

    @property
    def repositories(self) -> Path:
        """Bare repositories the node made itself."""
        return self.root / "repositories"

    @property
    def keys(self) -> Path:
        """Signing keys made on request."""
        return self.root / "keys"

    @property
    def partial(self) -> Path:
        """Unfinished downloads."""
        return self.root / "partial"

    @property
    def cache(self) -> Path:
        """What the running node keeps for the clones of this machine."""
        return self.root / "cache"

    @property
    def views(self) -> Path:
        """What is published of the repositories served, for git's own clients."""
        return self.root / "views"

    @property
    def control(self) -> Path:
        """The socket at which the running node takes requests of this user's programs."""
        return self.run / "control"

    @property
    def ci(self) -> Path:
        """What the running node keeps for CI jobs."""
        return self.root / "ci"

    @property
    def ci_socket(self) -> Path:
        """Where the running node answers CI jobs, unless it is told otherwise."""
        return self.run / "ci.sock"

    @property
    def routing_table(self) -> Path:
        """Nodes of the DHT that were there lately, as libtorrent keeps them."""
        return self.root / "dht"

    @property
    def clock(self) -> Path:
        """Which reading of the clock was believed last by what signs checkpoints here."""
        return self.root / "clock"

    @property
    def run(self) -> Path:
        """What running processes are doing."""
        return self.root / "run"

    def node_id(self) -> str:
        """Return how this node calls itself, 40 hexadecimal digits; made at first use.

        Who hears this name of itself talks to itself, and ends that. Copies of a home (restored
        from a backup beside the node, or in an image that machines are made from) have the same
        file and are other nodes. So the name is of the file in this place, while this machine runs.
        """
        path = self.root / "node-id"
        name = self._stored_id(path)
        status = path.stat()
        parts = (name, _boot(), socket.gethostname(), str(status.st_dev), str(status.st_ino))
        return hashlib.sha1("\n".join(parts).encode(), usedforsecurity=False).hexdigest()

    def _stored_id(self, path: Path) -> str:
        found = _read_id(path)
        if found is None:
            # Two processes may do this at once; both then go by what one of them wrote.
            with locked_directory(self.root):
                found = _read_id(path)
                if found is None:
                    found = secrets.token_hex(20)
                    write_atomically(path, f"{found}\n".encode("ascii"))
        return found


def _boot() -> str:
    """Return what names this run of the machine; nothing where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _read_id(path: Path) -> str | None:
    """Return the name in a file; None if there is none, or one that a crash cut short."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    return text if SHA1.is_oid(text) else None


def named_home() -> Home:
    """Return the home that the environment names, which need not be there or be this user's.

    Raises:
        NoHomeError: it names none, and neither does the password file.
    """
    named = os.environ.get(VARIABLE)
    try:
        root = Path(named).expanduser() if named else Path(platformdirs.user_data_dir("gittorrent"))
    except RuntimeError as error:  # of both: there is nothing that ``~`` stands for
        raise _no_home() from error
    if not named and not root.is_absolute():
        raise _no_home()
    return Home(root)


def home_if_any() -> Home | None:
    """Return what `named_home` does; None where there is none."""
    try:
        return named_home()
    except NoHomeError:
        return None


def open_home() -> Home:
    """Return the home that the environment names, made if it was not there.

    Raises:
        NotOwnError: it is another user's, or others may write to it.
        NoHomeError: the environment names none, and there is no place for one.
        LocalError: it cannot be made.
    """
    root = named_home().root
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = root.stat().st_uid
    except OSError as error:
        raise _cannot_make(root, error) from error
    if owner != os.geteuid() and not _is_named():
        raise NoHomeError(f"{root} belongs to {user_name(owner)}", hint=_HINT)
    home = Home(root.resolve())
    require_own(home.root, _HINT)
    _prepare(home)
    return home


@contextlib.contextmanager
def usable_home(place: Path | None = None) -> Iterator[Home]:
    """Yield the user's home, or for want of one a home that is gone after the block.

    For what needs no home: clones, and looking at what is in them.

    Args:
        place: where the other one is made, if there is such a directory.

    Raises:
        NotOwnError: others may write to the home.
        LocalError: one that was named cannot be made, or there is no room.
    """
    known: tuple[Path, ...] = ()
    try:
        found = open_home()
    except NoHomeError as error:
        lacking = str(error)
    else:
        if _is_named() or not is_read_only(found.root):
            yield found
            return
        lacking = f"the file system of {found.root} is read-only"
        known = (found.database, found.database.with_name(f"{found.database.name}-wal"))
    where = place if place is not None and place.is_dir() else None
    with temporary_directory("home", where) as root:
        home = Home(root.resolve(), lacking)
        _prepare(home)
        for path in known:  # such as which repository a URL led to
            if path.exists():
                shutil.copyfile(path, home.root / path.name)
        yield home


def _is_named() -> bool:
    return bool(os.environ.get(VARIABLE))


def _no_home() -> NoHomeError:
    return NoHomeError(f"{user_name(os.geteuid())} has no home directory", hint=_HINT)


def _prepare(home: Home) -> None:
    """Make the directories in a home, and make sure that all there is is this user's."""
    try:
        for private in (home.run, home.partial, home.cache):
            private.mkdir(mode=0o700, exist_ok=True)
        # Others may read what is carried, if the home's own mode lets them.
        home.repositories.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise _cannot_make(Path(error.filename or home.root), error) from error
    present = [home.keys, home.run, home.partial, home.cache, home.repositories, home.database]
    for path in present:
        if path.exists():
            require_own(path, _HINT, within=home.root)


def _cannot_make(path: Path, error: OSError) -> LocalError:
    denied = denied_at(path, reading=False)
    said = str(denied) if denied is not None else f"cannot make {path}: {error.strerror}"
    if error.errno in FULL:
        return LocalError(said, hint=f"make room, or {_HINT}")
    return LocalError(said, hint=_HINT) if _is_named() else NoHomeError(said, hint=_HINT)
