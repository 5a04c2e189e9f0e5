"""Of which reels peers are told."""

from __future__ import annotations

import asyncio

from gittorrent.ids import ManifestId
from gittorrent.node.reel_news import ReelNews
from gittorrent.repository.carried import Carried
from gittorrent.transfer.off_loop import at_once


def test_what_comes_is_told_once_and_what_was_there_is_not(carried: Carried) -> None:
    (reel,) = carried.reels.all()
    here = [reel]
    told: list[ManifestId] = []
    news = ReelNews(lambda: here, at_once, lambda made: told.append(made.id))

    async def look() -> list[ManifestId]:
        told.clear()
        await news.look()
        return list(told)

    async def run() -> None:
        assert await look() == []
        assert await look() == []
        here.clear()
        assert await look() == []
        here.append(reel)
        assert await look() == [reel.id]
        assert await look() == []

    asyncio.run(run())
