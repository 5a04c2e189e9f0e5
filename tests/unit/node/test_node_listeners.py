"""Listening sockets that change while callers are served."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gittorrent.node.connection_limiter import ConnectionLimiter, ConnectionSlot
from gittorrent.node.connections import CannotListenError
from gittorrent.node.listeners import Listeners
from support.ports import free_port

ANY = ("127.0.0.1", 0)


async def answer(sock: socket.socket, _slot: ConnectionSlot) -> None:
    """Say hello, then give back what the caller says."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"hello\n")
    await loop.sock_sendall(sock, await loop.sock_recv(sock, 100))


def listeners(served: set[asyncio.Task[None]]) -> Listeners:
    return Listeners(ConnectionLimiter(), {"git": answer, "http": answer}, served)


async def greet(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.readline() == b"hello\n"
    return reader, writer


async def finish(pair: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
    reader, writer = pair
    writer.write(b"bye\n")
    said = await reader.read()
    writer.close()
    return said


def test_connections_go_on_when_their_listener_is_closed() -> None:
    async def scene() -> None:
        served: set[asyncio.Task[None]] = set()
        ours = listeners(served)
        await ours.change({"git": [ANY]})
        (old,) = (each.port for each in ours.endpoints)
        connected = await greet(old)
        await ours.change({"http": [ANY]})
        (new,) = (each.port for each in ours.endpoints)
        assert ours.addresses == [f"http://127.0.0.1:{new}"]
        with pytest.raises(ConnectionRefusedError):
            await greet(old)
        assert await finish(await greet(new)) == b"bye\n"
        assert await finish(connected) == b"bye\n"
        await ours.stop()
        await asyncio.gather(*served)

    asyncio.run(scene())


def test_what_was_asked_for_before_stays_open() -> None:
    async def scene() -> None:
        ours = listeners(set())
        await ours.change({"git": [ANY]})
        before = ours.addresses
        await ours.change({"git": [ANY], "http": [ANY]})
        assert ours.addresses[:1] == before
        assert len(ours.addresses) == 2
        await ours.stop()
        assert ours.addresses == []

    asyncio.run(scene())


def test_if_one_cannot_be_opened_all_stays_as_it_was() -> None:
    async def scene() -> None:
        ours = listeners(served := set[asyncio.Task[None]]())
        await ours.change({"git": [ANY]})
        before = ours.addresses
        with socket.create_server(ANY) as taken:
            places = [ANY, ("127.0.0.1", taken.getsockname()[1])]
            with pytest.raises(CannotListenError):
                await ours.change({"http": places})
        assert ours.addresses == before
        assert await finish(await greet(ours.endpoints[0].port)) == b"bye\n"
        await ours.stop()
        await asyncio.gather(*served)

    asyncio.run(scene())


def test_a_port_goes_over_to_an_address_that_contains_the_old_one() -> None:
    async def scene() -> None:
        ours = listeners(served := set[asyncio.Task[None]]())
        port = free_port()  # that is closed in between, so it must be nobody's by chance
        await ours.change({"git": [("127.0.0.1", port)]})
        connected = await greet(port)
        await ours.change({"git": [("0.0.0.0", port)]})
        assert ours.addresses == [f"git://0.0.0.0:{port}"]
        assert await finish(await greet(port)) == b"bye\n"
        assert await finish(connected) == b"bye\n"
        await ours.stop()
        await asyncio.gather(*served)

    asyncio.run(scene())


def test_what_gave_way_is_opened_again_if_that_was_in_vain() -> None:
    async def scene() -> None:
        ours = listeners(served := set[asyncio.Task[None]]())
        port = free_port()  # that is closed in between, so it must be nobody's by chance
        await ours.change({"git": [("127.0.0.1", port)]})
        with socket.create_server(ANY) as taken:
            places = [("0.0.0.0", port), ("127.0.0.1", taken.getsockname()[1])]
            with pytest.raises(CannotListenError):
                await ours.change({"git": places})
        assert ours.addresses == [f"git://127.0.0.1:{port}"]
        assert await finish(await greet(port)) == b"bye\n"
        await ours.stop()
        await asyncio.gather(*served)

    asyncio.run(scene())
