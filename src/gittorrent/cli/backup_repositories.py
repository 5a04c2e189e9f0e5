"""The copies of published repositories that ``backup`` makes and ``restore`` puts in place.

Each backup has copies of its own, beside its file, which says which they are. So whatever is
killed, the file and the copies that it names belong together; what no file names is removed by the
next backup.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from gittorrent.errors import GitTorrentError
from gittorrent.ids import OBJECT_FORMATS, RepositoryId, is_repository_id
from gittorrent.repository.carried import MIRROR, Carried, object_format_of
from gittorrent.repository.copying import CopiedRepository, check_copy, copy_repository, place_copy
from gittorrent.store.backup import COPIES, BackupDamagedError, Kind, copies_beside, read_backup
from gittorrent.trust.errors import PolicyError
from gittorrent.trust.policy import check_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gittorrent.store.backup import Backup
    from gittorrent.store.carried_rows import CarriedRow

Copies = dict[RepositoryId, CopiedRepository]


class Placed(Struct, frozen=True):
    """A copy that was put in place.

    Args:
        path: where.
        kept: refs that were not published, kept below `gittorrent.repository.copying.RESTORED`.
    """

    path: Path
    kept: int


def copies_of(backup: Backup) -> Copies:
    """Return which copies of repositories belong to a backup.

    Raises:
        BackupDamagedError: it does not say that as it should.
    """
    data = backup.files.get(COPIES)
    if data is None:
        return {}
    try:
        found = msgspec.json.decode(data, type=dict[str, CopiedRepository])
    except msgspec.MsgspecError as error:
        raise BackupDamagedError(f"the list of copied repositories is damaged: {error}") from error
    for name, copied in found.items():
        is_known = is_repository_id(name) and re.fullmatch(
            rf"{name}-[0-9]{{1,9}}", copied.directory
        )
        if not is_known:
            raise BackupDamagedError(f"the list of copied repositories has {name!r}")
        if copied.format not in OBJECT_FORMATS:
            raise BackupDamagedError(f"the list of copied repositories: {copied.format!r} objects")
        try:
            check_name(copied.name)
        except PolicyError as error:
            raise BackupDamagedError(f"the list of copied repositories: {error}") from error
    return {RepositoryId(name): copied for name, copied in found.items()}


def copy_published(file: Path, rows: Sequence[CarriedRow]) -> Copies:
    """Copy what is published, for a backup that is written to a file afterwards.

    Args:
        file: of the backup; an earlier one there shares with it what does not change.
        rows: what is carried.

    Raises:
        GitTorrentError: one of them cannot be copied.
    """
    folder = copies_beside(file)
    folder.mkdir(mode=0o700, exist_ok=True)
    former = _former(file)
    remove_others(file, former)
    made: Copies = {}
    for row in rows:
        if row.role == MIRROR:
            continue
        git_dir = Path(row.path)
        carried = Carried(git_dir, object_format_of(git_dir), row.repository_id)
        before = former.get(row.repository_id)
        number = 1 if before is None else int(before.directory.rpartition("-")[2]) + 1
        directory = f"{row.repository_id}-{number}"
        made[row.repository_id] = copy_repository(carried, folder, directory, before)
    return made


@contextlib.contextmanager
def removing_halves(file: Path) -> Iterator[None]:
    """Where a backup fails, remove the copies that were made for it: a full disk stays full."""
    try:
        yield
    except BaseException:
        folder = copies_beside(file)
        if folder.is_dir():
            remove_others(file, _former(file))
            with contextlib.suppress(OSError):  # there are some of the former backup
                folder.rmdir()
        raise


def remove_others(file: Path, copies: Copies) -> None:
    """Remove the copies beside a backup that do not belong to it."""
    named = {copied.directory for copied in copies.values()}
    for path in copies_beside(file).iterdir():
        if path.name not in named:
            shutil.rmtree(path)


def check_copies(file: Path, copies: Copies) -> None:
    """Read all copies of a backup.

    Raises:
        CopyDamagedError: one is not what was written.
    """
    for copied in copies.values():
        check_copy(copies_beside(file), copied)


def place_copies(file: Path, copies: Copies, into: Path) -> dict[RepositoryId, Placed]:
    """Put the copies of a backup into a directory, each under its name.

    Raises:
        CopyDamagedError: one is not what was written.
    """
    return {
        repository: _place(file, copied, into / f"{copied.name}.git")
        for repository, copied in copies.items()
    }


def _place(file: Path, copied: CopiedRepository, target: Path) -> Placed:
    return Placed(target, place_copy(copies_beside(file), copied, target))


def encode(copies: Mapping[RepositoryId, CopiedRepository]) -> bytes:
    """Return how a backup says which copies belong to it."""
    return msgspec.json.encode(copies)


def _former(file: Path) -> Copies:
    """Return the copies of an earlier backup in the same place; none where it cannot be read."""
    try:
        return copies_of(read_backup(file, Kind.HOME))
    except (FileNotFoundError, GitTorrentError):
        return {}
