"""Threads are seen to their end by whoever is cancelled while they work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gittorrent.git.runner import stopper_of_thread
from gittorrent.transfer.working import abortable, stoppable, unbroken


@pytest.mark.parametrize("run", [stoppable, unbroken])
def test_whoever_is_cancelled_waits_for_the_thread(run: Callable[..., Any]) -> None:
    """However often: a lock that is held meanwhile must not be let go of."""
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait()
        done.set()

    async def main() -> None:
        task = asyncio.ensure_future(run(work))
        while not begun.is_set():
            await asyncio.sleep(0)
        try:
            for _ in range(3):
                task.cancel()
                for _ in range(10):
                    await asyncio.sleep(0)
                assert not task.done()
        finally:
            go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done.is_set()

    asyncio.run(main())


def test_only_what_may_be_stopped_is() -> None:
    async def main() -> None:
        assert await stoppable(stopper_of_thread) is not None
        assert await unbroken(stopper_of_thread) is None

    asyncio.run(main())


@pytest.mark.parametrize("run", [stoppable, unbroken])
def test_results_and_errors_come_back(run: Callable[..., Any]) -> None:
    async def main() -> None:
        assert await run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await run(divmod, 7, 0)

    asyncio.run(main())


def test_what_is_aborted_is_waited_for() -> None:
    """For the thread that works and for the one that tells it to end."""
    begun, aborted, go_on = threading.Event(), threading.Event(), threading.Event()
    ended: list[str] = []

    def work(name: str) -> None:
        begun.set()
        aborted.wait()
        ended.append(name)

    def abort() -> None:
        aborted.set()
        go_on.wait()

    async def main() -> None:
        task = asyncio.ensure_future(abortable(abort, work, "work"))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        while not ended:
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["work"]

    asyncio.run(main())
