"""Which checkpoint each peer of a repository says it has, and how long that is waited for.

Tracks what each peer said last, which of them were called from here, and for whom it was waited in
vain. Anybody can say anything, and call again: what is said is believed only as far as the
checkpoint came, and after a wait in vain nobody is waited for during some time, unless what was
waited for comes after all.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.ids import PushId
    from gittorrent.push.spreading import Item, PeerKey

DOUBT_SECONDS = 60.0
"""Time for which nobody is waited for after a wait in vain: whoever claims what it does not have
delays one push in so long, however often it calls."""


class ClaimedHeads:
    """What the peers of one repository say.

    Args:
        holds: tells whether a checkpoint is here.
        number: of the newest checkpoint here.
        clock: seconds that never run backwards.
    """

    def __init__(
        self,
        holds: Callable[[PushId], bool],
        number: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._holds = holds
        self._number = number
        self._clock = clock
        self._heads: dict[PeerKey, Item] = {}
        self._called: set[PeerKey] = set()
        self._in_vain: dict[PeerKey, PushId] = {}
        self._doubt_until = 0.0
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[PeerKey]:
        """Go through the peers that said something."""
        return iter(self._heads)

    def get(self, peer: PeerKey) -> Item | None:
        """Return what a peer said last."""
        return self._heads.get(peer)

    def called(self, peer: PeerKey) -> None:
        """Take note that a peer was called from here; it did not choose us."""
        self._called.add(peer)

    def said(self, peer: PeerKey, item: Item) -> bool:
        """Take note of what a peer says; tells whether it is the first time."""
        is_first = peer not in self._heads
        self._heads[peer] = item
        self._changed.set()
        return is_first

    def left(self, peer: PeerKey) -> None:
        """Forget a peer."""
        self._heads.pop(peer, None)
        self._in_vain.pop(peer, None)
        self._called.discard(peer)
        self._changed.set()

    @property
    def doubts_until(self) -> float:
        """When somebody is waited for again who claims something; endless if that is so now."""
        return self._doubt_until if self._clock() < self._doubt_until else math.inf

    def look(self) -> None:
        """Look again: a checkpoint came."""
        self._changed.set()

    def agreeing(self) -> list[PeerKey]:
        """Return peers that were called and have nothing newer; none if anybody is ahead."""
        if self._awaited():
            return []
        return [peer for peer in self._called if peer in self._heads and self._is_held(peer)]

    def _is_held(self, peer: PeerKey) -> bool:
        return self._holds(self._heads[peer].id)

    async def hear(self, count: int, seconds: float) -> int:
        """Wait until so many peers that were called said what they have, and it is here.

        Whoever calls may be anybody, as often as it likes, so callers do not count.

        Args:
            count: of peers.
            seconds: after which no more are waited for.

        Returns:
            How many there are.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._settled < count:
                    await self._change()
        return self._settled

    async def catch_up(self, seconds: float) -> None:
        """Wait until no peer says that it has a newer checkpoint, or for so many seconds.

        A peer that was waited for in vain is not waited for again before what it had is here, and
        for `DOUBT_SECONDS` nobody else is.
        """
        try:
            async with asyncio.timeout(seconds):
                while self._awaited():
                    await self._change()
        except TimeoutError:
            for peer in self._awaited():
                self._in_vain[peer] = self._heads[peer].id
            self._doubt_until = self._clock() + DOUBT_SECONDS

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    @property
    def _settled(self) -> int:
        return sum(self._is_held(peer) for peer in self._called if peer in self._heads)

    def _awaited(self) -> set[PeerKey]:
        """Return the peers that say they have a newer checkpoint than is here, and are believed."""
        for peer, awaited in list(self._in_vain.items()):
            if self._holds(awaited):
                del self._in_vain[peer]
                self._doubt_until = 0.0
        if self._clock() < self._doubt_until:
            return set()
        number = self._number()
        ahead = {peer for peer, item in self._heads.items() if item.number > number}
        return ahead - self._in_vain.keys()
