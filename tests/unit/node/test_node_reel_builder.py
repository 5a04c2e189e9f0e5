"""When a keeper's node has reels made, and whom it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from gittorrent.errors import LocalError
from gittorrent.node.catalogue import Catalogue, Served
from gittorrent.node.live_repository import LiveRepository
from gittorrent.node.reel_builder import ReelBuilder
from gittorrent.reel.timing import ReelTimes, ReelTiming
from gittorrent.repository.arrived_objects import Arrived
from gittorrent.repository.carried import Carried
from gittorrent.repository.kept_log import KeptLog
from gittorrent.repository.making import Made
from gittorrent.signing.keys import Signer
from support import nodes, publishing
from support.programs import PATIENCE

Look = Callable[[], Coroutine[Any, Any, None]]

AT_ONCE = ReelTimes(many=1, quiet=0.0)


async def nothing(_served: Served, _missing: Sequence[Arrived]) -> Sequence[Path]:
    raise LocalError("nobody gives it")


class Maker:
    """Makes reels, as it is told: how often it was asked counts."""

    def __init__(self, failures: int = 0) -> None:
        self.asked = 0
        self.failures = failures
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def make(self, carried: Carried, heard: Callable[[Made], None]) -> None:
        self.asked += 1
        await self.may_end.wait()
        if self.asked <= self.failures:
            raise LocalError("no room")
        for reel in carried.reels.all():
            heard(Made(reel.id))


def play(
    carried: Carried,
    maker: Maker,
    work: Callable[
        [ReelBuilder, Callable[[], Coroutine[Any, Any, None]]], Coroutine[Any, Any, None]
    ],
) -> None:
    """Run a builder; ``work`` is given it and what looks and waits for what follows."""

    async def run() -> None:
        catalogue = Catalogue([carried])
        (served,) = catalogue
        executor = catalogue.threads.executor()
        live = LiveRepository(served, KeptLog(carried), executor, nothing)
        await live.begin()
        builder = ReelBuilder(live, ReelTiming(AT_ONCE), maker.make)

        async def look() -> None:
            builder.look()
            await builder.settled()

        try:
            async with asyncio.timeout(PATIENCE):
                await work(builder, look)
        finally:
            await builder.stop()
            await live.stop()

    asyncio.run(run())


def uncovered(tmp_path: Path, key: Signer, *, keeps: bool = True) -> Carried:
    """Return a repository with a checkpoint that no reel covers."""
    made = publishing.builder(tmp_path / "project.git")
    publishing.grow(made, 2)
    carried = nodes.publish(made.git_dir, key, "project")
    for reel in carried.reels.all():
        reel.pack.unlink()
    if keeps:
        carried.remember_keeper(key.spec)
    return carried


def test_reels_are_made_once(tmp_path: Path, key: Signer) -> None:
    maker = Maker()

    async def work(_builder: ReelBuilder, look: Look) -> None:
        for _ in range(3):
            await look()
        assert maker.asked == 1

    play(uncovered(tmp_path, key), maker, work)


def test_nothing_is_made_where_the_keeper_is_not(tmp_path: Path, key: Signer) -> None:
    maker = Maker()

    async def work(_builder: ReelBuilder, look: Look) -> None:
        await look()
        assert maker.asked == 0

    play(uncovered(tmp_path, key, keeps=False), maker, work)


def test_what_fails_is_not_tried_again_at_once(tmp_path: Path, key: Signer) -> None:
    maker = Maker(failures=1)

    async def work(_builder: ReelBuilder, look: Look) -> None:
        await look()
        await look()
        assert maker.asked == 1

    play(uncovered(tmp_path, key), maker, work)


def test_one_look_at_a_time(tmp_path: Path, key: Signer) -> None:
    maker = Maker()

    async def work(builder: ReelBuilder, look: Look) -> None:
        maker.may_end.clear()
        for _ in range(3):
            builder.look()
        maker.may_end.set()
        await look()
        assert maker.asked == 1

    play(uncovered(tmp_path, key), maker, work)


def test_a_look_that_finds_nothing_due_begins_nothing(carried: Carried) -> None:
    maker = Maker()

    async def work(builder: ReelBuilder, look: Look) -> None:
        await look()
        before = asyncio.all_tasks()
        builder.look()
        assert asyncio.all_tasks() <= before

    play(carried, maker, work)
    assert maker.asked == 0
