"""One repository whose disk hangs, or whose policy takes long, holds up nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.ids import ManifestId, PushId
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.services import Lists, Reachable
from gittorrent.push.log import VerifiedLog
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.transfer.content_source import ServedPack
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.wire.messages import HaveCheckpoint
from support import nodes
from support.attackers import Wire
from support.hostile import LyingCatalogue
from support.nodes import call, fetch, request
from support.programs import PATIENCE


class Disk:
    """A disk that answers when it is let."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked = threading.Event()

    def wait(self) -> None:
        self.asked.set()
        self.go_on.wait()


def hanging(disk: Disk) -> type[RepositoryContent]:
    """Return a content source that lies on such a disk, if its repository is ``project``."""

    class Hanging(RepositoryContent):
        def _wait(self) -> None:
            if self.carried.info.name == "project":
                disk.wait()

        def latest(self) -> PushId | None:
            self._wait()
            return super().latest()

        def state(self) -> object:
            self._wait()
            return super().state()

        def head(self) -> HaveCheckpoint | None:
            return HaveCheckpoint(self.carried.log_store.ids()[-1], 2)

        def push(self, push: PushId) -> bytes | None:
            self._wait()
            return super().push(push)

        def pack(self, manifest: ManifestId) -> ServedPack | None:
            self._wait()
            return super().pack(manifest)

    return Hanging


def hear(wire: Wire, words: bytes) -> None:
    """Read until some words have come."""
    heard = b""
    while words not in heard:
        more = wire.sock.recv(65536)
        assert more, heard
        heard += more


@contextlib.contextmanager
def served(carried: Carried, other: Carried, disk: Disk, root: Path) -> Iterator[nodes.Served]:
    kind = type("Hangs", (LyingCatalogue,), {"content": hanging(disk)})
    with nodes.serving(carried, other, home=nodes.make_home(root), catalogue=kind) as node:
        try:
            yield node
        finally:
            disk.go_on.set()


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_others_get_lists_while_a_disk_hangs(
    carried: Carried, other: Carried, tmp_path: Path, scheme: str
) -> None:
    disk = Disk()
    ask = request("mirror-list", b"/project.git")
    if scheme == "http":
        ask = b"GET /project.git/mirror-list HTTP/1.0\r\n\r\n"
    with served(carried, other, disk, tmp_path) as node:
        address = node.git_address if scheme == "git" else node.http_address
        with socket.create_connection(address, timeout=PATIENCE) as waiting:
            waiting.sendall(ask)
            assert disk.asked.wait(PATIENCE)
            for _ in range(3):
                assert b"repo " in call(node.git_address, request("mirror-list", b"/other.git"))
                response, text = fetch(node.http_address, "GET", "/other.git/mirror-list")
                assert response.status == 200
                assert str(other.info.repository_id).encode() in text
            disk.go_on.set()
            heard = b""
            while more := waiting.recv(65536):
                heard += more
            assert b"latest " in heard


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_others_get_lists_while_stock_git_waits_for_a_disk(
    carried: Carried, other: Carried, tmp_path: Path, scheme: str
) -> None:
    disk = Disk()
    ask = request("git-upload-pack", b"/project.git")
    if scheme == "http":
        ask = b"GET /project.git/info/refs?service=git-upload-pack HTTP/1.0\r\n\r\n"
    with served(carried, other, disk, tmp_path) as node:
        address = node.git_address if scheme == "git" else node.http_address
        with socket.create_connection(address, timeout=PATIENCE) as waiting:
            waiting.sendall(ask)
            assert disk.asked.wait(PATIENCE)
            assert b"repo " in call(node.git_address, request("mirror-list", b"/other.git"))
            disk.go_on.set()
            heard = b""
            while b"refs/heads/main" not in heard:
                more = waiting.recv(65536)
                assert more, heard
                heard += more


def test_other_conversations_go_on_while_a_disk_hangs(
    carried: Carried, other: Carried, tmp_path: Path
) -> None:
    disk = Disk()
    head, reel = carried.log_store.ids()[-1], carried.reels.all()[0]
    with served(carried, other, disk, tmp_path) as node, contextlib.ExitStack() as stack:
        stuck = stack.enter_context(Wire.call(node.git_address, "project.git"))
        stuck.say(f"fetch push {head}")
        assert disk.asked.wait(PATIENCE)
        name = f":{reel.manifest.end} {reel.id} part 1/1"
        parts = stack.enter_context(Wire.call(node.git_address, "project.git"))
        parts.say(f"fetch bundle {name}")
        easy = stack.enter_context(Wire.call(node.git_address, "other.git"))
        theirs = other.log_store.ids()[-1]
        easy.say(f"fetch push {theirs}")
        hear(easy, f"receive push {theirs}".encode())
        disk.go_on.set()
        hear(stuck, f"receive push {head}".encode())
        hear(parts, f"receive bundle {name}".encode())


class SlowToOpen(Carried):
    """A repository whose policies take long to verify."""

    disk = Disk()

    def log(self) -> VerifiedLog:
        self.disk.wait()
        return super().log()


def test_a_list_does_not_wait_for_long_for_what_decides_nothing(
    carried: Carried, other: Carried
) -> None:
    slow = SlowToOpen(carried.layout.git_dir, carried.object_format)
    catalogue = Catalogue([slow, other])
    mine, theirs = catalogue
    lists = Lists(Reachable(), wait_seconds=0.01)

    async def work() -> None:
        answer = await lists.answer(mine)
        assert (answer.latest, answer.auth) == (carried.log_store.ids()[-1], ())
        patient = Lists(Reachable())
        assert (await patient.answer(theirs)).auth
        slow.disk.go_on.set()
        await mine.opening(lambda: None)
        assert (await lists.answer(mine)).auth

    asyncio.run(work())


def test_a_pack_that_was_not_there_is_looked_for_again(key: Signer, tmp_path: Path) -> None:
    """A conversation remembers where a pack is, not that it is nowhere."""
    own = nodes.publish(nodes.make_repository(tmp_path / "r.git"), key, "project")
    (reel,) = own.reels.all()
    ask = f"fetch bundle :{reel.manifest.end} {reel.id} part 1/1"
    with (
        nodes.serving(own, home=nodes.make_home(tmp_path / "home")) as node,
        Wire.call(node.git_address, "project.git") as wire,
    ):
        reel.pack.rename(tmp_path / "away")
        wire.say(ask)
        hear(wire, b"missing bundle")
        (tmp_path / "away").rename(reel.pack)
        wire.say(ask)
        hear(wire, b"receive bundle")
