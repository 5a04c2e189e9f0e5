"""Backups of a node's home: one file of what the node knows, and another one of its keys.

A backup is a tar archive whose first member, ``backup.json``, has the digests of the others. Rules:
a file of a backup is there whole, and read again before it gets its name, or it is not there; of an
archive only the names below are taken, and only what has the digest that it should have. Keys are
in no archive with anything else. Repositories are in none: a log is as new as the repository that
it lies in, or comes from mirrors. Copies of them lie beside the archive, which lists their files
(`gittorrent.repository.copying`); no keeper goes on from one of these.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import time
from enum import Enum
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from gittorrent.durable import naming, replacing, sync_directory, temporary_directory
from gittorrent.errors import GitTorrentError, LocalError, UsageError
from gittorrent.ownership import make_private
from gittorrent.printable import printable
from gittorrent.store.database_file import copy_database

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gittorrent.store.home import Home

FORMAT = 1
"""Of the archive; a program that does not know it refuses it."""

MAX_BYTES = 1 << 30
"""Bytes of a backup: a database of a hundred thousand repositories is a tenth of that."""

DATABASE = "node.sqlite"

COPIES = "repositories.json"
"""Which copies of repositories belong to the backup."""

_CONTENTS = "backup.json"
_PLAIN = ("node.toml", "node-id")
_KEY = re.compile(r"keys/(?!\.)[^/\0]{1,255}")


class BackupDamagedError(GitTorrentError):
    """A backup is not what was written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="restore from another backup")


class Kind(Enum):
    """What is in a backup."""

    HOME = "home"
    KEYS = "keys"


class _Contents(Struct, frozen=True, forbid_unknown_fields=True):
    """What ``backup.json`` says: digests are SHA-256 in hexadecimal, by name of member."""

    format: int
    kind: Kind
    made: int
    home: str
    digests: dict[str, str]


class Backup(Struct, frozen=True):
    """A backup that was read, and is whole.

    Args:
        kind: what is in it.
        made: when, in seconds since 1970.
        files: content by name.
    """

    kind: Kind
    made: int
    files: Mapping[str, bytes]


def copies_beside(path: Path) -> Path:
    """Return the directory of the copies of repositories that belong to a backup.

    Its path is absolute, since git is run in it.
    """
    return path.absolute().with_name(f"{path.name}.repositories")


def back_up_home(home: Home, path: Path, copies: bytes | None = None) -> None:
    """Write a backup of all that a home has for itself but keys, while a node uses it.

    Args:
        home: it.
        path: of the file.
        copies: which copies of repositories belong to it; None where there are none.

    Raises:
        UsageError: the home has no database.
        LocalError: something cannot be read, or there is no room.
    """
    if not home.database.exists():
        raise UsageError(f"there is no node in {home.root} to back up")
    files = {
        name: (home.root / name).read_bytes() for name in _PLAIN if (home.root / name).exists()
    }
    if copies is not None:
        files[COPIES] = copies
    with temporary_directory("backup") as folder:
        copy = folder / DATABASE
        make_private(copy)
        copy_database(home.database, copy)
        files[DATABASE] = copy.read_bytes()
    _write(path, Kind.HOME, home, files)


def back_up_keys(home: Home, path: Path) -> None:
    """Write a backup of a home's keys.

    Raises:
        LocalError: there is no room.
    """
    _write(path, Kind.KEYS, home, {f"keys/{key.name}": key.read_bytes() for key in key_files(home)})


def key_files(home: Home) -> list[Path]:
    """Return the files of a home's keys."""
    if not home.keys.is_dir():
        return []
    return sorted(path for path in home.keys.iterdir() if path.is_file())


def read_backup(path: Path, kind: Kind) -> Backup:
    """Read a backup and verify all of it.

    Args:
        path: of the file.
        kind: what should be in it.

    Raises:
        UsageError: it is of another kind, or of a newer version.
        BackupDamagedError: it is none, or damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise BackupDamagedError(f"{path} is larger than any backup")
        data = file.read(MAX_BYTES)
    members = _members(path, data)
    try:
        contents = msgspec.json.decode(members.pop(_CONTENTS, b""), type=_Contents)
    except msgspec.MsgspecError as error:
        raise BackupDamagedError(f"{path} is no backup of a node: {error}") from error
    if contents.format != FORMAT:
        raise UsageError(f"{path} was written by a newer gittorrent")
    if contents.kind is not kind:
        raise UsageError(f"{path} is a backup of a node's {contents.kind.value}")
    if members.keys() != contents.digests.keys():
        raise BackupDamagedError(f"{path} has not the files that it should have")
    for name, content in members.items():
        if not _may_be_in(kind, name):
            raise BackupDamagedError(f"{path} has a file {name!r}, which is in no backup")
        if hashlib.sha256(content).hexdigest() != contents.digests[name]:
            raise BackupDamagedError(f"{name} in {path} is damaged")
    return Backup(kind, contents.made, members)


def write_private(path: Path, data: bytes, check: Callable[[Path], object] | None = None) -> None:
    """Replace a file by one that only this user may use; it survives a power cut.

    Unlike `durable.write_atomically` this never shares it with a group.

    Args:
        path: the file.
        data: its content.
        check: reads what was written before it gets its name; what it raises leaves the old file.

    Raises:
        OSError: there is no room, or this user may not write there.
    """
    with replacing(path) as beside:
        beside.unlink(missing_ok=True)
        make_private(beside)
        with naming(path), beside.open("r+b") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(beside)
    sync_directory(path.parent)


def _may_be_in(kind: Kind, name: str) -> bool:
    if kind is Kind.KEYS:
        return _KEY.fullmatch(name) is not None
    return name in (DATABASE, COPIES, *_PLAIN)


def _write(path: Path, kind: Kind, home: Home, files: dict[str, bytes]) -> None:
    """Write an archive, and give it its name once it was read again."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    contents = _Contents(FORMAT, kind, int(time.time()), printable(str(home.root)), digests)
    data = _archive({_CONTENTS: msgspec.json.encode(contents), **files})
    if len(data) > MAX_BYTES:
        raise LocalError(f"the home in {home.root} is larger than a backup may be")
    write_private(path, data, lambda written: read_backup(written, kind))


def _archive(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of files that only their owner may use."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _members(path: Path, data: bytes) -> dict[str, bytes]:
    """Return the content of all members of an archive; nothing is written anywhere."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                # A sparse member is as large as it says, however few bytes it has.
                is_plain = member.isreg() and not member.issparse() and member.size <= len(data)
                file = archive.extractfile(member) if is_plain else None
                if file is None or member.name in found:
                    raise BackupDamagedError(f"{path} has a member that is in no backup")
                found[member.name] = file.read()
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        # The library goes a level deeper for each header that another one belongs to.
        raise BackupDamagedError(f"{path} is no archive, or damaged: {error}") from error
    return found
