"""Writing files so that a crash leaves the old content or the new, never half of it.

A directory whose group is inherited (setgid) is shared: what is made in it is as open as the
directory itself, whatever the umask of whoever makes it. Git marks the directories of repositories
that several users push to in this way (``core.sharedRepository``), and what is made in others has
the mode that the umask leaves.
"""

from __future__ import annotations

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
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO

from gittorrent.errors import FULL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from types import TracebackType

LOCK_SECONDS = 0.1
"""Seconds between two attempts to take a lock."""

STALE_SECONDS = 24 * 3600
"""Age at which a file that was being written belongs to nobody any more; writing takes seconds."""

TEMPORARY_DIRECTORIES = (
    "backup", "clone", "database", "hash", "home", "list", "rebuild", "restore", "scratch", "sign",
    "tags", "web-of-trust",
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

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
FileState = tuple[int, int, int]
"""Inode, time of change and size: what differs when a file was replaced."""

_DIRECTORY_BITS = stat.S_ISGID | 0o777
_FILE_BITS = 0o666
_WRITE_BITS = 0o222


def file_state(path: Path | str) -> FileState | None:
    """Return what tells whether a file was replaced; None if it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 (of a thousand files each second)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let failures of the system that name no file, as of writing to one, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def replacing(path: Path, beside: Path | None = None) -> Iterator[Path]:
    """Name a file or directory to make, which takes the place of ``path`` where the block ends.

    Of one that fails nothing is left; what a killed process leaves is for `sweep`.

    Args:
        path: what is replaced, or made.
        beside: the name of what is made, on the same file system; None for one of this thread's
            own in the same directory.
    """
    made = _beside(path) if beside is None else beside
    try:
        yield made
        made.rename(path)
    except BaseException:
        _discard(made)
        raise


def _beside(path: Path) -> Path:
    """Return the name under which this thread makes what is to replace ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")


def _discard(path: Path) -> None:
    """Remove what was not finished, if it can be: it may be this very file that cannot be."""
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Replace ``path`` by ``data``; when this returns it will survive a power cut.

    Args:
        path: the file.
        data: its content.
        sync: whether that is needed; without it there may be the old or no content after one.
    """
    make_directory(path.parent)
    with replacing(path) as beside, naming(path), beside.open("wb") as file:
        file.write(data)
        file.flush()
        share_like_directory(beside)
        if sync:
            os.fsync(file.fileno())
    if sync:
        sync_directory(path.parent)


class Batch:
    """Files that become durable together: written or moved, then synced side by side.

    Disks make durable together what is asked for at one time: many files take little longer than
    one. As a context it is finished where the block ends, and leaves nothing if that fails. Each
    file is there whole or not at all; a crash may leave some of them.
    """

    def __init__(self) -> None:
        self._moves: list[tuple[Path, Path]] = []
        self._written: list[Path] = []
        self._directories: set[Path] = set()

    def __enter__(self) -> Batch:
        """Begin."""
        return self

    def __exit__(
        self,
        exception: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish, or remove what was written."""
        try:
            if exception is None:
                self._finish()
        finally:
            for left in self._written:
                _discard(left)

    def write(self, path: Path, data: bytes, beside: Path | None = None) -> None:
        """Replace ``path`` by ``data``; ``beside`` is as for `replacing`."""
        make_directory(path.parent)
        made = _beside(path) if beside is None else beside
        self._written.append(made)
        with naming(path), made.open("wb") as file:
            file.write(data)
        share_like_directory(made)
        self.move(made, path)

    def move(self, source: Path, target: Path) -> None:
        """Move a file that was written, on the same file system."""
        self._moves.append((source, target))
        self._directories.add(target.parent)

    def made(self, directory: Path) -> None:
        """Take note of a directory that was made to move something to."""
        self._directories.add(directory.parent)

    def _finish(self) -> None:
        sync_all(source for source, _ in self._moves)
        for source, target in self._moves:
            source.rename(target)
        self._written.clear()
        sync_all(sorted(self._directories))


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


def boot_id() -> str:
    """Return what names this run of the machine (random(4)); empty where nothing does.

    What was written without a sync can be relied on as long as it is the same.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def process_space() -> str:
    """Return what names the processes that this one sees by their ids; empty where nothing does.

    Containers of one machine share its kernel, and so `boot_id`, and number their processes each
    for itself: an id tells nothing outside of its namespace (pid_namespaces(7)).
    """
    boot = boot_id()
    try:
        return boot and f"{boot}/{_PID_NAMESPACE.stat().st_ino}"
    except FileNotFoundError:
        return ""


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
    if len(found) == 1:
        _sync(found[0])
        return
    answers: SimpleQueue[OSError | None] = SimpleQueue()
    tasks = _syncers.tasks_for(len(found))
    for path in found:
        tasks.put((path, answers))
    faults = [answers.get() for _ in found]
    for fault in faults:
        if fault is not None:
            raise fault


class _Syncers:
    """Threads of this process that sync: to start some each time costs more than syncing.

    They do nothing that anybody would have to see the end of who does not wait for it.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Have no thread: none yet, or none any more in a process that was forked."""
        self._guard = threading.Lock()
        self._tasks: SimpleQueue[tuple[Path, SimpleQueue[OSError | None]]] = SimpleQueue()
        self._count = 0

    def tasks_for(self, count: int) -> SimpleQueue[tuple[Path, SimpleQueue[OSError | None]]]:
        """Return where to put so many paths, each with where the answer goes."""
        with self._guard:
            while self._count < min(count, SYNCS):
                self._count += 1
                threading.Thread(target=self._work, name="sync", daemon=True).start()
        return self._tasks

    def _work(self) -> None:
        while True:
            path, answers = self._tasks.get()
            try:
                _sync(path)
            except OSError as error:
                answers.put(error)
            else:
                answers.put(None)


_syncers = _Syncers()
os.register_at_fork(after_in_child=_syncers.begin)


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
    from asyncio import sleep  # slow to import, and most who write files need it not

    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(path, wait=False))
                break
            except BlockingIOError:
                await sleep(LOCK_SECONDS)
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
def temporary_directory(name: str, place: Path | None = None) -> Iterator[Path]:
    """Make a directory for temporary files that is gone afterwards.

    One that is left by a process that was killed goes when another process makes its first, much
    later, whatever either of them is for.

    Args:
        name: what it is for, one of `TEMPORARY_DIRECTORIES`; ``gittorrent-<name>-`` begins its own.
        place: where it is made; by default where this user's programs make such.
    """
    where = tempfile.gettempdir() if place is None else str(place)
    sweep_temporary_directories(where)
    directory = Path(tempfile.mkdtemp(prefix=f"gittorrent-{name}-", dir=where))
    try:
        yield directory
    except OSError as error:
        # A file that is written to names none; and this disk is seldom the one that users think of.
        if error.filename is None and error.errno in FULL and _is_full(directory):
            error.filename = str(directory.parent)
        raise
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _is_full(directory: Path) -> bool:
    try:
        found = os.statvfs(directory)
    except OSError:
        return False
    lacks_files = found.f_files > 0 and found.f_favail == 0
    return lacks_files or found.f_bavail * found.f_frsize < _FULL_BYTES


_FULL_BYTES = 1 << 20
"""Less than this is no room; what did not fit was larger than what is left."""

_swept: dict[str, float] = {}
"""When this process swept a directory of temporary files, by `time.monotonic`."""


def sweep_temporary_directories(directory: str) -> None:
    """Remove directories that killed processes left, seldom: others' files may lie there by the
    thousand."""
    now, last = time.monotonic(), _swept.get(directory)
    if last is not None and now - last < SWEEP_SECONDS:
        return
    _swept[directory] = now
    patterns = [f"gittorrent-{known}-????????" for known in TEMPORARY_DIRECTORIES]
    sweep(Path(directory), *patterns, age=DIRECTORY_SECONDS)
