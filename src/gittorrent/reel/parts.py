"""Parts: the fixed-size byte ranges in which a reel's pack travels.

Pure arithmetic. Parts are numbered from 0 here; the wire counts from 1. The last part is as long
as what is left (docs/protocol/reels.md, "Parts").
"""

from __future__ import annotations

PART_SIZE = 1 << 20
"""Bytes of a part in manifests we make: about a tenth of a second at 100 Mbit/s."""


def part_count(pack_size: int, part_size: int) -> int:
    """Return how many parts a pack of ``pack_size`` bytes has."""
    return -(-pack_size // part_size)


def part_range(index: int, pack_size: int, part_size: int) -> tuple[int, int]:
    """Return offset and length in bytes of part ``index`` (from 0)."""
    offset = index * part_size
    return offset, min(part_size, pack_size - offset)
