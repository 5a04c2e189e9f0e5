"""Conversations over HTTP: a caller's request for ``mirror-sync`` becomes a WebSocket.

Who may have one was decided before: no web page, and nobody who calls this machine by another name.
Must not know what is said.
Source: docs/protocol/mirrorsync.md, WebSocket; RFC 6455.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from aiohttp import web

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.node.git_listener import OUR_FAULT, refuse
from gittorrent.node.http_connections import connection_of
from gittorrent.node.http_static import caller_of
from gittorrent.transfer.channel import GOODBYE_SECONDS, UNSENT_BYTES
from gittorrent.transfer.stream import end_soon, socket_pair
from gittorrent.transfer.websocket import MAX_MESSAGE, carry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gittorrent.node.access import Access
    from gittorrent.node.catalogue import Served
    from gittorrent.node.connection_limiter import ConnectionSlot
    from gittorrent.node.conversations import Conversations
    from gittorrent.node.shared_callers import SharedCallers

NO_UPGRADE = "mirror-sync is a conversation by WebSocket: ask for that, or for the resources"
"""What is answered to a plain request."""

Talk: TypeAlias = "Callable[[socket.socket, ConnectionSlot, str], Coroutine[Any, Any, None]]"
"""Talks with a caller through a socket, whose place and address are given."""

_log = EventLog(__name__)


class HttpConversations:
    """Opens WebSockets for conversations.

    Args:
        conversations: holds them.
        shared: serves callers who hold several on one connection.
    """

    def __init__(self, conversations: Conversations, shared: SharedCallers) -> None:
        self._conversations = conversations
        self._shared = shared

    async def serve(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        """Answer one request, until the conversation that it leads to is over."""
        return await self._serve(
            request, partial(self._talk, served, connection_of(request).access)
        )

    async def serve_several(self, request: web.BaseRequest, _served: Served) -> web.StreamResponse:
        """Answer one request, until all conversations that it leads to are over."""
        access = connection_of(request).access
        return await self._serve(request, partial(self._shared.serve, access=access))

    async def _serve(self, request: web.BaseRequest, talk: Talk) -> web.StreamResponse:
        websocket = web.WebSocketResponse(
            timeout=GOODBYE_SECONDS,
            autoping=False,
            compress=False,
            max_msg_size=MAX_MESSAGE + 1,  # it takes what is smaller
        )
        if not websocket.can_prepare(request).ok:
            headers = {"Upgrade": "websocket"}
            return web.Response(text=f"{NO_UPGRADE}\n", status=426, headers=headers)
        connection, address = connection_of(request), caller_of(request)
        await websocket.prepare(request)
        _keep_little(connection.sock)
        ours, theirs = socket_pair()
        loop = asyncio.get_running_loop()
        carrying = loop.create_task(carry(websocket, theirs))
        talking = loop.create_task(talk(ours, connection.slot, address))
        # Even if they are cancelled before they begin.
        carrying.add_done_callback(lambda _: theirs.close())
        talking.add_done_callback(lambda _: ours.close())
        try:
            await asyncio.wait((carrying, talking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not carrying.done() and not talking.done():  # the connection is gone
                carrying.cancel()
            if not talking.done():  # it reads that nothing more comes
                await talking
            await end_soon(carrying)
            if request.transport is not None:
                request.transport.abort()
        for task in (talking, carrying):
            if not task.cancelled():
                task.result()
        return websocket

    async def _talk(
        self,
        served: Served,
        access: Access,
        sock: socket.socket,
        slot: ConnectionSlot,
        address: str,
    ) -> None:
        try:
            await self._conversations.converse(sock, slot, served, address, access)
        except GitTorrentError as error:
            _log.error(
                "damaged",
                "cannot serve {repository}: {reason}",
                repository=served.info.name,
                reason=error,
            )
            await refuse(sock, OUR_FAULT)
        finally:
            sock.close()


def _keep_little(sock: socket.socket) -> None:
    """Have the kernel hold as little unsent as in other conversations."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
