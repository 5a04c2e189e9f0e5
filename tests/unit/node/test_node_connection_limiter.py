"""Who may come into a node, and who gives way when it is full."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gittorrent.node import connections
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.connection_limiter import (
    LOOK_SECONDS,
    MAX_CONNECTIONS,
    ConnectionLimiter,
    ConnectionSlot,
)
from gittorrent.node.connections import (
    TURNED_AWAY,
    Serve,
    accept_forever,
    allow_open_files,
    open_listeners,
)
from gittorrent.node.conversations import MAKE_ROOM, Conversations
from gittorrent.node.git_listener import GitListener
from gittorrent.node.git_processes import GitProcesses
from gittorrent.node.http_listener import HttpListener
from gittorrent.node.notices import Notices
from gittorrent.node.pushes import Pushes
from gittorrent.node.services import Lists, NodeServices, Reachable
from gittorrent.repository.carried import Carried
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.slot_queue import SlotQueue
from gittorrent.wire import notify as wire_notify
from gittorrent.wire import pktline
from support import nodes, websockets
from support.nodes import call, request
from support.programs import PATIENCE

PLACES = 4
"""Places of the gates below that real sockets go through."""

LIST = request("mirror-list", b"/project.git")
GET_LIST = b"GET /project.git/mirror-list HTTP/1.1\r\nHost: localhost\r\n\r\n"


def addresses() -> Iterator[str]:
    return (f"198.51.100.{number}" for number in range(1, 255))


def served(connection_limiter: ConnectionLimiter, address: str) -> ConnectionSlot | None:
    """Let somebody in who is being served from then on."""
    slot = connection_limiter.enter(address, 0.0)
    if slot is not None:
        slot.is_served()
    return slot


def test_gate_counts_callers_of_one_address() -> None:
    connection_limiter = ConnectionLimiter(total=5, per_address=2)
    places = [served(connection_limiter, "192.0.2.1") for _ in range(3)]
    assert [slot is not None for slot in places] == [True, True, False]
    assert served(connection_limiter, "2001:db8::1")
    assert served(connection_limiter, "2001:db8::2")
    assert not served(connection_limiter, "2001:db8::3")
    assert served(connection_limiter, "192.0.2.9")
    assert not served(connection_limiter, "192.0.2.10")
    assert places[0] is not None
    connection_limiter.leave(places[0])
    connection_limiter.leave(places[0])
    assert served(connection_limiter, "192.0.2.1")
    assert connection_limiter.open == 5


def test_gate_does_not_bound_loopback_by_address() -> None:
    connection_limiter = ConnectionLimiter(total=5, per_address=1)
    assert [bool(served(connection_limiter, "127.0.0.1")) for _ in range(6)] == [True] * 5 + [False]


def test_whoever_is_silent_longest_gives_way() -> None:
    connection_limiter = ConnectionLimiter(total=3, per_address=3)
    gone: list[str] = []
    who = addresses()
    places = []
    for now in range(3):
        slot = connection_limiter.enter(next(who), float(now))
        assert slot is not None
        slot.give_way = lambda name=slot.address: gone.append(name)  # type: ignore[misc]
        places.append(slot)
    first, second, third = places
    first.is_served()
    second.mark_idle(5.0)  # it was served meanwhile
    assert connection_limiter.enter(next(who), 6.0)
    assert gone == [third.address]
    assert connection_limiter.enter(next(who), 7.0)
    assert gone == [third.address, second.address]
    connection_limiter.leave(second)  # its end comes later
    assert connection_limiter.open == 3


def test_fewer_callers_cut_off_nobody_who_is_served() -> None:
    connection_limiter = ConnectionLimiter(total=4, per_address=4)
    who = addresses()
    gone: list[str] = []
    for now in range(4):
        slot = connection_limiter.enter(next(who), float(now))
        assert slot is not None
        slot.give_way = lambda name=slot.address: gone.append(name)  # type: ignore[misc]
        if now == 0:
            slot.is_served()
    connection_limiter.change(2, 1)
    assert (connection_limiter.open, gone) == (4, [])
    assert served(connection_limiter, "192.0.2.1")
    assert (connection_limiter.open, len(gone)) == (2, 3)  # those that asked for nothing
    assert connection_limiter.enter("192.0.2.9", 9.0) is None
    connection_limiter.change(3, 1)
    assert connection_limiter.enter("192.0.2.1", 9.0) is None, "it has its share"
    assert connection_limiter.enter("192.0.2.9", 9.0)


def test_nothing_is_kept_of_callers_who_left() -> None:
    """A slot has hold of the task and the connection of its caller."""
    connection_limiter = ConnectionLimiter(total=2, per_address=2)
    for now in range(3):
        slot = connection_limiter.enter("192.0.2.1", float(now))
        assert slot is not None
        slot.is_served()
        slot.mark_idle(now + 0.5)
        connection_limiter.leave(slot)
        slot.mark_idle(now + 0.7)  # its end comes later
        kept = weakref.ref(slot)
        del slot
        assert kept() is None


def test_nobody_gives_way_to_an_address_that_has_its_share() -> None:
    connection_limiter = ConnectionLimiter(total=3, per_address=2)
    assert connection_limiter.enter("192.0.2.1", 0.0)
    assert connection_limiter.enter("192.0.2.1", 0.0)
    assert connection_limiter.enter("192.0.2.2", 0.0)
    assert connection_limiter.enter("192.0.2.1", 1.0) is None
    # The one that goes is of an address at its share: that has room then, as it should.
    assert connection_limiter.enter("192.0.2.3", 1.0)
    assert connection_limiter.enter("192.0.2.1", 1.0)
    assert connection_limiter.open == 3


def test_what_comes_and_goes_tells_whether_a_caller_is_silent() -> None:
    """As the kernel sees it: for callers that a process of git's talks to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs:
        slot = ConnectionSlot("127.0.0.1", 0.0, lambda _slot, _now: None)
        for _ in range(2):
            for source, target in ((theirs, ours), (ours, theirs)):
                source.sendall(b"x")
                assert target.recv(1) == b"x"
                slot.is_served(ours, 60.0)
                assert slot.silent_since(1000.0) is None
                slot.is_served(ours, 0.02)
                while (since := slot.silent_since(1000.0)) is None:
                    pass
                assert 999.0 < since <= 999.98
    assert slot.silent_since(1000.0) is None, "whose connection is closed leaves by itself"


