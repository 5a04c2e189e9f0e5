"""The listening port of a clone or seed, and the conversations that other peers begin there.

A clone that listens is told to others by the mirrors it talks to (peer exchange). Callers speak
mirror-sync, for one repository, or ask for its list, which is short; anything else is hung up on.
Both ends serve and ask over the same connection, so peers that cannot be reached still give.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.transfer.accepting import accept
from gittorrent.transfer.addresses import plain_address, show_address
from gittorrent.transfer.git_mirror import GitMirror
from gittorrent.transfer.keepalive import notice_loss
from gittorrent.transfer.packet_reader import PacketReader
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts
from gittorrent.transfer.stream import tcp_stream
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.messages import Try
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorList, MirrorState
from gittorrent.wire.service import MIRROR_LIST, MIRROR_SYNC, parse_request
from gittorrent.wire.session import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import RepositoryId
    from gittorrent.transfer.git_mirror import ConversationContext
    from gittorrent.transfer.peer_admission import PeerAdmission
    from gittorrent.wire.service import ServiceRequest

MAX_WAITING = 16
"""Callers that have not said what they want; beyond that the one that is silent longest goes."""

PAUSE_SECONDS = 0.5
"""Wait after the system ran out of sockets, so that accepting does not spin."""

INVITATION_SECONDS = 3600
"""How long others may believe our address; it dies with this run anyway."""

MAKE_ROOM = "idle connection closed to make room for others"
"""What those are told who make room."""

_MAX_REQUEST = 1024


class PeerListener:
    """Listens for other downloaders of one repository.

    Args:
        repository: its id; callers must ask for it.
        exchange: what conversations are made with.
        on_caller: given each caller, ready to be asked.
        admission: who may call.
        on_gone: given each caller that is done.
        server_timeouts: how long callers are waited for.
    """

    def __init__(
        self,
        repository: RepositoryId,
        exchange: ConversationContext,
        on_caller: Callable[[GitMirror], None],
        admission: PeerAdmission,
        on_gone: Callable[[GitMirror], None],
        server_timeouts: ServerTimeouts = SERVER_TIMEOUTS,
    ) -> None:
        self._repository = repository
        self._path = f"/{repository}".encode("ascii")
        self._exchange = exchange
        self._on_caller = on_caller
        self._admission = admission
        self._on_gone = on_gone
        self._server_timeouts = server_timeouts
        self._talking: dict[GitMirror, str] = {}
        self._waiting: dict[asyncio.Task[ServiceRequest], None] = {}
        self._sockets: list[socket.socket] = []
        self._tasks = TaskSet()
        self.port = 0
        self.trouble = ""

    def start(self, port: int = 0) -> bool:
        """Begin to listen on every address; tells whether that worked, and `trouble` why not.

        Args:
            port: 0 takes a free one.
        """
        try:
            sock = (
                socket.create_server(
                    ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64
                )
                if socket.has_dualstack_ipv6()
                else socket.create_server(("", port), backlog=64)
            )
        except OSError as error:
            self.trouble = error.strerror or str(error)
            return False
        sock.setblocking(False)
        self._sockets.append(sock)
        self.port = int(sock.getsockname()[1])
        self._tasks.start(self._accept(sock))
        return True

    def invitation(self, own_address: str) -> Try:
        """Return what tells others where to reach us.

        Args:
            own_address: ours, as the conversation to say it in uses it.
        """
        url = self.url_at(own_address)
        return Try(MirrorEntry(url, INVITATION_SECONDS, MirrorState.PARTIAL))

    def url_at(self, own_address: str) -> str:
        """Return where to reach us, by one of our addresses."""
        address = own_address.removeprefix("::ffff:")
        host = f"[{address}]" if ":" in address else address
        return f"git://{host}:{self.port}{self._path.decode('ascii')}"

    async def close(self) -> None:
        """Stop listening; conversations that were handed on stay."""
        await self._tasks.stop()
        for sock in self._sockets:
            sock.close()

    async def _accept(self, sock: socket.socket) -> None:
        while True:
            try:
                caller, peer = await accept(sock)
            except ConnectionError:
                continue  # it gave up while it waited to be accepted
            except OSError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            address = plain_address(peer[0])
            if self._admission.enter(address) or self._make_room(address):
                task = self._tasks.start(self._attend(caller, address, peer[1]))
                # One that is cancelled before it begins closes nothing itself.
                task.add_done_callback(partial(_close, caller))
            else:
                caller.close()

    def _make_room(self, address: str) -> bool:
        """Make room for a caller by ending the conversation that was of no use for the longest
        time.

        Silence is worth nothing to those who would fill all places with it.
        """
        if not self._admission.has_share(address):
            return False
        now = asyncio.get_running_loop().time()
        silent = [(caller.silent_since, caller) for caller in self._talking]
        known = [(since, caller) for since, caller in silent if since is not None]
        since, longest = min(known, key=lambda each: each[0], default=(now, None))
        if longest is None or now - since < self._server_timeouts.useless:
            return False
        self._admission.leave(self._talking.pop(longest))
        longest.make_room(MAKE_ROOM)
        return self._admission.enter(address)

    async def _attend(self, sock: socket.socket, address: str, port: int) -> None:
        """Talk to one caller until either end is done."""
        caller = None
        try:
            request = await self._request_of(sock)
            if request is None or request.path != self._path:
                return
            if request.service == MIRROR_LIST:
                await self._list(sock)
            if request.service != MIRROR_SYNC:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            notice_loss(sock)
            # The conversation closes it; until then we do, whatever happens.
            own = socket.socket(fileno=sock.detach())
            own.setblocking(False)
            place = show_address(address, port)
            caller = GitMirror(place, tcp_stream(own), self._exchange, Role.ANSWERER)
            self._talking[caller] = address
            self._on_caller(caller)
            await caller.wait_closed()
            self._on_gone(caller)
            if caller.is_at_fault:
                self._admission.blame(address)
        finally:
            sock.close()
            # Whoever made room has left before.
            if caller is None or self._talking.pop(caller, None) is not None:
                self._admission.leave(address)

    async def _request_of(self, sock: socket.socket) -> ServiceRequest | None:
        """Read what a caller wants; while many say nothing the one that waits longest is let go."""
        sock.setblocking(False)
        task = asyncio.get_running_loop().create_task(
            _read_request(sock, self._server_timeouts.peer_request)
        )
        self._waiting[task] = None
        if len(self._waiting) > MAX_WAITING:
            next(iter(self._waiting)).cancel()
        try:
            await asyncio.wait([task])
            if task.cancelled() or task.exception() is not None:
                return None
            return task.result()
        finally:
            task.cancel()
            self._waiting.pop(task, None)

    async def _list(self, sock: socket.socket) -> None:
        """Answer mirror-list with the repository alone: for mirrors that call back.

        Without a push we are taken for what we are: a peer that has something, for a while.
        """
        answer = MirrorList(self._repository, (), None, ()).encode_packets()
        with contextlib.suppress(OSError, TimeoutError):  # whoever asked has gone
            async with asyncio.timeout(self._server_timeouts.peer_request):
                await asyncio.get_running_loop().sock_sendall(sock, answer)


def _close(sock: socket.socket, _: asyncio.Task[None]) -> None:
    sock.close()


async def _read_request(sock: socket.socket, seconds: float) -> ServiceRequest:
    async with asyncio.timeout(seconds):
        return parse_request(await PacketReader(sock, "request", _MAX_REQUEST).line())
