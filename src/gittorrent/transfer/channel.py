"""What a conversation reads from and writes to: a socket of its own, or a share of a connection.

`Channel` is the port; `SocketChannel` the one for sockets, the other is in
`gittorrent.transfer.mux_channel`. Rules: reading is by a callback that stays registered, since
to ask anew for each of the some hundred reads a second that a fast peer causes costs more than the
reads; nothing waits for ever but for the other end. Must not know what is spoken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Protocol

from gittorrent.transfer.low_watermark import ReceiveLowWatermark
from gittorrent.transfer.socket_writer import SocketWriter
from gittorrent.transfer.tcp_info import tcp_info

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gittorrent.transfer.limiter import Limiter
    from gittorrent.transfer.off_loop import Reading

UNSENT_BYTES = 128 << 10
"""Bytes the kernel may hold that have not left yet: what is said waits behind no more than
that, and a part counts as sent when it is. (What is under way to a distant peer comes on top.)"""

GOODBYE_SECONDS = 1.0
"""Time in which last words have to leave."""


class Writer(Protocol):
    """The sending side of a channel; used by one task at a time."""

    sent: int
    """Bytes that were sent."""

    chunk_since: float | None
    """The loop's time at which the chunk that is being sent was begun, None between chunks:
    whoever takes a byte now and then does not take a chunk."""

    async def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            OSError: the connection is lost.
        """

    async def send_file(self, path: Path, offset: int, count: int, before: bytes = b"") -> None:
        """Send ``count`` bytes of a file, from byte ``offset`` on.

        Args:
            path: of the file.
            offset: of the first byte.
            count: of bytes.
            before: bytes to send together with them, in front.

        Raises:
            OSError: the connection is lost, or the file is not there or shorter than that.
        """

    def close(self) -> None:
        """Close the file that was sent last; nothing is sent after that."""


class Channel(Protocol):
    """What the bytes of one conversation pass through, both ways."""

    @property
    def shares_connection(self) -> bool:
        """Whether others' bytes pass through the same connection, which is watched as a whole."""

    def read_with(self, on_readable: Callable[[], None]) -> None:
        """Have something called while there is something to receive, or the end."""

    def stop_reading(self) -> None:
        """Have it not called any more."""

    def receive_into(self, space: memoryview) -> int:
        """Receive bytes; returns how many, 0 at the end.

        Raises:
            BlockingIOError, InterruptedError: there are none just now.
            OSError: the connection is lost.
        """

    def gather(self, remaining: int) -> None:
        """Take note of how many bytes of a payload are still to come, 0 outside of payloads.

        Within one it is worth waiting for some of them.
        """

    def note_received(self, count: int, now: float) -> None:
        """Take note of bytes that were received."""

    def note_held(self, size: int) -> None:
        """Take note of how many bytes the conversation itself has in memory now."""

    def writer(self, limiter: Limiter, reading: Reading) -> Writer:
        """Return the sending side.

        Args:
            limiter: paces what is sent.
            reading: where files are opened.
        """

    async def send_last(self, data: bytes) -> None:
        """Try to get last words out; a peer that does not take them soon misses them."""

    def close(self) -> None:
        """Hang up."""


class SocketChannel:
    """A `Channel` that is a socket.

    Args:
        sock: connected and non-blocking; closed with the channel.
    """

    shares_connection = False

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        tcp = tcp_info(sock)
        self._low_watermark = ReceiveLowWatermark(
            self._loop.time(), None if tcp is None else tcp.least_round_trip
        )
        self._is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        if self._is_tcp:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    def read_with(self, on_readable: Callable[[], None]) -> None:
        self._loop.add_reader(self._socket, on_readable)

    def stop_reading(self) -> None:
        self._loop.remove_reader(self._socket)

    def receive_into(self, space: memoryview) -> int:
        return self._socket.recv_into(space)

    def note_received(self, count: int, now: float) -> None:
        self._low_watermark.ate(count, now)

    def gather(self, remaining: int) -> None:
        if not self._is_tcp:
            return
        buffer = 0
        if remaining and not self._low_watermark.is_near:
            buffer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        if self._low_watermark.choose(remaining, buffer):
            least = self._low_watermark.least
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)

    def note_held(self, size: int) -> None:
        """Nothing follows from it here: connections are few."""

    def writer(self, limiter: Limiter, reading: Reading) -> Writer:
        return SocketWriter(self._socket, limiter, reading)

    async def send_last(self, data: bytes) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._loop.sock_sendall(self._socket, data)

    def close(self) -> None:
        self._socket.close()


def channel_of(end: socket.socket | Channel) -> Channel:
    """Return a channel for what may be a socket."""
    return SocketChannel(end) if isinstance(end, socket.socket) else end
