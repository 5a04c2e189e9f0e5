"""Downloads that a node does for several clones at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gittorrent.ids import PushId, RepositoryId
from gittorrent.node.clone_downloads import MAX_DOWNLOADS, CloneDownloads, NotKeptError
from gittorrent.wire.control import Fetch, Note

if TYPE_CHECKING:
    from gittorrent.node.clone_downloads import CloneDownload
    from gittorrent.wire.control import Answer


def request(number: int = 1) -> Fetch:
    """Return what a clone asks for."""
    return Fetch(RepositoryId(f"{number:040x}"), PushId("a" * 40), None, "git://example.org/x")


class World:
    """Downloads that go on until the test ends them, and take a while to be cancelled."""

    def __init__(self) -> None:
        self.begun: list[CloneDownload] = []
        self.may_end = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.downloads = CloneDownloads(self._bring)

    async def _bring(self, _request: Fetch, download: CloneDownload) -> None:
        self.begun.append(download)
        try:
            await self.may_end.wait()
        finally:
            await self.may_stop.wait()

    async def join(self, number: int = 1) -> asyncio.Task[None]:
        """Let a clone ask, and wait until that had its effect."""
        task = asyncio.create_task(self.downloads.join(request(number), lambda _answer: None))
        await settle()
        return task


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_clones_that_want_the_same_share_a_download() -> None:
    async def scenario() -> None:
        world = World()
        world.may_stop.set()
        heard: list[Answer] = []
        first = await world.join()
        second = asyncio.create_task(world.downloads.join(request(), heard.append))
        await settle()
        (download,) = world.begun
        download.note("on its way")
        first.cancel()
        await settle()
        world.may_end.set()
        await second
        assert heard == [Note("on its way")]
        assert not world.downloads.repositories

    asyncio.run(scenario())


def test_a_clone_that_comes_while_a_download_is_stopped_gets_a_new_one() -> None:
    """It must not be cancelled along with the download that nobody waits for any more."""

    async def scenario() -> None:
        world = World()
        first = await world.join()
        first.cancel()
        await settle()
        second = await world.join()
        assert not second.done()
        assert len(world.begun) == 1, "the next one begins after the end of the last"
        world.may_stop.set()
        await settle()
        assert len(world.begun) == 2
        world.may_end.set()
        await second

    asyncio.run(scenario())


def test_there_are_not_too_many_downloads_at_once() -> None:
    async def scenario() -> None:
        world = World()
        world.may_stop.set()
        for number in range(MAX_DOWNLOADS):
            await world.join(number)
        with pytest.raises(NotKeptError):
            await (await world.join(MAX_DOWNLOADS))
        await world.downloads.stop()
        assert not world.downloads.repositories

    asyncio.run(scenario())
