"""What is written to a socket: all of it, in order, whenever the socket takes it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from gittorrent.transfer.limiter import Limiter
from gittorrent.transfer.socket_writer import SocketWriter
from support.programs import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

DATA = random.Random(1).randbytes(3 << 20)


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        yield near, far


async def take(sock: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        got += await asyncio.get_running_loop().sock_recv(sock, 65_536)
    return bytes(got)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_bytes_and_pieces_of_files_arrive_in_order(tmp_path: Path) -> None:
    path = tmp_path / "pack"
    path.write_bytes(DATA)

    async def run() -> None:
        with pair() as (near, far):
            socket_writer = SocketWriter(near, Limiter(None))

            async def say() -> None:
                await socket_writer.send(b"first")
                await socket_writer.send_file(path, 1000, 2 << 20)
                await socket_writer.send(DATA)

            task = asyncio.create_task(say())
            expected = b"first" + DATA[1000 : 1000 + (2 << 20)] + DATA
            assert await take(far, len(expected)) == expected
            await task
            assert socket_writer.sent == len(expected)
            assert socket_writer.chunk_since is None
            socket_writer.close()

    asyncio.run(run())


def test_what_goes_in_front_of_a_piece_goes_with_it(tmp_path: Path) -> None:
    """A part and the line that announces it are one segment, and wake the other end once."""
    path = tmp_path / "pack"
    path.write_bytes(DATA)

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            near = socket.create_connection(server.getsockname())
            far, _ = server.accept()
            with near, far:
                near.setblocking(False)
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                before = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                socket_writer = SocketWriter(near, Limiter(None))
                await socket_writer.send_file(path, 0, 1000, b"a line in front of it")
                after = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                # data_segs_out of struct tcp_info.
                segments = [int.from_bytes(info[156:160], "little") for info in (before, after)]
                assert segments[1] - segments[0] == 1
                assert far.recv(4096) == b"a line in front of it" + DATA[:1000]
                socket_writer.close()

    asyncio.run(run())


def test_a_peer_that_takes_nothing_is_noticed(tmp_path: Path) -> None:
    async def run() -> None:
        with pair() as (near, far):
            socket_writer = SocketWriter(near, Limiter(None))
            began = asyncio.get_running_loop().time()
            task = asyncio.create_task(socket_writer.send(DATA))
            await settle()
            assert socket_writer.chunk_since is not None
            assert socket_writer.chunk_since >= began
            assert 0 < socket_writer.sent < len(DATA)
            assert await take(far, len(DATA)) == DATA
            await task
            assert socket_writer.chunk_since is None

    asyncio.run(run())


def test_who_takes_a_little_now_and_then_does_not_take_a_chunk() -> None:
    async def run() -> None:
        with pair() as (near, far):
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
            socket_writer = SocketWriter(near, Limiter(None))
            task = asyncio.create_task(socket_writer.send(DATA))
            await settle()
            begun, sent = socket_writer.chunk_since, socket_writer.sent
            assert begun is not None
            while socket_writer.sent == sent:
                far.recv(1024)
                await settle()
            assert socket_writer.chunk_since == begun
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_a_limit_is_kept() -> None:
    rate = 4 << 20

    async def run() -> float:
        with pair() as (near, far):
            socket_writer = SocketWriter(near, Limiter(rate))
            began = asyncio.get_running_loop().time()
            task = asyncio.create_task(socket_writer.send(DATA))
            await take(far, len(DATA))
            await task
            return asyncio.get_running_loop().time() - began

    # The first chunk passes at once, a tenth of a second's worth.
    assert asyncio.run(run()) >= len(DATA) / rate - 0.11


def test_a_file_that_is_too_short_is_told(tmp_path: Path) -> None:
    path = tmp_path / "pack"
    path.write_bytes(DATA[:1000])

    async def run() -> None:
        with pair() as (near, far):
            socket_writer = SocketWriter(near, Limiter(None))
            with pytest.raises(OSError, match="shorter than its manifest"):
                await socket_writer.send_file(path, 0, 2000)
            assert await take(far, 1000) == DATA[:1000]
            socket_writer.close()

    asyncio.run(run())


def test_whoever_is_gone_ends_it() -> None:
    async def run() -> None:
        with pair() as (near, far):
            socket_writer = SocketWriter(near, Limiter(None))
            task = asyncio.create_task(socket_writer.send(DATA))
            await settle()
            far.close()
            with pytest.raises(ConnectionError):
                await task

    asyncio.run(run())


def test_an_unforeseen_error_reaches_who_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the socket was full before: the loop would call for ever otherwise."""
    path = tmp_path / "pack"
    path.write_bytes(DATA)
    calls = 0
    real = os.sendfile

    def failing(sink: int, source: int, offset: int, count: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise ValueError("unforeseen")
        return real(sink, source, offset, min(count, 1000))

    async def run() -> None:
        with pair() as (near, _):
            socket_writer = SocketWriter(near, Limiter(None))
            monkeypatch.setattr(os, "sendfile", failing)
            with pytest.raises(ValueError, match="unforeseen"):
                await asyncio.wait_for(socket_writer.send_file(path, 0, 5000), PATIENCE)
            socket_writer.close()

    asyncio.run(run())


@pytest.mark.parametrize("closed_first", [True, False])
def test_a_file_opened_for_nobody_is_closed(tmp_path: Path, closed_first: bool) -> None:
    """A thread opens it; meanwhile whoever wanted to send it is cancelled."""
    path = tmp_path / "pack"
    path.write_bytes(DATA)
    works: list[Callable[[], Any]] = []

    async def thread(work: Callable[[], T]) -> T:
        works.append(work)
        never: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        return await never

    async def run() -> None:
        with pair() as (near, _):
            socket_writer = SocketWriter(near, Limiter(None), thread)
            task = asyncio.create_task(socket_writer.send_file(path, 0, 1000))
            await settle()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if closed_first:
                socket_writer.close()
            file = works[0]()
            if not closed_first:
                socket_writer.close()
            assert file.closed

    asyncio.run(run())
