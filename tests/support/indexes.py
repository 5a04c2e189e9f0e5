"""Pack indexes that lie: whole by their own checksum, and wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

BEYOND_THE_PACK = 0x7FFFFFFF
"""The largest offset that stands in the table of small ones."""

BEYOND_THE_INDEX = 0xFFFFFFFF
"""What leads to the last place of a table of large offsets, where there is none."""


def put_all_offsets(index: Path, offset: int) -> None:
    """Make an index of SHA-1 objects, version 2, tell of each object that it is at one place.

    Checksums within the index fit again.
    """
    data = bytearray(index.read_bytes())
    count = int.from_bytes(data[8 + 255 * 4 : 8 + 256 * 4], "big")
    offsets = 8 + 1024 + 24 * count
    data[offsets : offsets + 4 * count] = offset.to_bytes(4, "big") * count
    data[-20:] = hashlib.sha1(bytes(data[:-20])).digest()
    index.chmod(0o644)
    index.write_bytes(data)


def swap_offsets(index: Path, one: str, other: str) -> None:
    """Make an index of SHA-1 objects, version 2, tell of each of two objects where the other is.

    Checksums within the index fit again, and git finds nothing wrong with it.
    """
    data = bytearray(index.read_bytes())
    count = int.from_bytes(data[8 + 255 * 4 : 8 + 256 * 4], "big")
    names = 8 + 1024
    ids = [bytes(data[names + 20 * at : names + 20 * at + 20]).hex() for at in range(count)]
    for table in (names + 20 * count, names + 24 * count):
        first, second = (
            slice(table + 4 * at, table + 4 * at + 4) for at in map(ids.index, (one, other))
        )
        data[first], data[second] = data[second], data[first]
    data[-20:] = hashlib.sha1(bytes(data[:-20])).digest()
    index.chmod(0o644)
    index.write_bytes(data)
    for listing in index.parent.glob("multi-pack-index*"):
        listing.unlink()