def test_a_served_caller_with_which_nothing_happens_gives_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs:
        theirs.sendall(b"x")
        connection_limiter = ConnectionLimiter(total=2)
        slot = connection_limiter.enter("192.0.2.1", 0.0)
        assert slot is not None
        slot.is_served(ours, 0.05)
        assert served(connection_limiter, "192.0.2.2")
        gone: list[str] = []
        slot.give_way = lambda: gone.append("gone")
        now = 1.0
        while not connection_limiter.enter("192.0.2.3", now):
            now += LOOK_SECONDS
        assert gone == ["gone"]


def test_many_waits_leave_no_long_line() -> None:
    """Callers that ask often, one after the other, are not remembered for each time."""
    connection_limiter = ConnectionLimiter(total=3)
    places = [connection_limiter.enter("192.0.2.1", 0.0) for _ in range(3)]
    for number in range(1000):
        for slot in places:
            assert slot is not None
            slot.is_served()
            slot.mark_idle(float(number))
    assert len(connection_limiter._silent) < 10
    gone: list[int] = []
    for at, slot in enumerate(places):
        assert slot is not None
        slot.give_way = lambda at=at: gone.append(at)  # type: ignore[misc]
    assert all(connection_limiter.enter("192.0.2.2", 2000.0) for _ in range(3))
    assert gone == [0, 1, 2]


class Running:
    """A listener with few places on a port of this machine."""

    def __init__(self, port: int, connection_limiter: ConnectionLimiter) -> None:
        self.connection_limiter = connection_limiter
        self._port = port

    async def call(self, data: bytes = b"", host: str = "127.0.0.2") -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((host, 0))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", self._port))
        await loop.sock_sendall(sock, data)
        return sock

    async def answer(self, data: bytes) -> bytes:
        """Return what a newcomer gets until the connection ends; nothing if it is turned away."""
        with await self.call(data, "127.0.0.9") as sock:
            return await heard(sock)

    async def filled(self) -> None:
        while self.connection_limiter.open < PLACES:
            await asyncio.sleep(0)


