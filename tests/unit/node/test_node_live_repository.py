"""One repository's part in live conversations, with peers that say what a test wants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from gittorrent.ids import Oid, PushId, RefName
from gittorrent.node.catalogue import Catalogue, Served
from gittorrent.node.held_bytes import TOO_MUCH, HeldBytes
from gittorrent.node.live_caller import Caller
from gittorrent.node.live_repository import OPENED_ANEW, LiveRepository
from gittorrent.push.fresh import Fresh
from gittorrent.repository.carried import Carried
from gittorrent.repository.freshness import keep_fresh, read_fresh
from gittorrent.repository.kept_log import KeptLog
from gittorrent.repository.push_packs import PushPacks
from gittorrent.signing.keys import Signer
from gittorrent.wire.limits import MAX_SENT_BYTES
from gittorrent.wire.messages import (
    FreshLine,
    HaveCheckpoint,
    HavePush,
    SendPushes,
    SentPush,
)
from gittorrent.wire.session import MessageReceived
from support import nodes
from support.live_peers import Peer, nothing
from support.programs import PATIENCE

PUSH = PushId("ab" * 20)


def play(
    carried: Carried,
    work: Callable[[LiveRepository, HeldBytes], Coroutine[Any, Any, None]],
    most: int = 100,
) -> None:
    """Run a repository's part while a test plays its peers."""

    async def run() -> None:
        catalogue, held = Catalogue([carried]), HeldBytes(most, small=0)
        (served,) = catalogue
        executor = catalogue.threads.executor()
        live = LiveRepository(served, KeptLog(carried), executor, nothing, held=held)
        await live.begin()
        try:
            async with asyncio.timeout(PATIENCE):
                await work(live, held)
        finally:
            await live.stop()
        assert held.total == 0

    asyncio.run(run())


def test_when_it_stops_its_peers_are_told_to_call_again(carried: Carried) -> None:
    async def work(live: LiveRepository, _held: HeldBytes) -> None:
        peer = Peer()
        key = live.joined(peer, is_called=False)
        live.heard(key, HaveCheckpoint(live.head().id, live.head().number))
        await live.stop()
        assert peer.ended == OPENED_ANEW
        live.heard(key, HavePush(PUSH))  # it was on its way
        live.left(key)
        assert not peer.asked.is_set()

    play(carried, work)


def test_messages_on_their_way_are_counted_from_their_announcement(carried: Carried) -> None:
    async def work(live: LiveRepository, held: HeldBytes) -> None:
        first, second = Peer(), Peer()
        keys = [live.joined(peer, is_called=False) for peer in (first, second)]
        live.announced(keys[0], 60)
        live.announced(keys[1], 50)
        assert (first.ended, second.ended) == (TOO_MUCH, "")
        assert held.total == 50
        live.left(keys[1])
        assert held.total == 0

    play(carried, work)


def test_what_came_is_let_go_when_it_was_judged(carried: Carried) -> None:
    async def work(live: LiveRepository, held: HeldBytes) -> None:
        peer = Peer(**{PUSH: b"no push object"})
        key = live.joined(peer, is_called=False)
        live.heard(key, HavePush(PUSH))
        while not peer.ended:
            await asyncio.sleep(0)
        assert "does not hold" in peer.ended
        while held.total:
            await asyncio.sleep(0)

    play(carried, work)


def test_what_came_is_let_go_when_it_stops(carried: Carried) -> None:
    async def work(live: LiveRepository, held: HeldBytes) -> None:
        peer = Peer(**{PUSH: b"no push object"})
        peer.may_answer.clear()
        live.heard(live.joined(peer, is_called=False), HavePush(PUSH))
        await peer.asked.wait()
        peer.may_answer.set()
        await live.stop()

    play(carried, work)


