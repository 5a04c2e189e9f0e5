"""Fetches entries of a log, and the packs that come with pushes, from one peer or another.

Rules: what comes is counted as held of who sent it before anything else is done with it, and let
go by whoever takes it. Must not know whom to ask, nor what entries say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from gittorrent.errors import LocalError
from gittorrent.repository.arrived_objects import Arrived
from gittorrent.wire.limits import MAX_PUSH_BYTES
from gittorrent.wire.messages import FetchLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.ids import PushId
    from gittorrent.node.held_bytes import HeldBytes
    from gittorrent.push.spreading import Item, PeerKey
    from gittorrent.transfer.live_peer import LivePeer
    from gittorrent.transfer.mirror import LogEntry

MAX_LOG_BYTES = 64 << 20
"""Bytes of entries that are taken at once over a live conversation: who is behind further takes
the log as mirrors do that begin."""


class Shelf(Protocol):
    """What is here."""

    def holds(self, entry: PushId) -> bool:
        """Tell whether an entry is here."""
        ...

    def head(self) -> Item:
        """Return the checkpoint adopted."""
        ...


class EntryFetcher:
    """Fetches for one repository.

    Args:
        shelf: what is here.
        held: counts what comes.
        put: takes what a peer sent, and was counted.
    """

    def __init__(
        self, shelf: Shelf, held: HeldBytes, put: Callable[[PeerKey, Arrived], None]
    ) -> None:
        self._shelf = shelf
        self._held = held
        self._put = put

    async def fetch(self, key: PeerKey, peer: LivePeer, item: Item) -> None:
        """Fetch one entry and, of a push, the pack that comes with it.

        Raises:
            GitTorrentError: it does not come.
        """
        size, asking = 0, None
        if not item.number:
            asking = asyncio.get_running_loop().create_task(peer.fetch_pack(item.id))
        try:
            data = await peer.fetch_push(item.id, MAX_PUSH_BYTES)
            size = self._count(key, peer, len(data))
            pack = None if asking is None else await asking
        except BaseException:
            self._held.release(key, size)
            raise
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        self._count(key, peer, len(pack or b""))
        self._put(key, Arrived(item.id, data, pack))

    async def fetch_log(self, key: PeerKey, peer: LivePeer, item: Item) -> None:
        """Fetch what lies between here and a checkpoint that is several ahead.

        Raises:
            GitTorrentError: it does not come.
        """
        size = 0

        async def admit(entries: Sequence[LogEntry]) -> None:
            nonlocal size
            for entry, data in entries:
                size += len(data)
                if size > MAX_LOG_BYTES:
                    raise LocalError(f"{peer.name} is far ahead: its log is taken otherwise")
                if not self._shelf.holds(entry):
                    self._count(key, peer, len(data))
                    self._put(key, Arrived(entry, bytes(data)))

        question = FetchLog(item.id, self._shelf.head().id)
        await peer.fetch_log(question, self._shelf.holds, admit)

    def _count(self, key: PeerKey, peer: LivePeer, size: int) -> int:
        self._held.add(key, size, peer.make_room)
        return size
