"""Poisoned addresses: where nobody may send a clone, and how many one source may tell."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from gittorrent.ids import ManifestId, PushId, RepositoryId
from gittorrent.store.partial import PartialPack
from gittorrent.transfer.git_mirror import FAREWELL, GitMirror
from gittorrent.transfer.mirror import WantedPack
from gittorrent.transfer.pack_download import PackDownload
from gittorrent.transfer.peer_manager import MAX_CONVERSATIONS, MAX_LEARNED, PeerManager, Sharing
from gittorrent.wire import pktline
from gittorrent.wire.reelname import PackShape, ReelName
from gittorrent.wire.urls import AddressClass, Endpoint, less_trusted
from support.programs import PATIENCE

REPOSITORY = RepositoryId("a" * 52)
MANIFEST = ManifestId("b" * 40)
CLOSED = "git://127.0.0.1:1/x"


@dataclass
class Scene:
    """A clone's peers, one of which, the first mirror, is played by the test."""

    peer_manager: PeerManager
    notes: list[str] = field(default_factory=list)

    async def first(
        self, kind: AddressClass, listener: socket.socket | None = None
    ) -> socket.socket:
        """Let the clone reach its first mirror at an address of some kind; returns that end.

        ``listener`` is where that mirror listens, and goes on doing so; nobody does by default.
        """
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            if listener is None:
                listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                listener.setblocking(False)
            port = listener.getsockname()[1]
            endpoint = Endpoint("git", "127.0.0.1", port, "/x")
            calling = loop.create_task(self.peer_manager.call(endpoint, None))
            sock, _ = await loop.sock_accept(listener)
            sock.setblocking(False)
            await loop.sock_recv(sock, 1000)
            await say(sock, "mirror-sync ready 1 first")
            self.peer_manager.begin_with(await calling, endpoint, None, kind)
        return sock

    def dialled(self) -> set[str]:
        return {note.split(" is left out")[0] for note in self.notes}

    async def settled(self) -> None:
        """Wait until everybody that is dialled has answered or not."""
        while self.peer_manager.is_growing():
            await asyncio.sleep(0.01)


async def say(sock: socket.socket, *lines: str) -> None:
    data = b"".join(pktline.encode(f"{line}\n".encode()) for line in lines)
    await asyncio.get_running_loop().sock_sendall(sock, data)


def play(work: Callable[[Scene], Awaitable[None]], listen: int | None = None) -> Scene:
    notes: list[str] = []

    async def run() -> Scene:
        scene = Scene(PeerManager(notes.append, Sharing(listen)), notes)
        async with asyncio.timeout(PATIENCE):
            await work(scene)
        await scene.peer_manager.close()
        return scene

    return asyncio.run(run())


async def _heard(scene: Scene, sock: socket.socket) -> None:
    """Wait until all that was said is taken in: the last line is heard by its effect."""
    await say(sock, "have checkpoint " + "ab" * 20 + " 1")
    mirror = scene.peer_manager.mirrors[0]
    assert isinstance(mirror, GitMirror)
    while not mirror.heads:
        await asyncio.sleep(0)
    await scene.settled()


POISON = [
    "git://127.0.0.1:1/x",
    "git://[::1]:1/x",
    "git://[::ffff:127.0.0.1]:1/x",
    "git://[::ffff:10.0.0.1]:1/x",
    "git://[64:ff9b::7f00:1]:1/x",
    "git://10.0.0.1:1/x",
    "git://192.168.1.1:1/x",
    "git://169.254.169.254:1/x",
    "git://[fe80::1]:1/x",
    "http://169.254.169.254/latest/meta-data",
    "http://[::ffff:169.254.169.254]/x",
    "http://127.0.0.1:1/x",
    "git://0.0.0.0:1/x",
    "git://localhost:1/x",
]


def test_a_public_source_sends_us_nowhere_inside() -> None:
    async def work(scene: Scene) -> None:
        sock = await scene.first(AddressClass.PUBLIC)
        await say(sock, *(f"try {url} 3600 partial" for url in POISON))
        await _heard(scene, sock)
        sock.close()

    scene = play(work)
    assert len(scene.notes) == len(POISON), scene.notes
    for note in scene.notes:
        assert "strangers may not send us to" in note or "no address that may be contacted" in note


NO_URLS = [
    "ext::sh -c touch% /tmp/x", "file:///etc/passwd", "ssh://h/x", "git://u@h/x", "git://h:0/x",
    "git://h/../x", "git://0x7f.1/x", "git://2130706433/x", "http://h/x?y", "git://-oProxy/x",
]  # fmt: skip


@pytest.mark.parametrize("url", NO_URLS)
def test_what_is_no_address_of_a_mirror_is_not_followed(url: str) -> None:
    async def work(scene: Scene) -> None:
        sock = await scene.first(AddressClass.LOOPBACK)
        await say(sock, f"try {url} 3600 partial")
        mirror = scene.peer_manager.mirrors[0]
        await say(sock, "have checkpoint " + "ab" * 20 + " 1")
        assert isinstance(mirror, GitMirror)
        while not mirror.heads and not mirror.is_at_fault:
            await asyncio.sleep(0)
        assert not scene.peer_manager.is_growing()
        sock.close()

    scene = play(work)
    assert len(scene.notes) <= 1


