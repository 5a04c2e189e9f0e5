"""Every wait that a stranger can hold, held: each ends, however little by little it goes on.

Times are short here and nobody measures any; a wait without its bound would make a test wait for
longer than its patience.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from gittorrent.node.catalogue import Catalogue
from gittorrent.node.connection_limiter import ConnectionLimiter, ConnectionSlot
from gittorrent.node.connections import accept_forever
from gittorrent.node.dial_back import ask_back
from gittorrent.node.git_listener import send
from gittorrent.node.http_connections import HttpConnections
from gittorrent.node.mirror_table import MirrorTable
from gittorrent.node.notices import Notices
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.store.database import Database
from gittorrent.transfer.keepalive import PROBE_AFTER_SECONDS, PROBE_SECONDS, PROBES
from gittorrent.transfer.server_timeouts import ServerTimeouts
from gittorrent.wire import notify, pktline
from gittorrent.wire.mirrorlist import MirrorList
from gittorrent.wire.notify import Notify
from gittorrent.wire.session import Timeouts
from gittorrent.wire.urls import parse_learned_url
from support import nodes
from support.hostile import raw_server
from support.nodes import request
from support.programs import PATIENCE, wait_until

SHORT = ServerTimeouts(
    request=0.2,
    notice=0.2,
    taken=0.2,
    call_back=0.2,
    control=0.2,
    look=0.02,
    look_quiet=0.02,
    session=Timeouts(idle=60.0, message=60.0),
)
ENDLESS = b"x" * 20_000
"""Takes longer to send, a byte at a time, than anybody here waits."""


def drip(sock: socket.socket, data: bytes) -> bytes:
    """Send a byte now and then until the other end has had enough; returns what it said."""
    heard = b""
    with contextlib.suppress(ConnectionError):
        for byte in data:
            sock.sendall(bytes([byte]))
            while select.select([sock], [], [], 0.005)[0]:
                more = sock.recv(65536)
                if not more:
                    return heard
                heard += more
    return heard + rest(sock)


def rest(sock: socket.socket) -> bytes:
    """Return what comes until the other end closes."""
    heard = b""
    with contextlib.suppress(ConnectionError):
        while more := sock.recv(65536):
            heard += more
    return heard


@contextlib.contextmanager
def connected(address: tuple[str, int], first: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=PATIENCE) as sock:
        sock.sendall(first)
        yield sock


@contextlib.contextmanager
def answered(address: tuple[str, int], first: bytes) -> Iterator[socket.socket]:
    """Connect until a list comes: on a busy machine the time for the first request may pass."""
    for _ in range(50):
        with connected(address, first) as sock:
            heard = more = b"."
            with contextlib.suppress(ConnectionError):
                while more and b"repo " not in heard:
                    more = sock.recv(65536)
                    heard += more
            if b"repo " in heard:
                yield sock
                return
    raise AssertionError("no request was answered in its time")


NOTICE_HEAD = (
    b"POST /project.git/mirror-notify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n"
    b"Content-Type: " + notify.CONTENT_TYPE.encode() + b"\r\n\r\n"
)
TRICKLES: dict[str, tuple[str, bytes, bytes]] = {
    "git, the first packet": ("git", b"0f00git-upload-pack /", ENDLESS),
    "git, its length": ("git", b"", b"00"),
    "git, a notice": ("git", request("mirror-notify", b"/project.git") + b"ffff", ENDLESS),
    "http, the first head": ("http", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", ENDLESS),
    "http, a notice": ("http", NOTICE_HEAD, ENDLESS),
    "http, a body that nobody wants": (
        "http",
        b"GET /project.git/mirror-list HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 60000\r\n\r\n",
        ENDLESS,
    ),
}


@pytest.mark.parametrize("name", sorted(TRICKLES))
def test_a_request_has_to_be_whole_in_time(carried: Carried, tmp_path: Path, name: str) -> None:
    scheme, begin, more = TRICKLES[name]
    with nodes.serving(carried, home=nodes.make_home(tmp_path), server_timeouts=SHORT) as node:
        address = node.git_address if scheme == "git" else node.http_address
        with connected(address, begin) as sock:
            drip(sock, more)


def test_so_has_the_next_one_over_http(carried: Carried, tmp_path: Path) -> None:
    with nodes.serving(carried, home=nodes.make_home(tmp_path), server_timeouts=SHORT) as node:
        first = b"GET /project.git/mirror-list HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for begin in (b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: "):
            with answered(node.http_address, first) as sock:
                sock.sendall(begin)
                drip(sock, ENDLESS if begin else b"")


# --- those who do not take what they asked for ---------------------------------------------------


@pytest.fixture
def heavy(key: Signer, tmp_path: Path) -> Carried:
    """A repository with a reel that no socket's buffers hold."""
    return nodes.publish(nodes.make_repository(tmp_path / "r.git", 8 << 20), key, "project")


