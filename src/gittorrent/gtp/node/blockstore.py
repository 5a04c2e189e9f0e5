"""Packs of blocks on disk, while a download goes on and after it was interrupted.

One directory a reel and block size, one file a block, written whole and renamed into place, so
what is there after a crash is whole. What the packs hold is checked when they are put together.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from typing import TYPE_CHECKING

from gittorrent.durable import sweep, write_atomically
from gittorrent.gtp.errors import MessageError
from gittorrent.reel.pack import HEADER_SIZE, PackHeaderError, parse_pack_header

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.gtp.messages import BlockName, ReelName

_TRAILER = 20
_OFFSET = 4


class BlockStore:
    """Blocks below one directory.

    Args:
        root: directory; made when the first block comes.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[tuple[ReelName, int], set[int]] = {}
        self._lock = threading.Lock()

    def have(self, reel: ReelName, block_size: int) -> set[int]:
        """Return the blocks that are here."""
        with self._lock:
            return set(self._blocks(reel, block_size))

    def put(self, block: BlockName, offset: int, pack: bytes) -> None:
        """Store a block.

        Args:
            block: which.
            offset: uncompressed bytes from its nominal start to its first object.
            pack: as it came; empty for an empty block.

        Raises:
            MessageError: it is no pack.
        """
        check_pack(pack)
        place = self._folder(block.reel, block.size) / str(block.index)
        write_atomically(place, offset.to_bytes(_OFFSET, "big") + pack, sync=False)
        with self._lock:
            self._blocks(block.reel, block.size).add(block.index)

    def get(self, block: BlockName) -> tuple[int, bytes] | None:
        """Return a block's offset and pack, None when it is not here."""
        if block.index not in self.have(block.reel, block.size):
            return None
        try:
            data = (self._folder(block.reel, block.size) / str(block.index)).read_bytes()
        except FileNotFoundError:
            return None  # the download ended meanwhile
        return int.from_bytes(data[:_OFFSET], "big"), data[_OFFSET:]

    def size(self, block: BlockName) -> int:
        """Return the bytes that a block has on disk."""
        return (self._folder(block.reel, block.size) / str(block.index)).stat().st_size

    def remove(self, block: BlockName) -> None:
        """Forget a block."""
        (self._folder(block.reel, block.size) / str(block.index)).unlink(missing_ok=True)
        with self._lock:
            self._blocks(block.reel, block.size).discard(block.index)

    def remove_reel(self, reel: ReelName) -> None:
        """Forget all blocks of a reel."""
        for folder in self._root.glob(f"{_name(reel)}-*"):
            shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            for key in [key for key in self._known if key[0] == reel]:
                del self._known[key]

    def sizes(self, reel: ReelName) -> list[int]:
        """Return the block sizes in which something of a reel is here."""
        return sorted(
            int(folder.name.rpartition("-")[2]) for folder in self._root.glob(f"{_name(reel)}-*")
        )

    def _blocks(self, reel: ReelName, block_size: int) -> set[int]:
        found = self._known.get((reel, block_size))
        if found is None:
            folder = self._folder(reel, block_size)
            sweep(folder, ".*.new")
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            found = {int(name) for name in names if name.isdigit()}
            self._known[reel, block_size] = found
        return found

    def _folder(self, reel: ReelName, block_size: int) -> Path:
        return self._root / f"{_name(reel)}-{block_size}"


def _name(reel: ReelName) -> str:
    return f"{reel.start.hex()}-{reel.end.hex()}"


def check_pack(pack: bytes) -> int:
    """Return the number of entries a whole pack announces; 0 for no pack.

    Raises:
        MessageError: its header or its checksum is wrong.
    """
    if not pack:
        return 0
    try:
        objects = parse_pack_header(pack)
    except PackHeaderError as error:
        raise MessageError(f"play answer: {error}") from error
    body, trailer = pack[:-_TRAILER], pack[-_TRAILER:]
    whole = len(pack) >= HEADER_SIZE + _TRAILER
    if not whole or hashlib.sha1(body, usedforsecurity=False).digest() != trailer:
        raise MessageError("play answer: the pack's checksum is wrong")
    return objects
