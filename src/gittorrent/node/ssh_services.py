"""The MirrorSync services for one caller over ssh: ``git-mirror-list``, ``-notify`` and ``-sync``.

sshd starts a program for each caller. Where the node of this user runs, a conversation is carried
to it, so that the caller hears of news; otherwise it is held here, about what is on disk. Lists and
notices are answered here in any case, from the database that both share: whom a notice comes from
is known only here. Must not know command lines.
Source: docs/protocol/mirrorsync.md, Services.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError, ProtocolError
from gittorrent.interruptions import run
from gittorrent.node.access import STRANGER, Access
from gittorrent.node.connection_limiter import ConnectionSlot
from gittorrent.node.conversations import Conversations
from gittorrent.node.git_listener import MAX_NOTICE_BYTES, OUR_FAULT
from gittorrent.node.git_processes import GitProcesses
from gittorrent.node.mirror_table import MirrorTable
from gittorrent.node.notices import Notices
from gittorrent.node.pushes import Pushes
from gittorrent.node.services import Lists, NodeServices, Reachable
from gittorrent.store import control_socket
from gittorrent.transfer.addresses import plain_address
from gittorrent.transfer.channel import GOODBYE_SECONDS
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.dialling import connect, service_request
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.packet_reader import PacketReader
from gittorrent.transfer.reaching import own_endpoints
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS
from gittorrent.transfer.slot_queue import SlotQueue
from gittorrent.transfer.stream import Stream, socket_pair, tcp_stream
from gittorrent.wire import notify, pktline
from gittorrent.wire.control import MAX_LINE, VERSION, Converse, Done, Greeting, parse_answer
from gittorrent.wire.limits import MAX_LIST_LINES
from gittorrent.wire.service import MIRROR_LIST, MIRROR_NOTIFY, MIRROR_SYNC
from gittorrent.wire.urls import AddressClass, address_class

if TYPE_CHECKING:
    from gittorrent.node.catalogue import Catalogue, Served
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.wire.urls import Endpoint

CHUNK = 128 << 10
"""Bytes passed on at a time."""

CONTROL_SECONDS = 5.0
"""Time the node of this user gets to say that it takes a conversation over."""

CONNECTION = "SSH_CONNECTION"
"""Variable in which sshd says from where to where a connection leads (ssh(1))."""


class SshServices:
    """Answers one caller.

    Args:
        catalogue: what may be served.
        database: of the node, which may run.
        home: of the node.
        caller: IP address it calls from; empty if sshd does not say.
        access: what it proved.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        database: Database,
        home: Home,
        caller: str,
        access: Access = STRANGER,
    ) -> None:
        self._catalogue = catalogue
        self._home = home
        self._caller = caller
        self._access = access
        self._mirrors = MirrorTable(database, catalogue.threads)

    def serve(self, service: str, served: Served, path: str) -> None:
        """Answer on standard input and output, until either end is done.

        Args:
            service: `MIRROR_LIST`, `MIRROR_NOTIFY` or `MIRROR_SYNC`.
            served: what it is about.
            path: of it, percent-encoded, as the node serves it.
        """
        ours, theirs = socket_pair()
        theirs.setblocking(True)
        taking = threading.Thread(target=_take, args=(theirs,), daemon=True)
        giving = threading.Thread(target=_give, args=(theirs,), daemon=True)
        taking.start()
        giving.start()
        try:
            run(self._serve(service, served, path, ours))
        finally:
            ours.close()
            giving.join(SERVER_TIMEOUTS.taken)

    async def _serve(self, service: str, served: Served, path: str, sock: socket.socket) -> None:
        try:
            if service == MIRROR_LIST:
                await self._list(served, sock)
            elif service == MIRROR_NOTIFY:
                await self._notify(served, sock)
            else:
                await self._sync(served, path, sock)
        except GitTorrentError:
            # What is wrong is for the operator: standard error leads to the caller here.
            answer = pktline.encode(notify.encode_refusal(OUR_FAULT))
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().sock_sendall(sock, answer)

    def _request(self, served: Served) -> Converse:
        keys = tuple(sorted(map(str, self._access.keys)))
        return Converse(served.info.repository_id, self._caller, keys)

    def _lists(self) -> Lists:
        return Lists(Reachable(), self._mirrors)

    async def _list(self, served: Served, sock: socket.socket) -> None:
        answer = await self._lists().answer(served)
        await asyncio.get_running_loop().sock_sendall(sock, answer.encode_packets())

    async def _notify(self, served: Served, sock: socket.socket) -> None:
        reader = PacketReader(sock, "notice", MAX_NOTICE_BYTES)
        try:
            async with asyncio.timeout(SERVER_TIMEOUTS.notice):
                notice = notify.parse_lines(await reader.lines(MAX_LIST_LINES))
        except (ProtocolError, TimeoutError) as error:
            reason = str(error) or "the notice did not come in time"
            answer = notify.encode_refusal(reason)
        else:
            notices = Notices(self._mirrors, self._is_near)
            answer = (await notices.receive(served, notice, self._caller or "0.0.0.0")).encode()  # noqa: S104
        await asyncio.get_running_loop().sock_sendall(sock, pktline.encode(answer))

    def _is_near(self) -> bool:
        """Tell whether the caller may be called back at a private address: where it comes from."""
        return bool(self._caller) and address_class(self._caller) is not AddressClass.PUBLIC

    async def _sync(self, served: Served, path: str, sock: socket.socket) -> None:
        if served.is_private:
            # It is not there for those who call the node in the clear.
            control = await _handed_over(self._home, self._request(served))
            if control is not None:
                with control:
                    await _pass_on(sock, control)
                return
        endpoints = [] if served.is_private else own_endpoints(self._home, path)
        for endpoint in endpoints:
            try:
                stream = await _open(endpoint)
            except GitTorrentError:
                continue  # it listens elsewhere too, or has just ended
            try:
                await _pass_on(sock, stream.sock)
            finally:
                await stream.hang_up()
            return
        limits = Limits()
        services = NodeServices(
            self._catalogue, self._lists(), Notices(None, self._is_near), GitProcesses(), limits,
            Pushes(),
        )  # fmt: skip
        conversations = Conversations(services, self._home.node_id(), SlotQueue())
        now = asyncio.get_running_loop().time()
        slot = ConnectionSlot(self._caller, now, lambda _slot, _now: None)
        await conversations.converse(sock, slot, served, access=self._access)


