"""Copies a published repository for a backup while it is used, and puts a copy in place again.

What changes is copied first, under the repository's lock, which takes a moment: refs, the log,
settings. What never changes (objects, push objects, reels) comes after that without it: whatever
the refs and the log need was there before they named it. Packs that are repacked meanwhile are
looked for again. A copy counts when all that its refs reach is in it.

Files that do not change are taken by hard links from the copy before, whose digests are known.
Rules: of a copy only regular files are taken whose names, sizes and digests are in its list; what
is put in place is a mirror, so that no keeper goes on from a log that may be old.
Source: docs/commands.md, gittorrent backup.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct, field
from msgspec.structs import replace

from gittorrent.durable import naming
from gittorrent.errors import GitTorrentError, LocalError
from gittorrent.git import history
from gittorrent.git.refs import apply_changes, read_refs
from gittorrent.git.runner import Git
from gittorrent.ids import OBJECT_FORMATS, RefName
from gittorrent.repository.carried import MIRROR, Carried
from gittorrent.repository.readers_file import close_to_others
from gittorrent.store.copied_home import HOME_MARK, KEEPER_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.ids import RepositoryId

ROUNDS = 5
"""Looks at what never changes: each repacking meanwhile may need one more."""

RESTORED = b"refs/gittorrent/restored/"
"""Where refs are kept that were not published; refs below ``refs/gittorrent/`` never are."""

_STEADY = (
    "objects/",
    "gittorrent/reels/",
    "gittorrent/indexes/",
    "gittorrent/pushes/",
    "gittorrent/push-packs/",
)
_SCRATCH = (
    "gittorrent/shapes/",  # a cache: made again where they are asked for
    "gittorrent/incoming/",
    "gittorrent/uploads/",
    "gittorrent/building/",
    "worktrees/",
)
_LEFT_OUT = re.compile(
    r"(.*/)?(tmp_[^/]*|incoming-[^/]*|[^/]*\.lock|\.[^/]*\.new|index|lock)|"
    + re.escape(HOME_MARK)  # it is restored into another home perhaps
)
_CHUNK = 1 << 20
_MAX_PATH = 4096


class CopyDamagedError(GitTorrentError):
    """A copy is not what was written."""

    def __init__(self, message: str) -> None:
        hint = "the copies lie beside the backup, and both belong together; or take another backup"
        super().__init__(message, hint=hint)


class CopiedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a copy.

    Args:
        size: its bytes.
        digest: SHA-256 in hexadecimal.
        runs: whether it is a program: a hook.
    """

    size: int
    digest: str
    runs: bool = False


class CopiedRepository(Struct, frozen=True, forbid_unknown_fields=True):
    """A copy of a repository.

    Args:
        name: it is carried under.
        format: name of its object format.
        directory: of the copy, in the directory of all copies.
        files: by path within it.
    """

    name: str
    format: str
    directory: str
    files: dict[str, CopiedFile] = field(default_factory=dict)


def copy_repository(
    carried: Carried, folder: Path, directory: str, former: CopiedRepository | None = None
) -> CopiedRepository:
    """Copy a repository that others write to.

    Args:
        carried: it.
        folder: of all copies.
        directory: of this one, in it; must not be there.
        former: an earlier copy in the same folder.

    Raises:
        LocalError: it borrows objects from elsewhere, lacks some, or there is no room.
    """
    git_dir, target = carried.layout.git_dir, folder / directory
    if (carried.layout.objects / "info" / "alternates").exists():
        raise LocalError(
            f"{git_dir} borrows objects of another repository",
            hint=f"make it whole: 'git -C {git_dir} repack -a -d', and remove"
            " objects/info/alternates",
        )
    info = carried.info
    made = CopiedRepository(info.name, carried.object_format.name, directory)
    target.mkdir(mode=0o700)
    (target / "objects").mkdir()
    (target / "refs").mkdir()
    with carried.writing():
        # git packs a ref before it removes its file, so packed ones come last.
        names = sorted(_files(git_dir, steady=False), key="packed-refs".__eq__)
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # such as a ref that was packed now
                made.files[name] = _copy(git_dir / name, target / name)
    for _ in range(ROUNDS):
        if not _copy_steady(git_dir, folder, made, former):
            break
    _drop_halves(target, made)
    if (reason := _lacks(target)) is not None:
        raise LocalError(f"the copy of {git_dir} is not whole: {reason}")
    return made


def check_copy(folder: Path, copied: CopiedRepository) -> None:
    """Read a copy.

    Raises:
        CopyDamagedError: it is not what was written.
    """
    _check_names(copied)
    for name, file in copied.files.items():
        _read(folder / copied.directory / name, file, None)


