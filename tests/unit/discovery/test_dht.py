"""Announcing and looking up in private DHTs of real libtorrent sessions on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gittorrent.discovery.dht import Dht, OwnDht
from gittorrent.discovery.ports import MAX_PER_ANSWER, Lookup, Place, Way
from gittorrent.discovery.session import Session, SessionOptions
from gittorrent.ids import RepositoryId

pytest.importorskip("libtorrent", reason="the Python package libtorrent is not here")

REPOSITORY = RepositoryId("a" * 52)
OTHER = RepositoryId("b" * 52)
LOOPBACK = ("127.0.0.1:0",)
PATIENCE = 120.0


def options(bootstrap: int, **others: Any) -> SessionOptions:
    return SessionOptions(bootstrap=(f"127.0.0.1:{bootstrap}",), listen=LOOPBACK, **others)


async def port_of(session: Session) -> int:
    """Wait until a session listens, which it says by an alert."""
    listens = asyncio.Event()
    forget = session.on_alert(lambda _alert: listens.set())
    async with asyncio.timeout(PATIENCE):
        while not session.port:
            await listens.wait()
            listens.clear()
    forget()
    return session.port


@asynccontextmanager
async def a_dht(size: int) -> AsyncIterator[tuple[int, list[Session]]]:
    """Run a DHT; gives the port of its first node, and all its sessions."""
    async with AsyncExitStack() as stack:
        sessions: list[Session] = []
        first = 1
        for _ in range(size):
            session = Session(options(first))
            stack.push_async_callback(session.close)
            port = await port_of(session)
            first = first if sessions else port
            session.add_nodes([("127.0.0.1", first)])
            sessions.append(session)
        yield first, sessions


async def first_found(lookup: Lookup, repository: RepositoryId) -> list[Place]:
    finding = lookup.find(repository)
    async for places in finding:
        await finding.aclose()
        return list(places)
    return []


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def test_what_one_announces_another_finds_and_nobody_finds_what_was_not() -> None:
    async def work() -> None:
        async with a_dht(8) as (_, sessions):
            Dht(sessions[1]).announce(REPOSITORY, 9418)
            found = await first_found(Dht(sessions[5], PATIENCE), REPOSITORY)
            assert found == [Place("127.0.0.1", 9418, Way.DHT)]
            assert await first_found(Dht(sessions[5], 0.2), OTHER) == []

    run(work)


def test_a_command_looks_up_with_a_session_of_its_own_and_keeps_the_routing_table(
    tmp_path: Path,
) -> None:
    state = tmp_path / "dht"
    complaints: list[str] = []

    async def work() -> None:
        async with a_dht(4) as (port, sessions):
            Dht(sessions[1]).announce(REPOSITORY, 9418)
            own = OwnDht(options(port, read_only=True, state=state), complaints.append, PATIENCE)
            expected = [Place("127.0.0.1", 9418, Way.DHT)]
            assert await first_found(own, REPOSITORY) == expected
            assert state.stat().st_size > 50
            # The bootstrap node is another one now, where nobody is: the table leads in.
            own = OwnDht(options(1, read_only=True, state=state), complaints.append, PATIENCE)
            assert await first_found(own, REPOSITORY) == expected

    run(work)
    assert complaints == []


@pytest.mark.parametrize("garbage", [b"", b"no bencoding", b"d3:dhti1ee", b"\0" * 5000])
def test_a_damaged_routing_table_is_left_out(tmp_path: Path, garbage: bytes) -> None:
    state = tmp_path / "dht"
    state.write_bytes(garbage)

    async def work() -> None:
        async with a_dht(3) as (port, sessions):
            Dht(sessions[1]).announce(REPOSITORY, 1234)
            own = OwnDht(options(port, state=state), pytest.fail, PATIENCE)
            assert await first_found(own, REPOSITORY) == [Place("127.0.0.1", 1234, Way.DHT)]

    run(work)


class Answering:
    """A session whose nodes answer at once, each with the places that it is to tell of."""

    def __init__(self, *answers: list[tuple[str, int]]) -> None:
        self.lt = self
        self.raw = self
        self._answers = answers
        self._hear: Callable[[object], None] = lambda _alert: None

    class dht_get_peers_reply_alert:
        """As libtorrent has it."""

        def __init__(self, key: bytes, places: list[tuple[str, int]]) -> None:
            self.info_hash = key
            self.peers = lambda: places

    @staticmethod
    def sha1_hash(key: bytes) -> bytes:
        return key

    def on_alert(self, hear: Callable[[object], None]) -> Callable[[], None]:
        self._hear = hear
        return lambda: None

    def dht_get_peers(self, key: bytes) -> None:
        for places in self._answers:
            self._hear(self.dht_get_peers_reply_alert(key, places))


def test_long_answers_of_liars_do_not_end_a_look_up() -> None:
    """Several, each longer than what any look-up takes, before the node that knows somebody."""
    lies = [[(f"10.{node}.{n >> 8}.{n & 255}", 9418) for n in range(10_000)] for node in range(9)]

    honest = Place("192.168.1.7", 9418, Way.DHT)

    async def work() -> bool:
        session: Any = Answering(*lies, [(honest.address, honest.port)])
        async with aclosing(Dht(session, PATIENCE).find(REPOSITORY)) as finding:
            async for places in finding:
                assert len(places) <= MAX_PER_ANSWER
                if honest in places:
                    return True
        return False

    assert asyncio.run(work())


def test_an_unreachable_dht_costs_the_time_given() -> None:
    async def work() -> None:
        assert await first_found(OwnDht(options(1), pytest.fail, 0.3), REPOSITORY) == []

    run(work)


def test_no_peer_of_bittorrent_is_let_in() -> None:
    async def work() -> None:
        session = Session(options(1))
        try:
            port = await port_of(session)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(PATIENCE):
                assert await reader.read() == b""
            writer.close()
        except ConnectionError:
            pass  # so soon that the system said it
        finally:
            await session.close()

    run(work)


def test_closing_leaves_no_socket(tmp_path: Path) -> None:
    async def work() -> None:
        session = Session(options(1, state=tmp_path / "dht"))
        port = await port_of(session)
        await session.close()
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("127.0.0.1", port))

    run(work)
