"""Conversations by WebSocket at a node, held by callers who keep to no rule."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.node.conversations import MAKE_ROOM
from gittorrent.node.http_conversations import NO_UPGRADE
from gittorrent.reel.parts import choose_part_size, part_count
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts
from gittorrent.transfer.websocket import MAX_MESSAGE, MAX_PINGS
from gittorrent.wire import pktline
from gittorrent.wire.session import Timeouts
from support import nodes, websockets
from support.nodes import Served
from support.programs import PATIENCE, wait_until
from support.websockets import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, calling, frame

READY = b"mirror-sync ready"


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Carried:
    root = tmp_path_factory.mktemp("repository")
    key: Signer = nodes.signer(root)
    return nodes.publish(nodes.make_repository(root / "project.git", 3 << 20), key, "project")


@contextlib.contextmanager
def running(
    carried: Carried, home: Path, server_timeouts: ServerTimeouts = SERVER_TIMEOUTS
) -> Iterator[Served]:
    with nodes.serving(
        carried, home=nodes.make_home(home), server_timeouts=server_timeouts
    ) as node:
        yield node


@pytest.fixture(scope="module")
def node(carried: Carried, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(carried, tmp_path_factory.mktemp("node")) as served:
        yield served


def question(carried: Carried) -> bytes:
    head = carried.log_store.ids()[-1]
    return pktline.encode(f"fetch push {head}\n".encode())


def test_what_passes_is_the_conversation_of_git(node: Served, carried: Carried) -> None:
    """However the caller's bytes are cut into frames."""
    with calling(node.http_address) as caller:
        caller.agreed().hear(READY)
        asked = question(carried)
        for at in range(len(asked)):
            caller.send(BINARY, asked[at : at + 1])
        caller.hear(b"receive push ")
        caller.send(BINARY, asked[:9], last=False)
        caller.send(CONTINUATION, asked[9:])
        caller.hear(b"receive push ")
        caller.send(PING, b"there?")
        assert caller.receive() == (PONG, b"there?")
        caller.send(BINARY, pktline.encode(b"bye done\n"))
        assert [kind for kind, _ in caller.rest()] == [CLOSE]
    assert node.ended_conversations()[0].reason == "done"


