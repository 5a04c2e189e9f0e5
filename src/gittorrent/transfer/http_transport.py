"""Mirrors behind HTTP URLs: nodes, which converse by WebSocket, and any server of static files."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.errors import UnreachableError, UsageError
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.dialling import connect
from gittorrent.transfer.git_mirror import begin_conversation
from gittorrent.transfer.http_client import HttpClient, open_client
from gittorrent.transfer.http_mirror import (
    ask_for_list_by_http,
    ask_for_time_by_http,
    open_http_mirror,
)
from gittorrent.transfer.logging_in import logged_in
from gittorrent.transfer.mirror import MirrorLostError, NoConversationError
from gittorrent.transfer.websocket_client import open_websocket
from gittorrent.wire import notify
from gittorrent.wire.limits import MAX_LIST_BYTES, MAX_REASON
from gittorrent.wire.mirrorlist import parse_text
from gittorrent.wire.service import MIRROR_MUX, MIRROR_SYNC

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.transfer.git_mirror import ConversationContext, GitMirror
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.transfer.stream import Stream
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.urls import AddressClass, Endpoint


NO_NOTICES = frozenset([404, 405, 501])
"""What web servers answer that only hold files."""

FORBIDDEN = 403
"""What nodes answer with a reason in their own words, and buckets in others."""

MAX_NOTICE_ANSWER = MAX_REASON + 100
"""Bytes of the answer to a notice; one that is longer is cut, and no answer then."""


class HttpTransport:
    """A `gittorrent.transfer.transport.Transport`."""

    is_stream = False
    has_services = False

    async def open_service(
        self,
        endpoint: Endpoint,
        service: str,
        trusted: AddressClass | None,
        client_timeouts: ClientTimeouts,
    ) -> Stream:
        del trusted, client_timeouts
        raise UsageError(
            f"{service} at {endpoint.url} cannot be reached this way",
            hint=f"use the URL {endpoint.url} itself with git",
        )

    async def ask_list(
        self, endpoint: Endpoint, trusted: AddressClass | None, client_timeouts: ClientTimeouts
    ) -> tuple[MirrorList, AddressClass]:
        return await logged_in(
            endpoint.url, lambda: ask_for_list_by_http(endpoint, trusted, client_timeouts)
        )

    async def ask_list_at(self, endpoint: Endpoint, address: str) -> MirrorList:
        client = HttpClient(endpoint, None, ClientTimeouts(), address)
        try:
            return parse_text(bytes(await client.read("mirror-list", MAX_LIST_BYTES)))
        finally:
            await client.close()

    async def ask_time(self, endpoint: Endpoint) -> float | None:
        return await logged_in(endpoint.url, lambda: ask_for_time_by_http(endpoint))

    def call_ahead(
        self,
        endpoint: Endpoint,
        client_timeouts: ClientTimeouts,
    ) -> asyncio.Task[Stream] | None:
        return asyncio.get_running_loop().create_task(_open_stream(endpoint, None, client_timeouts))

    async def call_mux(
        self, endpoint: Endpoint, trusted: AddressClass | None, client_timeouts: ClientTimeouts
    ) -> Stream:
        return await _open_stream(endpoint, trusted, client_timeouts, MIRROR_MUX)

    async def open_mirror(
        self,
        endpoint: Endpoint,
        context: ConversationContext,
        trusted: AddressClass | None,
        calling: asyncio.Task[Stream] | None,
    ) -> Mirror:
        down = context.limits.down
        client_timeouts = context.client_timeouts.at_rate(down.rate)
        try:
            if calling is None:
                return await self.converse(endpoint, context, trusted)
            return await begin_conversation(endpoint.url, await calling, context)
        except (NoConversationError, MirrorLostError) as error:
            mirror = await logged_in(
                endpoint.url, lambda: open_http_mirror(endpoint, trusted, down, client_timeouts)
            )
            context.on_detail(f"{error}; it is asked for files")
            return mirror

    async def converse(
        self, endpoint: Endpoint, context: ConversationContext, trusted: AddressClass | None
    ) -> GitMirror:
        stream = await _open_stream(endpoint, trusted, context.client_timeouts)
        return await begin_conversation(endpoint.url, stream, context)

    async def send_notice(
        self,
        endpoint: Endpoint,
        notice_from: Callable[[str], notify.Notify],
        trusted: AddressClass | None,
        from_address: str | None,
    ) -> int:
        # The notice names the address that it comes from, so one connection is made to learn that.
        dialled = await connect(endpoint, trusted, from_address)
        with dialled.sock as sock:
            own = str(sock.getsockname()[0])
        client = await open_client(endpoint, trusted, ClientTimeouts(), dialled.address, own)
        try:
            data = notice_from(own).encode_text()
            status, answer = await client.post(
                "mirror-notify", data, notify.CONTENT_TYPE, MAX_NOTICE_ANSWER
            )
        except MirrorLostError as error:
            raise UnreachableError(f"cannot announce to {error}") from error
        finally:
            await client.close()
        if status in NO_NOTICES or (status == FORBIDDEN and not answer.startswith(b"ERR ")):
            raise UnreachableError(f"{endpoint.url} is a web server that takes no notices")
        return notify.parse_answer(answer)


async def _open_stream(
    endpoint: Endpoint,
    trusted: AddressClass | None,
    client_timeouts: ClientTimeouts,
    service: str = MIRROR_SYNC,
) -> Stream:
    """Ask a server for a conversation, and tell it who asks if it wants that."""
    return await logged_in(
        endpoint.url, lambda: open_websocket(endpoint, trusted, client_timeouts, service)
    )
