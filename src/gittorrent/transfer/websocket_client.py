"""Opens a conversation's stream at an HTTP endpoint: a WebSocket at its ``mirror-sync``.

A server that does not agree is one of files, or something on the way to it lets no conversation
through; neither is an error to anybody who can do without.
Source: docs/protocol/mirrorsync.md, WebSocket.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp

from gittorrent.transfer.channel import GOODBYE_SECONDS
from gittorrent.transfer.http_client import HttpClient, open_client
from gittorrent.transfer.mirror import NoConversationError
from gittorrent.transfer.stream import Stream, carried_stream, socket_pair
from gittorrent.transfer.websocket import MAX_MESSAGE, carry
from gittorrent.wire.service import MIRROR_SYNC

if TYPE_CHECKING:
    import socket

    from gittorrent.transfer.client_timeouts import ClientTimeouts
    from gittorrent.wire.urls import AddressClass, Endpoint


async def open_websocket(
    endpoint: Endpoint,
    trusted: AddressClass | None,
    client_timeouts: ClientTimeouts,
    service: str = MIRROR_SYNC,
) -> Stream:
    """Ask a mirror for a conversation; its first words wait to be read.

    Args:
        endpoint: an HTTP one.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        client_timeouts: how long to wait.
        service: what is asked for.

    Raises:
        NoConversationError: it does not agree, or not in time.
        CannotConnectError: it is where strangers may not send us to.
    """
    client = await open_client(endpoint, trusted, client_timeouts)
    try:
        websocket = await _agreed(client, client_timeouts, service)
    except BaseException:
        await client.close()
        raise
    ours, theirs = socket_pair()
    own = websocket.get_extra_info("sockname") or ("",)
    address = next(iter(client.addresses), "")
    work = _carry(client, websocket, theirs)
    return carried_stream(ours, theirs, work, str(own[0]), address)


async def _agreed(
    client: HttpClient, client_timeouts: ClientTimeouts, service: str
) -> aiohttp.ClientWebSocketResponse:
    url = client.url_of(service)
    try:
        async with asyncio.timeout(client_timeouts.upgrade):
            return await client.websocket(service, MAX_MESSAGE, GOODBYE_SECONDS)
    except aiohttp.WSServerHandshakeError as error:
        raise NoConversationError(f"{url} agrees to no conversation ({error.status})") from error
    except (aiohttp.ClientError, OSError) as error:
        why = str(error) or "it does not answer in time"
        raise NoConversationError(f"no conversation at {url}: {why}") from error


async def _carry(
    client: HttpClient, websocket: aiohttp.ClientWebSocketResponse, sock: socket.socket
) -> None:
    try:
        await carry(websocket, sock, pings=True)
    finally:
        await client.close()
