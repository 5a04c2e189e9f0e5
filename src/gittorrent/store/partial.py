"""A download that is not finished: a file of the pack's size and a mark for each verified part.

``GITTORRENT_HOME/partial/<manifest id>/`` holds ``manifest`` (text and signature), ``pack`` and
``parts`` (one byte a part, 1 when verified). Several processes may work on one download at the
same time: parts have the same bytes whoever writes them, marks are single bytes, and a shared
lock says that somebody needs the directory. Marks are hints: whoever opens the directory hashes
what they claim, so a power cut or a bad disk costs a download of the parts concerned and nothing
else. Unused directories expire.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import shutil
import time
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from gittorrent.durable import replacing, write_atomically
from gittorrent.errors import FULL, NoRoomError
from gittorrent.reel.parts import part_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from gittorrent.ids import ManifestId
    from gittorrent.reel.manifest import Manifest

EXPIRY_SECONDS = 14 * 24 * 3600
"""Age at which a partial download that was not resumed is removed."""


class DiskFullError(NoRoomError):
    """There is not enough room for a download."""


class PartialPack:
    """An open download directory; a context manager that holds its shared lock."""

    def __init__(self, root: Path, manifest: Manifest, manifest_file: bytes) -> None:
        """Open or begin the download of ``manifest``'s pack below ``root``.

        Args:
            root: ``GITTORRENT_HOME/partial``.
            manifest: verified manifest.
            manifest_file: its text and signature as received.

        Raises:
            DiskFullError: the file system has no room for the pack.
        """
        self.manifest = manifest
        self.directory = root / manifest.id
        self._lock = _lock_shared(self.directory)
        try:
            self._open(manifest_file)
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def pack(self) -> Path:
        """The pack file; only verified parts of it mean anything."""
        return self.directory / "pack"

    def _open(self, manifest_file: bytes) -> None:
        self._check_room()
        if not (self.directory / "manifest").exists():
            write_atomically(self.directory / "manifest", manifest_file)
        self._pack = self._open_pack()
        try:
            if os.fstat(self._pack).st_size != self.manifest.pack_size:
                os.truncate(self._pack, self.manifest.pack_size)
            self._marks = self._open_marks()
        except OSError as error:
            os.close(self._pack)
            if error.errno in FULL:
                raise self._full() from error
            raise
        os.utime(self.directory)

    def _open_pack(self) -> int:
        try:
            return os.open(self.pack, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError:
            # Complete, moved into a repository under a second name, made read-only there, and then
            # whoever did that was killed. The repository's file is not ours to write to.
            try:
                with replacing(self.pack) as beside:
                    shutil.copyfile(self.pack, beside)
            except OSError as error:
                if error.errno in FULL:
                    raise self._full() from error
                raise
            return os.open(self.pack, os.O_RDWR)

    def _open_marks(self) -> mmap.mmap:
        count = len(self.manifest.parts)
        parts = os.open(self.directory / "parts", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if os.fstat(parts).st_size != count:
                os.truncate(parts, count)
            # Writing a mark into a hole of a full disk would kill the process.
            os.posix_fallocate(parts, 0, count)
            return mmap.mmap(parts, count)
        finally:
            os.close(parts)

    def _full(self) -> DiskFullError:
        return DiskFullError(
            f"no space left for {self.pack}",
            hint="make room and try again; verified parts are kept",
        )

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.directory).free
        try:
            present = self.pack.stat().st_blocks * 512
        except FileNotFoundError:
            present = 0
        needed = self.manifest.pack_size - present
        if needed > free:
            raise DiskFullError(
                f"{self.directory} needs {needed >> 20} MiB and {free >> 20} MiB are free",
                hint="make room or set GITTORRENT_HOME to a larger disk; nothing is lost",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the directory, which stays to be resumed; may be called twice."""
        if not self._marks.closed:
            self._marks.close()
            os.close(self._pack)
            os.close(self._lock)

    def marked(self, index: int) -> bool:
        """Tell whether part ``index`` (from 0) is marked as verified, by anybody."""
        return self._marks[index] == 1

    def recover(self) -> Iterator[int]:
        """Hash what the marks claim; yield each part that holds, unmark each that does not."""
        for index in range(len(self._marks)):
            if self.marked(index):
                if self.holds(index):
                    yield index
                else:
                    self._marks[index] = 0

    def holds(self, index: int) -> bool:
        """Tell whether the file has the right bytes for part ``index``."""
        offset, count = part_range(index, self.manifest.pack_size, self.manifest.part_size)
        data = os.pread(self._pack, count, offset)
        return hashlib.sha256(data).hexdigest() == self.manifest.parts[index]

    def store(self, index: int, data: memoryview | bytes | bytearray) -> bool:
        """Write part ``index`` if its digest is right; tells whether it was.

        Raises:
            DiskFullError: there was no room for it.
        """
        offset, count = part_range(index, self.manifest.pack_size, self.manifest.part_size)
        if len(data) != count or hashlib.sha256(data).hexdigest() != self.manifest.parts[index]:
            return False
        written = 0
        view = memoryview(data)
        while written < count:
            try:
                written += os.pwrite(self._pack, view[written:], offset + written)
            except OSError as error:
                if error.errno in FULL:
                    raise self._full() from error
                raise
        self._marks[index] = 1
        return True

    def sync(self) -> None:
        """Make what is verified so far survive a power cut."""
        os.fdatasync(self._pack)
        self._marks.flush()

    def remove(self) -> None:
        """Close and delete the download, unless another process works on it."""
        _remove_unused(self.directory, self._lock)
        self.close()


class Kept(Struct, frozen=True):
    """What is there of unfinished downloads.

    Args:
        parts: verified ones.
        total: how many there will be.
        size: bytes of those that are verified, within a part.
    """

    parts: int = 0
    total: int = 0
    size: int = 0


def kept_of(root: Path, manifests: Iterable[ManifestId]) -> Kept:
    """Return what is there below ``root`` of the downloads of some packs."""
    found = Kept()
    for manifest in manifests:
        with contextlib.suppress(FileNotFoundError):  # finished, or not begun
            marks = (root / manifest / "parts").read_bytes()
            whole = (root / manifest / "pack").stat().st_size
            parts = marks.count(1)
            size = whole * parts // max(1, len(marks))
            found = Kept(found.parts + parts, found.total + len(marks), found.size + size)
    return found


def expire(root: Path, now: float | None = None) -> None:
    """Remove downloads below ``root`` that are not locked and are old."""
    limit = (time.time() if now is None else now) - EXPIRY_SECONDS
    for directory in root.iterdir() if root.is_dir() else ():
        try:
            if directory.is_dir() and directory.stat().st_mtime < limit:
                lock = _lock_shared(directory)
                _remove_unused(directory, lock)
                os.close(lock)
        except FileNotFoundError:
            continue  # another process was faster


def _lock_shared(directory: Path) -> int:
    """Take the shared lock of ``directory``, which exists when this returns."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(lock, fcntl.LOCK_SH)
            # Whoever removed the directory meanwhile left us a lock on nothing.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), (directory / "lock").stat()):
                    return lock
            os.close(lock)


def _remove_unused(directory: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # somebody else is at work there and will remove it
    shutil.rmtree(directory, ignore_errors=True)