def test_one_source_does_not_fill_the_table() -> None:
    """Nor does the first mirror, under however many spellings."""

    async def work(scene: Scene) -> None:
        sock = await scene.first(AddressClass.LOOPBACK)
        spellings = [f"try {CLOSED.replace('git', scheme)} 9 partial" for scheme in ("git", "GIT")]
        await say(sock, *spellings)
        await say(sock, *(f"try git://127.0.0.1:1/{n} 9 partial" for n in range(1000)))
        await _heard(scene, sock)
        sock.close()

    scene = play(work)
    assert len(scene.dialled()) == len(scene.notes) == MAX_CONVERSATIONS - 1


def test_others_than_the_first_mirror_tell_of_a_few() -> None:
    async def work(scene: Scene) -> None:
        first = await scene.first(AddressClass.LOOPBACK)
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            port = listener.getsockname()[1]
            await say(first, f"try git://127.0.0.1:{port}/x 9 partial")
            teller, _ = await loop.sock_accept(listener)
        await say(teller, "mirror-sync ready 1 teller")
        await say(teller, *(f"try git://127.0.0.1:1/{n} 9 partial" for n in range(50)))
        await say(teller, "have checkpoint " + "cd" * 20 + " 1")
        while len(scene.peer_manager.mirrors) < 2:
            await asyncio.sleep(0)
        mirror = scene.peer_manager.mirrors[1]
        assert isinstance(mirror, GitMirror)
        while not mirror.heads:
            await asyncio.sleep(0)
        await scene.settled()
        first.close()
        teller.close()

    scene = play(work)
    assert len(scene.notes) == MAX_LEARNED


def test_callers_may_tell_only_of_their_own_address() -> None:
    """Whoever may call could else send everybody it calls to whom it likes."""

    async def work(scene: Scene) -> None:
        first = await scene.first(AddressClass.LOOPBACK)
        scene.peer_manager._listen(REPOSITORY)
        peer_listener = scene.peer_manager._peer_listener
        assert peer_listener is not None
        loop = asyncio.get_running_loop()
        with socket.socket() as caller:
            caller.setblocking(False)
            caller.bind(("127.0.0.2", 0))
            await loop.sock_connect(caller, ("127.0.0.1", peer_listener.port))
            hello = pktline.encode(f"mirror-sync /{REPOSITORY}\0host=x\0".encode())
            await loop.sock_sendall(caller, hello)
            elsewhere = [
                "127.0.0.1",
                "127.0.0.3",
                "localhost",
                "[::1]",
                "10.0.0.1",
                "127.0.0.2.x.org",
            ]
            await say(caller, *(f"try git://{host}:1/x 9 partial" for host in elsewhere))
            await say(
                caller, "try git://127.0.0.2:1/x 9 partial", "have checkpoint " + "ef" * 20 + " 1"
            )
            while len(scene.peer_manager.mirrors) < 2:
                await asyncio.sleep(0)
            mirror = scene.peer_manager.mirrors[1]
            assert isinstance(mirror, GitMirror)
            while not mirror.heads:
                await asyncio.sleep(0)
            await scene.settled()
        first.close()

    scene = play(work, listen=0)
    assert scene.dialled() == {"git://127.0.0.2:1/x"}


def test_whoever_was_just_lost_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long what is left of the conversation takes to end; a download waits for that."""

    async def work(scene: Scene) -> None:
        sock = await scene.first(AddressClass.LOOPBACK)
        mirror = scene.peer_manager.mirrors[0]
        close, may_end = mirror.close, asyncio.Event()

        async def slowly() -> None:
            await may_end.wait()
            await close()

        monkeypatch.setattr(mirror, "close", slowly)
        assert not scene.peer_manager.is_growing()
        sock.close()
        while not mirror.has_ended:
            await asyncio.sleep(0)
        for turn in range(100):
            assert scene.peer_manager.is_growing(), turn
            await asyncio.sleep(0)
        may_end.set()
        for turn in range(100):
            assert scene.peer_manager.is_growing(), turn
            await asyncio.sleep(0)

    play(work)


def test_whoever_said_goodbye_is_not_waited_for() -> None:
    async def work(scene: Scene) -> None:
        sock = await scene.first(AddressClass.LOOPBACK)
        await say(sock, f"bye {FAREWELL}")
        await scene.peer_manager.mirrors[0].wait_closed()
        await scene.settled()
        sock.close()

    play(work)


def test_whoever_was_lost_between_two_reels_is_dialled_for_the_second() -> None:
    async def work(scene: Scene) -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            sock = await scene.first(AddressClass.LOOPBACK, listener)
            sock.close()
            await scene.peer_manager.mirrors[0].wait_closed()
            while scene.peer_manager._watched:  # until what is left of it has ended, too
                await asyncio.sleep(0)
            shape = PackShape(10, 10)
            wanted = WantedPack(ReelName(None, PushId("ab" * 20)), MANIFEST, shape, 1)
            download = PackDownload(wanted, cast("PartialPack", None))
            scene.peer_manager.help_with(download, REPOSITORY)
            again, _ = await loop.sock_accept(listener)
            again.close()

    assert not [note for note in play(work).notes if "left out" in note]


@pytest.mark.parametrize("kind", list(AddressClass))
def test_trust_is_that_of_the_weaker(kind: AddressClass) -> None:
    assert less_trusted(kind, kind) is kind
    assert less_trusted(kind, AddressClass.LOOPBACK) is kind
    assert less_trusted(AddressClass.RESERVED, kind) is AddressClass.RESERVED
    assert less_trusted(AddressClass.PUBLIC, AddressClass.PRIVATE) is AddressClass.PUBLIC
