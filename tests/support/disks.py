"""Disks that are too small, as long as this machine lets us mount some."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """A mounted disk."""

    path: Path

    def grow(self, size: str) -> None:
        """Give it more room."""
        _mount("-o", f"remount,size={size}", str(self.path)).check_returncode()

    def fill(self) -> Path:
        """Take all the room that is left; returns the file that has it."""
        filler = self.path / "filler"
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
