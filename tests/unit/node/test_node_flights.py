"""Work is done once for all who wait, and ended when nobody does."""

from __future__ import annotations

import asyncio

import pytest

from gittorrent.node.flights import Flights


class Work:
    """Ends when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.begun == 99:
            raise ValueError("wrong")
        return self.begun


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_all_who_wait_get_the_one_result() -> None:
    async def scene() -> None:
        flights, work = Flights[int](), Work()
        tasks = [asyncio.ensure_future(flights.join("x", work)) for _ in range(3)]
        await settle()
        work.may_end.set()
        assert await asyncio.gather(*tasks) == [1, 1, 1]
        assert "x" not in flights
        assert await flights.join("x", work) == 2

    asyncio.run(scene())


def test_it_goes_on_while_anybody_waits() -> None:
    async def scene() -> None:
        flights, work = Flights[int](), Work()
        first, second = (asyncio.ensure_future(flights.join("x", work)) for _ in range(2))
        await settle()
        first.cancel()
        await settle()
        assert work.cancelled == 0
        second.cancel()
        await settle()
        assert work.cancelled == 1
        again = asyncio.ensure_future(flights.join("x", work))
        await settle()
        work.may_end.set()
        assert await again == 2

    asyncio.run(scene())


def test_a_failure_is_everybodys() -> None:
    async def scene() -> None:
        flights, work = Flights[int](), Work()
        work.begun = 98
        tasks = [asyncio.ensure_future(flights.join("x", work)) for _ in range(2)]
        await settle()
        work.may_end.set()
        for task in tasks:
            with pytest.raises(ValueError, match="wrong"):
                await task

    asyncio.run(scene())


def test_stopping_ends_all() -> None:
    async def scene() -> None:
        flights, work = Flights[int](), Work()
        task = asyncio.ensure_future(flights.join("x", work))
        await settle()
        await flights.stop()
        assert work.cancelled == 1
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
