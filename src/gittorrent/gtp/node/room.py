"""How much of what peers send and ask for a node holds, over all of its swarms.

Each peer's messages, questions and answers are bounded by themselves, and there are many peers. So
every connection says what is held for it: *talk*, which nobody asked for, and *data*, which is
answers in either direction and requests for them. Beyond a total the connection for which most is
held is given up. Nobody sends what would only wait: a peer whose data waits to be stored is not
read on while much does.

Pure but for waiting. Must not know messages or sockets.
Source: docs/protocol/gtp01.md, Limits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.gtp.limits import MIB
from gittorrent.node.held_bytes import HeldBytes
from gittorrent.push.spreading import PeerKey

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_TALK = 128 * MIB
"""Bytes of messages that nobody asked for, of all peers: three of the longest."""

MAX_DATA = 1024 * MIB
"""Bytes of answers in either direction, and of requests for them: two of the longest."""

MAX_STORING = 64 * MIB
"""Bytes that wait to be stored from which on those who sent some are not read on."""


class Room:
    """What is held for all peers of a node.

    Args:
        talk: bytes of messages that nobody asked for.
        data: bytes of answers and requests.
        storing: bytes that may wait to be stored.
    """

    def __init__(
        self, talk: int = MAX_TALK, data: int = MAX_DATA, storing: int = MAX_STORING
    ) -> None:
        self._talk = HeldBytes(talk)
        self._data = HeldBytes(data)
        self._most_storing = storing
        self._storing: dict[int, int] = {}
        self._stored = asyncio.Event()

    @property
    def talk(self) -> int:
        """Bytes of messages that are held and nobody asked for."""
        return self._talk.total

    @property
    def data(self) -> int:
        """Bytes of answers and requests that are held."""
        return self._data.total

    def hold(self, link: int, talk: int, data: int, give_up: Callable[[str], None]) -> None:
        """Note what is held for a connection now, beside what came of it and waits to be stored.

        Args:
            link: its number.
            talk: bytes of messages that nobody asked for.
            data: bytes of answers and requests.
            give_up: ends it, for a reason.
        """
        self._talk.coming(PeerKey(link), talk, give_up)
        self._data.coming(PeerKey(link), data, give_up)

    def storing(self, link: int, size: int, give_up: Callable[[str], None]) -> None:
        """Note that so many more bytes of a peer wait to be stored; `stored` must follow."""
        self._storing[link] = self._storing.get(link, 0) + size
        self._data.add(PeerKey(link), size, give_up)

    def stored(self, link: int, size: int) -> None:
        """Note that they are stored, or let go."""
        left = self._storing.pop(link, 0) - size
        if left > 0:
            self._storing[link] = left
        self._data.release(PeerKey(link), size)
        self._stored.set()

    def is_behind(self, link: int) -> bool:
        """Tell whether a peer is not to be read on: its data waits, and so does much else."""
        return link in self._storing and sum(self._storing.values()) > self._most_storing

    async def caught_up(self, link: int) -> None:
        """Wait until a peer is to be read on."""
        while self.is_behind(link):
            self._stored.clear()
            await self._stored.wait()
