"""Parts from a web server: what is known of their beginnings on lines that break."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest

from gittorrent.ids import ManifestId, PushId
from gittorrent.transfer.http_client import HttpClient
from gittorrent.transfer.http_mirror import HttpMirror, _begins_at, ask_for_time_by_http
from gittorrent.transfer.limiter import Limiter
from gittorrent.transfer.mirror import Mirror, PartSink, WantedPack
from gittorrent.wire.reelname import PackShape, ReelName
from gittorrent.wire.urls import Endpoint
from support.programs import PATIENCE

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


class Says:
    """A client whose server answers each request for a range in the same way."""

    def __init__(self, headers: dict[str, str], data: bytes) -> None:
        self._headers = headers
        self._data = data

    def url_of(self, name: str) -> str:
        return f"http://127.0.0.1/x/{name}"

    @contextlib.asynccontextmanager
    async def get(self, name: str, headers: dict[str, str]) -> AsyncIterator[SimpleNamespace]:
        del name, headers
        content = asyncio.StreamReader()
        content.feed_data(self._data)
        content.feed_eof()
        kind = self._headers.get("Content-Type", "application/octet-stream")
        yield SimpleNamespace(status=206, headers=self._headers, content_type=kind, content=content)

    async def close(self) -> None:
        pass


class Heard(Sink):
    """Notes what comes, and what is said not to be there."""

    def __init__(self, beginnings: dict[int, bytes]) -> None:
        super().__init__(beginnings)
        self.came: dict[int, bytes] = {}
        self.missing: list[tuple[int, int]] = []
        self.told = asyncio.Event()

    def part_arrived(self, mirror: Mirror, part: int, data: bytes) -> None:
        del mirror
        self.came[part] = bytes(data)
        self.told.set()

    def parts_missing(self, mirror: Mirror, first: int, last: int) -> None:
        del mirror
        self.missing.append((first, last))
        self.told.set()


def ask_for_a_rest(headers: dict[str, str]) -> Heard:
    """Ask for part 1, of which 6 bytes are known, whose other bytes are all the same."""

    async def ask() -> Heard:
        sink = Heard({1: b"before"})
        client = Says(headers, b"x" * 250)
        endpoint = Endpoint("http", "127.0.0.1", 80, "/x")
        mirror = HttpMirror(endpoint, cast("HttpClient", client), Limiter(None))
        mirror.begin(PACK, cast("PartSink", sink))
        mirror.ask(1, 1)
        async with asyncio.timeout(PATIENCE):
            await sink.told.wait()
        await mirror.close()
        return sink

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 0-249/1000"},
        {"Content-Range": "bytes 256-511/1000"},  # as if nothing were known
        {"Content-Range": "bytes */1000"},
        {"Content-Range": "256-511"},
        {"Content-Range": "bytes " + "9" * 5000 + "-"},
        {"Content-Type": "multipart/byteranges; boundary=x"},
    ],
)
def test_another_range_than_what_was_asked_for_is_not_taken(headers: dict[str, str]) -> None:
    heard = ask_for_a_rest(headers)
    assert (heard.came, heard.missing) == ({}, [(1, 1)])


@pytest.mark.parametrize("headers", [{"Content-Range": "bytes 262-511/1000"}, {}])
def test_the_range_that_was_asked_for_follows_what_is_known(headers: dict[str, str]) -> None:
    heard = ask_for_a_rest(headers)
    assert (heard.came, heard.missing) == ({1: b"before" + b"x" * 250}, [])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Thu, 01 Jan 1970 00:01:00 GMT", 60.0),
        ("Thu, 99999999999999999999 Jan 2026 00:00:00 GMT", None),
        ("Thu, 01 Jan 2026 00:00:00 +99999999999999", None),
        ("soon", None),
    ],
)
def test_the_date_of_a_server_may_be_none(said: str, expected: float | None) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nDate: {said}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def ask() -> float | None:
        server = await asyncio.start_server(respond, "127.0.0.1", 0)
        try:
            port = server.sockets[0].getsockname()[1]
            return await ask_for_time_by_http(Endpoint("http", "127.0.0.1", port, "/x"))
        finally:
            server.close()

    assert asyncio.run(ask()) == expected


@pytest.mark.parametrize(
    ("content_type", "is_good"),
    [
        (f"application/x; a*{'9' * 5000}=x", True),
        (f"Multipart/byteranges; a*{'9' * 5000}=x", False),
    ],
)
def test_the_type_of_a_range_may_have_any_parameters(content_type: str, is_good: bool) -> None:
    headers = {"Content-Type": content_type}
    assert (
        _begins_at(cast("aiohttp.ClientResponse", SimpleNamespace(headers=headers)), 0) is is_good
    )
