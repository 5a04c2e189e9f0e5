"""Callers that take or send a trickle in a turn that others wait for, over every transport."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gittorrent.node.caller_watch import Patience
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.connection_limiter import ConnectionLimiter
from gittorrent.node.conversations import Conversations
from gittorrent.node.git_listener import GitListener
from gittorrent.node.git_processes import GitProcesses
from gittorrent.node.git_turns import GitTurns
from gittorrent.node.http_listener import HttpListener
from gittorrent.node.notices import Notices
from gittorrent.node.pushes import Pushes
from gittorrent.node.services import Lists, NodeServices, Reachable
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.slot_queue import SlotQueue
from gittorrent.wire import pktline
from support import gitcmd, nodes
from support.nodes import request
from support.programs import PATIENCE

HASTY = Patience(look=0.01, quiet=0.0, stalled=10 * PATIENCE)
"""Whoever can be told to be slow is told so at the first look, if others wait."""

SIZE = 4 << 20
BUFFER = 16 << 10
FETCH = "application/x-git-upload-pack-request"
PUSH = "application/x-git-receive-pack-request"


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory, key: Signer) -> Carried:
    """A repository that no buffer of a connection has room for."""
    root = tmp_path_factory.mktemp("big")
    return nodes.publish(nodes.make_repository(root / "b.git", SIZE), key, "project")


class Site:
    """A node's listeners with one turn to fetch and one to push."""

    def __init__(self, carried: Carried, folder: Path, answers: int, up: int | None) -> None:
        self.processes = GitProcesses(
            1, views=folder, wait_seconds=PATIENCE, answers=answers, patience=HASTY
        )
        self.pushes = Pushes(wait_seconds=PATIENCE, patience=HASTY)
        self.pushes.turns = GitTurns(1, wait_seconds=PATIENCE)
        services = NodeServices(
            Catalogue([carried]), Lists(Reachable()), Notices(None, lambda: True), self.processes,
            Limits(up), self.pushes,
        )  # fmt: skip
        conversations = Conversations(services, "node", SlotQueue())
        self.head = gitcmd.text(carried.layout.git_dir, "rev-parse", "refs/heads/main")
        self._serve = {
            "git": GitListener(services, conversations, takes_pushes=True).serve,
            "http": HttpListener(services, conversations).serve,
        }
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def call(self, kind: str, data: bytes) -> AsyncIterator[socket.socket]:
        """Have a connection, of small buffers, on which something was said."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as ours:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            ours.connect(listener.getsockname())
            ours.setblocking(False)
            theirs, _ = listener.accept()
            theirs.setblocking(False)
            slot = ConnectionLimiter().enter("127.0.0.1", loop.time())
            assert slot is not None

            async def serve() -> None:
                with theirs, contextlib.suppress(ConnectionError):
                    await self._serve[kind](theirs, slot)

            self._tasks.append(loop.create_task(serve()))
            await loop.sock_sendall(ours, data)
            yield ours

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert (self.processes.turns.taken, self.pushes.turns.taken) == (0, 0)
        await self.processes.stop()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not what():
            await asyncio.sleep(0)


async def heard(sock: socket.socket, end: bytes = b"") -> bytes:
    """Return what comes, to the first place where something ends it, or to the end of all."""
    data = b""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            while not (end and data.endswith(end)):
                more = await asyncio.get_running_loop().sock_recv(sock, 1 if end else 1 << 16)
                if not more:
                    break
                data += more
    return data


def packets(*lines: str) -> bytes:
    return b"".join(pktline.encode(line.encode()) for line in lines)


def old(head: str, *lines: str) -> bytes:
    """Ask by git's first protocol."""
    return packets(f"want {head} ofs-delta agent=x/1\n") + b"0000" + packets(*lines)


def new(head: str) -> bytes:
    """Ask by version 2."""
    return (
        packets("command=fetch") + b"0001" + packets(f"want {head}", "deepen 1", "done") + b"0000"
    )


def post(path: str, kind: str, body: bytes, size: int | None = None, more: str = "") -> bytes:
    length = len(body) if size is None else size
    return (
        f"POST /project.git/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {length}\r\n{more}\r\n"
    ).encode() + body


