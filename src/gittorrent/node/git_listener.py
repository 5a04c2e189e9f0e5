"""Serves callers on git://: git's upload-pack and receive-pack, and the MirrorSync services.

A caller's first packet is read to its last byte and no
further, so that the socket can be handed to git as it is.

Rules: the first packet comes within a time limit; what is asked for is looked up in the catalogue
by exact bytes; every refusal for a path reads the same; callers learn of no file-system path.
Source: gitprotocol-pack(5), Git Transport; docs/protocol/mirrorsync.md, Services.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError, ProtocolError
from gittorrent.event_log import EventLog
from gittorrent.node import upload_pack
from gittorrent.node.access import STRANGER
from gittorrent.node.caller_watch import has_hung_up, look_at
from gittorrent.node.conversations import NOT_SERVED, Conversations
from gittorrent.node.git_socket import SocketUploadPack
from gittorrent.node.git_turns import BUSY, BusyError
from gittorrent.node.pushes import BUSY as PUSHES_BUSY
from gittorrent.node.shared_callers import SharedCallers
from gittorrent.node.watched import CallerEndedError
from gittorrent.transfer.addresses import is_wildcard, plain_address, show_address
from gittorrent.transfer.packet_reader import PacketReader
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS
from gittorrent.wire import notify, pktline
from gittorrent.wire.limits import (
    MAX_EXTRA,
    MAX_EXTRA_BYTES,
    MAX_HOST,
    MAX_LIST_LINES,
    MAX_PATH,
    MAX_REASON,
)
from gittorrent.wire.service import (
    MIRROR_LIST,
    MIRROR_MUX,
    MIRROR_NOTIFY,
    MIRROR_SYNC,
    RECEIVE_PACK,
    UPLOAD_ARCHIVE,
    UPLOAD_PACK,
    parse_request,
)
from gittorrent.wire.urls import UrlError, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gittorrent.node.catalogue import Served
    from gittorrent.node.connection_limiter import ConnectionSlot
    from gittorrent.node.services import NodeServices
    from gittorrent.transfer.limiter import Limiter
    from gittorrent.wire.service import ServiceRequest
    from gittorrent.wire.urls import Endpoint

MAX_REQUEST = MAX_PATH + MAX_HOST + MAX_EXTRA * (MAX_EXTRA_BYTES + 1) + 128
"""Bytes of the first packet: all its fields at their longest."""

MAX_NOTICE_BYTES = 64 << 10
"""Bytes of a notice: it has three lines."""

OUR_FAULT = "this mirror has a problem of its own; try another"
"""What callers are told of errors that are for the operator to read."""

CACHED_SERVICES = (MIRROR_LIST, MIRROR_SYNC, MIRROR_MUX)
"""What is answered for a repository in the cache: it has no refs that git's clients could fetch."""

NO_PUSH = "this mirror takes no pushes over git://"
"""How it begins what is said to whoever pushes there, `MAX_REASON` characters at most."""

_PUSH_ELSEWHERE = (
    f"{NO_PUSH}; push over http:// or ssh, or to another mirror"
    " (its operator can allow it: gittorrent serve --git-push)"
)

NO_DEPOT = "this copy takes no pushes; push to a mirror or to the origin"
"""What is said where a repository is kept for something else."""

NO_ARCHIVE = "archives are not made here; clone the repository and run 'git archive' on it"

_log = EventLog(__name__)


class Call(Struct, frozen=True):
    """A caller whose request can be served: connection, place, repository, and the request."""

    sock: socket.socket
    slot: ConnectionSlot
    served: Served
    request: ServiceRequest

    @property
    def address(self) -> str:
        """Where it comes from."""
        return self.slot.address


