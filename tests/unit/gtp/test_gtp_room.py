"""What a node holds for all of its peers together."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.framing import encode_frame
from gittorrent.gtp.handshake import Handshake
from gittorrent.gtp.limits import MAX_CONNECTIONS, MIB
from gittorrent.gtp.machine import Opened, PeerMachine, Side
from gittorrent.gtp.messages import (
    BEGINNING,
    BlockName,
    ObjectsRequest,
    PlayAnswer,
    PlayRequest,
    ReelName,
    ReferenceEntry,
    References,
    Unchoke,
)
from gittorrent.gtp.node.daemon import MOST_CALLS, calls_of_one
from gittorrent.gtp.node.link import MOST_QUEUED, Link
from gittorrent.gtp.node.room import Room
from gittorrent.gtp.profile import PERL_2008, RFC, Profile
from gittorrent.node.held_bytes import TOO_MUCH
from gittorrent.transfer.limiter import Limiter
from support.programs import PATIENCE

HASH = b"h" * 20
BLOCK = BlockName(ReelName(BEGINNING, b"e" * 20), 1, 4096)
LONG = encode_frame(RFC.codec, References((ReferenceEntry(b"i" * 20, b"x" * MIB),)))


class Caller:
    """Who called a node: its socket, and the node's link to it."""

    def __init__(self, theirs: socket.socket, link: Link, running: asyncio.Task[str]) -> None:
        self.theirs = theirs
        self.link = link
        self.running = running

    async def send(self, data: bytes) -> None:
        """Send, and wait until the node has read it, or has hung up."""
        before = self.link.received
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self.theirs, data)
        await until(lambda: self.link.received >= before + len(data) or self.running.done())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def callers(
    room: Room, number: int, profile: Profile = RFC, *, frozen: bool = False
) -> AsyncIterator[list[Caller]]:
    """Let peers introduce themselves to one node.

    Args:
        room: of the node.
        number: how many.
        profile: the dialect.
        frozen: whether the node is at its first answer to each for ever.
    """
    found: list[Caller] = []
    ended = asyncio.Event()

    async def answer(_link: Link, _message: object) -> None:
        if frozen:
            await ended.wait()

    for at in range(1, number + 1):
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        machine = PeerMachine(
            side=Side.LISTENING,
            peer_id=b"a" * 20,
            identify=lambda _hash: profile,
            admit=lambda _hash, _peer: True,
            now=time.monotonic(),
        )
        reader, writer = await asyncio.open_connection(sock=ours)
        link = Link(at, machine, reader, writer, f"198.51.100.{at}", Limiter(None), room=room)

        def happen(link: Link, event: object) -> None:
            if not isinstance(event, Opened):
                link.ask(event.message)  # type: ignore[attr-defined]

        running = asyncio.create_task(link.run(happen, answer))
        caller = Caller(theirs, link, running)
        await caller.send(Handshake(HASH, b"%020d" % at).encode())
        found.append(caller)
    try:
        yield found
    finally:
        ended.set()
        for caller in found:
            caller.theirs.close()
            caller.link.close()
            await caller.running


def test_messages_that_do_not_end_are_held_up_to_a_total() -> None:
    async def scenario() -> None:
        room = Room(talk=4 * MIB)
        async with callers(room, 12) as peers:
            for peer in peers:
                await peer.send(LONG[:-1])
                assert room.talk <= 4 * MIB
            given_up = [peer for peer in peers if peer.running.done() or peer.running.cancelling()]
            await until(lambda: sum(peer.running.done() for peer in peers) >= 8)
            assert len(given_up) <= 9
            assert {peer.running.result() for peer in peers if peer.running.done()} == {TOO_MUCH}
        assert room.talk == 0

    asyncio.run(scenario())


def test_who_sends_most_is_given_up_and_nobody_else() -> None:
    async def scenario() -> None:
        room = Room(talk=2 * MIB)
        async with callers(room, 3) as (small, large, other):
            await small.send(LONG[: MIB // 4])
            await large.send(LONG[:-1])
            await other.send(LONG[: MIB - MIB // 8])
            assert await asyncio.wait_for(large.running, PATIENCE) == TOO_MUCH
            assert not small.running.done()
            assert not other.running.done()

    asyncio.run(scenario())


def test_requests_that_wait_for_answers_count() -> None:
    """A few of them name as many objects as fill the memory of a machine."""
    many = tuple(b"%020d" % number for number in range(4000))
    asked = encode_frame(RFC.codec, ObjectsRequest(many, many))

    async def scenario() -> None:
        room = Room(data=8 * MIB)
        async with callers(room, 4, frozen=True) as peers:
            for peer in peers:
                peer.link.say(Unchoke())
                for _ in range(10):
                    await peer.send(asked)
                assert room.data <= 8 * MIB
            assert sum(peer.running.done() for peer in peers) >= 2
        assert room.data == 0

    asyncio.run(scenario())


def test_answers_that_nobody_reads_count() -> None:
    async def scenario() -> None:
        room = Room(data=8 * MIB)
        async with callers(room, 4) as peers:
            for peer in peers:
                peer.link.say(Unchoke())
                peer.link.machine.waiting.append(PlayRequest(BLOCK))
            answer = PlayAnswer(BLOCK, 0, b"x" * (3 * MIB))
            telling = [asyncio.create_task(peer.link.pace(answer)) for peer in peers]
            await until(lambda: any(peer.running.done() for peer in peers))
            assert room.data <= 8 * MIB
            for task in telling:
                task.cancel()
            await asyncio.gather(*telling, return_exceptions=True)

    asyncio.run(scenario())


@pytest.mark.parametrize("profile", [RFC, PERL_2008])
def test_small_questions_are_bounded_in_every_dialect(profile: Profile) -> None:
    async def scenario() -> None:
        async with callers(Room(), 1, profile, frozen=True) as (peer,):
            for _ in range(MOST_QUEUED):
                peer.link.ask(References())
            with pytest.raises(MessageError):
                peer.link.ask(References())

    asyncio.run(scenario())


def test_who_sends_faster_than_is_stored_is_not_read_on() -> None:
    async def scenario() -> None:
        room = Room(storing=MIB)
        async with callers(room, 2) as (fast, other):
            room.storing(fast.link.key, 2 * MIB, fast.link.give_up)
            await fast.send(LONG[:10])  # what it waited for already
            sent = fast.link.received
            await asyncio.get_running_loop().sock_sendall(fast.theirs, LONG[10:100])
            await other.send(LONG[:100])
            assert fast.link.received == sent
            room.stored(fast.link.key, 2 * MIB)
            await until(lambda: fast.link.received == sent + 90)
        assert room.data == 0

    asyncio.run(scenario())


def test_all_swarms_together_open_as_many_connections_as_are_let_in() -> None:
    assert calls_of_one(1) == MOST_CALLS
    for swarms in range(1, MAX_CONNECTIONS + 1):
        assert 1 <= calls_of_one(swarms) <= MAX_CONNECTIONS / swarms