def test_what_is_sent_along_is_taken_in_unasked_and_passed_on_likewise(
    carried: Carried, key: Signer, tmp_path: Path
) -> None:
    here = nodes.copy_as_mirror(carried, tmp_path / "here.git", "")
    there = nodes.copy_as_mirror(carried, tmp_path / "there.git", "")
    git_dir = there.layout.git_dir
    new = Oid(nodes.add_commit(git_dir, "refs/elsewhere", "new", b"new\n"))
    made = nodes.push_on(there, key, {RefName(b"refs/heads/new"): new})
    push = there.log_store.push(made)
    pack = PushPacks(there.git, there.object_format).made(made, push, tuple)
    data = push.encode()
    assert pack is not None

    async def work(live: LiveRepository, held: HeldBytes) -> None:
        sender, receiver, other, behind = Peer(), Peer(), Peer(), Peer()
        behind.is_behind = True
        key = live.joined(sender, is_called=True)
        assert SendPushes(MAX_SENT_BYTES) in sender.told
        size = len(data) + len(pack)
        for peer, most in ((receiver, size), (behind, size), (other, size - 1)):
            peer_key = live.joined(peer, is_called=False)
            live.heard(peer_key, HaveCheckpoint(live.head().id, live.head().number))
            live.heard(peer_key, SendPushes(most))
        sent = SentPush(made, len(data), len(pack))
        live.heard(key, sent, bytearray(data + pack))
        while HavePush(made) not in other.told:
            await asyncio.sleep(0)
        assert receiver.told[-1] == sent
        assert receiver.payloads[-1] == data + pack
        assert HavePush(made) in behind.told, "it is not given more than it reads"
        assert not sender.asked.is_set()
        assert made in here.log()

    play(here, work, most=1 << 20)


class Conversations:
    """`gittorrent.node.live_caller.Conversations` with one repository, or none yet."""

    def __init__(self, repository: LiveRepository | None) -> None:
        self.repository = repository
        self.unheard: list[Caller] = []

    def of(self, served: Served) -> LiveRepository | None:
        return self.repository

    def note_unheard(self, served: Served, caller: Caller) -> None:
        self.unheard.append(caller)

    def forget_unheard(self, served: Served, caller: Caller) -> None:
        self.unheard.remove(caller)


SAID = MessageReceived(HavePush(PUSH))


def test_who_calls_for_a_repository_that_was_replaced_calls_again(carried: Carried) -> None:
    async def work(live: LiveRepository, _held: HeldBytes) -> None:
        (other,) = Catalogue([Carried(carried.layout.git_dir, carried.object_format)])
        peer = Peer()
        caller = Caller(Conversations(live), other, peer)
        caller.on_message(SAID)
        assert peer.ended == OPENED_ANEW
        assert live.peers == 0
        caller.leave("over")

    play(carried, work)


def test_who_tells_of_news_that_nobody_takes_is_remembered_until_it_leaves(
    carried: Carried,
) -> None:
    (served,) = Catalogue([carried])
    conversations = Conversations(None)

    async def run() -> None:
        caller = Caller(conversations, served, Peer())
        caller.on_message(SAID)
        assert conversations.unheard == [caller]
        caller.leave("over")
        assert not conversations.unheard

    asyncio.run(run())


def test_a_statement_taken_while_the_clock_was_ahead_gives_way(
    carried: Carried, key: Signer, tmp_path: Path
) -> None:
    """It would stand until its date otherwise, and nothing newer were passed on."""
    own = nodes.copy_as_mirror(carried, tmp_path / "own.git", "")
    head = own.log().head
    assert head is not None
    repository = own.info.repository_id

    def said(moment: int) -> FreshLine:
        text = Fresh(repository, head, moment).text()
        return FreshLine(head, moment, key.sign(text).data)

    now = int(time.time())
    keep_fresh(own.layout, repository, said(now + 40 * 86400))

    async def work(live: LiveRepository, _held: HeldBytes) -> None:
        peer = Peer()
        mine = live.joined(peer, is_called=False)
        live.heard(mine, HaveCheckpoint(live.head().id, live.head().number))
        live.heard(mine, said(now))
        while live.fresh != said(now):
            await asyncio.sleep(0)

    play(own, work)
    assert read_fresh(own.layout, repository) == said(now)
