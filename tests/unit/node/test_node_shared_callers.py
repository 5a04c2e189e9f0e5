"""Several conversations with one node on one connection, by git:// and by WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gittorrent.errors import UnreachableError
from gittorrent.ids import PushId
from gittorrent.node.connection_limiter import CallerLimits, ConnectionLimiter
from gittorrent.node.connections import accept_forever, open_listeners
from gittorrent.node.conversation_shares import LEAST_BYTES, MEAN_BYTES, YOUR_SHARE
from gittorrent.repository.carried import Carried
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.content_source import EmptyContentSource
from gittorrent.transfer.git_mirror import ConversationContext, GitMirror
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.mirror import LogEntry
from gittorrent.transfer.packet_reader import PacketReader
from gittorrent.transfer.shared_connections import SharedConnections
from gittorrent.wire import notify, pktline
from gittorrent.wire.messages import FetchLog
from gittorrent.wire.mux import Arrived, Closed, Mux
from gittorrent.wire.service import MIRROR_MUX, MIRROR_SYNC, parse_request
from gittorrent.wire.session import Role
from gittorrent.wire.urls import Endpoint, parse_learned_url
from support import nodes
from support.nodes import Served
from support.programs import PATIENCE, wait_until


def context() -> ConversationContext:
    return ConversationContext("somebody", EmptyContentSource(), Limits())


def run(work: Callable[[SharedConnections], Coroutine[Any, Any, None]]) -> None:
    """Have something done with connections that are shared."""

    async def bounded() -> None:
        connections = SharedConnections(Limits(), ClientTimeouts(answer=PATIENCE))
        try:
            async with asyncio.timeout(PATIENCE):
                await work(connections)
        finally:
            await connections.stop()

    asyncio.run(bounded())


def at(base: str, carried: Carried) -> Endpoint:
    return parse_learned_url(f"{base}/{carried.info.name}.git")


async def entries_of(mirror: GitMirror, carried: Carried) -> list[PushId]:
    """Return the ids of a mirror's log."""
    found: list[PushId] = []

    async def admit(entries: Sequence[LogEntry]) -> None:
        found.extend(entry for entry, _ in entries)

    head = carried.log().head
    assert head is not None
    await mirror.fetch_log(FetchLog(head), lambda _: False, admit)
    return found


def callers(served: Served) -> int:
    """Return how many connections a node has."""
    return served.node.callers


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_conversations_about_several_repositories_take_one_connection(
    carried: Carried, other: Carried, tmp_path: Path, scheme: str
) -> None:
    with nodes.serving(carried, other, home=nodes.make_home(tmp_path / "home")) as served:
        base = served.git if scheme == "git" else served.http

        async def work(connections: SharedConnections) -> None:
            both = [at(base, carried), at(base, other), at(base, carried)]
            mirrors = [await connections.converse(each, context(), None) for each in both]
            assert len(connections) == callers(served) == 1
            about = (carried, other, carried)
            logs = await asyncio.gather(*map(entries_of, mirrors, about))
            assert logs[0] == logs[2]
            assert not set(logs[0]) & set(logs[1])
            assert logs[0][-1] == carried.log().head
            await mirrors[0].close()
            assert await entries_of(mirrors[2], carried) == logs[2]

        run(work)
        wait_until(lambda: callers(served) == 0, "the connection is closed")


def test_a_repository_that_is_not_given_ends_no_other_conversation(
    carried: Carried, tmp_path: Path
) -> None:
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "home")) as served:

        async def work(connections: SharedConnections) -> None:
            mirror = await connections.converse(at(served.git, carried), context(), None)
            wrong = parse_learned_url(f"{served.git}/unknown.git")
            with pytest.raises(UnreachableError):
                await connections.converse(wrong, context(), None)
            assert await entries_of(mirror, carried)
            assert len(connections) == 1

        run(work)


def test_conversations_beyond_the_limit_take_connections_of_their_own(
    carried: Carried, other: Carried, tmp_path: Path
) -> None:
    """Those over git:// and HTTP count together."""
    home = nodes.make_home(tmp_path / "home")
    fewer = CallerLimits(conversations=2, conversations_per_address=2)
    options = replace(nodes.LOOPBACK, callers=fewer)
    with nodes.serving(carried, other, home=home, options=options) as served:

        async def work(connections: SharedConnections) -> None:
            await connections.converse(at(served.git, carried), context(), None)
            await connections.converse(at(served.http, carried), context(), None)
            assert callers(served) == len(connections) == 2
            await connections.converse(at(served.git, other), context(), None)
            assert (callers(served), len(connections)) == (3, 2)

        run(work)