V2 = "Git-Protocol: version=2\r\n"


def fetches(site: Site) -> dict[str, tuple[str, bytes]]:
    hello = request("git-upload-pack", b"/project.git")
    hello_2 = request("git-upload-pack", b"/project.git", b"version=2")
    return {
        "git": ("git", hello_2 + new(site.head) + b"0000"),
        "git, old": ("git", hello + old(site.head, "done\n")),
        "http": ("http", post("git-upload-pack", FETCH, new(site.head), more=V2)),
        "http, old": ("http", post("git-upload-pack", FETCH, old(site.head, "done\n"))),
    }


@pytest.mark.parametrize("way", ["git", "git, old", "http", "http, old"])
@pytest.mark.parametrize(
    ("answers", "up"),
    [
        pytest.param(1, None, id="passing through memory"),
        pytest.param(0, None, id="of git's own"),
        pytest.param(0, 1 << 30, id="of git's own, paced"),
    ],
)
def test_who_takes_a_trickle_gives_way(
    big: Carried, tmp_path: Path, way: str, answers: int, up: int | None
) -> None:
    async def work() -> None:
        site = Site(big, tmp_path / "views", answers, up)
        kind, asked = fetches(site)[way]
        async with site.call(kind, asked) as slow:
            if way == "git":
                await heard(slow, b"0000")  # what git can do
            await until(lambda: site.processes.turns.taken == 1)
            assert await asyncio.get_running_loop().sock_recv(slow, 1)
            async with site.call(kind, asked) as honest:
                assert len(await heard(honest)) > SIZE
            assert len(await heard(slow)) < SIZE
        await site.end()

    asyncio.run(work())


async def trickle(sock: socket.socket, data: bytes) -> None:
    """Say the same again and again, a byte at a time."""
    with contextlib.suppress(OSError):
        while True:
            for at in range(len(data)):
                await asyncio.get_running_loop().sock_sendall(sock, data[at : at + 1])
                await asyncio.sleep(0)


def trickling_fetches(site: Site) -> dict[str, tuple[str, bytes]]:
    hello = request("git-upload-pack", b"/project.git")
    longest = 30 << 20
    return {
        "git, old": ("git", hello + old(site.head)),
        "http": ("http", post("git-upload-pack", FETCH, b"", longest, V2)),
        "http, old": ("http", post("git-upload-pack", FETCH, old(site.head), longest)),
    }


@pytest.mark.parametrize("way", ["git, old", "http", "http, old"])
def test_who_asks_by_a_trickle_gives_way(carried: Carried, tmp_path: Path, way: str) -> None:
    async def work() -> None:
        site = Site(carried, tmp_path / "views", 0, None)
        kind, begun = trickling_fetches(site)[way]
        line = packets(f"have {'1' * 40}\n")
        async with site.call(kind, begun) as slow:
            await until(lambda: site.processes.turns.taken == 1)
            sending = asyncio.get_running_loop().create_task(trickle(slow, line))
            async with site.call(*fetches(site)[way]) as honest:
                assert b"PACK" in await heard(honest)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await site.end()

    asyncio.run(work())


@pytest.mark.parametrize("kind", ["git", "http"])
def test_who_pushes_a_trickle_gives_way(carried: Carried, tmp_path: Path, kind: str) -> None:
    """A push needs no key until it is whole, so anybody can begin one."""
    hello = request("git-receive-pack", b"/project.git")
    begun = hello if kind == "git" else post("git-receive-pack", PUSH, b"", 30 << 20)
    empty = hello + b"0000" if kind == "git" else post("git-receive-pack", PUSH, b"0000")

    async def work() -> None:
        site = Site(carried, tmp_path / "views", 0, None)
        line = packets("shallow " + "1" * 40)
        async with site.call(kind, begun) as slow:
            await until(lambda: site.pushes.turns.taken == 1)
            sending = asyncio.get_running_loop().create_task(trickle(slow, line))
            async with site.call(kind, empty) as honest:
                said = await heard(honest)
                assert b"push-cert" in said if kind == "git" else b"200 OK" in said
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await site.end()

    asyncio.run(work())
