"""Connects git to a mirror's own service for real: bytes both ways, nothing in between."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from gittorrent.errors import UsageError
from gittorrent.transfer.dialling import connect, service_request

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gittorrent.wire.urls import Endpoint

_CHUNK = 1 << 16


async def relay(
    endpoint: Endpoint, service: str, connected: Callable[[], None], spoken: bytes = b""
) -> None:
    """Relay between git (standard input and output) and ``service`` at a git:// endpoint.

    Args:
        endpoint: the mirror.
        service: such as ``git-receive-pack``.
        connected: tells git that the connection stands.
        spoken: what git said already, which nobody has passed on.

    Raises:
        UsageError: the endpoint is reached by HTTP.
        CannotConnectError: nobody answers.
    """
    if endpoint.scheme != "git":
        raise UsageError(
            f"{service} at {endpoint.url} cannot be reached this way",
            hint=f"use the URL {endpoint.url} itself with git",
        )
    dialled = await connect(endpoint)
    loop = asyncio.get_running_loop()
    with dialled.sock as sock:
        await loop.sock_sendall(sock, service_request(service, endpoint) + spoken)
        connected()
        upward = loop.create_task(_send(sock))
        await _receive(sock)
        upward.cancel()
        await asyncio.gather(upward, return_exceptions=True)


async def _send(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await asyncio.to_thread(os.read, 0, _CHUNK):
        await loop.sock_sendall(sock, data)
    sock.shutdown(1)


async def _receive(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, _CHUNK):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
