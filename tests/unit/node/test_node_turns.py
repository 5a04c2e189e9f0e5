"""Conversations that wait for an upload slot: what is said, withdrawn and given back meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from gittorrent.repository.carried import Carried
from gittorrent.swarm.keys import ConversationKey
from gittorrent.transfer.content_source import EmptyContentSource
from gittorrent.transfer.conversation import Conversation
from gittorrent.transfer.conversation_roles import ConversationHandlers, Upload
from gittorrent.transfer.limiter import Limiter
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.transfer.slot_queue import SlotQueue
from gittorrent.wire.messages import (
    VERSION,
    CancelParts,
    FetchManifest,
    FetchParts,
    HaveCheckpoint,
    Message,
    Ready,
    ReceiveManifest,
    ReceivePart,
)
from gittorrent.wire.reelname import PackShape, ReelName
from gittorrent.wire.session import MessageReceived, Role, Session
from support.programs import PATIENCE

SOMEBODY = ConversationKey(0)
"""Holds the only slot."""


class Pair:
    """A caller and a sender that has one slot, which somebody else holds."""

    def __init__(self, carried: Carried) -> None:
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        self.heard: list[Message] = []
        self.slots = SlotQueue(1)
        self.content = RepositoryContent(carried)
        self.caller = Conversation(
            near,
            Session(Role.CALLER, loop.time()),
            Upload(EmptyContentSource(), Limiter(None)),
            ConversationHandlers(self._hear),
        )
        self.sender = Conversation(
            far,
            Session(Role.ANSWERER, loop.time()),
            Upload(self.content, Limiter(None), self.slots),
        )
        self.sender.say(Ready(VERSION, "node"))
        self._tasks = [loop.create_task(end.run()) for end in (self.caller, self.sender)]
        stored = carried.reels.all()[0].manifest
        self.reel, self.manifest = ReelName(stored.start, stored.end), stored.id
        self.shape = PackShape(stored.pack_size, stored.part_size)

    def _hear(self, event: MessageReceived) -> None:
        self.heard.append(event.message)

    def has_heard(self, kind: type[Message]) -> bool:
        return any(isinstance(message, kind) for message in self.heard)

    def ask(self) -> None:
        total = self.shape.parts
        self.caller.say(FetchParts(self.reel, self.manifest, 0, 0, total), self.shape)

    def withdraw(self) -> None:
        self.caller.say(CancelParts(self.reel, self.manifest, 0, 0, self.shape.parts))

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not what():
                await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def converse(carried: Carried, work: Callable[[Pair], Awaitable[None]]) -> None:
    async def run() -> None:
        pair = Pair(carried)
        await pair.slots.turn(SOMEBODY)
        await pair.until(lambda: pair.has_heard(Ready))
        pair.ask()
        await pair.until(lambda: pair.sender.key in pair.slots.line)
        try:
            await work(pair)
        finally:
            await pair.close()

    asyncio.run(run())


def test_messages_do_not_wait_for_the_slot(carried: Carried) -> None:
    async def work(pair: Pair) -> None:
        pair.sender.say(HaveCheckpoint(carried.log_store.ids()[-1], 3))
        await pair.until(lambda: pair.has_heard(HaveCheckpoint))
        assert not pair.has_heard(ReceivePart)
        pair.slots.done(SOMEBODY)
        await pair.until(lambda: pair.has_heard(ReceivePart))
        await pair.until(lambda: pair.sender.key not in pair.slots.line)

    converse(carried, work)


def test_a_part_withdrawn_in_the_line_is_not_sent(carried: Carried) -> None:
    async def work(pair: Pair) -> None:
        pair.withdraw()
        pair.caller.say(FetchManifest(pair.manifest))
        await pair.until(lambda: pair.sender.waiting == 2)
        pair.slots.done(SOMEBODY)
        await pair.until(lambda: pair.has_heard(ReceiveManifest))
        assert not pair.has_heard(ReceivePart)
        assert pair.sender.key not in pair.slots.line

    converse(carried, work)


def test_who_leaves_the_line_gives_up_its_place(carried: Carried) -> None:
    async def work(pair: Pair) -> None:
        await pair.close()
        assert pair.slots.line == {SOMEBODY}

    converse(carried, work)
