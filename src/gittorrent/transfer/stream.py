"""A stream of bytes to the other end of a conversation, whatever it passes through.

The bytes are read and written at a socket in any case: a TCP connection itself, or one end of a
pair of sockets of this machine whose other end a task serves that carries the bytes on (by
WebSocket, or through ssh). Must not know what is spoken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.transfer.addresses import plain_address
from gittorrent.transfer.channel import GOODBYE_SECONDS
from gittorrent.wire.session import Timeouts

if TYPE_CHECKING:
    from collections.abc import Coroutine

PAIR_BYTES = 128 << 10
"""Bytes that wait between a conversation and what carries it: as many as wait in a TCP socket of
a conversation, since what is said next waits behind them."""


class Stream(Struct, frozen=True):
    """An open stream.

    Args:
        sock: connected and non-blocking; whoever converses closes it.
        own_address: IP address of ours that it leaves from; empty where that is not known.
        address: IP address that it leads to; empty where that is not known.
        carrier: carries what passes through the socket; None for a connection of its own.
        timeouts: how long silence may last in a conversation on it.
    """

    sock: socket.socket
    own_address: str
    address: str
    carrier: asyncio.Task[None] | None = None
    timeouts: Timeouts = Timeouts()

    async def hang_up(self) -> None:
        """Close a stream on which nobody converses yet."""
        self.sock.close()
        await self.let_end()

    async def let_end(self) -> None:
        """Wait until last words are carried on, which takes a second at most."""
        if self.carrier is not None:
            await end_soon(self.carrier)


def tcp_stream(sock: socket.socket) -> Stream:
    """Return the stream of a TCP connection."""
    return Stream(sock, str(sock.getsockname()[0]), _peer_address(sock))


def carried_stream(
    ours: socket.socket,
    theirs: socket.socket,
    work: Coroutine[None, None, None],
    own_address: str = "",
    address: str = "",
) -> Stream:
    """Return a stream whose bytes are carried by ``work`` from the other end of a pair.

    Args:
        ours: the end that is conversed at.
        theirs: the other one; closed at the end, even if ``work`` is cancelled before it begins.
        work: carries.
        own_address: IP address of ours that it leaves from; empty where that is not known.
        address: IP address that it leads to; empty where that is not known.
    """
    carrier = asyncio.get_running_loop().create_task(work)
    carrier.add_done_callback(lambda _: theirs.close())
    return Stream(ours, own_address, address, carrier)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected, non-blocking sockets that hold few bytes between them."""
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PAIR_BYTES)
    return pair


async def end_soon(task: asyncio.Task[None], seconds: float = GOODBYE_SECONDS) -> None:
    """Give a task that carries a stream some time to end, and cancel it then."""
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
    await asyncio.wait([task])


def _peer_address(sock: socket.socket) -> str:
    with contextlib.suppress(OSError):
        return plain_address(str(sock.getpeername()[0]))
    return ""