async def heard(sock: socket.socket, until: bytes | None = None) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while more := await asyncio.get_running_loop().sock_recv(sock, 65536):
            received += more
            if until is not None and until in received:
                break
    return received


def with_listener(
    serve: Callable[[], Serve], work: Callable[[Running], Awaitable[None]], refusal: bytes = b""
) -> None:
    async def run() -> None:
        (listener,) = await open_listeners("127.0.0.1", 0)
        connection_limiter = ConnectionLimiter(PLACES, PLACES)
        tasks: set[asyncio.Task[None]] = set()
        accepting = asyncio.create_task(
            accept_forever(listener, connection_limiter, serve(), tasks, refusal)
        )
        try:
            async with asyncio.timeout(PATIENCE):
                await work(Running(listener.getsockname()[1], connection_limiter))
        finally:
            listener_tasks = [accepting, *tasks]
            for task in listener_tasks:
                task.cancel()
            await asyncio.gather(*listener_tasks, return_exceptions=True)
            listener.close()

    asyncio.run(run())


def services(carried: Carried) -> tuple[GitListener, HttpListener]:
    catalogue, lists = Catalogue([carried]), Lists(Reachable())
    notices, git_processes, limits = Notices(None, lambda: True), GitProcesses(), Limits()
    served_with = NodeServices(catalogue, lists, notices, git_processes, limits, Pushes())
    conversations = Conversations(served_with, "node", SlotQueue())
    return GitListener(served_with, conversations), HttpListener(served_with, conversations)


@pytest.mark.parametrize("kind", ["git", "http"])
def test_callers_without_a_request_give_way_to_newcomers(carried: Carried, kind: str) -> None:
    """Some said nothing, some a little, some had an answer; none of them wants anything now."""
    wanted = LIST if kind == "git" else GET_LIST
    notice = request("mirror-notify", b"/project.git")
    post = b"POST /project.git/mirror-notify HTTP/1.1\r\nHost: localhost\r\n"
    post += f"Content-Type: {wire_notify.CONTENT_TYPE}\r\nContent-Length: 99\r\n\r\nat".encode()
    unfinished = notice if kind == "git" else post

    async def work(running: Running) -> None:
        silent = [await running.call(data) for data in (b"", wanted[:9], unfinished)]
        if kind == "http":
            silent.append(await running.call(GET_LIST))
            assert b"repo " in await heard(silent[-1], b"repo ")
        else:
            silent.append(await running.call())
        await running.filled()
        for sock in silent[:3]:
            with await running.call(wanted, "127.0.0.9") as newcomer:
                assert b"repo " in await heard(newcomer, b"repo ")
                assert await heard(sock) == b""
            while running.connection_limiter.open == PLACES:
                await asyncio.sleep(0)
            silent.append(await running.call(host="127.0.0.3"))
            await running.filled()
        for sock in silent:
            sock.close()

    with_listener(lambda: services(carried)[kind == "http"].serve, work)


def test_a_conversation_without_questions_gives_way_and_is_told(carried: Carried) -> None:
    async def work(running: Running) -> None:
        hello = request("mirror-sync", b"/project.git")
        talking = [await running.call(hello) for _ in range(PLACES)]
        for sock in talking:
            assert b"mirror-sync ready" in await heard(sock, b"mirror-sync ready")
        head = carried.log_store.ids()[-1]
        question = pktline.encode(f"fetch push {head}\n".encode())
        for sock in talking[::-1]:  # the first one to call asks last
            await asyncio.get_running_loop().sock_sendall(sock, question)
            assert b"receive push" in await heard(sock, b"receive push")
        assert b"repo " in await running.answer(LIST)
        assert MAKE_ROOM.encode() in await heard(talking[-1])
        for sock in talking:
            sock.close()

    with_listener(lambda: services(carried)[0].serve, work)