def test_where_sharing_is_unknown_each_conversation_has_a_connection(
    carried: Carried, tmp_path: Path
) -> None:
    """An older node refuses the service; it is asked for it once."""
    asked: list[str] = []
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "home")) as served:

        async def older(sock: Any, _slot: object) -> None:
            loop = asyncio.get_running_loop()
            request = parse_request(await PacketReader(sock, "request", 4096).line())
            asked.append(request.service)
            if request.service == MIRROR_MUX:
                refusal = notify.encode_refusal("no service mirror-mux here")
                await loop.sock_sendall(sock, pktline.encode(refusal))
                return
            reader, writer = await asyncio.open_connection(*served.git_address)
            writer.write(nodes.request(request.service, request.path))
            await loop.sock_sendall(sock, await reader.read(1 << 16))
            await loop.sock_recv(sock, 1)
            writer.close()

        async def work(connections: SharedConnections) -> None:
            (listener,) = await open_listeners("127.0.0.1", 0)
            tasks: set[asyncio.Task[None]] = set()
            accepting = asyncio.create_task(
                accept_forever(listener, ConnectionLimiter(), older, tasks)
            )
            base = f"git://127.0.0.1:{listener.getsockname()[1]}"
            for _ in range(2):
                mirror = await connections.converse(at(base, carried), context(), None)
                await mirror.close()
            assert len(connections) == 0
            accepting.cancel()
            listener.close()
            await asyncio.gather(accepting, *tasks, return_exceptions=True)

        run(work)
    assert asked == [MIRROR_MUX, MIRROR_SYNC, MIRROR_SYNC]


def test_when_the_node_ends_all_conversations_end(carried: Carried, tmp_path: Path) -> None:
    async def work(connections: SharedConnections) -> None:
        with nodes.serving(carried, home=nodes.make_home(tmp_path / "home")) as served:
            endpoint = at(served.git, carried)
            mirrors = [await connections.converse(endpoint, context(), None) for _ in range(3)]
            leaving = asyncio.gather(*(mirror.wait_closed() for mirror in mirrors))
            await asyncio.sleep(0)
        await leaving

    run(work)


def test_who_calls_again_while_the_node_ends_is_refused(carried: Carried, tmp_path: Path) -> None:
    """The connection is still there after the goodbye; a conversation on it would hold the node."""

    async def work(connections: SharedConnections) -> None:
        with contextlib.ExitStack() as stack:
            home = nodes.make_home(tmp_path / "home")
            served = stack.enter_context(nodes.serving(carried, home=home))
            endpoint = at(served.git, carried)
            mirror = await connections.converse(endpoint, context(), None)
            ending = asyncio.get_running_loop().run_in_executor(None, stack.close)
            await mirror.wait_closed()
            with pytest.raises(UnreachableError):
                await connections.converse(endpoint, context(), None)
            await ending

    run(work)


class Hostile:
    """A caller that holds conversations and takes nothing of them, as far as tests need.

    Args:
        served: the node.
        path: of a repository.
        source: IP address that it calls from.
    """

    def __init__(self, served: Served, path: bytes, source: str) -> None:
        self.path = path
        self.mux = Mux(Role.CALLER, 0.0)
        self.closed: dict[int, str] = {}
        self.heard: set[int] = set()
        self._sock = socket.create_connection(served.git_address, PATIENCE, (source, 0))
        self._sock.sendall(nodes.request(MIRROR_MUX, path))
        self._hear()

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def send(self) -> None:
        """Send all that waits."""
        while output := self.mux.output(1 << 20):
            self._sock.sendall(output)

    def hear_until(self, is_enough: Callable[[], bool]) -> None:
        """Hear what the node says, without a word of having read it."""
        while not is_enough():
            self._hear()

    def _hear(self) -> None:
        data = self._sock.recv(1 << 16)
        assert data
        for event in self.mux.received(data):
            if isinstance(event, Closed):
                self.closed[event.number] = event.reason
            elif isinstance(event, Arrived):
                self.heard.add(event.number)


def test_who_has_much_held_gives_way_and_others_stay(carried: Carried, tmp_path: Path) -> None:
    """Lines that do not end are held until they do: 65,000 bytes of each conversation."""
    path = f"/{carried.info.name}.git".encode()
    fewer = CallerLimits(conversations=LEAST_BYTES // MEAN_BYTES)
    options = replace(nodes.LOOPBACK, callers=fewer)
    home = nodes.make_home(tmp_path / "home")
    with nodes.serving(carried, home=home, options=options) as served, contextlib.ExitStack() as on:
        honest = on.enter_context(contextlib.closing(Hostile(served, path, "127.0.0.2")))
        honest.mux.open(path)
        honest.send()
        honest.hear_until(lambda: 1 in honest.heard)
        hostile = on.enter_context(contextlib.closing(Hostile(served, path, "127.0.0.1")))
        for _ in range(300):
            hostile.mux.open(path)
        hostile.send()
        hostile.hear_until(lambda: len(hostile.heard) == 300)
        for number in range(1, 301):
            hostile.mux.send(number, b"fff0" + bytes(65_000))
        hostile.send()
        hostile.hear_until(lambda: len(hostile.closed) >= 20)
        assert set(hostile.closed.values()) == {YOUR_SHARE}
        held, most = served.node.held_of_shared
        assert 0 < held <= most
        head = carried.log().head
        assert head is not None
        honest.heard.clear()
        honest.mux.send(1, pktline.encode(FetchLog(head).encode()))
        honest.send()
        honest.hear_until(lambda: 1 in honest.heard)
        assert not honest.closed
        hostile.close()
        honest.close()
        wait_until(lambda: not served.node.held_of_shared[0], "nothing is held any more")
