"""Puts right what lies around the parts of a reel's file: its beginning, its end and its index.

Parts have digests, and come anew from other mirrors (`gittorrent.transfer.reel_mending`). What git
wrote around them is in no part, and follows from them: the header says how many objects there are,
a thin pack has the bases of its deltas behind, the trailer and the index are git's sums of it all.
So where the parts are right it is made again on this machine.

Only bytes that differ are written, where they stand, so that whatever has the same file by a hard
link is right, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from gittorrent.durable import locked, naming
from gittorrent.errors import LocalError
from gittorrent.git import scratch
from gittorrent.git.packs import index_file
from gittorrent.reel.pack import FilePiece
from gittorrent.shapes import ShapeKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gittorrent.ids import ObjectFormat
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.reelstore import StoredReel

READ_BYTES = 1 << 20
"""Bytes of a file that are read at a time."""


@contextlib.contextmanager
def opened_to_mend(path: Path) -> Iterator[int]:
    """Open a file of ours to write to it, which git made read-only; yields its descriptor.

    Raises:
        OSError: this user may not.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & stat.S_IWUSR:
        path.chmod(mode | stat.S_IWUSR)
    try:
        file = os.open(path, os.O_RDWR)
    finally:
        path.chmod(mode)
    try:
        yield file
    finally:
        os.close(file)


def write_at(file: int, data: memoryview, offset: int) -> None:
    """Write all of some bytes at a place of an open file."""
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def is_right_around(reel: StoredReel) -> bool:
    """Tell whether what lies around the parts of a reel's file is right; reads all of it.

    Raises:
        OSError: it cannot be read.
    """
    if reel.manifest.shape.kind is ShapeKind.INDEX:
        return True  # it is in parts as a whole
    object_format = reel.manifest.object_format
    if not _is_for_git(reel):
        return _literals_are_right(reel) and reel.pack.stat().st_size == reel.manifest.pack_size
    index = reel.pack.with_suffix(".idx")
    try:
        checksum = _checksum(index, object_format)
    except FileNotFoundError:
        return False
    if checksum is None or checksum != _checksum(reel.pack, object_format):
        return False
    reverse = reel.pack.with_suffix(".rev")
    with contextlib.suppress(FileNotFoundError):
        return _checksum(reverse, object_format) == checksum
    return True


def mend_around(carried: Carried, reel: StoredReel) -> bool:
    """Make what lies around the parts of a reel's file anew where it is wrong.

    Args:
        carried: the repository.
        reel: in its store; its parts are right.

    Returns:
        Whether anything was wrong.

    Raises:
        LocalError: reels are being built here just now, or a part is damaged after all.
        GitError: git makes no index of it.
        OSError: the files cannot be read, or not be written to.
    """
    if is_right_around(reel):
        return False
    if not _is_for_git(reel):
        _write_literals(reel)
        return True
    layout = carried.layout
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(layout.building_lock, wait=False))
        except BlockingIOError as error:
            raise LocalError("reels are being built in this repository") from error
        bases = () if reel.manifest.start is None else (layout.objects,)
        staging = held.enter_context(
            scratch.receiving(layout.building, carried.object_format, bases)
        )
        wire = staging.directory / "wire.pack"
        with wire.open("wb") as file:
            for part in reel.sound_parts():
                file.write(part)
        made = index_file(staging, wire, thin=reel.manifest.start is not None)
        with locked(layout.lock):
            # Until the index fits the pack, git does without both, as it has to now.
            for suffix in (".pack", ".rev", ".idx"):
                _make_same(reel.pack.with_suffix(suffix), made.with_suffix(suffix))
    return True


def _is_for_git(reel: StoredReel) -> bool:
    """Tell whether git reads a reel's file; others are kept as they travel."""
    return reel.pack.parent.name == "pack"


def _checksum(path: Path, object_format: ObjectFormat) -> bytes | None:
    """Return which pack a file of git's is about, by its end; None where the file is damaged.

    A pack ends with the sum of all before; its indexes end with the pack's sum and their own.
    """
    digest, size = hashlib.new(object_format.name), object_format.raw_size
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - size
        tail = b""
        while left > 0 and (data := file.read(min(READ_BYTES, left))):
            digest.update(data)
            tail = (tail + data)[-size:]
            left -= len(data)
        end = file.read()
    if end != digest.digest():
        return None
    return end if path.suffix == ".pack" else tail


def _literals(reel: StoredReel) -> Iterator[tuple[int, bytes]]:
    """Yield what a file has that is kept as it travels and is in the manifest, and where."""
    at = 0
    for piece in reel.view.pieces(0, reel.manifest.pack_size):
        if isinstance(piece, FilePiece):
            at += piece.count
        else:
            yield at, piece
            at += len(piece)


def _literals_are_right(reel: StoredReel) -> bool:
    with reel.pack.open("rb") as file:
        return all(os.pread(file.fileno(), len(data), at) == data for at, data in _literals(reel))


def _write_literals(reel: StoredReel) -> None:
    with opened_to_mend(reel.pack) as file, naming(reel.pack):
        for at, data in _literals(reel):
            write_at(file, memoryview(data), at)
        os.ftruncate(file, reel.manifest.pack_size)
        os.fsync(file)


def _make_same(path: Path, right: Path) -> None:
    """Give a file the bytes of another one, where they are others; one that is not there stays so.

    Unless it is the index, without which git has no pack.
    """
    if not right.exists():
        return
    if not path.exists():
        if path.suffix == ".idx":
            right.rename(path)
        return
    with opened_to_mend(path) as file, right.open("rb") as source, naming(path):
        at = 0
        while data := source.read(READ_BYTES):
            if os.pread(file, len(data), at) != data:
                write_at(file, memoryview(data), at)
            at += len(data)
        os.ftruncate(file, at)
        os.fsync(file)
