"""Conversations that other programs of this user carry to its node, over the control socket.

`gittorrent shell` hears people over ssh and knows which key each has. What is private is not
there for those who call the node in the clear, so it hands such a conversation over here, where the
node believes its own user, and says whose it is. Must not know ssh.
Source: docs/protocol/mirrorsync.md, Services.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from gittorrent.node.access import Access
from gittorrent.node.connection_limiter import ConnectionSlot
from gittorrent.node.conversations import NOT_SERVED
from gittorrent.transfer.channel import GOODBYE_SECONDS
from gittorrent.transfer.stream import socket_pair
from gittorrent.trust.keys import KeyRef
from gittorrent.wire.control import Done, No

if TYPE_CHECKING:
    from gittorrent.node.catalogue import Catalogue
    from gittorrent.node.conversations import Conversations
    from gittorrent.wire.control import Converse

CHUNK = 64 << 10
"""Bytes passed on at a time."""


class LocalConversations:
    """Holds them.

    Args:
        catalogue: what is served.
        conversations: of the node.
    """

    def __init__(self, catalogue: Catalogue, conversations: Conversations) -> None:
        self._catalogue = catalogue
        self._conversations = conversations

    async def hold(
        self, request: Converse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer a request, and hold the conversation that follows on its connection.

        Raises:
            GitTorrentError: a key that it names is none, or a disk does not answer.
        """
        access = Access(frozenset(map(KeyRef.parse, request.keys)))
        path = f"/{request.repository}".encode("ascii")
        served = await self._catalogue.seek(path, access)
        if served is None or served.is_cached:
            writer.write(No(NOT_SERVED).encode())
            return
        writer.write(Done(0).encode())
        loop = asyncio.get_running_loop()
        ours, theirs = socket_pair()
        slot = ConnectionSlot(request.address, loop.time(), lambda _slot, _now: None)
        hearing = loop.create_task(_hear(reader, theirs))
        saying = loop.create_task(_say(theirs, writer))
        try:
            await self._conversations.converse(ours, slot, served, access=access)
            ours.close()
            await asyncio.wait([saying], timeout=GOODBYE_SECONDS)
        finally:
            hearing.cancel()
            saying.cancel()
            await asyncio.gather(hearing, saying, return_exceptions=True)
            ours.close()
            theirs.close()


async def _hear(reader: asyncio.StreamReader, sock: socket.socket) -> None:
    """Pass on what the caller says, until it ends or nobody hears it any more."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            await asyncio.get_running_loop().sock_sendall(sock, data)
        sock.shutdown(socket.SHUT_WR)


async def _say(sock: socket.socket, writer: asyncio.StreamWriter) -> None:
    """Pass on what the caller is told, until that ends or it is gone."""
    with contextlib.suppress(OSError):
        while data := await asyncio.get_running_loop().sock_recv(sock, CHUNK):
            writer.write(data)
            await writer.drain()
