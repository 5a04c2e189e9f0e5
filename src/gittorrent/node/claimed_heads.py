"""Which checkpoint each peer of a repository says it has, and how long that is waited for.

Tracks what each peer said last, and for whom it was waited in vain. Anybody can say anything: what
is said is believed only as far as the checkpoint came.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.ids import PushId
    from gittorrent.push.spreading import Item, PeerKey


class ClaimedHeads:
    """What the peers of one repository say.

    Args:
        holds: tells whether a checkpoint is here.
        number: of the newest checkpoint here.
    """

    def __init__(self, holds: Callable[[PushId], bool], number: Callable[[], int]) -> None:
        self._holds = holds
        self._number = number
        self._heads: dict[PeerKey, Item] = {}
        self._in_vain: set[PeerKey] = set()
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[PeerKey]:
        """Go through the peers that said something."""
        return iter(self._heads)

    def get(self, peer: PeerKey) -> Item | None:
        """Return what a peer said last."""
        return self._heads.get(peer)

    def said(self, peer: PeerKey, item: Item) -> bool:
        """Take note of what a peer says; tells whether it is the first time."""
        is_first = peer not in self._heads
        self._heads[peer] = item
        self._changed.set()
        return is_first

    def left(self, peer: PeerKey) -> None:
        """Forget a peer."""
        self._heads.pop(peer, None)
        self._in_vain.discard(peer)
        self._changed.set()

    def look(self) -> None:
        """Look again: a checkpoint came."""
        self._changed.set()

    async def hear(self, count: int, seconds: float) -> int:
        """Wait until so many peers said what they have, and it is here; return how many did.

        Args:
            count: of peers.
            seconds: after which no more are waited for.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._settled < count:
                    await self._change()
        return self._settled

    async def catch_up(self, seconds: float) -> None:
        """Wait until no peer says that it has a newer checkpoint, or for so many seconds.

        A peer that was waited for in vain is not waited for again before what it has is here.
        """
        try:
            async with asyncio.timeout(seconds):
                while self._ahead() - self._in_vain:
                    await self._change()
        except TimeoutError:
            self._in_vain |= self._ahead()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    @property
    def _settled(self) -> int:
        return sum(self._holds(item.id) for item in self._heads.values())

    def _ahead(self) -> set[PeerKey]:
        """Return the peers that say they have a newer checkpoint than is here."""
        self._in_vain -= {peer for peer in self._in_vain if self._holds(self._heads[peer].id)}
        number = self._number()
        return {peer for peer, item in self._heads.items() if item.number > number}