def test_a_flood_of_websockets_keeps_nobody_out(carried: Carried) -> None:
    """Those in which nothing is asked give way one after another, and are told so."""

    async def work(running: Running) -> None:
        flood = [await running.call(websockets.request()) for _ in range(PLACES)]
        for sock in flood:
            assert b"mirror-sync ready" in await heard(sock, b"mirror-sync ready")
        for at in range(2 * PLACES):
            newcomer = await running.call(websockets.request())
            assert b"mirror-sync ready" in await heard(newcomer, b"mirror-sync ready")
            assert MAKE_ROOM.encode() in await heard(flood[at])
            flood.append(newcomer)
        with await running.call(GET_LIST) as newcomer:
            assert b"repo " in await heard(newcomer, b"repo ")
        for sock in flood:
            sock.close()

    with_listener(lambda: services(carried)[1].serve, work)


def test_callers_who_are_served_stay() -> None:
    """Newcomers are turned away only when everybody who is in is being served."""
    began: list[ConnectionSlot] = []

    async def serve(_sock: socket.socket, slot: ConnectionSlot) -> None:
        slot.is_served()
        began.append(slot)
        await asyncio.Event().wait()

    async def work(running: Running) -> None:
        busy = [await running.call() for _ in range(PLACES)]
        while len(began) < PLACES:
            await asyncio.sleep(0)
        assert await running.answer(b"") == b""
        assert running.connection_limiter.open == PLACES
        began[1].mark_idle(asyncio.get_running_loop().time())
        with await running.call(host="127.0.0.9"):
            assert await heard(busy[1]) == b""
            while len(began) == PLACES:
                await asyncio.sleep(0)
        for sock in busy:
            sock.close()

    with_listener(lambda: serve, work)


async def keep(_sock: socket.socket, slot: ConnectionSlot) -> None:
    """Serve a caller without an end."""
    slot.is_served()
    await asyncio.Event().wait()


async def callers_who_stay(running: Running) -> list[socket.socket]:
    """Return callers who have all places."""
    inside = [await running.call() for _ in range(PLACES)]
    await running.filled()
    return inside


def test_who_is_turned_away_hears_why_and_only_so_many_are_waited_for() -> None:
    refusal = b"there is no room"

    async def work(running: Running) -> None:
        inside = await callers_who_stay(running)
        assert await running.answer(b"x" * 100_000) == refusal
        waiting = [await running.call(host="127.0.0.9") for _ in range(TURNED_AWAY)]
        with await running.call(host="127.0.0.9") as further:
            assert await heard(further) == refusal, "without having said anything"
        for sock in waiting[1:]:
            sock.close()
        await asyncio.get_running_loop().sock_sendall(waiting[0], b"x")
        assert await heard(waiting[0]) == refusal
        for sock in (*inside, waiting[0]):
            sock.close()

    with_listener(lambda: keep, work, refusal)


def test_who_says_nothing_is_turned_away_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TURNING_AWAY_SECONDS", 0.0)

    async def work(running: Running) -> None:
        inside = await callers_who_stay(running)
        assert await running.answer(b"") == b""
        for sock in inside:
            sock.close()

    with_listener(lambda: keep, work, b"there is no room")


def test_a_node_full_of_silent_callers_serves_newcomers(carried: Carried, tmp_path: Path) -> None:
    """A thousand connections from many addresses that say nothing keep nobody out."""
    allow_open_files()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 3 * MAX_CONNECTIONS:
        pytest.skip("this process may not open that many sockets")
    with (
        nodes.serving(carried, home=nodes.make_home(tmp_path)) as node,
        contextlib.ExitStack() as stack,
    ):
        silent = []
        for number in range(MAX_CONNECTIONS):
            source = (f"127.0.1.{1 + number % 64}", 0)
            address = node.git_address if number % 2 else node.http_address
            sock = socket.create_connection(address, timeout=PATIENCE, source_address=source)
            silent.append(stack.enter_context(sock))
        while node.node._connection_limiter.open < MAX_CONNECTIONS:
            pass
        for _ in range(3):
            assert b"repo " in call(node.git_address, LIST)
            _, body = nodes.fetch(node.http_address, "GET", "/project.git/mirror-list")
            assert b"repo " in body
        assert silent[0].recv(1) == b""
        silent[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            silent[-1].recv(1)
