"""Connections that are accepted while whoever waits for them is ended."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from collections.abc import Awaitable

import pytest

from gittorrent.node.connection_limiter import ConnectionLimiter, ConnectionSlot
from gittorrent.node.connections import accept_forever
from gittorrent.transfer.accepting import accept


async def closes(sock: socket.socket, *_: object) -> None:
    sock.close()


async def serves_nobody(sock: socket.socket, slot: ConnectionSlot) -> None:
    raise AssertionError(f"{sock} in {slot} was to be cancelled before")


async def cancelled_after(turns: int, listener: socket.socket, work: Awaitable[object]) -> None:
    """Let a caller come and cancel who waits for it some turns of the event loop later."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    with socket.create_connection(listener.getsockname()):
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        (found,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(found, tuple):
            found[0].close()


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("serving", [False, True])
def test_no_connection_is_left_open(turns: int, serving: bool) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            tasks: set[asyncio.Task[None]] = set()
            limiter = ConnectionLimiter(8, 8)
            work = accept_forever(listener, limiter, closes, tasks) if serving else accept(listener)
            await cancelled_after(turns, listener, work)
            await asyncio.gather(*tasks, return_exceptions=True)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(run())
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_a_caller_who_was_let_in_and_not_served_yet_is_hung_up() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            tasks: set[asyncio.Task[None]] = set()
            accepting = asyncio.ensure_future(
                accept_forever(listener, ConnectionLimiter(8, 8), serves_nobody, tasks)
            )
            with socket.create_connection(listener.getsockname()) as caller:
                while not tasks:
                    await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                accepting.cancel()
                await asyncio.gather(accepting, *tasks, return_exceptions=True)
                assert caller.recv(1) == b""

    asyncio.run(run())
