"""Writing files so that a crash leaves the old content or the new, never half of it.

A directory whose group is inherited (setgid) is shared: what is made in it is as open as the
directory itself, whatever the umask of whoever makes it. Git marks the directories of repositories
that several users push to in this way (``core.sharedRepository``), and what is made in others has
the mode that the umask leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import fnmatch
import os
import re
import shutil
import stat
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

LOCK_SECONDS = 0.1
"""Seconds between two attempts to take a lock."""

SYNCED_TOGETHER = 32
"""Files written at a time where there are many: beyond that disks gain nothing."""

STALE_SECONDS = 24 * 3600
"""Age at which a file that was being written belongs to nobody any more; writing takes seconds."""

TEMPORARY_DIRECTORIES = (
    "clone", "hash", "list", "rebuild", "scratch", "sign", "tags", "web-of-trust",
)  # fmt: skip
"""What temporary directories are for; each name stands for what may be swept from a shared
directory."""

DIRECTORY_SECONDS = 14 * 24 * 3600
"""Age at which a temporary directory counts as left by a killed process; git waits as long with its
own."""

SYNCS = 16
"""Files that are synced side by side; each waits for the disk, and costs a thread meanwhile."""

SWEEP_SECONDS = 24 * 3600
"""How often a process that goes on running looks for directories that killed processes left."""

_DIRECTORY_BITS = stat.S_ISGID | 0o777
_FILE_BITS = 0o666
_WRITE_BITS = 0o222


def write_atomically(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Replace ``path`` by ``data``; when this returns it will survive a power cut.

    Args:
        path: the file.
        data: its content.
        sync: whether that is needed; without it there may be the old or no content after one.
    """
    make_directory(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            share_like_directory(beside)
            if sync:
                os.fsync(file.fileno())
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if sync:
        sync_directory(path.parent)


def write_all(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write many files of a directory; when this returns all of them will survive a power cut.

    Disks make durable together what is asked for at one time: a thousand files take little longer
    than some dozen would one after another. Each is there whole or not at all.

    Args:
        directory: to write them in.
        files: contents by name.
    """
    make_directory(directory)
    made: list[tuple[Path, Path]] = []
    for name in files:
        beside = directory / f".{name}.{os.getpid()}.{threading.get_ident()}.new"
        made.append((beside, directory / name))

    def write(beside: Path, data: bytes) -> None:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            share_like_directory(beside)
            os.fsync(file.fileno())

    try:
        with ThreadPoolExecutor(SYNCED_TOGETHER) as threads:
            # Taken out of the iterator, so that the first failure is raised.
            list(threads.map(write, (beside for beside, _ in made), files.values()))
        for beside, path in made:
            beside.rename(path)
    except BaseException:
        for beside, _ in made:
            with contextlib.suppress(OSError):  # it may be this very file that cannot be
                beside.unlink()
        raise
    sync_directory(directory)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, as far as they are missing; they survive a power cut."""
    if not path.is_dir():
        make_directory(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            share_like_directory(path)
        sync_directory(path.parent)


def share_like_directory(path: Path) -> None:
    """Make what this process made in a shared directory as open as that; elsewhere do nothing.

    Args:
        path: a file, or a directory, which becomes shared too. What is not writable to its owner
            will be to nobody.
    """
    directory = path.parent.stat().st_mode
    if not directory & stat.S_ISGID:
        return
    mode = path.stat().st_mode
    wanted = directory & (_DIRECTORY_BITS if stat.S_ISDIR(mode) else _FILE_BITS)
    if not mode & stat.S_IWUSR:
        wanted &= ~_WRITE_BITS
    if stat.S_IMODE(mode) != wanted:
        path.chmod(wanted)


def open_to_append(path: Path) -> BinaryIO:
    """Open a file to append to, which is made, as open as its directory, if it is not there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return path.open("ab")
    share_like_directory(path)
    return os.fdopen(descriptor, "ab")


def sync_directory(path: Path) -> None:
    """Make renames in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(paths: Iterable[Path]) -> None:
    """Make the content of files, or the renames in directories, durable; side by side.

    File systems write down together what is asked for at the same time.
    """
    found = list(paths)
    if not found:
        return
    with ThreadPoolExecutor(min(len(found), SYNCS)) as pool:
        list(pool.map(_sync, found))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on ``path``, waiting for its holder; released when this process ends.

    Raises:
        BlockingIOError: somebody has it, and ``wait`` is false.
    """
    make_directory(path.parent)
    with open_to_append(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextlib.contextmanager
def locked_directory(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a directory that exists, waiting for its holder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def locked_patiently(path: Path) -> AsyncIterator[None]:
    """Hold an exclusive lock on ``path``, waiting in a way that can be interrupted."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(path, wait=False))
                break
            except BlockingIOError:
                await asyncio.sleep(LOCK_SECONDS)
        yield


def sweep(directory: Path, *patterns: str, age: float = STALE_SECONDS) -> None:
    """Remove what died before it was finished: what matches and was not touched for long.

    Args:
        directory: where to look; need not exist.
        patterns: of names, any of them, as `fnmatch.fnmatchcase` takes them.
        age: in seconds.
    """
    limit = time.time() - age
    matches = re.compile("|".join(map(fnmatch.translate, patterns)) or "(?!)").match
    try:
        with os.scandir(directory) as present:
            found = [Path(entry.path) for entry in present if matches(entry.name)]
    except FileNotFoundError:
        return
    for path in found:
        # Somebody else may sweep here too, or have been about to rename it after all.
        with contextlib.suppress(FileNotFoundError):
            info = path.lstat()
            if info.st_mtime >= limit or info.st_uid != os.geteuid():
                continue
            if stat.S_ISDIR(info.st_mode):
                shutil.rmtree(path)
            else:
                path.unlink()


@contextlib.contextmanager
def temporary_directory(name: str) -> Iterator[Path]:
    """Make a directory for temporary files that is gone afterwards.

    One that is left by a process that was killed goes when another process makes its first, much
    later, whatever either of them is for.

    Args:
        name: what it is for, one of `TEMPORARY_DIRECTORIES`; ``gittorrent-<name>-`` begins its own.
    """
    _sweep_directories(tempfile.gettempdir())
    directory = Path(tempfile.mkdtemp(prefix=f"gittorrent-{name}-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


_swept: dict[str, float] = {}
"""When this process swept a directory of temporary files, by `time.monotonic`."""


def _sweep_directories(directory: str) -> None:
    """Remove directories that killed processes left, seldom: others' files may lie there by the
    thousand."""
    now, last = time.monotonic(), _swept.get(directory)
    if last is not None and now - last < SWEEP_SECONDS:
        return
    _swept[directory] = now
    patterns = [f"gittorrent-{known}-????????" for known in TEMPORARY_DIRECTORIES]
    sweep(Path(directory), *patterns, age=DIRECTORY_SECONDS)