class GitListener:
    """Serves one caller after another; ``serve`` is run in a task for each.

    Args:
        services: what callers are served with.
        conversations: holds the conversations of callers that ask for one.
        takes_pushes: whether git's receive-pack is served.
        web: returns where the node listens for HTTP, wildcards as such.
    """

    def __init__(
        self,
        services: NodeServices,
        conversations: Conversations,
        *,
        takes_pushes: bool = False,
        web: Callable[[], Iterable[Endpoint]] = tuple,
    ) -> None:
        self._web = web
        self._pushes = services.pushes
        self._catalogue = services.catalogue
        self._lists = services.lists
        self._notices = services.notices
        self._git = SocketUploadPack(
            services.git_processes, services.limits, services.lists.bundles_at
        )
        self._limits = services.limits
        self._talks = conversations
        self._shared = SharedCallers(services, conversations)
        self._server_timeouts = services.server_timeouts
        self._services: dict[str, Callable[[Call], Awaitable[None]]] = {
            UPLOAD_PACK: self._upload_pack,
            MIRROR_LIST: self._mirror_list,
            MIRROR_NOTIFY: self._mirror_notify,
            MIRROR_SYNC: self._mirror_sync,
            MIRROR_MUX: self._mirror_mux,
        }
        self.take_pushes(takes=takes_pushes)

    def take_pushes(self, *, takes: bool) -> None:
        """Say whether pushes are taken from now on; those under way are not cut short."""
        if takes:
            self._services[RECEIVE_PACK] = self._receive_pack
        else:
            self._services.pop(RECEIVE_PACK, None)

    async def serve(self, sock: socket.socket, slot: ConnectionSlot) -> None:
        """Serve one caller.

        Args:
            sock: its connection, not blocking; the caller of this closes it.
            slot: the caller's; told when it is being served.
        """
        address = slot.address
        try:
            async with asyncio.timeout(self._server_timeouts.request):
                request = parse_request(await PacketReader(sock, "request", MAX_REQUEST).line())
        except TimeoutError:
            _log.info(
                "dropped", "dropped {peer}: {reason}", peer=address, reason="it sent no request"
            )
            return
        except ProtocolError as error:
            _log.info("refused", "refused {peer}: {reason}", peer=address, reason=error)
            await refuse(sock, "this is a git:// port, and that was no request for it")
            return
        await self._dispatch(sock, slot, request)

    async def _dispatch(
        self, sock: socket.socket, slot: ConnectionSlot, request: ServiceRequest
    ) -> None:
        try:
            served = await self._catalogue.await_path(request.path)
        except GitTorrentError as error:
            _log.error("damaged", "cannot look for repositories: {reason}", reason=error)
            await refuse(sock, OUR_FAULT)
            return
        service = self._services.get(request.service)
        refusal = None
        if service is None:
            texts = {RECEIVE_PACK: self._no_push(sock, request), UPLOAD_ARCHIVE: NO_ARCHIVE}
            refusal = texts.get(request.service, f"no service {request.service} here")
        elif served is None or (served.is_cached and request.service not in CACHED_SERVICES):
            refusal = NOT_SERVED
            served = None
        if service is None or served is None:
            _log.info(
                "refused",
                "refused {peer}: {service} {path}: {reason}",
                peer=slot.address,
                service=request.service,
                path=request.path,
                reason=refusal,
            )
            await refuse(sock, refusal or NOT_SERVED)
            return
        try:
            await self._give(service, Call(sock, slot, served, request))
        except GitTorrentError as error:
            _log.error(
                "damaged",
                "cannot serve {repository}: {reason}",
                repository=served.info.name,
                reason=error,
            )
            await refuse(sock, OUR_FAULT)

    def _no_push(self, sock: socket.socket, request: ServiceRequest) -> str:
        """Say that pushes are not taken, and where they are, whether there is anything or not."""
        base = self._lists.told_web_base or self._web_base_beside(sock, request)
        if base is None:
            return _PUSH_ELSEWHERE
        try:
            url = parse_learned_url(base + request.path.decode("utf-8", "replace")).url
        except UrlError:
            return _PUSH_ELSEWHERE
        named = f"{NO_PUSH}; push to {url}, over ssh, or to another mirror"
        return named if len(named) <= MAX_REASON else _PUSH_ELSEWHERE

    def _web_base_beside(self, sock: socket.socket, request: ServiceRequest) -> str | None:
        """Return where HTTP is listened for at the address that a caller came to, by its name."""
        local = plain_address(sock.getsockname()[0])
        for each in self._web():
            is_same_kind = (":" in each.host) == (":" in local)
            if each.host == local or (is_wildcard(each.host) and is_same_kind):
                try:
                    name = parse_learned_url(f"git://{(request.host or b'').decode('ascii')}/").host
                except (UrlError, UnicodeDecodeError):
                    return None
                return f"{each.scheme}://{show_address(name, each.port)}"
        return None

    async def _give(self, service: Callable[[Call], Awaitable[None]], call: Call) -> None:
        """Serve a caller as long as everybody may read the repository."""
        task = asyncio.current_task()
        if task is None or call.request.service in (MIRROR_SYNC, MIRROR_MUX):  # end with a word
            await service(call)
            return
        with self._talks.audience.giving(call.served, STRANGER, lambda: _cancel(task)):
            await service(call)

    async def _upload_pack(self, call: Call) -> None:
        call.slot.is_served(call.sock)
        protocol = upload_pack.protocol_of(call.request.extra)
        try:
            await self._git.serve(call.sock, call.address, call.served, protocol)
        except BusyError:
            _log.info(
                "refused",
                "refused {peer}: {service} {path}: {reason}",
                peer=call.address,
                service=call.request.service,
                path=call.request.path,
                reason=BUSY,
            )
            await refuse(call.sock, BUSY)

    async def _receive_pack(self, call: Call) -> None:
        call.slot.is_served(call.sock)
        if not self._pushes.takes(call.served):
            await refuse(call.sock, NO_DEPOT)
            return
        try:
            await self._pushes.in_turn(
                lambda: self._take_push(call),
                call.address,
                lambda: look_at(call.sock),
                lambda: has_hung_up(call.sock),
            )
        except BusyError:
            await refuse(call.sock, PUSHES_BUSY)
        except CallerEndedError as error:
            _log.info(
                "receive-pack",
                "receive-pack {repository} from {peer}: {ended}",
                repository=call.served.info.name,
                peer=call.address,
                ended=str(error),
            )

    async def _take_push(self, call: Call) -> None:
        said = await self._pushes.greeting(call.served, upload_pack.protocol_of(call.request.extra))
        limiter = self._limits.sending_to(call.address)
        await send_paced(call.sock, said, limiter, self._server_timeouts.taken)
        await self._pushes.receive(call.served, call.sock, call.address)

    async def _mirror_list(self, call: Call) -> None:
        call.slot.is_served(call.sock)
        answer = await self._lists.answer(call.served)
        await send(call.sock, answer.encode_packets(), self._server_timeouts.taken)
        _log.info(
            "mirror-list",
            "mirror-list {repository} to {peer}",
            repository=call.served.info.name,
            peer=call.address,
        )

    async def _mirror_notify(self, call: Call) -> None:
        try:
            async with asyncio.timeout(self._server_timeouts.notice):
                reader = PacketReader(call.sock, "notice", MAX_NOTICE_BYTES)
                notice = notify.parse_lines(await reader.lines(MAX_LIST_LINES))
        except TimeoutError:
            await refuse(call.sock, "the notice did not come in time")
            return
        except ProtocolError as error:
            await refuse(call.sock, str(error))
            return
        call.slot.is_served(call.sock)
        answer = await self._notices.receive(call.served, notice, call.address)
        await send(call.sock, pktline.encode(answer.encode()), self._server_timeouts.taken)

    async def _mirror_sync(self, call: Call) -> None:
        await self._talks.converse(call.sock, call.slot, call.served)

    async def _mirror_mux(self, call: Call) -> None:
        await self._shared.serve(call.sock, call.slot)


async def send(sock: socket.socket, data: bytes, seconds: float = SERVER_TIMEOUTS.taken) -> None:
    """Send a short answer, or give up on a caller that does not take it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_sendall(sock, data)


async def send_paced(
    sock: socket.socket, data: bytes, limiter: Limiter, seconds: float = SERVER_TIMEOUTS.taken
) -> None:
    """Send a long answer at the pace of a limiter.

    Raises:
        TimeoutError: a piece of it is not taken within ``seconds``.
    """
    loop = asyncio.get_running_loop()
    for at in range(0, len(data), limiter.chunk):
        piece = data[at : at + limiter.chunk]
        await limiter.take(len(piece))
        async with asyncio.timeout(seconds):
            await loop.sock_sendall(sock, piece)


async def refuse(sock: socket.socket, reason: str) -> None:
    """Send an ``ERR`` line, which git clients show to their users.

    It fits the socket's buffer, so nobody waits for it long.
    """
    await send(sock, pktline.encode(notify.encode_refusal(reason)))
    # Closing with unread bytes would reset the connection and could eat the answer.
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            for _ in range(16):
                if not await asyncio.get_running_loop().sock_recv(sock, 65536):
                    return


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
