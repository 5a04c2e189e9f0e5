"""What of a reel's pack is there while its parts arrive in any order.

For whoever feeds an indexer. Tracks how many parts follow one another from the first one, and of
each segment how many parts it still waits for. Rules: a part counts once; a segment is complete
when every part that has a byte of it is there, the pack's trailer belonging to the last segment;
each is reported once. Must not know: who brings parts, or who is told.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from gittorrent.reel.parts import part_range

if TYPE_CHECKING:
    from gittorrent.reel.manifest import Manifest


class Progress(NamedTuple):
    """What a part brought.

    Args:
        prefix: bytes of the pack's beginning that are there.
        segments: numbers of the segments that this part completed, in order.
    """

    prefix: int
    segments: tuple[int, ...]


class Arrival:
    """Tracks the parts of one pack.

    Args:
        manifest: what the pack consists of.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._size = manifest.pack_size
        self._part_size = manifest.part_size
        self._have = bytearray(len(manifest.parts))
        self._leading = 0
        self._starts = [segment.offset for segment in manifest.segments]
        ends = [*self._starts[1:], self._size]
        self._lacking = [
            (end - 1) // self._part_size - start // self._part_size + 1
            for start, end in zip(self._starts, ends, strict=True)
        ]

    @property
    def prefix(self) -> int:
        """Bytes of the pack's beginning that are there."""
        return min(self._leading * self._part_size, self._size)

    def add(self, part: int) -> Progress:
        """Note that a part (from 0) is there."""
        if self._have[part]:
            return Progress(self.prefix, ())
        self._have[part] = 1
        if part == self._leading:
            gap = self._have.find(0, part)
            self._leading = len(self._have) if gap < 0 else gap
        completed = []
        offset, count = part_range(part, self._size, self._part_size)
        first = max(bisect_right(self._starts, offset) - 1, 0)
        for number in range(first, bisect_right(self._starts, offset + count - 1)):
            self._lacking[number] -= 1
            if not self._lacking[number]:
                completed.append(number)
        return Progress(self.prefix, tuple(completed))
