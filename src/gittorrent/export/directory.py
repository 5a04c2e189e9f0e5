"""A directory that a web server serves.

Files are written beside their place and moved there; what a killed export began to write lies in a
folder of its own, where the next one finds nothing it needs and clears it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from typing import TYPE_CHECKING

from gittorrent.durable import (
    Batch,
    locked,
    make_directory,
    naming,
    replacing,
    share_like_directory,
    sync_all,
)
from gittorrent.errors import LocalError, UsageError
from gittorrent.export.inventory import FOLDERS, STATE, is_exported_name
from gittorrent.export.place import BusyPlaceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

CHUNK = 1 << 20
"""Bytes read at a time."""


class _Held:
    """The lock of a directory is the system's, which lets nobody else have it."""

    def check(self) -> None:
        """Hold as long as this process lives."""


class Directory:
    """A `gittorrent.export.place.Place`.

    Args:
        path: of the directory, which is made if it is not there.

    Raises:
        UsageError: there is something else.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is no directory")
        if any((path / name).exists() for name in ("HEAD", "objects")):
            raise UsageError(
                f"{path} looks like a git repository", hint="export to a directory of its own"
            )
        self._path = path
        self._new = path / STATE / "new"

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._path)

    @contextlib.contextmanager
    def held(self) -> Iterator[_Held]:
        """Keep others from writing to it."""
        for folder in (*FOLDERS, STATE, f"{STATE}/new"):
            if (self._path / folder).is_symlink():
                raise UsageError(
                    f"{self._path / folder} is a symbolic link, which leads away from the export",
                    hint="remove it, or export to another directory",
                )
        try:
            with locked(self._path / STATE / "lock", wait=False):
                shutil.rmtree(self._new, ignore_errors=True)
                make_directory(self._new)
                yield _Held()
        except BlockingIOError as error:
            raise BusyPlaceError(
                f"another process exports to {self._path}", hint="wait for it, or end it"
            ) from error

    def present(self) -> Mapping[str, int]:
        """Return what is there, with sizes."""
        found = {}
        for folder in ("", *FOLDERS):
            prefix = f"{folder}/" if folder else ""
            with contextlib.suppress(FileNotFoundError), os.scandir(self._path / folder) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if is_exported_name(name) and entry.is_file():
                        found[name] = entry.stat().st_size
        return found

    def read(self, name: str, most: int) -> bytes | None:
        """Return a short file."""
        try:
            with _open(self._path / name) as file:
                data = file.read(most + 1)
        except FileNotFoundError:
            return None
        if len(data) > most:
            raise LocalError(f"{self._path / name} has more than {most} bytes")
        return data

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes."""
        with contextlib.suppress(FileNotFoundError), _open(self._path / name) as file:
            while data := file.read(CHUNK):
                yield data

    def write_small(self, files: Mapping[str, bytes]) -> None:
        """Write short files; they become durable together."""
        with Batch() as batch:
            for number, (name, data) in enumerate(files.items()):
                batch.write(self._path / name, data, self._new / str(number))

    def write(self, name: str, size: int, chunks: Iterator[bytes]) -> None:
        """Write a file."""
        target = self._path / name
        make_directory(target.parent)
        with replacing(target, self._new / "large") as beside:
            with naming(target), beside.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                written = file.tell()
            if written != size:
                raise LocalError(f"{name} was to have {size} bytes and has {written}")
            share_like_directory(beside)
            sync_all([beside])
        sync_all([target.parent])

    def remove(self, names: Sequence[str]) -> None:
        """Remove files."""
        for name in names:
            (self._path / name).unlink(missing_ok=True)
        sync_all(sorted({(self._path / name).parent for name in names}))


def _open(path: Path) -> BinaryIO:
    """Open a file to read; it may have been put there by somebody else.

    Raises:
        UsageError: it is none, and to read it might never end.
        FileNotFoundError: there is none.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UsageError(f"{path} is no file", hint="remove it, or export to another directory")
    return file
