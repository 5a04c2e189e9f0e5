"""Attempts that others join while they are made."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gittorrent.transfer.racing import first_success, keep


class Search:
    """Answers with batches of candidates, then with none; counts the questions."""

    def __init__(self, *batches: Sequence[str], hangs: bool = False) -> None:
        self._batches = list(batches)
        self._hangs = hangs
        self.asked = 0
        self.was_given_up = False

    async def __call__(self) -> Sequence[str]:
        self.asked += 1
        if self._batches:
            return self._batches.pop(0)
        if self._hangs:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.was_given_up = True
                raise
        return []


async def attempt(name: str) -> str:
    """Succeed, fail or be silent, as the name says."""
    if name.startswith("bad"):
        raise OSError(name)
    if name.startswith("silent"):
        await asyncio.get_running_loop().create_future()
    return name


def race(
    first: Sequence[str], search: Search, stagger: float = 60.0
) -> tuple[str | None, list[str]]:
    failed: list[str] = []

    async def work() -> tuple[str, str] | None:
        return await first_success(
            first, attempt, stagger, lambda name, _: failed.append(name), keep, more=search
        )

    won = asyncio.run(work())
    return (None if won is None else won[0]), failed


def test_nobody_is_looked_for_while_somebody_answers() -> None:
    search = Search(["other"])
    assert race(["good"], search) == ("good", [])
    assert race(["bad", "good"], search) == ("good", ["bad"])
    assert search.asked == 0


def test_others_are_looked_for_when_all_failed_or_there_are_none() -> None:
    assert race(["bad1", "bad2"], Search(["bad3"], ["good"])) == ("good", ["bad1", "bad2", "bad3"])
    assert race([], Search(["good"])) == ("good", [])


def test_others_are_looked_for_when_all_are_silent() -> None:
    assert race(["silent"], Search(["silent2"], ["good"]), stagger=0.01) == ("good", [])


def test_the_search_ends_with_an_empty_answer() -> None:
    search = Search(["bad1"])
    assert race(["bad2"], search) == (None, ["bad2", "bad1"])
    assert search.asked == 2


def test_a_search_that_is_not_needed_any_more_is_given_up() -> None:
    search = Search(["good"], hangs=True)

    async def late(name: str) -> str:
        while search.asked < 2:
            await asyncio.sleep(0)
        return name

    async def work() -> tuple[str, str] | None:
        return await first_success([], late, 0.0, lambda *_: None, keep, more=search)

    assert asyncio.run(work()) == ("good", "good")
    assert search.was_given_up


def test_a_mistake_of_the_search_is_raised() -> None:
    async def broken() -> Sequence[str]:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        asyncio.run(first_success([], attempt, 0.0, lambda *_: None, keep, more=broken))
