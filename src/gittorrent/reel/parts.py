"""Parts: the fixed-size byte ranges in which a reel's pack travels.

Pure arithmetic. Parts are numbered from 0 here; the wire counts from 1. The last part is as long
as what is left (docs/protocol/reels.md, "Parts").
"""

from __future__ import annotations

SMALLEST_PART_SIZE = 256 << 10
"""Bytes of a part of a small pack: below this, talking about parts costs more than it gains."""

LARGEST_PART_SIZE = 1 << 20
"""Bytes of a part of a large pack: a tenth of a second at 100 Mbit/s."""

ENOUGH_PARTS = 1024
"""Parts with which the first and the last ones no longer matter to the time a swarm takes."""


def choose_part_size(pack_size: int) -> int:
    """Return the bytes of a part in the manifests we make.

    A part is passed on when all of it has come and is verified, so few large parts make a swarm
    slow to start and slow to end (docs/decisions/0014-smaller-parts-of-small-packs.md).
    Everybody who makes a manifest chooses alike, or ids of manifests would differ.

    Args:
        pack_size: bytes of the whole pack.
    """
    size = SMALLEST_PART_SIZE
    while size < LARGEST_PART_SIZE and part_count(pack_size, size) > ENOUGH_PARTS:
        size *= 2
    return size


def part_count(pack_size: int, part_size: int) -> int:
    """Return how many parts a pack of ``pack_size`` bytes has."""
    return -(-pack_size // part_size)


def part_range(index: int, pack_size: int, part_size: int) -> tuple[int, int]:
    """Return offset and length in bytes of part ``index`` (from 0)."""
    offset = index * part_size
    return offset, min(part_size, pack_size - offset)
