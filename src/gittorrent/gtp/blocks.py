"""How a reel divides into blocks.

Pure. A reel is a sequence of groups: a commit with the objects it brings, or one trailing object
(an annotated tag, and what only a tag reaches). A group is never divided: it is in the block in
which the data before it ends. So a block may be empty, and the last object may reach far beyond a
block's nominal end. Where blocks are commits, block N is group N.

Tracks offsets, not contents. Source: docs/protocol/gtp01.md, Reels and blocks.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.limits import KIB, MAX_BLOCK_SIZE, MAX_BLOCKS, MIB, MIN_BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.gtp.messages import Kind
    from gittorrent.ids import Oid

COMMITS = 0
"""Block size that stands for "one commit a block"."""

_USUAL_BLOCKS = 512


class ReelObject(Struct, frozen=True):
    """An object of a reel: id, type, uncompressed size, and a path that helps finding deltas."""

    oid: Oid
    kind: Kind
    size: int
    path: bytes = b""


class Block(Struct, frozen=True):
    """What a block holds.

    Args:
        offset: uncompressed bytes from the block's nominal start to its first object.
        objects: in the reel's order.
        bases: commits outside the block whose trees deltas may build on.
    """

    offset: int
    objects: tuple[ReelObject, ...]
    bases: tuple[Oid, ...]


class ReelIndex(Struct):
    """The groups of one reel, in order; `add` them, then ask.

    Args:
        objects: all objects, in order.
    """

    objects: list[ReelObject] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)
    _parents: list[tuple[Oid, ...]] = field(default_factory=list)
    _size: int = 0

    @property
    def size(self) -> int:
        """Uncompressed bytes of all objects."""
        return self._size

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self._starts)

    def add(self, objects: Iterable[ReelObject], parents: tuple[Oid, ...] = ()) -> None:
        """Append a group.

        Args:
            objects: in order, at least one.
            parents: of its commit.
        """
        self._starts.append(self._size)
        for item in objects:
            self.objects.append(item)
            self._size += item.size
        self._ends.append(len(self.objects))
        self._parents.append(parents)

    def count(self, block_size: int) -> int:
        """Return the number of blocks; raises `MessageError` for sizes that are not served."""
        if block_size == COMMITS:
            return self.groups
        check_block_size(self.size, block_size)
        return block_count(self.size, block_size)

    def block(self, index: int, block_size: int) -> Block:
        """Return block ``index``; raises `MessageError` when there is none."""
        if not 0 <= index < self.count(block_size):
            raise MessageError(f"block {index}: there are {self.count(block_size)}")
        if block_size == COMMITS:
            first, last, nominal = index, index + 1, self._starts[index]
        else:
            nominal = index * block_size
            is_last = index == self.count(block_size) - 1
            first = bisect_left(self._starts, nominal)
            end = nominal + block_size
            last = self.groups if is_last else bisect_left(self._starts, end)
        if first == last:
            return Block(0, (), ())
        low = self._ends[first - 1] if first else 0
        objects = tuple(self.objects[low : self._ends[last - 1]])
        inside = {item.oid for item in objects}
        bases = dict.fromkeys(p for group in self._parents[first:last] for p in group)
        outside = tuple(base for base in bases if base not in inside)
        return Block(self._starts[first] - nominal, objects, outside)


def block_count(size: int, block_size: int) -> int:
    """Return how many blocks of ``block_size`` bytes a reel of ``size`` bytes has; at least 1."""
    return max(1, -(-size // block_size))


def check_block_size(size: int, block_size: int) -> None:
    """Raise `MessageError` unless a reel of ``size`` bytes is served in such blocks."""
    if not MIN_BLOCK_SIZE <= block_size <= MAX_BLOCK_SIZE:
        raise MessageError(
            f"blocks of {block_size} bytes; {MIN_BLOCK_SIZE} to {MAX_BLOCK_SIZE} are served"
        )
    if block_count(size, block_size) > MAX_BLOCKS:
        raise MessageError(f"a reel of {size} bytes has too many blocks of {block_size}")


def usual_block_size(size: int) -> int:
    """Return the block size to ask for, the same at every node so that they can share."""
    chosen = 256 * KIB
    while chosen < 64 * MIB and size // chosen > _USUAL_BLOCKS:
        chosen *= 2
    while block_count(size, chosen) > MAX_BLOCKS:
        chosen *= 2
    return chosen


def scaled(blocks: Iterable[int], count: int, size: int, other_count: int, other: int) -> set[int]:
    """Return which blocks of another size are wholly among ``blocks``.

    Args:
        blocks: some of a reel, numbered by ``size``.
        count: how many of that size the reel has.
        size: bytes of one.
        other_count: how many of the other size it has.
        other: bytes of one of those.
    """
    lacked: set[int] = set()
    for block in set(range(count)).difference(blocks):
        lacked.update(range(block * size // other, -(-(block + 1) * size // other)))
    return set(range(other_count)) - lacked
