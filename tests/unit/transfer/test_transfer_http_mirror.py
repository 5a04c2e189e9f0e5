"""Parts from a web server: what is known of their beginnings on lines that break."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import aiohttp
import pytest

from gittorrent.ids import ManifestId, PushId
from gittorrent.transfer.http_client import HttpClient
from gittorrent.transfer.http_mirror import HttpMirror
from gittorrent.transfer.limiter import Limiter
from gittorrent.transfer.mirror import Mirror, PartSink, WantedPack
from gittorrent.wire.reelname import PackShape, ReelName
from gittorrent.wire.urls import Endpoint

REEL = ReelName(None, PushId("ab" * 20))
PACK = WantedPack(REEL, ManifestId("cd" * 32), PackShape(1000, 256), 4)


class Unreachable:
    """A client whose line breaks at each request."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @contextlib.asynccontextmanager
    async def get(self, name: str, headers: dict[str, str]) -> AsyncIterator[None]:
        del name
        self.asked.append(headers["Range"])
        raise aiohttp.ClientConnectionError("the line broke")
        yield

    async def close(self) -> None:
        pass


class Sink:
    """Knows the beginning of one part."""

    def __init__(self, beginnings: dict[int, bytes]) -> None:
        self.beginnings = beginnings
        self.lost = ""

    def taken_up(self, mirror: Mirror, part: int) -> bytes:
        del mirror
        return self.beginnings.pop(part, b"")

    def part_broke_off(self, mirror: Mirror, part: int, beginning: bytes) -> None:
        del mirror
        self.beginnings[part] = beginning

    def mirror_lost(self, mirror: Mirror, reason: str) -> None:
        del mirror
        self.lost = reason


@pytest.mark.parametrize("known", [{1: b"known"}, {}])
def test_a_request_that_comes_to_nothing_gives_the_beginning_back(known: dict[int, bytes]) -> None:
    client, sink = Unreachable(), Sink(dict(known))

    async def lose() -> None:
        endpoint = Endpoint("http", "127.0.0.1", 80, "/x")
        mirror = HttpMirror(endpoint, cast("HttpClient", client), Limiter(None))
        mirror.begin(PACK, cast("PartSink", sink))
        mirror.ask(1, 2)
        await mirror.wait_closed()
        await mirror.close()

    asyncio.run(lose())
    assert client.asked == [f"bytes={256 + len(known.get(1, b''))}-767"]
    assert sink.beginnings == known
    assert "the line broke" in sink.lost
