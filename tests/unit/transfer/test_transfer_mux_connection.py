"""A connection of several conversations whose other end takes nothing."""

from __future__ import annotations

import asyncio
import socket

from gittorrent.transfer.limiter import Limiter
from gittorrent.transfer.mux_channel import MuxChannel
from gittorrent.transfer.mux_connection import READ_BYTES, UNSENT_LINES, MuxConnection
from gittorrent.transfer.off_loop import at_once
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS
from gittorrent.wire.mux import Mux
from gittorrent.wire.session import Role
from support.programs import PATIENCE

CALLS = 40_000
REASON = "x" * 150
LEAST_CALL = len(b"000dopen 1 /\n000cclose 1\n")


def test_who_takes_no_refusals_is_not_read() -> None:
    """Each conversation that it begins and ends costs a line; those would wait without end."""
    asyncio.run(asyncio.wait_for(flood(), PATIENCE))


async def flood() -> None:
    """Have conversations begun, ended and refused by one who hears it late."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    mux = Mux(Role.ANSWERER, loop.time(), most=CALLS)
    waiting = asyncio.Event()
    most = 0

    def refuse(channel: MuxChannel, _path: bytes) -> None:
        nonlocal most
        channel.close(REASON)
        most = max(most, mux.unsent_lines)
        if most > UNSENT_LINES:
            waiting.set()

    connection = MuxConnection(ours, mux, Limiter(None), at_once, SERVER_TIMEOUTS, refuse)
    running = asyncio.create_task(connection.run())
    caller = Mux(Role.CALLER, loop.time())
    caller.received(mux.output(1))
    for _ in range(CALLS):
        caller.close(caller.open(b"/"))
    sending = asyncio.create_task(loop.sock_sendall(theirs, caller.output(1)))
    await waiting.wait()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not sending.done()
    assert most <= UNSENT_LINES + READ_BYTES // LEAST_CALL * (len(REASON) + 20)
    theirs.close()
    sending.cancel()
    await running