async def _handed_over(home: Home, request: Converse) -> socket.socket | None:
    """Have the node of this user hold a conversation.

    Returns:
        The connection on which its bytes pass now; None where no node does it.
    """
    control = control_socket.connect(home.control)
    if control is None:
        return None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONTROL_SECONDS):
            if parse_answer(await _line(control)) == Greeting(VERSION):
                await loop.sock_sendall(control, request.encode())
                if isinstance(parse_answer(await _line(control)), Done):
                    return control
    except (OSError, TimeoutError, ProtocolError):
        pass  # it has just ended, or is of another version: the conversation is held here
    control.close()
    return None


async def _line(sock: socket.socket) -> bytes:
    """Read a line to its last byte and no further: what follows is not ours to read.

    Raises:
        OSError: there is no whole line.
    """
    found = b""
    while not found.endswith(b"\n"):
        data = await asyncio.get_running_loop().sock_recv(sock, 1)
        if not data or len(found) >= MAX_LINE:
            raise OSError("no line")
        found += data
    return found


def caller_of(environ: str | None) -> str:
    """Return the address that sshd says a caller comes from; empty if it says none."""
    first = (environ or "").partition(" ")[0]
    with contextlib.suppress(ValueError):
        return plain_address(first)
    return ""


async def _open(endpoint: Endpoint) -> Stream:
    """Begin a conversation with the node of this machine, at one of its addresses."""
    client_timeouts = ClientTimeouts()
    if endpoint.scheme != "git":
        # aiohttp is slow to import
        from gittorrent.transfer.websocket_client import open_websocket

        return await open_websocket(endpoint, AddressClass.LOOPBACK, client_timeouts)
    dialled = await connect(endpoint, None, None, client_timeouts)
    request = service_request(MIRROR_SYNC, endpoint)
    await asyncio.get_running_loop().sock_sendall(dialled.sock, request)
    return tcp_stream(dialled.sock)


async def _pass_on(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both ends are done, or one is lost."""
    loop = asyncio.get_running_loop()
    ways = [loop.create_task(_copy(one, other)), loop.create_task(_copy(other, one))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(ways, timeout=GOODBYE_SECONDS)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await loop.sock_recv(source, CHUNK):
            await loop.sock_sendall(sink, data)
        sink.shutdown(socket.SHUT_WR)


def _take(sock: socket.socket) -> None:
    """Pass on what the caller says, until it ends or nobody wants it."""
    with contextlib.suppress(OSError):
        while data := os.read(0, CHUNK):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)


def _give(sock: socket.socket) -> None:
    """Pass on what the caller is told, until that ends or it is gone."""
    with contextlib.suppress(OSError):
        while data := sock.recv(CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
    # Whoever talks notices that nobody hears any more.
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
