"""Where other downloaders reach this one: a listening port and the conversations it brings.

A clone that listens is told to others by the mirrors it talks to (peer exchange). Callers speak
mirror-sync, for one repository, or ask for its list, which is short; anything else is hung up on.
Both ends serve and ask over the same connection, so peers that cannot be reached still give.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.transfer.git_mirror import GitMirror
from gittorrent.wire import pktline
from gittorrent.wire.messages import Try
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorList, MirrorState
from gittorrent.wire.service import MIRROR_LIST, MIRROR_SYNC, parse_request
from gittorrent.wire.session import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from gittorrent.ids import RepositoryId
    from gittorrent.transfer.git_mirror import Exchange

MAX_CALLERS = 40
"""Conversations others may open with one clone."""

INVITATION_SECONDS = 3600
"""How long others may believe our address; it dies with this run anyway."""

REQUEST_SECONDS = 10.0
"""Time a caller gets to say what it wants."""

_MAX_REQUEST = 1024


class PeerHub:
    """Listens for other downloaders of one repository.

    Args:
        repository: its id; callers must ask for it.
        exchange: what conversations are made with.
        on_caller: given each caller, ready to be asked.
    """

    def __init__(
        self,
        repository: RepositoryId,
        exchange: Exchange,
        on_caller: Callable[[GitMirror], None],
    ) -> None:
        self._repository = repository
        self._path = f"/{repository}".encode("ascii")
        self._exchange = exchange
        self._on_caller = on_caller
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def start(self, port: int = 0) -> bool:
        """Begin to listen on every address; tells whether that worked.

        Args:
            port: 0 takes a free one.
        """
        with contextlib.suppress(OSError):
            sock = (
                socket.create_server(
                    ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64
                )
                if socket.has_dualstack_ipv6()
                else socket.create_server(("", port), backlog=64)
            )
            sock.setblocking(False)
            self._sockets.append(sock)
            self.port = int(sock.getsockname()[1])
            self._spawn(self._accept(sock))
            return True
        return False

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
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._sockets:
            sock.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            caller, address = await loop.sock_accept(sock)
            if len(self._tasks) > MAX_CALLERS:
                caller.close()
                continue
            self._spawn(self._greet(caller, str(address[0]), int(address[1])))

    async def _greet(self, sock: socket.socket, address: str, port: int) -> None:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = parse_request(await _read_packet(sock))
        except (GitTorrentError, OSError, EOFError):
            sock.close()
            return
        if request.path == self._path and request.service == MIRROR_LIST:
            await self._list(sock)
        if request.path != self._path or request.service != MIRROR_SYNC:
            sock.close()
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = address.removeprefix("::ffff:")
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._on_caller(GitMirror(f"peer://{shown}", sock, self._exchange, Role.ANSWERER))

    async def _list(self, sock: socket.socket) -> None:
        """Answer mirror-list with the repository alone: for mirrors that call back.

        Without a push we are taken for what we are: a peer that has something, for a while.
        """
        answer = MirrorList(self._repository, (), None, ()).encode_packets()
        with contextlib.suppress(OSError, TimeoutError):  # whoever asked has gone
            async with asyncio.timeout(REQUEST_SECONDS):
                await asyncio.get_running_loop().sock_sendall(sock, answer)


async def _read_packet(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    reader = pktline.PktReader()
    for _ in range(_MAX_REQUEST):
        data = await loop.sock_recv(sock, 1)
        if not data:
            raise EOFError
        packets = reader.feed(data)
        if packets and isinstance(packets[0], bytes):
            return packets[0]
    raise OSError("the request is too long")
