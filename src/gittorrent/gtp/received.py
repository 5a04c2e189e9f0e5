"""How many bytes of packs a reel may bring, so that nobody fills the disk.

Pure. Tracks the sizes of the packs that came for the blocks of one reel, by who sent them. A pack
that was refused after it came counts no longer: its sender's bytes are not held against whoever
comes next.
Source: docs/protocol/gtp01.md, "Downloading" and "The dialect of 2008".
"""

from __future__ import annotations

from msgspec import Struct, field

from gittorrent.gtp.limits import KIB, MAX_REEL_SIZE, MIB

WIDEST_2008 = 2**32 - 1
"""Size in which the dialect of 2008 gives all larger reels."""


class ReceivedBytes(Struct):
    """Bytes of the packs of one reel; see the module."""

    _sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    _sum: int = 0

    def fits(self, peer: int, index: int, size: int, most: int, *, each: bool) -> bool:
        """Count the pack of a block, if there is room for it; tells whether there is.

        Args:
            peer: who sent it.
            index: the block; a pack of it by the same peer that was counted before is replaced.
            size: bytes of the pack.
            most: bytes that are allowed.
            each: whether ``most`` bounds each pack; otherwise their sum.
        """
        others = self._sum - self._sizes.get((peer, index), 0)
        if (size if each else others + size) > most:
            return False
        self._sizes[peer, index] = size
        self._sum = others + size
        return True

    def forget(self, peer: int, index: int) -> None:
        """Count a peer's pack of a block no longer: it was refused."""
        self._sum -= self._sizes.pop((peer, index), 0)


def most_bytes(size: int, blocks: int, *, commits: bool) -> int:
    """Return the most bytes of one pack where blocks are commits, else of all packs of a reel.

    Args:
        size: uncompressed bytes of the reel, as its offers say.
        blocks: how many it has.
        commits: whether blocks are commits.
    """
    if commits and size >= WIDEST_2008:
        return MAX_REEL_SIZE
    # Packing makes small objects larger, but not by much; near the end blocks come twice.
    return 3 * size + 4 * KIB * blocks + MIB
