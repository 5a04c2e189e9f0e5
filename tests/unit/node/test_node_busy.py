"""A node that has as many callers as it lets in says so, and clones wait until there is room."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from gittorrent.disk_space import UNBOUNDED
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.connection_limiter import ConnectionSlot
from gittorrent.node.follow_plan import Target
from gittorrent.node.follow_reports import FollowReports
from gittorrent.node.git_listener import GitListener
from gittorrent.node.http_listener import HttpListener
from gittorrent.node.mirror_updates import MirrorUpdates
from gittorrent.repository.carried import Carried
from gittorrent.store.database import Database
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.mirror import BusyMirrorError
from gittorrent.wire import pktline
from support import gitcmd, nodes
from support.nodes import Served
from support.programs import PATIENCE, Person, somebody, wait_until

WHY = "busy: this node serves as many callers as it may"


@dataclass
class Full:
    """A node whose only place is taken by somebody who is being served."""

    node: Served
    let_in: Callable[[], None]

    def url(self, scheme: str) -> str:
        return f"{self.node.git if scheme == 'git' else self.node.http}/project.git"

    def ours(self, scheme: str) -> str:
        return f"gittorrent::{self.url(scheme)}"


@pytest.fixture
def full(carried: Carried, tmp_path: Path) -> Iterator[Full]:
    with nodes.serving(carried, home=nodes.make_home(tmp_path)) as node:
        limiter = node.node._connection_limiter
        slot = limiter.enter("192.0.2.1", 0.0)
        assert slot is not None
        slot.is_served()
        limiter.change(1, 1)

        def let_in() -> None:
            limiter.change(100, 100)

        yield Full(node, let_in)


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return somebody(tmp_path / "person")


def test_git_hears_why(full: Full, person: Person) -> None:
    person.git("ls-remote", full.url("git")).failed(128, f"remote error: {WHY}")
    person.git("ls-remote", full.url("http")).failed(128, "503")


def waits_for_room(person: Person, url: str, let_in: Callable[[], object]) -> None:
    """Clone from who has no room until the clone has heard of that; fail unless it comes."""
    cloning = person.start("git", "-c", "gittorrent.listen=off", "clone", url, "c")
    try:
        wait_until(lambda: "asking again" in cloning.err, "it hears that there is no room")
        let_in()
        assert cloning.wait() == 0, cloning.err
    finally:
        cloning.stop()
    assert gitcmd.text(person.root / "c", "rev-parse", "HEAD")
    assert "allowUnverified" not in cloning.err


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_a_clone_waits_for_room(full: Full, person: Person, scheme: str) -> None:
    waits_for_room(person, full.ours(scheme), full.let_in)


def test_a_clone_waits_for_a_conversation_when_the_list_had_room(
    carried: Carried, tmp_path: Path, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the edge of what a node lets in the list is given and the conversation refused."""
    serve, has_room = GitListener.serve, threading.Event()

    async def serve_lists(listener: GitListener, sock: socket.socket, slot: ConnectionSlot) -> None:
        loop = asyncio.get_running_loop()
        asked = await loop.run_in_executor(None, beginning_of, sock)
        if not has_room.is_set() and b"mirror-list" not in asked:
            await loop.sock_recv(sock, 1 << 16)
            await loop.sock_sendall(sock, pktline.encode(f"ERR {WHY}\n".encode()))
            sock.close()
        else:
            await serve(listener, sock, slot)

    monkeypatch.setattr(GitListener, "serve", serve_lists)
    with nodes.serving(carried, home=nodes.make_home(tmp_path)) as node:
        waits_for_room(person, f"gittorrent::{node.git}/project.git", has_room.set)


def test_a_clone_waits_when_files_had_room_and_the_log_has_none(
    carried: Carried, tmp_path: Path, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind web servers that limit how often somebody asks."""
    route, has_room = HttpListener._route, threading.Event()

    async def give_lists(listener: HttpListener, request: web.BaseRequest) -> web.StreamResponse:
        is_of_the_log = "/pushes/" in request.path and not has_room.is_set()
        if request.path.endswith("/mirror-sync") or is_of_the_log:
            return web.Response(status=503)
        return await route(listener, request)

    monkeypatch.setattr(HttpListener, "_route", give_lists)
    with nodes.serving(carried, home=nodes.make_home(tmp_path)) as node:
        waits_for_room(person, f"gittorrent::{node.http}/project.git", has_room.set)


def test_a_node_looks_again_later_and_waits_for_nobody(
    full: Full, database: Database, tmp_path: Path
) -> None:
    """Others wait for their turn to be brought up to date."""
    home = nodes.make_home(tmp_path / "other")
    url = full.ours("git")
    target = Target(url, parse_location(url), None, is_here=False)
    told: list[object] = []

    async def update() -> None:
        reports = FollowReports("project", told.append, asyncio.get_running_loop())
        updates = MirrorUpdates(Catalogue([]), database, home, Limits(), UNBOUNDED)
        async with asyncio.timeout(PATIENCE):
            await updates.update(target, reports, None)

    with pytest.raises(BusyMirrorError):
        asyncio.run(update())
    assert "asking again" not in str(told)


def beginning_of(sock: socket.socket) -> bytes:
    """Return the beginning of what a caller says, which stays to be read."""
    select.select([sock], [], [], PATIENCE)
    return sock.recv(64, socket.MSG_PEEK)
