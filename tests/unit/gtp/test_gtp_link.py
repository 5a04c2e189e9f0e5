"""A peer that does not take what it asked for, or does not read what it is sent."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from gittorrent.gtp.limits import MAX_WATCHED
from gittorrent.gtp.machine import Opened, PeerMachine, Received, Side
from gittorrent.gtp.messages import (
    BEGINNING,
    UNKNOWN_OFFSET,
    BlockName,
    BlocksRequest,
    PlayAnswer,
    PlayRequest,
    ReelName,
    ReferenceEntry,
    References,
    Unchoke,
)
from gittorrent.gtp.node.link import MOST_QUEUED, MOST_UNREAD, Link
from gittorrent.gtp.profile import RFC
from gittorrent.transfer.limiter import Limiter
from support.programs import PATIENCE

HASH = b"h" * 20
BLOCK = BlockName(ReelName(BEGINNING, b"e" * 20), 1, 4096)
NEWS = References((ReferenceEntry(b"i" * 20, b"x" * (256 << 10)),))


def machine(side: Side, peer_id: bytes) -> PeerMachine:
    return PeerMachine(
        side=side,
        peer_id=peer_id,
        identify=lambda repo_hash: RFC if repo_hash == HASH else None,
        admit=lambda _hash, peer: peer != peer_id,
        now=time.monotonic(),
        repo_hash=HASH if side is Side.CONNECTING else b"",
    )


def with_a_deaf_peer(work: Callable[[Link], Awaitable[None]]) -> str:
    """Let a peer introduce itself and then read nothing; returns why the link ended."""

    async def answer(_link: Link, _message: object) -> None:
        raise AssertionError("nothing is asked")

    async def scenario() -> str:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with theirs:
            theirs.sendall(machine(Side.CONNECTING, b"b" * 20).output())
            reader, writer = await asyncio.open_connection(sock=ours)
            own = machine(Side.LISTENING, b"a" * 20)
            link = Link(1, own, reader, writer, "198.51.100.7", Limiter(None), stalled=0.05)
            opened = asyncio.Event()
            running = asyncio.create_task(link.run(lambda _link, _event: opened.set(), answer))
            await opened.wait()
            async with asyncio.timeout(PATIENCE):
                await work(link)
                return await running

    return asyncio.run(scenario())


def test_who_takes_nothing_is_dropped() -> None:
    async def tell(link: Link) -> None:
        for _ in range(8):
            await link.pace(NEWS)

    async def work(link: Link) -> None:
        with pytest.raises(TimeoutError):
            await tell(link)

    assert with_a_deaf_peer(work)


def test_who_reads_nothing_is_told_only_so_much() -> None:
    async def work(link: Link) -> None:
        for _ in range(4 * MOST_UNREAD // (256 << 10)):
            link.say(NEWS)
        assert link.sent < 2 * MOST_UNREAD

    assert with_a_deaf_peer(work)


def after_a_peer_gave(pack: bytes, offset: int) -> Link:
    """Ask a peer for a block and let it hang up after its answer; returns the link."""

    async def answer(_link: Link, _message: object) -> None:
        raise AssertionError("nothing is asked")

    def happen(link: Link, event: object) -> None:
        if event == Received(Unchoke()):
            link.say(PlayRequest(BLOCK))

    async def scenario() -> Link:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        own = machine(Side.CONNECTING, b"a" * 20)
        link = Link(1, own, reader, writer, "198.51.100.7", Limiter(None))
        running = asyncio.create_task(link.run(happen, answer))
        peer = machine(Side.LISTENING, b"b" * 20)
        their_reader, their_writer = await asyncio.open_connection(sock=theirs)
        async with asyncio.timeout(PATIENCE):
            while PlayRequest(BLOCK) not in peer.waiting:
                for event in peer.receive(0, await their_reader.read(4096)):
                    if isinstance(event, Opened):
                        peer.send(0, Unchoke())
                their_writer.write(peer.output())
            peer.send(0, PlayAnswer(BLOCK, offset, pack))
            their_writer.write(peer.output())
            their_writer.close()
            await running
        return link

    return asyncio.run(scenario())


def test_only_who_gave_data_was_useful() -> None:
    assert after_a_peer_gave(b"PACK", 0).is_useful
    assert not after_a_peer_gave(b"", UNKNOWN_OFFSET).is_useful


def test_who_asks_for_many_statuses_and_reads_nothing_is_told_few_anew() -> None:
    reel = BLOCK.reel

    async def work(link: Link) -> None:
        for size in range(4096, 4096 + 2 * MOST_QUEUED):
            link.watch(BlocksRequest(reel, size))
        assert len(link.watching) == MAX_WATCHED
        for _ in range(2 * MOST_QUEUED // MAX_WATCHED):
            for question in link.watching:
                link.tell(question)  # nothing is raised at whoever has news
        link.close()

    assert with_a_deaf_peer(work) == "closed here"
