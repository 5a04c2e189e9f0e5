"""How many bytes of packs a reel may bring, so that nobody fills the disk.

Pure. Tracks the sizes of the packs that came for the blocks of one reel, by who sent them. A pack
that was refused after it came counts no longer: its sender's bytes are not held against whoever
comes next. Where repetitions are allowed, packs are compacted now and then, and what remains is
bounded.
Source: docs/protocol/gtp01.md, "Downloading" and "The dialect of 2008".
"""

from __future__ import annotations

from msgspec import Struct, field

from gittorrent.gtp.limits import KIB, MAX_REEL_SIZE, MIB

WIDEST_2008 = 2**32 - 1
"""Size in which the dialect of 2008 gives all larger reels."""


TIMES_SIZE = 3
"""Packing makes small objects larger, but not by much; near the end blocks come twice."""

FOR_BLOCK = 4 * KIB
"""Bytes beside that for the pack of each block."""

FOR_REEL = MIB
"""Bytes beside that for a reel, which may have next to no size."""


class ReceivedBytes(Struct):
    """Bytes of the packs of one reel; see the module."""

    _sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    _sum: int = 0

    @property
    def since_compacted(self) -> int:
        """Bytes of packs that came and were not compacted."""
        return self._sum

    def sum_with(self, peer: int, index: int, size: int) -> int:
        """Return the bytes of all packs with one more of ``size`` bytes.

        A pack of the block ``index`` by the same peer that was counted before is replaced.
        """
        return self._sum - self._sizes.get((peer, index), 0) + size

    def count(self, peer: int, index: int, size: int) -> None:
        """Count a peer's pack of a block."""
        self._sum = self.sum_with(peer, index, size)
        self._sizes[peer, index] = size

    def forget(self, peer: int, index: int) -> None:
        """Count a peer's pack of a block no longer: it was refused."""
        self._sum -= self._sizes.pop((peer, index), 0)

    def compacted(self) -> None:
        """Note that repetitions were removed from all that was counted."""
        self._sizes.clear()
        self._sum = 0


def most_bytes(size: int, blocks: int, allowed: int = MAX_REEL_SIZE) -> int:
    """Return how many bytes the objects of a reel may have in packs.

    Args:
        size: uncompressed bytes of the reel, as its offers say; anybody may say anything.
        blocks: how many it has; 0 where that is the peer's word, as where blocks are commits.
        allowed: bytes that the user allows.
    """
    if size >= WIDEST_2008 and not blocks:
        return allowed
    return min(allowed, TIMES_SIZE * size + FOR_BLOCK * blocks + FOR_REEL)
