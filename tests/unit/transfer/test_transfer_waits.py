"""How long a mirror that is busy is waited for."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from gittorrent.transfer import dialling
from gittorrent.transfer.candidates import _waits
from gittorrent.transfer.dialling import NotAMirrorError
from gittorrent.transfer.opening import ask_list
from gittorrent.wire.fields import is_busy
from gittorrent.wire.urls import Endpoint


@pytest.mark.parametrize("seconds", [0.0, 0.2, 120.0])
def test_waits_become_longer_and_have_an_end(seconds: float) -> None:
    waits = list(_waits(seconds))
    assert sum(waits) == pytest.approx(seconds)
    assert len(waits) <= 30
    assert all(wait > 0 for wait in waits)


def test_callers_who_were_turned_away_together_come_back_one_by_one() -> None:
    assert len({next(_waits(30.0)) for _ in range(20)}) > 10


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("busy", True),
        ("busy: come back", True),
        ("busybody", False),
        ("", False),
        ("not busy", False),
    ],
)
def test_only_who_says_so_is_busy(reason: str, expected: bool) -> None:
    assert is_busy(reason) is expected


def test_who_resets_connections_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel does for a server that closes a connection before it has read what came."""
    monkeypatch.setattr(dialling, "PAUSES", (0.0, 0.0))
    calls = 0

    async def work() -> None:
        async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal calls
            calls += 1
            await reader.readexactly(1)
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

        server = await asyncio.start_server(reset, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            with pytest.raises(NotAMirrorError, match="reset"):
                await ask_list(Endpoint("git", "127.0.0.1", port, "/x"))

    asyncio.run(work())
    assert calls == 3