@contextlib.contextmanager
def deaf(address: tuple[str, int], first: bytes) -> Iterator[None]:
    """Ask for something and take none of it, from when the answer has begun to come."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.settimeout(PATIENCE)
        sock.connect(address)
        sock.sendall(first)
        assert select.select([sock], [], [], PATIENCE)[0]
        yield


@pytest.mark.parametrize("kind", ["parts", "resource"])
def test_who_takes_nothing_is_dropped(heavy: Carried, tmp_path: Path, kind: str) -> None:
    (reel,) = heavy.reels.all()
    total = len(reel.manifest.parts)
    ask = f"fetch bundle :{reel.manifest.end} {reel.id} parts 1-{total}/{total}\n".encode()
    http = f"GET /project.git/reels/{reel.id}.pack HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with nodes.serving(
        heavy, home=nodes.make_home(tmp_path / "home"), server_timeouts=SHORT
    ) as node:
        address, first = node.http_address, http
        if kind == "parts":
            address = node.git_address
            first = request("mirror-sync", b"/project.git") + pktline.encode(ask)
        with deaf(address, first):
            wait_until(lambda: node.node._connection_limiter.open == 0, "it is dropped")


def over_tcp(serve: Callable[[socket.socket, ConnectionSlot], object], first: bytes) -> None:
    """Have something serve a caller that asks and takes nothing, until that is over."""

    async def work() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as sock:
            listener.setblocking(False)
            connection_limiter, tasks = ConnectionLimiter(), set[asyncio.Task[None]]()
            accepting = asyncio.create_task(
                accept_forever(listener, connection_limiter, serve, tasks)  # type: ignore[arg-type]
            )
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.connect(listener.getsockname())
            sock.sendall(first)
            async with asyncio.timeout(PATIENCE):
                while not connection_limiter.open:
                    await asyncio.sleep(0)
                await asyncio.gather(*tasks)
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)

    asyncio.run(work())


@pytest.mark.parametrize("size", [32 << 20, 8 << 20])
def test_a_short_answer_over_http_has_to_be_taken_too(size: int) -> None:
    """Whether it is still being written, or waits to be flushed when the connection closes."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(body=bytes(size))
        if size < 16 << 20 and request.transport is not None:
            request.transport.set_write_buffer_limits(high=size * 2)
        response.force_close()
        await connections.finish(request, response)
        return response

    connections = HttpConnections(answer, SHORT)
    over_tcp(connections.serve, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


def test_a_list_that_nobody_reads_is_given_up() -> None:
    async def serve(sock: socket.socket, _slot: ConnectionSlot) -> None:
        await send(sock, bytes(32 << 20), SHORT.taken)

    over_tcp(serve, b"")


# --- conversations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("session", "say", "reason"),
    [
        (Timeouts(idle=0.1), b"", b"silent"),
        (Timeouts(message=0.1), b"ff00hello ", b"silent"),
    ],
    ids=["silence", "a line that does not end"],
)
def test_a_conversation_ends(
    carried: Carried, tmp_path: Path, session: Timeouts, say: bytes, reason: bytes
) -> None:
    server_timeouts = ServerTimeouts(look=0.02, look_quiet=0.02, session=session)
    with nodes.serving(
        carried, home=nodes.make_home(tmp_path), server_timeouts=server_timeouts
    ) as node:
        with connected(node.git_address, request("mirror-sync", b"/project.git") + say) as sock:
            drip(sock, ENDLESS if say else b"")
        wait_until(lambda: bool(ended(node)), "its end is noted")
        assert reason in ended(node)[0]


def ended(node: nodes.Served) -> list[bytes]:
    return [each.reason.encode() for each in node.ended_conversations()]


def test_hosts_that_are_lost_are_noticed(carried: Carried) -> None:
    """Or swarms would be told of them for hours."""
    seen: list[list[int]] = []

    async def serve(sock: socket.socket, _slot: ConnectionSlot) -> None:
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        on = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        seen.append([on, *(sock.getsockopt(socket.IPPROTO_TCP, each) for each in options)])

    over_tcp(serve, b"")
    assert seen == [[1, PROBE_AFTER_SECONDS, PROBE_SECONDS, PROBES]]


# --- call-backs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "says", [b"", b"0040repo ", b"000bhello\n" * 3], ids=["nothing", "a bit", "lines"]
)
def test_who_announces_itself_has_to_answer_in_time(
    carried: Carried, tmp_path: Path, says: bytes
) -> None:
    def answer(_request: bytes, sock: socket.socket) -> None:
        sock.sendall(says)
        rest(sock)

    database = Database(tmp_path / "db")
    (served,) = Catalogue([carried])
    notices = Notices(MirrorTable(database), lambda: True, SHORT)
    with raw_server(answer) as host:
        said = Notify(f"git://{host}/project.git", carried.log_store.ids()[-1], 600)
        refusal = asyncio.run(notices.receive(served, said, "127.0.0.1")).refusal
        assert "cannot be reached" in refusal
    database.close()


def test_so_has_a_web_server() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nrepo "

    async def work() -> MirrorList | str:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head)
            await reader.read()
            writer.close()
            over.set()

        over = asyncio.Event()
        server = await asyncio.start_server(respond, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        found = await ask_back(parse_learned_url(f"http://127.0.0.1:{port}/x"), "127.0.0.1", SHORT)
        await over.wait()
        server.close()
        return found

    assert "cannot be reached" in str(asyncio.run(work()))
