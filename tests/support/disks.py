"""Disks that are too small, as long as this machine lets us mount some."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gittorrent.disk_space import FileSystem


class FakeDisk:
    """Disks that are as full as a test says; what nobody spoke of is on an empty one.

    ``free`` and ``free_files`` are by the paths at which disks are mounted.
    """

    def __init__(self, total: int = 1000, files: int = 0) -> None:
        self.total = total
        self.files = files
        self.free: dict[Path, int] = {}
        self.free_files: dict[Path, int] = {}

    def look(self, place: Path) -> FileSystem:
        at = next((at for at in (place, *place.parents) if at in self.free), Path("/"))
        free = self.free.get(at, self.total)
        free_files = self.free_files.get(at, self.files)
        return FileSystem(hash(at), self.total, free, self.files, free_files)


@dataclass(frozen=True)
class Disk:
    """A mounted disk."""

    path: Path

    def grow(self, size: str) -> None:
        """Give it more room."""
        _mount("-o", f"remount,size={size}", str(self.path)).check_returncode()

    def protect(self) -> None:
        """Let nobody write to it any more."""
        _mount("-o", "remount,ro", str(self.path)).check_returncode()

    def fill(self, leave: int = 0) -> Path:
        """Take all the room that is left, or so many bytes less; returns the file that has it."""
        filler = self.path / "filler"
        if leave:
            size = max(0, shutil.disk_usage(self.path).free - leave)
            filler.write_bytes(bytes(size))
            return filler
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        return filler


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Disk]:
    """Mount a disk of a size such as ``4m`` at a directory that is not there yet."""
    path.mkdir(parents=True)
    done = _mount("-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path))
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.decode().strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def _mount(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["mount", *words], capture_output=True, check=False)
