"""Which block of a reel to ask a peer for.

Pure. Tracks, for one reel, which blocks are here, who has which (a bit each, since a reel may have
four million and hundreds of peers may say that they have all), and who was asked for which.
Rarest first; among equally rare ones a seed decides, so that nodes begin at different places. When
all that is missing has been asked for, the last ones are asked of a second peer too.

String art for tests: see `Picker.picture`.
Source: docs/protocol/gtp01.md, Downloading.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from heapq import nsmallest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

MAX_ASKED_TWICE = 2
"""Peers that may be asked for one block at the same time, near the end."""


class Picker:
    """The state of one reel's download.

    Args:
        count: number of blocks.
        seed: decides between equally rare blocks.
        in_order: whether blocks are picked as they follow each other, whatever their copies.
    """

    def __init__(self, count: int, seed: int = 0, *, in_order: bool = False) -> None:
        self.count = count
        self.have: set[int] = set()
        self._seed = seed
        self._in_order = in_order
        self._offered: dict[Hashable, bytearray] = {}
        self._asked: dict[int, set[Hashable]] = {}
        self._copies = array("H", bytes(2 * count))

    @property
    def is_complete(self) -> bool:
        """Tell whether every block is here."""
        return len(self.have) == self.count

    @property
    def missing(self) -> set[int]:
        """The blocks that are not here."""
        return set(range(self.count)) - self.have

    def offer(self, peer: Hashable, blocks: Iterable[int]) -> None:
        """Note which blocks a peer has now; replaces what was noted before."""
        offered = bytearray((self.count + 7) // 8)
        for block in blocks:
            if 0 <= block < self.count:
                offered[block >> 3] |= 1 << (block & 7)
        self._withdraw(peer)
        self._offered[peer] = offered
        for block in _blocks(offered):
            self._copies[block] += 1

    def _withdraw(self, peer: Hashable) -> None:
        for block in _blocks(self._offered.pop(peer, b"")):
            self._copies[block] -= 1

    def forget(self, peer: Hashable) -> None:
        """Forget a peer that went away, with what it was asked."""
        self._withdraw(peer)
        self.unask(peer)

    def unask(self, peer: Hashable, block: int | None = None) -> None:
        """Note that a peer will not answer for a block, or for any."""
        for index in [block] if block is not None else list(self._asked):
            asked = self._asked.get(index, set())
            asked.discard(peer)
            if not asked:
                self._asked.pop(index, None)

    def refuse(self, peer: Hashable, block: int) -> None:
        """Note that a peer does not have a block after all."""
        self.unask(peer, block)
        if self.offers(peer, block):
            self._offered[peer][block >> 3] &= ~(1 << (block & 7))
            self._copies[block] -= 1

    def asked(self, block: int) -> set[Hashable]:
        """Return who was asked for a block."""
        return set(self._asked.get(block, ()))

    def add(self, block: int) -> set[Hashable]:
        """Note that a block is here; returns who else was asked for it."""
        self.have.add(block)
        return self._asked.pop(block, set())

    def remove(self, block: int) -> None:
        """Note that a block was bad and is wanted again."""
        self.have.discard(block)

    def offers(self, peer: Hashable, block: int) -> bool:
        """Tell whether a peer has a block."""
        offered = self._offered.get(peer, b"")
        return 0 <= block >> 3 < len(offered) and bool(offered[block >> 3] >> (block & 7) & 1)

    def interesting(self, peer: Hashable) -> bool:
        """Tell whether a peer has something that is missing."""
        return any(block not in self.have for block in _blocks(self._offered.get(peer, b"")))

    def unavailable(self) -> set[int]:
        """Return the missing blocks that nobody has."""
        return {block for block in self.missing if self._copies[block] <= 0}

    def pick(self, peer: Hashable, limit: int) -> list[int]:
        """Choose up to ``limit`` blocks to ask ``peer`` for, and note that it is asked."""
        offered = self._offered.get(peer, b"")
        missing = (block for block in _blocks(offered) if block not in self.have)
        fresh = (block for block in missing if block not in self._asked)
        chosen = nsmallest(limit, fresh, key=self._rank)
        if not chosen and len(self._asked) >= self.count - len(self.have):
            asked = (block for block in self._asked if self.offers(peer, block))
            again = (block for block in asked if block not in self.have)
            chosen = nsmallest(1, (b for b in again if self._may_ask_again(b, peer)), self._rank)
        for block in chosen:
            self._asked.setdefault(block, set()).add(peer)
        return chosen

    def _may_ask_again(self, block: int, peer: Hashable) -> bool:
        asked = self._asked.get(block, set())
        return peer not in asked and len(asked) < MAX_ASKED_TWICE

    def _rank(self, block: int) -> tuple[int, bytes]:
        if self._in_order:
            return block, b""
        mixed = hashlib.blake2b(b"%d %d" % (self._seed, block), digest_size=8).digest()
        return self._copies[block], mixed

    def picture(self) -> str:
        """Return one character a block: ``#`` here, ``?`` asked, a digit for copies, ``.`` none."""
        return "".join(
            "#"
            if block in self.have
            else "?"
            if block in self._asked
            else "."
            if self._copies[block] <= 0
            else str(min(self._copies[block], 9))
            for block in range(self.count)
        )

    def check_invariant(self) -> None:
        """Raise AssertionError when the state contradicts itself."""
        copies = Counter(b for offered in self._offered.values() for b in _blocks(offered))
        assert list(self._copies) == [copies[block] for block in range(self.count)]
        assert not self.have & set(self._asked)
        assert all(self._asked.values())


def _blocks(offered: bytes | bytearray) -> Iterator[int]:
    """Yield the blocks whose bits are set, in order."""
    for at, byte in enumerate(offered):
        if byte:
            yield from (at * 8 + bit for bit in range(8) if byte >> bit & 1)