@pytest.mark.parametrize("parts", [1, 2])
def test_the_largest_message_is_taken(node: Served, carried: Carried, parts: int) -> None:
    asked, lines = question(carried), 8
    each, rest = divmod(MAX_MESSAGE - len(asked), lines)
    sizes = [each + rest, *[each] * (lines - 1)]
    data = b"".join(pktline.encode(b"x" * (size - 4)) for size in sizes) + asked
    assert len(data) == MAX_MESSAGE
    with calling(node.http_address) as caller:
        caller.agreed().hear(READY)
        caller.send(BINARY, data[: len(data) // parts], last=parts == 1)
        if parts == 2:
            caller.send(CONTINUATION, data[len(data) // 2 :])
        caller.hear(b"receive push ")


def test_a_plain_request_is_told_what_is_there(node: Served) -> None:
    answer, body = nodes.fetch(node.http_address, "GET", websockets.PATH)
    assert (answer.status, answer.getheader("Upgrade")) == (426, "websocket")
    assert body.decode().strip() == NO_UPGRADE
    answer, _ = nodes.fetch(node.http_address, "POST", websockets.PATH)
    assert answer.status == 405
    with calling(node.http_address, websockets.request(Sec_WebSocket_Key="short")) as caller:
        assert " 426 " in caller.head()


def test_what_is_not_served_is_not_upgraded(node: Served) -> None:
    with calling(node.http_address, websockets.request("/other.git/mirror-sync")) as caller:
        assert " 404 " in caller.head()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "websocket"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 403),
        ({"Host": "rebound.example:80"}, 421),
    ],
)
def test_a_web_page_opens_none(node: Served, headers: dict[str, str], status: int) -> None:
    with calling(node.http_address, websockets.request(**headers)) as caller:
        assert f" {status} " in caller.head()


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"000dbye done\n"),
        frame(BINARY),
        frame(BINARY, b"x", size=MAX_MESSAGE + 1),
        frame(BINARY, b"x", size=1 << 62),
        frame(BINARY, b"x" * (MAX_MESSAGE // 2), last=False)
        + frame(CONTINUATION, b"x" * (MAX_MESSAGE // 2 + 1), last=False),
        frame(CONTINUATION, b"x"),
        b"\xf2" + frame(BINARY, b"x")[1:],  # says that it is compressed
        frame(PING) * (MAX_PINGS + 30),
        frame(PONG) * (MAX_PINGS + 30),
    ],
    ids=[
        "text", "empty", "too-long", "absurd", "fragments", "loose-end", "compressed",
        "pings", "pongs",
    ],
)  # fmt: skip
def test_what_breaks_a_rule_ends_it(carried: Carried, tmp_path: Path, sent: bytes) -> None:
    with running(carried, tmp_path) as node:
        with calling(node.http_address) as caller:
            caller.agreed().hear(READY)
            with contextlib.suppress(ConnectionError):
                caller.sock.sendall(sent)
            caller.rest()
        wait_until(lambda: bool(node.ended_conversations()), "its end is noted")


def test_one_that_is_not_read_is_dropped(carried: Carried, tmp_path: Path) -> None:
    server_timeouts = replace(SERVER_TIMEOUTS, taken=0.2, look=0.02, look_quiet=0.02)
    with running(carried, tmp_path, server_timeouts) as node:
        with calling(node.http_address) as caller:
            caller.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.agreed().hear(READY)
            _, index = nodes.fetch(node.http_address, "GET", "/project.git/reels/index")
            _, _, reel, manifest, size, *_ = index.split()
            parts = part_count(int(size), choose_part_size(int(size)))
            wanted = b"fetch bundle %b %b parts 1-%d/%d\n" % (reel, manifest, parts, parts)
            for _ in range(12):
                caller.send(BINARY, pktline.encode(wanted))
            wait_until(lambda: bool(node.ended_conversations()), "it is given up")
        assert "timed out" in node.ended_conversations()[0].reason


@pytest.mark.parametrize("say", [b"", b"0100fetch "])
def test_one_that_is_silent_is_dropped(carried: Carried, tmp_path: Path, say: bytes) -> None:
    session = Timeouts(idle=0.2, message=0.2)
    server_timeouts = replace(SERVER_TIMEOUTS, look=0.02, look_quiet=0.02, session=session)
    with running(carried, tmp_path, server_timeouts) as node:
        with calling(node.http_address) as caller:
            caller.agreed().hear(READY)
            if say:
                caller.send(BINARY, say)
            caller.rest()
        wait_until(lambda: bool(node.ended_conversations()), "its end is noted")
        assert "silent" in node.ended_conversations()[0].reason


def test_one_that_is_gone_leaves_nothing(carried: Carried, tmp_path: Path) -> None:
    with running(carried, tmp_path) as node:
        with calling(node.http_address) as caller:
            caller.agreed().hear(READY)
        wait_until(lambda: bool(node.ended_conversations()), "its end is noted")
        wait_until(lambda: node.node._connection_limiter.open == 0, "its place is free")
        assert "closed" in node.ended_conversations()[0].reason


def test_the_node_ends_while_they_talk(carried: Carried, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        with running(carried, tmp_path) as node:
            caller = stack.enter_context(calling(node.http_address))
            caller.agreed().hear(READY)
        assert b"shutting down" in b"".join(data for _, data in caller.rest())


def test_make_room_is_said(carried: Carried, tmp_path: Path) -> None:
    """A conversation in which nothing is asked gives way, and is told so."""
    with running(carried, tmp_path) as node, calling(node.http_address) as caller:
        caller.agreed().hear(READY)
        limiter = node.node._connection_limiter

        async def make_room() -> None:
            limiter._make_room(asyncio.get_running_loop().time() + 60)

        asyncio.run_coroutine_threadsafe(make_room(), node.loop).result(PATIENCE)
        assert MAKE_ROOM.encode() in b"".join(data for _, data in caller.rest())
