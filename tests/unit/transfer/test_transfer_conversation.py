"""Conversations with peers that read slowly or not at all, wait in line, or withdraw everything."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from gittorrent.ids import SHA1, ManifestId, PushId
from gittorrent.reel.pack import WireView
from gittorrent.swarm.keys import ConversationKey
from gittorrent.transfer.answering import Answer
from gittorrent.transfer.content_source import EmptyContentSource, ServedPack
from gittorrent.transfer.conversation import MAX_UNREAD, Conversation, ConversationEndedError
from gittorrent.transfer.conversation_roles import Upload
from gittorrent.transfer.limiter import Limiter
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts
from gittorrent.transfer.slot_queue import SlotQueue
from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_SENT_BYTES
from gittorrent.wire.messages import (
    VERSION,
    CancelParts,
    FetchParts,
    HaveBundle,
    QueuedParts,
    Ready,
    Try,
)
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorState
from gittorrent.wire.reelname import ReelName
from gittorrent.wire.session import Role, Session
from support.programs import PATIENCE

REEL = ReelName(None, PushId("ab" * 20))
MANIFEST = ManifestId("cd" * 32)
PARTS = 4

T = TypeVar("T")


class OnePack(EmptyContentSource):
    """Has one pack of four small parts."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(4096 * PARTS))
        self._path = path

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        view = WireView(SHA1, 1, 4096 * PARTS, "ef" * 20)
        return ServedPack(REEL, self._path, view, 4096, PARTS)


class Ends:
    """A conversation of ours, and the other end as a socket of the test's."""

    def __init__(
        self,
        tmp_path: Path,
        slots: SlotQueue | None = None,
        server_timeouts: ServerTimeouts = SERVER_TIMEOUTS,
    ) -> None:
        self.theirs, ours = socket.socketpair()
        for sock in (self.theirs, ours):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        loop = asyncio.get_running_loop()
        session = Session(Role.ANSWERER, loop.time())
        content = OnePack(tmp_path / "pack")
        upload = Upload(content, Limiter(None), slots)
        self.conversation = Conversation(ours, session, upload, server_timeouts=server_timeouts)
        self.conversation.say(Ready(VERSION, "node"))
        self.running = loop.create_task(self.conversation.run())
        self.heard = b""

    async def say(self, *lines: bytes) -> None:
        data = b"".join(map(pktline.encode, lines))
        await asyncio.get_running_loop().sock_sendall(self.theirs, data)

    async def hear(self, what: bytes) -> None:
        while what not in self.heard:
            self.heard += await asyncio.get_running_loop().sock_recv(self.theirs, 65536)


def play(
    tmp_path: Path,
    work: Callable[[Ends], Awaitable[None]],
    slots: SlotQueue | None = None,
    server_timeouts: ServerTimeouts = SERVER_TIMEOUTS,
) -> None:
    async def run() -> None:
        ends = Ends(tmp_path, slots, server_timeouts)
        try:
            async with asyncio.timeout(PATIENCE):
                await work(ends)
        finally:
            ends.running.cancel()
            await asyncio.gather(ends.running, return_exceptions=True)
            ends.theirs.close()

    asyncio.run(run())


def test_news_do_not_wait_for_an_upload_slot(tmp_path: Path) -> None:
    """Nor do questions of ours: who has to wait in line for a part would starve of them."""
    slots = SlotQueue(1)
    other = ConversationKey(-1)

    async def work(ends: Ends) -> None:
        await slots.turn(other)
        await ends.say(FetchParts(REEL, MANIFEST, 0, 0, PARTS).encode())
        while len(slots.line) < 2:
            await asyncio.sleep(0)
        for number in range(3):
            news = HaveBundle(REEL, MANIFEST, 4096 * PARTS, bytes([16 << number]))
            ends.conversation.say(news)
            await ends.hear(news.encode())
        assert b"receive bundle" not in ends.heard
        slots.done(other)
        await ends.hear(b"receive bundle")

    play(tmp_path, work, slots)


