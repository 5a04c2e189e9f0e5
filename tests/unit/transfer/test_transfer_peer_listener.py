"""Who may stay with a clone or seed that listens: requests that end, and callers of use."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest

from gittorrent.ids import PushId, RepositoryId
from gittorrent.transfer.content_source import EmptyContentSource
from gittorrent.transfer.git_mirror import ConversationContext, GitMirror
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.peer_admission import PeerAdmission
from gittorrent.transfer.peer_listener import MAKE_ROOM, PeerListener
from gittorrent.transfer.server_timeouts import ServerTimeouts
from gittorrent.wire import pktline
from gittorrent.wire.messages import FetchPush
from support.programs import PATIENCE

HERE = RepositoryId("a" * 52)
PLACES = 3


def hello(service: str) -> bytes:
    return pktline.encode(f"{service} /{HERE}\0host=x\0".encode())


async def call(peer_listener: PeerListener, data: bytes) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", peer_listener.port))
    await loop.sock_sendall(sock, data)
    return sock


async def hear(sock: socket.socket, words: bytes = b"\xff") -> bytes:
    """Read until some words have come, or the end, which may leave something unread there."""
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        while words not in heard:
            more = await asyncio.get_running_loop().sock_recv(sock, 65536)
            if not more:
                break
            heard += more
    return heard


def play(
    server_timeouts: ServerTimeouts, work: Callable[[PeerListener, PeerAdmission], Awaitable[None]]
) -> None:
    async def run() -> None:
        admission = PeerAdmission(PLACES)
        talking: set[GitMirror] = set()
        exchange = ConversationContext("me", EmptyContentSource(), Limits())
        peer_listener = PeerListener(
            HERE, exchange, talking.add, admission, talking.discard, server_timeouts
        )
        assert peer_listener.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await work(peer_listener, admission)
        finally:
            await peer_listener.close()
            await asyncio.gather(*(caller.close() for caller in list(talking)))

    asyncio.run(run())


@pytest.mark.parametrize("begin", [b"", b"00", hello("mirror-sync")[:-3]])
def test_a_request_has_to_be_whole_in_time(begin: bytes) -> None:
    async def work(peer_listener: PeerListener, admission: PeerAdmission) -> None:
        with await call(peer_listener, begin) as sock:
            assert await hear(sock) == b""
        while len(admission):
            await asyncio.sleep(0)

    play(ServerTimeouts(peer_request=0.05), work)


def test_whoever_is_of_no_use_makes_room_for_somebody_new() -> None:
    """Silent callers from a few addresses would keep a seed to themselves."""

    async def work(peer_listener: PeerListener, admission: PeerAdmission) -> None:
        socks = []
        for _ in range(PLACES):
            socks.append(await call(peer_listener, hello("mirror-sync")))
            assert b"mirror-sync ready" in await hear(socks[-1], b"ready")
        assert len(admission) == PLACES
        with await call(peer_listener, hello("mirror-sync")) as newcomer:
            assert b"mirror-sync ready" in await hear(newcomer, b"ready")
            assert MAKE_ROOM.encode() in await hear(socks[0]), "the first one was silent longest"
            assert len(admission) == PLACES
            for sock in socks:
                sock.close()
        while len(admission):
            await asyncio.sleep(0)

    play(ServerTimeouts(useless=0.0), work)


def test_nobody_makes_room_who_has_just_asked() -> None:
    async def work(peer_listener: PeerListener, admission: PeerAdmission) -> None:
        socks = []
        for _ in range(PLACES):
            socks.append(await call(peer_listener, hello("mirror-sync")))
            await hear(socks[-1], b"ready")
            question = pktline.encode(FetchPush(PushId("0" * 40)).encode())
            await asyncio.get_running_loop().sock_sendall(socks[-1], question)
            assert b"missing push" in await hear(socks[-1], b"missing push")
        with await call(peer_listener, hello("mirror-sync")) as newcomer:
            assert await hear(newcomer) == b"", "there is no place"
        assert len(admission) == PLACES
        for sock in socks:
            sock.close()

    play(ServerTimeouts(useless=3600.0), work)
