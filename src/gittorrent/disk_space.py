"""How much more may be taken from the network before a disk is full.

Whoever takes something in asks a `Space`: pushes, downloads, entries of logs, reels that are built.
A node keeps a reserve free on every file system that it writes to (`Watermarks`), so that it goes
on serving, and can write down what it has to, when a disk fills up. Tracks which file systems are
short. Rules: one that is short takes again only when there is some more room than the reserve, so
that it does not change with each file; both is logged once. What people do themselves is not held
by the reserve (`UNBOUNDED`). Must not know what is taken.
Source: docs/commands.md, gittorrent init-node.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from gittorrent.errors import NoRoomError, local_error
from gittorrent.event_log import EventLog
from gittorrent.sizes import show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

RESUME = 4
"""Something is taken again when a fourth of the reserve is free besides it: without a gap between
the two marks a disk at its mark would take and refuse by turns."""

FILES_PERCENT = 5
"""Percent of a file system's inodes that stay free."""

FILES_MOST = 10_000
"""Inodes that are enough, however many there are: a push takes some dozens."""

HINT = "make room, or let less stay free ([disk] reserve in node.toml); it then goes on by itself"
"""What an operator can do."""

_log = EventLog(__name__)


class FileSystem(Struct, frozen=True):
    """What there is of a file system.

    Args:
        device: by which the system knows it.
        total: its bytes.
        free: bytes that this user may still write.
        files: inodes in all; 0 where they are not counted.
        free_files: inodes that are left.
    """

    device: int
    total: int
    free: int
    files: int = 0
    free_files: int = 0


class Disk(Protocol):
    """Tells what there is of file systems."""

    def look(self, place: Path) -> FileSystem:
        """Return what there is of the file system that a path is on, or will be.

        Raises:
            LocalError: that cannot be told.
        """
        ...


class SystemDisk:
    """Asks the system."""

    def look(self, place: Path) -> FileSystem:
        """Return what there is of the file system that a path is on, or will be."""
        for there in (place, *place.absolute().parents):
            try:
                found = os.statvfs(there)
                device = there.stat().st_dev
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise local_error(error) or error from error
            size = found.f_frsize
            free, files = found.f_bavail * size, found.f_files
            return FileSystem(device, found.f_blocks * size, free, files, found.f_favail)
        raise FileNotFoundError(f"{place}: there is no root directory")


