"""Answers that are made for other runners: once for all, and how long a failure is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gittorrent.errors import LocalError
from gittorrent.node.ci_promised import Promised

DIGEST = "d" * 64


async def _nothing() -> None:
    pass


async def _fail() -> None:
    raise LocalError("the upstream is not there")


def test_an_answer_is_made_once_for_all() -> None:
    async def run() -> None:
        promised, may_end = Promised(), asyncio.Event()

        async def work() -> None:
            await may_end.wait()

        task = promised.make(DIGEST, work)
        assert promised.make(DIGEST, _fail) is task
        may_end.set()
        await task
        assert promised.make(DIGEST, _fail) is task, "who looked for it too early does so again"
        await promised.stop()

    asyncio.run(run())


def test_a_failure_is_told_those_who_ask_again_soon() -> None:
    async def run() -> None:
        promised = Promised(ended_seconds=3600)
        task = promised.make(DIGEST, _fail)
        await asyncio.wait([task])
        again = promised.make(DIGEST, _nothing)
        with pytest.raises(LocalError):
            await again
        promised.forget(DIGEST, again)
        await promised.make(DIGEST, _nothing)
        await promised.stop()

    asyncio.run(run())


@pytest.mark.parametrize("before", [_fail, _nothing])
def test_how_it_ended_is_told_nobody_who_asks_later(
    before: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    async def run() -> None:
        promised = Promised(ended_seconds=0)
        await asyncio.wait([promised.make(DIGEST, before)])
        while len(promised):
            await asyncio.sleep(0)
        await promised.make(DIGEST, _nothing)
        await promised.stop()

    asyncio.run(run())


def test_what_is_made_ends_with_the_node() -> None:
    async def run() -> None:
        promised = Promised()
        task = promised.make(DIGEST, asyncio.Event().wait)  # type: ignore[arg-type]
        await promised.stop()
        assert task.cancelled()

    asyncio.run(run())