def place_copy(folder: Path, copied: CopiedRepository, target: Path) -> int:
    """Put a copy in place, as a mirror; what is there of it already is made anew.

    A mirror's refs follow the log: refs that are not what the log shows are kept below `RESTORED`.

    Returns:
        How many these are.

    Raises:
        CopyDamagedError: it is not what was written.
    """
    _check_names(copied)
    if target.exists():
        shutil.rmtree(target)
    (target / "objects").mkdir(parents=True)
    (target / "refs").mkdir()
    for name, file in copied.files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _read(folder / copied.directory / name, file, path)
    carried = Carried(target, OBJECT_FORMATS[copied.format])
    git, info = Git(target, isolated=True), carried.info
    git.run("config", "--local", "core.bare", "true")
    if carried.keeper_key is not None:
        git.run("config", "--local", "--unset-all", KEEPER_KEY)
    shown, found = carried.log().refs, read_refs(git)
    own = {
        ref: oid for ref, oid in found.items()
        if not ref.startswith(b"refs/gittorrent/") and shown.get(ref) != oid
    }  # fmt: skip
    moves = [(RefName(RESTORED + ref.removeprefix(b"refs/")), None, own[ref]) for ref in own]
    apply_changes(git, moves, carried.object_format)
    carried.set_info(replace(info, role=MIRROR, source=source_of(info.repository_id)))
    close_to_others(carried.layout, target.parent)
    return len(own)


def source_of(repository: RepositoryId) -> str:
    """Return where a repository is to be had of which only the id is known: from any mirror."""
    return f"gittorrent://{repository}"


def _copy_steady(
    git_dir: Path, folder: Path, made: CopiedRepository, former: CopiedRepository | None
) -> bool:
    """Copy what never changes and is not copied yet; tells whether there was anything."""
    found = False
    target = folder / made.directory
    for name in _files(git_dir, steady=True):
        if name in made.files:
            continue
        known = None if former is None else former.files.get(name)
        try:
            size = (git_dir / name).stat().st_size
            if former is not None and known is not None and known.size == size:
                _link(folder / former.directory / name, target / name)
                made.files[name] = known
            else:
                made.files[name] = _copy(git_dir / name, target / name)
        except FileNotFoundError:
            continue  # repacked
        found = True
    return found


def _drop_halves(target: Path, made: CopiedRepository) -> None:
    """Leave out what came of packs that were removed while they were copied."""
    for name in [each for each in made.files if each.startswith("objects/pack/pack-")]:
        stem = name.rpartition(".")[0]
        if not {f"{stem}.pack", f"{stem}.idx"} <= made.files.keys():
            (target / name).unlink()
            del made.files[name]


def _files(git_dir: Path, *, steady: bool) -> Iterator[str]:
    """Yield the regular files of a git directory that belong into a copy."""
    for place, folders, names in os.walk(git_dir):
        prefix = PurePosixPath(os.path.relpath(place, git_dir)).as_posix()
        prefix = "" if prefix == "." else f"{prefix}/"
        folders[:] = [each for each in folders if f"{prefix}{each}/" not in _SCRATCH]
        for each in sorted(names):
            name = f"{prefix}{each}"
            path = Path(place, each)
            if name.startswith(_STEADY) is not steady or _LEFT_OUT.fullmatch(name):
                continue
            if path.is_file() and not path.is_symlink():
                yield name


def _copy(source: Path, target: Path) -> CopiedFile:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with naming(target), source.open("rb") as file, target.open("wb") as into:
        while data := file.read(_CHUNK):
            digest.update(data)
            size += len(data)
            into.write(data)
        os.fsync(into.fileno())
        runs = bool(os.fstat(file.fileno()).st_mode & 0o100)
    return CopiedFile(size, digest.hexdigest(), runs)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def _check_names(copied: CopiedRepository) -> None:
    """Make sure that all files of a copy lie within it, and none where another one needs a folder.

    Raises:
        CopyDamagedError: one does not.
    """
    folders = {PurePosixPath("objects"), PurePosixPath("refs")}
    for name in copied.files:
        if len(name) <= _MAX_PATH:
            folders.update(PurePosixPath(name).parents)
    for name in copied.files:
        path = PurePosixPath(name)
        is_plain = len(name) <= _MAX_PATH and str(path) == name and "\0" not in name
        if not is_plain or path.is_absolute() or ".." in path.parts or path in folders:
            raise CopyDamagedError(f"{name[:_MAX_PATH]!r} is no name of a file in a repository")


def _read(path: Path, file: CopiedFile, into: Path | None) -> None:
    """Read a file of a copy, and write it elsewhere if it is to be."""
    digest, left = hashlib.sha256(), file.size
    try:
        sink = Path(into or os.devnull)
        with _open_regular(path) as source, naming(sink), sink.open("wb") as to:
            while left and (data := source.read(min(left, _CHUNK))):
                digest.update(data)
                to.write(data)
                left -= len(data)
            is_longer = bool(source.read(1))
    except FileNotFoundError as error:
        raise CopyDamagedError(f"{path} is missing") from error
    if left or is_longer or digest.hexdigest() != file.digest:
        raise CopyDamagedError(f"{path} is damaged")
    if into is not None and file.runs:
        into.chmod(into.stat().st_mode | 0o100)


def _open_regular(path: Path) -> BinaryIO:
    """Open a file of a copy: nothing that waits for a writer, never ends, or leads elsewhere.

    Raises:
        CopyDamagedError: it is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link, or a socket
            raise CopyDamagedError(f"{path} is no regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CopyDamagedError(f"{path} is no regular file")
    return os.fdopen(descriptor, "rb")


def _lacks(git_dir: Path) -> str | None:
    """Return why a copy is not whole; None if it is."""
    git = Git(git_dir, isolated=True)
    try:
        tips = sorted(set(read_refs(git).values()))
        if history.is_connected(git, tips):
            return None
    except GitTorrentError as error:
        return str(error)
    return "objects are missing that its refs reach"
