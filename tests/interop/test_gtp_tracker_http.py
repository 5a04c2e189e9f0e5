"""The tracker over HTTP: answers, refusals, back-off, files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from gittorrent.gtp.errors import TrackerError
from gittorrent.gtp.messages import PeerAddress
from gittorrent.gtp.metainfo import MetainfoSpec, parse_metainfo, write_metainfo
from gittorrent.gtp.node.daemon import GtpNode
from gittorrent.gtp.node.session import open_seed
from gittorrent.gtp.node.tracker_client import TrackerClient
from gittorrent.gtp.node.tracker_server import TrackerServer, static_answer
from gittorrent.gtp.node.tracker_store import TrackerStore
from gittorrent.gtp.tracker_messages import TrackerEvent, TrackerRequest, parse_answer
from gittorrent.gtp.tracker_table import BURST
from gittorrent.transfer.http_resolvers import Pinned
from gittorrent.transfer.server_timeouts import ServerTimeouts
from support import gtp, nodes
from support.repositories import Made

HASH = b"h" * 20


def ignore(*_: object) -> None:
    """Take in what a tracker told."""


async def get(server: TrackerServer, query: str, **headers: str) -> tuple[int, bytes, str | None]:
    parts = urlsplit(server.addresses[0])
    address = (str(parts.hostname), int(parts.port or 0))
    response, body = await asyncio.to_thread(nodes.fetch, address, "GET", f"/?{query}", **headers)
    return response.status, body, response.getheader("Retry-After")


def request(number: int, event: TrackerEvent = TrackerEvent.NONE) -> str:
    return TrackerRequest(HASH, bytes([number]) * 20, 1000 + number, event=event).query()


def test_pages_list_nobody(tmp_path: Path) -> None:
    """An image of a page would have its readers' browsers announce them as peers."""

    async def scenario() -> None:
        store = TrackerStore(tmp_path / "t.sqlite")
        server = TrackerServer(store)
        await server.start([("127.0.0.1", 0)])
        for headers in ({"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
            status, _, _ = await get(server, request(1, TrackerEvent.STARTED), **headers)
            assert status == 403
        _, body, _ = await get(server, request(2))
        assert parse_answer(body).peers == ()
        await server.stop()
        store.close()

    gtp.run(scenario())


def test_a_request_has_to_be_whole_in_time(tmp_path: Path) -> None:
    """Or whoever opens connections and says nothing has all of the tracker's."""

    async def scenario() -> None:
        store = TrackerStore(tmp_path / "t.sqlite")
        server = TrackerServer(store, server_timeouts=ServerTimeouts(request=0.05))
        await server.start([("127.0.0.1", 0)])
        parts = urlsplit(server.addresses[0])
        for begin in (b"", b"GET /?repo_hash=", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(begin)
            with contextlib.suppress(ConnectionResetError):  # that was not read in time
                await reader.read()
            writer.close()
        await server.stop()
        store.close()

    gtp.run(scenario())


def test_peers_find_each_other_and_a_restart_keeps_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = TrackerStore(tmp_path / "t.sqlite")
        server = TrackerServer(store)
        await server.start([("127.0.0.1", 0)])
        await get(server, request(1, TrackerEvent.STARTED))
        _, body, _ = await get(server, request(2, TrackerEvent.STARTED))
        assert parse_answer(body).peers == (PeerAddress(b"\1" * 20, "127.0.0.1", 1001),)
        await server.stop()
        store.close()
        store = TrackerStore(tmp_path / "t.sqlite")
        server = TrackerServer(store)
        await server.start([("127.0.0.1", 0)])
        _, body, _ = await get(server, request(3))
        assert {p.port for p in parse_answer(body).peers} == {1001, 1002}
        await get(server, request(1, TrackerEvent.STOPPED))
        _, body, _ = await get(server, request(3))
        assert {p.port for p in parse_answer(body).peers} == {1002}
        await server.stop()
        store.close()

    gtp.run(scenario())


def test_refusals_are_failures_and_floods_get_503(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = TrackerStore(tmp_path / "t.sqlite")
        server = TrackerServer(store, clock=lambda: 1000.0)
        await server.start([("127.0.0.1", 0)])
        status, body, _ = await get(server, "port=1")
        assert status == 200
        assert b"failure reason" in body
        for _ in range(BURST - 1):
            await get(server, request(1))
        status, body, retry = await get(server, request(1))
        assert status == 503
        assert retry is not None
        assert int(retry) > 0
        assert b"failure reason" in body
        await server.stop()
        store.close()

    gtp.run(scenario())


def test_a_file_is_a_tracker() -> None:
    info = parse_metainfo(write_metainfo(MetainfoSpec(b"", ())))
    answer = parse_answer(static_answer(info, [("seed.example.org", 9417), ("::1", 1)]))
    assert answer.expires == 0
    assert [(p.host, p.port) for p in answer.peers] == [("seed.example.org", 9417), ("::1", 1)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", "7 seconds"),
        (b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n", "60 seconds"),
        (
            "HTTP/1.1 429 Slow\r\nRetry-After: ²\r\nContent-Length: 0\r\n\r\n".encode(),
            "60 seconds",
        ),
        (b"HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n", "status 404"),
        (b"HTTP/1.1 302 Away\r\nLocation: http://localhost/\r\nContent-Length: 0\r\n\r\n", "302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nle", "no dictionary"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\nd14:failure reason1:xe", "refused: x"),
        (b"nonsense\r\n\r\n", "."),
    ],
    ids=["busy", "slow", "odd", "missing", "moved", "list", "failure", "nonsense"],
)
def test_clients_understand_trackers_that_fail(
    answer: bytes, expected: str, copied: Callable[[str], Made]
) -> None:
    source = copied("one").git_dir

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(respond, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        info = gtp.metainfo_for(source, gtp.PERL_2008)
        node = GtpNode(None)
        swarm = open_seed(node, info, source)
        client = TrackerClient(
            [url := f"http://127.0.0.1:{port}/announce?key=1"], swarm, node.peer_id, 0, ignore
        )
        with pytest.raises(TrackerError, match=expected):
            await client.ask(url)
        await client.leave()
        assert swarm.holding is not None
        swarm.holding.close()
        server.close()
        await server.wait_closed()

    gtp.run(scenario())


def test_a_tracker_that_was_cut_off_is_told_of_the_end(copied: Callable[[str], Made]) -> None:
    """It may list us although its answer never came."""
    source = copied("one").git_dir
    heard: list[bytes] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        if b"event=stopped" in heard[-1]:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nde")
            await writer.drain()
        else:
            await reader.read()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(respond, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        node = GtpNode(None)
        swarm = open_seed(node, gtp.metainfo_for(source, gtp.PERL_2008), source)
        url = f"http://127.0.0.1:{port}/announce"
        client = TrackerClient([url], swarm, node.peer_id, 0, ignore)
        asking = asyncio.create_task(client.run())
        await gtp.until(lambda: len(heard) == 1)
        asking.cancel()
        await asyncio.wait([asking])
        await client.leave()
        assert b"event=stopped" in heard[-1]
        assert swarm.holding is not None
        swarm.holding.close()
        server.close()
        await server.wait_closed()

    gtp.run(scenario())


def test_answers_and_refusals_have_the_type_of_the_draft(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = TrackerStore(tmp_path / "t.sqlite")
        server = TrackerServer(store)
        await server.start([("127.0.0.1", 0)])
        parts = urlsplit(server.addresses[0])
        address = (str(parts.hostname), int(parts.port or 0))
        for method, query in (("GET", request(1)), ("GET", "port=1"), ("PUT", "")):
            response, _ = await asyncio.to_thread(nodes.fetch, address, method, f"/?{query}")
            assert response.getheader("Content-Type") == "application/x-gittorrent"
        await server.stop()
        store.close()

    gtp.run(scenario())


def test_one_tracker_is_asked_and_the_others_when_it_fails(
    copied: Callable[[str], Made], tmp_path: Path
) -> None:
    """A node is listed at one; one that is gone gives way at once."""
    source = copied("one").git_dir

    async def scenario() -> None:
        stores = [TrackerStore(tmp_path / f"{number}.sqlite") for number in range(2)]
        servers = [TrackerServer(store) for store in stores]
        for server in servers:
            await server.start([("127.0.0.1", 0)])
        urls = ("http://127.0.0.1:1/", *(url for s in servers for url in s.addresses))
        info = gtp.metainfo_for(source, gtp.PERL_2008, trackers=urls)
        giver = await gtp.seed(info, source)

        def listings() -> int:
            return sum(sum(server.table.counts(info.repo_hash)) for server in servers)

        await gtp.until(lambda: listings() > 0)
        assert listings() == 1
        await giver.stop()
        assert listings() == 0
        for server, store in zip(servers, stores, strict=True):
            await server.stop()
            store.close()

    gtp.run(scenario())


def test_who_fetches_something_newer_does_not_count_as_complete(
    copied: Callable[[str], Made],
) -> None:
    source = copied("linear").git_dir
    info = gtp.metainfo_for(source, gtp.PERL_2008)
    node = GtpNode(None)
    swarm = open_seed(node, info, source)
    client = TrackerClient(["http://127.0.0.1:1/"], swarm, node.peer_id, 0, ignore)
    assert client.request(TrackerEvent.NONE).completed
    swarm.exchange.have.clear()  # as while the newest reference is on its way
    assert not client.request(TrackerEvent.NONE).completed
    assert swarm.holding is not None
    swarm.holding.close()


@pytest.mark.parametrize("url", ["http://[", "http://h:99999/", "http://h:x/", "http:///", "x"])
def test_what_is_no_url_of_a_tracker_fails_like_one(
    url: str, copied: Callable[[str], Made]
) -> None:
    source = copied("linear").git_dir
    info = gtp.metainfo_for(source, gtp.PERL_2008)

    async def scenario() -> None:
        node = GtpNode(None)
        swarm = open_seed(node, info, source)
        client = TrackerClient([url], swarm, node.peer_id, 0, ignore)
        with pytest.raises((TrackerError, OSError)):
            await client.ask(url)
        assert swarm.holding is not None
        swarm.holding.close()

    gtp.run(scenario())


def test_a_name_is_asked_at_its_next_address(tmp_path: Path) -> None:
    """A tracker whose first address, such as that of IPv6, does not work is no lost tracker."""

    async def scenario() -> None:
        store = TrackerStore(tmp_path / "t.sqlite")
        server = TrackerServer(store)
        await server.start([("127.0.0.1", 0)])
        port = urlsplit(server.addresses[0]).port
        # Nobody listens at this port of 127.0.0.2.
        connector = aiohttp.TCPConnector(resolver=Pinned("127.0.0.2", "127.0.0.1"))
        url = f"http://localhost:{port}/?{request(1, TrackerEvent.STARTED)}"
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get(URL(url, encoded=True)) as response:
                assert response.status == 200
                parse_answer(await response.read())
        await server.stop()
        store.close()

    gtp.run(scenario())
