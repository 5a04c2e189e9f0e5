"""What peers say of their newest checkpoints, and how long a push waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gittorrent.ids import PushId
from gittorrent.node.claimed_heads import DOUBT_SECONDS, ClaimedHeads
from gittorrent.push.spreading import Item, PeerKey
from support.programs import PATIENCE

LIAR, HONEST = PeerKey(1), PeerKey(2)
HERE = 5
"""Number of the newest checkpoint here."""


def item(number: int) -> Item:
    return Item(PushId(f"{number:040x}"), number)


class Log:
    """The checkpoints that are here."""

    def __init__(self) -> None:
        self.number = HERE
        self.now = 0.0

    def holds(self, checkpoint: PushId) -> bool:
        return int(checkpoint, 16) <= self.number


def play(work: Callable[[ClaimedHeads, Log], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        log = Log()
        async with asyncio.timeout(PATIENCE):
            await work(ClaimedHeads(log.holds, lambda: log.number, lambda: log.now), log)

    asyncio.run(run())


def test_nobody_who_says_the_same_or_less_is_waited_for() -> None:
    async def work(heads: ClaimedHeads, log: Log) -> None:
        assert heads.said(HONEST, item(HERE))
        assert not heads.said(HONEST, item(HERE - 1))
        await heads.catch_up(10 * PATIENCE)

    play(work)


def test_it_is_waited_until_the_checkpoint_came() -> None:
    async def work(heads: ClaimedHeads, log: Log) -> None:
        heads.said(HONEST, item(HERE + 1))
        waiting = asyncio.ensure_future(heads.catch_up(10 * PATIENCE))
        await asyncio.sleep(0)
        assert not waiting.done()
        log.number += 1
        heads.look()
        await waiting

    play(work)


def test_who_says_what_never_comes_is_waited_for_once() -> None:
    async def work(heads: ClaimedHeads, log: Log) -> None:
        heads.said(LIAR, item(2_000_000_000))
        await heads.catch_up(0.01)
        heads.said(LIAR, item(2_000_000_001))
        await heads.catch_up(10 * PATIENCE)

    play(work)


def test_whose_checkpoint_came_late_is_waited_for_again() -> None:
    async def work(heads: ClaimedHeads, log: Log) -> None:
        heads.said(HONEST, item(HERE + 1))
        await heads.catch_up(0.01)
        log.number += 1
        await heads.catch_up(10 * PATIENCE)
        heads.said(HONEST, item(HERE + 2))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await heads.catch_up(10 * PATIENCE)

    play(work)


def test_who_left_is_not_waited_for() -> None:
    async def work(heads: ClaimedHeads, log: Log) -> None:
        heads.said(LIAR, item(HERE + 1))
        waiting = asyncio.ensure_future(heads.catch_up(10 * PATIENCE))
        await asyncio.sleep(0)
        heads.left(LIAR)
        await waiting

    play(work)


def test_who_claims_and_calls_again_delays_one_push_in_a_minute() -> None:
    async def work(heads: ClaimedHeads, log: Log) -> None:
        heads.said(LIAR, item(2_000_000_000))
        await heads.catch_up(0.01)
        heads.left(LIAR)
        again = PeerKey(3)
        heads.said(again, item(2_000_000_000))
        await heads.catch_up(10 * PATIENCE)
        log.now += DOUBT_SECONDS
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await heads.catch_up(10 * PATIENCE)

    play(work)


def test_callers_are_no_mirrors_that_a_keeper_asked() -> None:
    """Anybody may call, as often as it likes, and say what this node has."""

    async def work(heads: ClaimedHeads, log: Log) -> None:
        heads.said(LIAR, item(HERE))
        assert await heads.hear(1, 0.01) == 0

    play(work)


def test_mirrors_count_once_what_they_have_is_here() -> None:
    async def work(heads: ClaimedHeads, log: Log) -> None:
        heads.called(HONEST)
        heads.called(LIAR)
        heads.said(HONEST, item(HERE))
        heads.said(LIAR, item(HERE + 1))
        assert await heads.hear(1, 10 * PATIENCE) == 1
        assert await heads.hear(2, 0.01) == 1

    play(work)


def test_only_those_that_were_called_and_have_nothing_newer_agree() -> None:
    async def work(heads: ClaimedHeads, log: Log) -> None:
        heads.called(HONEST)
        assert heads.agreeing() == []
        heads.said(HONEST, item(HERE))
        heads.said(LIAR, item(HERE - 1))
        assert heads.agreeing() == [HONEST], "who calls may be anybody"
        heads.said(LIAR, item(HERE + 1))
        assert heads.agreeing() == [], "something newer may be on its way"
        log.number += 1
        assert heads.agreeing() == [HONEST]
        heads.said(HONEST, item(HERE + 2))
        assert heads.agreeing() == []
        heads.left(HONEST)
        assert heads.agreeing() == []

    play(work)