def test_who_waits_for_an_upload_slot_is_told_so_again_and_again(tmp_path: Path) -> None:
    slots = SlotQueue(1)
    other = ConversationKey(-1)
    word = QueuedParts(REEL, MANIFEST, 0, 0, PARTS).encode()

    async def work(ends: Ends) -> None:
        await slots.turn(other)
        await ends.say(FetchParts(REEL, MANIFEST, 0, 0, PARTS).encode())
        while ends.heard.count(word) < 3:
            await ends.hear(word)
            ends.heard += await asyncio.get_running_loop().sock_recv(ends.theirs, 65536)
        assert b"receive bundle" not in ends.heard
        slots.done(other)
        await ends.hear(b"receive bundle")

    play(tmp_path, work, slots, ServerTimeouts(queue=0.01))


def test_whoever_leaves_the_line_makes_room(tmp_path: Path) -> None:
    slots = SlotQueue(1)
    other = ConversationKey(-1)

    async def work(ends: Ends) -> None:
        await slots.turn(other)
        await ends.say(FetchParts(REEL, MANIFEST, 0, 0, PARTS).encode())
        while len(slots.line) < 2:
            await asyncio.sleep(0)
        ends.theirs.shutdown(socket.SHUT_RDWR)
        await asyncio.wait([ends.running])
        assert slots.line == {other}

    play(tmp_path, work, slots)


def test_an_answer_that_is_read_while_the_conversation_ends_is_not_sent(tmp_path: Path) -> None:
    """It is no fault of this node's, either: nothing is raised."""

    async def work(ends: Ends) -> None:
        async def reading(work: Callable[[], T]) -> T:
            found = work()
            conversation.end("over")
            return found

        theirs, ours = socket.socketpair()
        with theirs:
            for sock in (theirs, ours):
                sock.setblocking(False)
            loop = asyncio.get_running_loop()
            upload = Upload(OnePack(tmp_path / "pack"), Limiter(None), None, reading)
            session = Session(Role.ANSWERER, loop.time())
            conversation = Conversation(ours, session, upload)
            conversation.say(Ready(VERSION, "node"))
            asked = FetchParts(REEL, MANIFEST, 0, 0, PARTS).encode()
            await loop.sock_sendall(theirs, pktline.encode(asked))
            await conversation.run()
        assert conversation.ended == "over"

    play(tmp_path, work)


def test_what_a_peer_does_not_read_is_bounded(tmp_path: Path) -> None:
    """Of what it is told of a pack the newest is kept; of all else, so much and no more."""

    async def work(ends: Ends) -> None:
        news = HaveBundle(REEL, MANIFEST, 1 << 40, b"\xff" * 30_000)
        for _ in range(100):
            ends.conversation.say(news)
        line = Try(MirrorEntry(f"git://h/{'x' * 2000}", 60, MirrorState.PARTIAL))
        for _ in range(MAX_UNREAD // 2100):
            ends.conversation.say(line)

        def say_more() -> None:
            for _ in range(200):
                ends.conversation.say(line)

        with pytest.raises(ConversationEndedError):
            say_more()
        await asyncio.wait([ends.running])
        assert "does not read" in ends.conversation.ended

    play(tmp_path, work)


def test_a_peer_is_behind_until_it_has_read(tmp_path: Path) -> None:
    """What is being sent counts: it is in memory for as long as the peer does not take it."""

    async def work(ends: Ends) -> None:
        assert not ends.conversation.is_behind
        line = Try(MirrorEntry(f"git://h/{'x' * 2000}", 60, MirrorState.PARTIAL))
        for _ in range(MAX_SENT_BYTES // 2000 + 10):
            ends.conversation.say(line)
        assert ends.conversation.is_behind
        await ends.hear(b"ready")
        assert ends.conversation.is_behind
        ends.conversation.say(Try(MirrorEntry("git://h/last", 60, MirrorState.PARTIAL)))
        await ends.hear(b"git://h/last")
        while ends.conversation.is_behind:
            await asyncio.sleep(0)

    play(tmp_path, work)


def test_withdrawing_what_was_not_asked_costs_nothing(tmp_path: Path) -> None:
    total = 1 << 20
    answer = Answer(FetchParts(REEL, MANIFEST, 5, 9, total), OnePack(tmp_path / "pack"))
    for first in range(0, total, 256):
        answer.cancel(CancelParts(REEL, MANIFEST, first, first + 255, total))
    assert {part for part in range(256) if answer.leaves_out(part)} == {5, 6, 7, 8, 9}
    assert asyncio.run(answer.next_step()) is None
