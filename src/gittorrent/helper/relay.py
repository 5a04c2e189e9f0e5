"""Relays git's own protocol to a mirror's git service, unverified: bytes both ways."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING

from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.transport import transport_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gittorrent.transfer.stream import Stream
    from gittorrent.wire.urls import AddressClass, Endpoint

_CHUNK = 1 << 16


async def ask_for_service(
    endpoint: Endpoint,
    service: str,
    trusted: AddressClass | None = None,
    client_timeouts: ClientTimeouts | None = None,
) -> Stream:
    """Connect to a mirror and ask for one of git's services.

    Args:
        endpoint: the mirror.
        service: such as ``git-receive-pack``.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        client_timeouts: how long to wait.

    Returns:
        The stream, on which nothing was read.

    Raises:
        UsageError: the endpoint is reached by HTTP.
        CannotConnectError, MirrorLostError: nobody answers, or it hung up.
    """
    timeouts = client_timeouts or ClientTimeouts()
    return await transport_of(endpoint).open_service(endpoint, service, trusted, timeouts)


async def relay(
    stream: Stream, connected: Callable[[], None], spoken: bytes = b"", said: bytes = b""
) -> None:
    """Relay between git (standard input and output) and a service, and hang up.

    Args:
        stream: where the service was asked for.
        connected: tells git that the connection stands.
        spoken: what git said already, which nobody has passed on.
        said: the same of the service.
    """
    loop, sock = asyncio.get_running_loop(), stream.sock
    try:
        connected()
        _write(said)
        await loop.sock_sendall(sock, spoken)
        upward = loop.create_task(_send(sock))
        try:
            await _receive(sock)
        finally:
            upward.cancel()
            await asyncio.gather(upward, return_exceptions=True)
    finally:
        await stream.hang_up()


async def _send(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await _read():
        await loop.sock_sendall(sock, data)
    sock.shutdown(1)


async def _read() -> bytes:
    """Return git's next bytes, none at their end.

    A thread that waits for them cannot be called off, so nobody may have to wait for the thread:
    git may be waiting for us to end.
    """
    loop = asyncio.get_running_loop()
    coming: asyncio.Future[bytes] = loop.create_future()

    def settle(data: bytes, error: OSError | None) -> None:
        if coming.done():
            return
        if error is None:
            coming.set_result(data)
        else:
            coming.set_exception(error)

    def work() -> None:
        data, failure = b"", None
        try:
            data = os.read(0, _CHUNK)
        except OSError as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, data, failure)

    threading.Thread(target=work, daemon=True).start()
    return await coming


async def _receive(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, _CHUNK):
        _write(data)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
