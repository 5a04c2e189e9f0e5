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


def test_what_began_before_is_not_new_enough() -> None:
    async def scene() -> None:
        flights = Flights[int]()
        works = [Work() for _ in range(3)]
        first = asyncio.ensure_future(flights.join_next("x", works[0]))
        await settle()
        later = [asyncio.ensure_future(flights.join_next("x", works[1])) for _ in range(3)]
        await settle()
        assert (works[0].begun, works[1].begun) == (1, 0)
        works[0].may_end.set()
        await first
        await settle()
        assert works[1].begun == 1
        last = asyncio.ensure_future(flights.join_next("x", works[2]))
        await settle()
        assert works[2].begun == 0
        works[1].may_end.set()
        assert await asyncio.gather(*later) == [1, 1, 1]
        await settle()
        works[2].may_end.set()
        assert await last == 1
        await settle()
        assert "x" not in flights
        assert ("x", "next") not in flights

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


def test_what_rests_begins_once_for_all_who_come_meanwhile() -> None:
    async def scene() -> None:
        flights, work = Flights[int](3600), Work()
        work.may_end.set()
        assert await flights.join_next("x", work) == 1
        assert await flights.join_next("y", work) == 2
        waiting = [asyncio.ensure_future(flights.join_next("x", work)) for _ in range(3)]
        await settle()
        assert work.begun == 2  # an hour is not over
        assert await flights.join("x", work) == 3  # what needs not be new
        await flights.stop()
        assert all(each.cancelled() for each in waiting)

    asyncio.run(scene())


def test_what_has_rested_begins_anew() -> None:
    async def scene() -> None:
        flights, work = Flights[int](0.001), Work()
        work.may_end.set()
        found = [await flights.join_next("x", work) for _ in range(3)]
        assert found == [1, 2, 3]

    asyncio.run(scene())
