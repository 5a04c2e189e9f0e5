"""Accepts connections so that none is lost when whoever waits for them is cancelled.

`loop.sock_accept` takes the connection in one turn of the event loop and hands it over in the next:
a task that is cancelled in between leaves a socket that nobody closes. Here nothing is between.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


async def accept(listener: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
    """Wait for a caller and return its connection, not blocking, with its address and port.

    Args:
        listener: a listening socket, not blocking; one waits at it at a time.

    Raises:
        ConnectionError: the caller gave up while it waited to be accepted.
        OSError: the system has no more sockets.
    """
    while True:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            sock, peer = listener.accept()
            sock.setblocking(False)
            return sock, (str(peer[0]), int(peer[1]))
        await _readable(listener)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def note() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, note)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