class Reserve(Struct, frozen=True):
    """What stays free of each file system; of what is given the smaller counts.

    Args:
        bytes: that stay free; None where that does not count.
        percent: of its bytes; None where that does not count.
    """

    bytes: int | None = None
    percent: float | None = None

    def of(self, total: int) -> int:
        """Return the bytes that stay free of so many; 0 where nothing is said."""
        share = None if self.percent is None else int(total * self.percent / 100)
        return min((each for each in (self.bytes, share) if each is not None), default=0)

    def files_of(self, files: int) -> int:
        """Return the inodes that stay free of so many."""
        is_none = self.bytes is None and self.percent is None
        return 0 if is_none else min(files * FILES_PERCENT // 100, FILES_MOST)


DEFAULT_RESERVE = Reserve(bytes=1 << 30, percent=5)
"""Room for logs, databases and git's own temporary files, on small disks as on large ones."""

NO_RESERVE = Reserve()


class ShortDisk(Struct, frozen=True):
    """A file system from which nothing more is taken.

    Args:
        path: something on it.
        free: bytes.
        reserve: bytes that stay free.
        free_files: inodes.
        reserve_files: inodes that stay free.
    """

    path: str
    free: int
    reserve: int
    free_files: int = 0
    reserve_files: int = 0

    @property
    def words(self) -> str:
        """What is short, for people."""
        if self.free_files < self.reserve_files and self.free >= self.reserve:
            return (
                f"{self.free_files} files can be made at {self.path},"
                f" and {self.reserve_files} stay free"
            )
        return (
            f"{show_bytes(self.free)} are free at {self.path},"
            f" and {show_bytes(self.reserve)} stay free"
        )


class Space(Protocol):
    """Tells what may be taken."""

    def require(self, *places: Path, size: int = 0) -> None:
        """Make sure that something may be taken.

        Args:
            places: where it is put.
            size: bytes that will come to each of them, as far as that is known.

        Raises:
            NoRoomError: it may not.
        """
        ...

    def room(self, *places: Path) -> int:
        """Return the bytes that may still be put anywhere there; 0 or less if none may."""
        ...

    def short(self) -> Sequence[ShortDisk]:
        """Return the file systems from which nothing is taken, as of the last look; costs none."""
        ...

    def claim(self, size: int, *places: Path) -> contextlib.AbstractContextManager[None]:
        """Keep others from claiming bytes that will come, while the block runs.

        Args:
            size: bytes that will come to each of the places.
            places: where they are put.

        Raises:
            NoRoomError: there is no room for them.
        """
        ...


class Unbounded:
    """Takes as much as the system lets it."""

    def require(self, *places: Path, size: int = 0) -> None:
        """Allow everything."""

    def room(self, *places: Path) -> int:
        """Return more than anything has."""
        del places
        return sys.maxsize

    def short(self) -> Sequence[ShortDisk]:
        """Return none."""
        return ()

    @contextlib.contextmanager
    def claim(self, size: int, *places: Path) -> Iterator[None]:
        """Allow everything."""
        del size, places
        yield


UNBOUNDED = Unbounded()


class _Looked(Struct, frozen=True):
    """A file system as it was seen, with the marks that held, and whether it was short."""

    path: Path
    found: FileSystem
    reserve: int
    reserve_files: int
    is_short: bool

    def describe(self) -> ShortDisk:
        found = self.found
        return ShortDisk(
            str(self.path), found.free, self.reserve, found.free_files, self.reserve_files
        )


class Watermarks:
    """Keeps a reserve free; used by several threads at once.

    Args:
        reserve: what stays free.
        always: places that matter to whatever is taken: the node's home, where temporary files are.
        disk: tells what there is.
    """

    def __init__(
        self, reserve: Reserve, always: Iterable[Path] = (), disk: Disk | None = None
    ) -> None:
        self._reserve = reserve
        self._always = tuple(always)
        self._disk = SystemDisk() if disk is None else disk
        self._seen: dict[int, _Looked] = {}
        self._claims: dict[int, tuple[int, int]] = {}
        self._numbers = itertools.count()
        self._guard = threading.Lock()

    def change(self, reserve: Reserve) -> None:
        """Keep something else free from now on."""
        with self._guard:
            self._reserve = reserve

    def look(self, *places: Path) -> None:
        """Look at what was seen before, and at further places.

        Raises:
            LocalError: the system does not tell of one of them.
        """
        with self._guard:
            known = [each.path for each in self._seen.values()]
        self._look_at([*self._always, *known, *places])

    def short(self) -> list[ShortDisk]:
        """Return the file systems that were short when they were last looked at."""
        with self._guard:
            return [each.describe() for each in self._seen.values() if each.is_short]

    def require(self, *places: Path, size: int = 0) -> None:
        """Make sure that something may be taken; see `Space`."""
        for looked in self._look_at([*self._always, *places]):
            if looked.is_short:
                raise NoRoomError(
                    f"no space left to take anything: {looked.describe().words}", hint=HINT
                )
        if size:
            self._require_room(size, places, {})

    def room(self, *places: Path) -> int:
        """Return the bytes that may still be put anywhere there; 0 or less if none may."""
        seen = self._look_at([*self._always, *places])
        if any(looked.is_short for looked in seen):
            return 0
        return min(looked.found.free - looked.reserve for looked in seen)

    @contextlib.contextmanager
    def claim(self, size: int, *places: Path) -> Iterator[None]:
        """Keep others from claiming bytes that will come; see `Space`.

        What has come of it meanwhile counts twice until the block ends: whoever else claims room
        then is at worst told to come later.
        """
        self.require(*places)
        numbers = []
        with self._guard:
            claimed: dict[int, int] = {}
            for device, claim in self._claims.values():
                claimed[device] = claimed.get(device, 0) + claim
        devices = self._require_room(size, places, claimed)
        with self._guard:
            for device in devices:
                number = next(self._numbers)
                self._claims[number] = (device, size)
                numbers.append(number)
        try:
            yield
        finally:
            with self._guard:
                for number in numbers:
                    del self._claims[number]

    def _require_room(self, size: int, places: Iterable[Path], claimed: dict[int, int]) -> set[int]:
        """Make sure that so many bytes fit on each file system; returns which these are."""
        devices = set()
        for looked in self._look_at(places):
            found = looked.found
            devices.add(found.device)
            room = found.free - looked.reserve - claimed.get(found.device, 0)
            if size > room:
                raise NoRoomError(
                    f"no space left for {show_bytes(size)}: {looked.describe().words}", hint=HINT
                )
        return devices

    def _look_at(self, places: Iterable[Path]) -> list[_Looked]:
        """Look at file systems, each once, and say which have become short, or have room again."""
        seen: dict[int, _Looked] = {}
        for place in dict.fromkeys(places):
            found = self._disk.look(place)
            if found.device not in seen:
                seen[found.device] = self._judge(place, found)
        return list(seen.values())

    def _judge(self, place: Path, found: FileSystem) -> _Looked:
        with self._guard:
            before = self._seen.get(found.device)
            was_short = before is not None and before.is_short
            reserve = self._reserve.of(found.total)
            files = self._reserve.files_of(found.files)
            is_short = found.free < _mark(reserve, found.total, was_short=was_short)
            is_short |= found.free_files < _mark(files, found.files, was_short=was_short)
            path = place if before is None else before.path
            looked = _Looked(path, found, reserve, files, is_short)
            self._seen[found.device] = looked
        if is_short and not was_short:
            _log.warning(
                "disk-short",
                "{words}: what is here goes on being served, and nothing more is taken until there"
                " is room",
                words=looked.describe().words,
            )
        elif was_short and not is_short:
            _log.warning(
                "disk-room",
                "there is room again at {path}: {free} bytes are free",
                path=path,
                free=found.free,
            )
        return looked


def bytes_below(path: Path) -> int:
    """Return the bytes of all files below a directory, as far as they can be seen.

    Files and directories may go meanwhile, as git puts objects in order behind whoever looks.
    """
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{folder}/{name}").st_size
    return total


def _mark(reserve: int, total: int, *, was_short: bool) -> int:
    """Return what has to be free for something to be taken."""
    if not was_short:
        return reserve
    return reserve + min(reserve // RESUME, max(0, total - reserve) // 2)
