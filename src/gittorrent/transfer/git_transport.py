"""Mirrors behind git:// URLs: a TCP stream of packets, on which conversations are held."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.errors import UnreachableError
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.dialling import ask_for_list, ask_patiently, connect, service_request
from gittorrent.transfer.git_mirror import ask_for, call, open_git_mirror
from gittorrent.transfer.packet_reader import ConnectionEndError, PacketReader
from gittorrent.transfer.stream import tcp_stream
from gittorrent.wire import notify
from gittorrent.wire.limits import MAX_PKT_LINE
from gittorrent.wire.service import MIRROR_MUX, MIRROR_NOTIFY

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.transfer.git_mirror import ConversationContext, GitMirror
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.transfer.stream import Stream
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.urls import AddressClass, Endpoint


class GitTransport:
    """A `gittorrent.transfer.transport.Transport`."""

    is_stream = True
    has_services = True

    async def open_service(
        self,
        endpoint: Endpoint,
        service: str,
        trusted: AddressClass | None,
        client_timeouts: ClientTimeouts,
    ) -> Stream:
        return tcp_stream(await ask_for(service, endpoint, trusted, client_timeouts))

    async def ask_list(
        self, endpoint: Endpoint, trusted: AddressClass | None, client_timeouts: ClientTimeouts
    ) -> tuple[MirrorList, AddressClass]:
        return await ask_patiently(endpoint, trusted, client_timeouts)

    async def ask_list_at(self, endpoint: Endpoint, address: str) -> MirrorList:
        found, _ = await ask_for_list(replace(endpoint, host=address))
        return found

    async def ask_time(self, endpoint: Endpoint) -> float | None:
        found, _ = await self.ask_list(endpoint, None, ClientTimeouts())
        return found.time

    def call_ahead(
        self, endpoint: Endpoint, client_timeouts: ClientTimeouts
    ) -> asyncio.Task[Stream] | None:
        return asyncio.get_running_loop().create_task(call(endpoint, None, client_timeouts))

    async def call_mux(
        self, endpoint: Endpoint, trusted: AddressClass | None, client_timeouts: ClientTimeouts
    ) -> Stream:
        return await call(endpoint, trusted, client_timeouts, MIRROR_MUX)

    async def open_mirror(
        self,
        endpoint: Endpoint,
        context: ConversationContext,
        trusted: AddressClass | None,
        calling: asyncio.Task[Stream] | None,
    ) -> Mirror:
        return await open_git_mirror(endpoint, context, trusted, calling)

    async def converse(
        self, endpoint: Endpoint, context: ConversationContext, trusted: AddressClass | None
    ) -> GitMirror:
        return await open_git_mirror(endpoint, context, trusted)

    async def send_notice(
        self,
        endpoint: Endpoint,
        notice_from: Callable[[str], notify.Notify],
        trusted: AddressClass | None,
        from_address: str | None,
        client_timeouts: ClientTimeouts | None = None,
    ) -> int:
        client_timeouts = client_timeouts or ClientTimeouts()
        dialled = await connect(endpoint, trusted, from_address, client_timeouts)
        with dialled.sock as sock:
            notice = notice_from(str(sock.getsockname()[0]))
            data = service_request(MIRROR_NOTIFY, endpoint) + notice.encode_packets()
            try:
                async with asyncio.timeout(client_timeouts.notice):
                    await asyncio.get_running_loop().sock_sendall(sock, data)
                    answer = await PacketReader(sock, "notice's answer", MAX_PKT_LINE).line()
            except ConnectionEndError as error:
                raise UnreachableError(f"{endpoint.url} does not answer a notice") from error
            except (OSError, TimeoutError) as error:
                raise UnreachableError(f"{endpoint.url}: {str(error) or 'no answer'}") from error
        return notify.parse_answer(answer)
