"""Who may call a clone, and how those are told apart that ought not to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest

from gittorrent.ids import RepositoryId
from gittorrent.transfer.addresses import caller_group
from gittorrent.transfer.content_source import EmptyContentSource
from gittorrent.transfer.git_mirror import ConversationContext, GitMirror
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.peer_admission import (
    MAX_BLAMED,
    MAX_CALLERS,
    MAX_PER_ADDRESS,
    MAX_STRIKES,
    PeerAdmission,
)
from gittorrent.transfer.peer_listener import MAX_WAITING, PeerListener
from gittorrent.wire import pktline
from support.programs import PATIENCE

REPOSITORY = RepositoryId("a" * 52)
HELLO = pktline.encode(f"mirror-sync /{REPOSITORY}\0host=x\0".encode())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("198.51.100.7", "::ffff:198.51.100.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9%eth0"),
    ],
)
def test_addresses_that_count_as_one(one: str, other: str) -> None:
    assert caller_group(one) == caller_group(other)


def test_addresses_that_do_not() -> None:
    different = ["198.51.100.7", "198.51.100.8", "2001:db8:1:2::1", "2001:db8:1:3::1", "::1"]
    assert len({caller_group(address) for address in different}) == len(different)


def test_one_address_does_not_take_all_places() -> None:
    admission = PeerAdmission()
    assert [admission.enter("198.51.100.7") for _ in range(MAX_PER_ADDRESS + 1)] == (
        [True] * MAX_PER_ADDRESS + [False]
    )
    others = [f"198.51.100.{8 + number}" for number in range(MAX_CALLERS)]
    assert sum(admission.enter(address) for address in others) == MAX_CALLERS - MAX_PER_ADDRESS
    admission.leave("198.51.100.7")
    assert admission.enter("203.0.113.1")
    assert len(admission) == MAX_CALLERS


def test_wrong_parts_cost_an_address_its_places() -> None:
    """A new port or a new identity does not help; neighbours behind one router still get in."""
    admission = PeerAdmission()
    evil, innocent = "198.51.100.7", "198.51.100.8"
    admission.blame(evil)
    assert admission.enter(evil)
    assert not admission.enter(evil)
    admission.leave(evil)
    for _ in range(MAX_STRIKES - 1):
        assert not admission.is_banned(evil)
        admission.blame(evil)
    assert admission.is_banned(evil)
    assert not admission.enter(evil)
    assert admission.is_banned(f"::ffff:{evil}")
    assert not admission.is_banned("")  # nobody knows where somebody behind ssh is
    assert admission.enter(innocent)
    # Everybody on this machine shares an address.
    for _ in range(MAX_STRIKES):
        admission.blame("127.0.0.1")
    assert admission.enter("127.0.0.1")
    for number in range(MAX_BLAMED):
        admission.blame(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert not admission.is_banned(evil)


class Blaming(PeerAdmission):
    """Remembers whom it was told to blame."""

    def __init__(self) -> None:
        super().__init__(total=MAX_WAITING + 4)
        self.blamed: list[str] = []

    def blame(self, address: str) -> None:
        self.blamed.append(address)


class Hub:
    """A listener on a port of this machine, with what it made of its callers."""

    def __init__(self) -> None:
        self.here: list[GitMirror] = []
        self.gone: list[GitMirror] = []
        self.admission = Blaming()
        exchange = ConversationContext("id", EmptyContentSource(), Limits())
        self.peer_listener = PeerListener(
            REPOSITORY, exchange, self.here.append, self.admission, self.gone.append
        )

    async def call(self, data: bytes) -> socket.socket:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", self.peer_listener.port))
        await loop.sock_sendall(sock, data)
        return sock


def with_hub(work: Callable[[Hub], Awaitable[None]]) -> None:
    async def run() -> None:
        made = Hub()
        assert made.peer_listener.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await work(made)
        finally:
            await made.peer_listener.close()
            await asyncio.gather(*(caller.close() for caller in made.here))

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_callers_come_and_go() -> None:
    """Far more than may be there at once come one after the other; each makes room for the next."""

    async def work(made: Hub) -> None:
        for number in range(3 * MAX_WAITING):
            sock = await made.call(HELLO)
            await until(lambda n=number: len(made.here) == n + 1)  # type: ignore[misc]
            sock.close()
            await until(lambda n=number: len(made.gone) == n + 1)  # type: ignore[misc]
        await until(lambda: len(made.admission) == 0)

    with_hub(work)


def test_silent_callers_do_not_keep_others_out() -> None:
    """Slowloris: connections that say nothing, or little, are the first to go."""

    async def work(made: Hub) -> None:
        silent = [await made.call(HELLO[:number]) for number in range(MAX_WAITING)]
        await until(lambda: len(made.admission) == MAX_WAITING)
        honest = await made.call(HELLO)
        await until(lambda: len(made.here) == 1)
        assert await asyncio.get_running_loop().sock_recv(silent[0], 1) == b""
        for sock in [*silent, honest]:
            sock.close()

    with_hub(work)


def test_who_breaks_the_protocol_is_blamed() -> None:
    async def work(made: Hub) -> None:
        sock = await made.call(HELLO + pktline.encode(b"end log " + b"ab" * 20))
        await until(lambda: len(made.gone) == 1)
        await until(lambda: bool(made.admission.blamed))
        assert made.admission.blamed == ["127.0.0.1"]
        sock.close()

    with_hub(work)


def test_a_caller_that_is_cut_off_is_not_blamed() -> None:
    """Three cuts in the middle of a message are a bad line, not three wrongs."""

    async def work(made: Hub) -> None:
        beginning = pktline.encode(f"have push {'ab' * 20}".encode())[:-9]
        for number in range(MAX_STRIKES):
            sock = await made.call(HELLO + beginning)
            await until(lambda n=number: len(made.here) == n + 1)  # type: ignore[misc]
            sock.close()
            await until(lambda n=number: len(made.gone) == n + 1)  # type: ignore[misc]
            assert not made.gone[number].is_at_fault
            assert made.gone[number].may_return
        await until(lambda: len(made.admission) == 0)
        assert made.admission.blamed == []

    with_hub(work)


def test_a_flooding_caller_lets_others_have_their_turn() -> None:
    """Its socket has always more to read; the loop must not read only that."""

    async def work(made: Hub) -> None:
        flood = pktline.encode(b"hello") * 100_000
        sock = await made.call(HELLO)
        await until(lambda: len(made.here) == 1)
        sending = asyncio.get_running_loop().create_task(
            asyncio.get_running_loop().sock_sendall(sock, flood)
        )
        other = await made.call(HELLO)
        await until(lambda: len(made.here) == 2 or len(made.gone) == 1)
        assert len(made.here) == 2, "the flood was over before the other was heard"
        await until(lambda: len(made.gone) == 1)
        assert made.gone[0].is_at_fault
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await sending
        sock.close()
        other.close()

    with_hub(work)
