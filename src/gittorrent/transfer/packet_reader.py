"""Reads packets from a socket to their exact ends, where nothing may be taken of what follows.

For what comes before a conversation, or instead of one: requests, lists, notices and their answers.
Afterwards a `Session` reads, or git gets the socket. The caller bounds the time.
Source: docs/protocol/mirrorsync.md, Frames.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.wire import pktline

if TYPE_CHECKING:
    import socket


class ConnectionEndError(pktline.PktLineError):
    """The connection ended; ``is_clean`` tells whether that was between two packets."""

    def __init__(self, *, is_clean: bool) -> None:
        super().__init__(
            "the connection ended" + ("" if is_clean else " in the middle of a packet")
        )
        self.is_clean = is_clean


class PacketReader:
    """Reads packets one by one.

    Args:
        sock: connected and non-blocking; stays the caller's.
        what: what is read, for messages: "request", "list".
        limit: bytes of all packets together, headers included.
    """

    def __init__(self, sock: socket.socket, what: str, limit: int) -> None:
        self._sock = sock
        self._what = what
        self._limit = limit
        self._left = limit

    async def header(self) -> bytes:
        """Read the four bytes that begin a packet, whatever they are.

        Raises:
            ConnectionEndError: it ends.
            OSError: it breaks.
        """
        return await self._exactly(pktline.HEADER_SIZE, is_start=True)

    async def rest(self, header: bytes) -> pktline.Packet:
        """Read the packet that ``header`` begins.

        Raises:
            PktLineError: it is none, is too long, or the connection ends.
            OSError: it breaks.
        """
        size = pktline.parse_length(header)
        self._left -= pktline.HEADER_SIZE + (size if isinstance(size, int) else 0)
        if self._left < 0:
            raise pktline.PktLineError(
                f"the {self._what} is too long: more than {self._limit} bytes"
            )
        return await self._exactly(size) if isinstance(size, int) else size

    async def packet(self) -> pktline.Packet:
        """Read the next packet; raises as `header` and `rest`."""
        return await self.rest(await self.header())

    async def line(self) -> bytes:
        """Read a packet that has to carry data; raises as `packet`."""
        packet = await self.packet()
        if isinstance(packet, pktline.Special):
            raise pktline.PktLineError(f"a {packet.name.lower()} packet instead of a {self._what}")
        return packet

    async def lines(self, most: int) -> list[bytes]:
        """Read packets up to a flush, at most so many; raises as `packet`."""
        found: list[bytes] = []
        while (packet := await self.packet()) is not pktline.FLUSH:
            if isinstance(packet, bytes):
                found.append(packet)
            if len(found) > most:
                raise pktline.PktLineError(f"the {self._what} has more than {most} lines")
        return found

    async def _exactly(self, size: int, *, is_start: bool = False) -> bytes:
        loop = asyncio.get_running_loop()
        data = bytearray()
        while len(data) < size:
            more = await loop.sock_recv(self._sock, size - len(data))
            if not more:
                raise ConnectionEndError(is_clean=is_start and not data)
            data += more
        return bytes(data)
