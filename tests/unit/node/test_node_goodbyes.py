"""Who says goodbye, or does not answer any more, is told of no more."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.node.catalogue import Catalogue
from gittorrent.node.mirror_announcer import MirrorAnnouncer
from gittorrent.node.mirror_table import MirrorTable
from gittorrent.node.notices import NoticeReply, Notices
from gittorrent.node.rechecks import (
    AGAIN_SECONDS,
    MIRROR_FAILURES,
    MIRROR_SECONDS,
    PARTIAL_SECONDS,
    Rechecks,
)
from gittorrent.node.services import Reachable
from gittorrent.repository.carried import Carried
from gittorrent.store.database import Database, MirrorRow
from gittorrent.transfer.addresses import caller_group
from gittorrent.transfer.opening import send_notice
from gittorrent.wire.fields import RemoteRefusal
from gittorrent.wire.mirrorlist import MirrorState, parse_text
from gittorrent.wire.notify import Notify
from gittorrent.wire.urls import Endpoint, parse_learned_url
from support import nodes
from support.nodes import fetch
from support.ports import free_port
from support.programs import wait_until

NOW = 1_000_000


def send(endpoint: Endpoint, said: Notify, from_address: str | None) -> int:
    return asyncio.run(send_notice(endpoint, lambda _seen: said, None, from_address))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "db")
    yield opened
    opened.close()


@pytest.fixture
def free() -> str:
    """A base URL at which nobody answers."""
    return f"git://127.0.0.1:{free_port()}"


class Listed:
    """A table with one mirror in it, and what checks it."""

    def __init__(self, database: Database, carried: Carried, url: str, state: MirrorState) -> None:
        self.now = float(NOW)
        self.repository = carried.info.repository_id
        self.table = MirrorTable(database, clock=lambda: self.now)
        self.checks = Rechecks(self.table, lambda: True)
        self.table.on_told = self.checks.told
        source = caller_group("127.0.0.1")
        self.row = MirrorRow(url, state, source, NOW, NOW + 86400, 3)
        database.list_mirror(self.repository, self.row)

    async def told(self, seconds: float = 0) -> list[str]:
        """Ask after some time, and wait until whoever is due has been called."""
        self.now += seconds
        urls = [entry.url for entry in await self.table.entries(self.repository)]
        await self.checks.settled()
        return urls


# --- goodbyes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_a_partial_peer_that_says_goodbye_is_listed_no_more(
    carried: Carried, tmp_path: Path, free: str, scheme: str
) -> None:
    repository, home = carried.info.repository_id, nodes.make_home(tmp_path)
    url = f"{free}/{repository}"
    goodbye = Notify(url, carried.log_store.ids()[-1], 0)

    def add() -> None:
        database = Database(home.database)
        now = int(time.time())  # it has just answered
        row = MirrorRow(url, MirrorState.PARTIAL, "127.0.0.1", now, now + 600, 0)
        database.list_mirror(repository, row)
        database.close()

    with nodes.serving(carried, home=home) as origin:
        add()
        endpoint = parse_learned_url(f"{getattr(origin, scheme)}/project.git")

        def listed() -> bool:
            _, text = fetch(origin.http_address, "GET", "/project.git/mirror-list")
            return url in {entry.url for entry in parse_text(text).mirrors}

        assert listed()
        with pytest.raises(RemoteRefusal, match="not the address"):
            send(endpoint, goodbye, "127.0.0.5")
        assert listed(), "nobody else can say it"
        assert send(endpoint, goodbye, "127.0.0.1") == 0
        assert not listed()
        assert send(endpoint, goodbye, "127.0.0.1") == 0, "nor is it an error"


def test_a_mirror_that_still_answers_stays(
    carried: Carried, database: Database, tmp_path: Path
) -> None:
    """Somebody behind the same address must not get it off the list."""
    copy = nodes.copy_as_mirror(carried, tmp_path / "copy.git", "git://192.0.2.1/project.git")
    (served,) = Catalogue([carried])
    notices = Notices(MirrorTable(database, clock=lambda: NOW), lambda: True)
    with nodes.serving(copy, home=nodes.make_home(tmp_path / "mirror")) as mirror:
        said = Notify(f"{mirror.git}/project.git", carried.log_store.ids()[-1], 600)
        goodbye = replace(said, ttl=0)
        assert asyncio.run(notices.receive(served, said, "127.0.0.1")) == NoticeReply(600)
        assert "still answers" in asyncio.run(notices.receive(served, goodbye, "127.0.0.1")).refusal
        assert len(database.mirrors(carried.info.repository_id, NOW)) == 1
    assert asyncio.run(notices.receive(served, goodbye, "127.0.0.1")) == NoticeReply(0)
    assert database.mirrors(carried.info.repository_id, NOW) == []


def test_a_mirror_that_ends_says_so_where_it_announced_itself(
    carried: Carried, tmp_path: Path
) -> None:
    options = replace(nodes.LOOPBACK, announce=True)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "origin")) as origin:
        copy = nodes.copy_as_mirror(carried, tmp_path / "c.git", f"{origin.git}/project.git")

        def listed() -> bytes:
            return fetch(origin.http_address, "GET", "/project.git/mirror-list")[1]

        home = nodes.make_home(tmp_path / "mirror")
        with nodes.serving(copy, home=home, options=options) as mirror:
            wait_until(lambda: mirror.git.encode() in listed(), "the origin lists the mirror")
        assert mirror.git.encode() not in listed()


def test_who_announced_nothing_says_no_goodbye(carried: Carried, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as source:
        source.setblocking(False)
        url = f"git://127.0.0.1:{source.getsockname()[1]}/project.git"
        copy = nodes.copy_as_mirror(carried, tmp_path / "copy.git", url)
        announcer = MirrorAnnouncer(
            Catalogue([copy]), Reachable(listening=[Endpoint("git", "127.0.0.1", 1, "/")])
        )
        asyncio.run(announcer.goodbye())
        with pytest.raises(BlockingIOError):
            source.accept()


# --- those who do not say goodbye ----------------------------------------------------------------


def test_a_dead_peer_is_dropped_when_somebody_is_told_of_it(
    carried: Carried, database: Database, free: str
) -> None:
    listed = Listed(database, carried, f"{free}/x", MirrorState.PARTIAL)

    async def work() -> None:
        assert await listed.told(PARTIAL_SECONDS - 1) == [listed.row.url]
        assert await listed.told() == [listed.row.url], "it answered a moment ago"
        assert await listed.told(1) == [listed.row.url], "then it is called"
        assert await listed.told() == []

    asyncio.run(work())


def test_a_mirror_may_restart(carried: Carried, database: Database, free: str) -> None:
    listed = Listed(database, carried, f"{free}/x", MirrorState.CURRENT)

    async def work() -> None:
        assert await listed.told(MIRROR_SECONDS) == [listed.row.url]
        for _ in range(MIRROR_FAILURES - 2):
            assert await listed.told(AGAIN_SECONDS / 2) == [listed.row.url], "not called"
            assert await listed.told(AGAIN_SECONDS / 2) == [listed.row.url]
        assert await listed.told(AGAIN_SECONDS) == [listed.row.url], "the last call"
        assert await listed.told() == []

    asyncio.run(work())


def test_who_answers_stays_and_is_called_no_more_often_than_said(
    carried: Carried, database: Database, tmp_path: Path
) -> None:
    copy = nodes.copy_as_mirror(carried, tmp_path / "copy.git", "git://192.0.2.1/project.git")
    with nodes.serving(copy, home=nodes.make_home(tmp_path / "mirror")) as mirror:
        url = f"{mirror.git}/project.git"
        listed = Listed(database, carried, url, MirrorState.CURRENT)
        asyncio.run(listed.told(MIRROR_SECONDS))
        (row,) = database.mirrors(listed.repository, NOW)
        expected = replace(listed.row, verified=NOW + int(MIRROR_SECONDS))
        assert row == expected, "and is listed no longer for that"
    asyncio.run(listed.told(MIRROR_SECONDS - 1))
    assert database.mirrors(listed.repository, NOW) == [row]


def test_a_clock_that_is_set_back_keeps_no_dead_peer(
    carried: Carried, database: Database, free: str
) -> None:
    listed = Listed(database, carried, f"{free}/x", MirrorState.PARTIAL)

    async def work() -> None:
        assert await listed.told(-40 * 86400) == [listed.row.url]
        assert await listed.told() == []

    asyncio.run(work())


@pytest.mark.parametrize("source", ["127.0.0.9", "198.51.100.7"])
def test_nobody_is_called_but_where_the_notice_came_from(
    carried: Carried, database: Database, source: str
) -> None:
    """Its name may lead elsewhere by now."""
    with socket.create_server(("127.0.0.1", 0)) as third_party:
        third_party.setblocking(False)
        url = f"git://localhost:{third_party.getsockname()[1]}/x"
        listed = Listed(database, carried, url, MirrorState.PARTIAL)
        database.list_mirror(listed.repository, replace(listed.row, source=source))
        asyncio.run(listed.told(PARTIAL_SECONDS))
        with pytest.raises(BlockingIOError):
            third_party.accept()
    assert database.mirrors(listed.repository, NOW) == []


def test_another_repository_at_the_place_is_not_the_mirror(
    carried: Carried, other: Carried, database: Database, tmp_path: Path
) -> None:
    with nodes.serving(other, home=nodes.make_home(tmp_path / "mirror")) as mirror:
        listed = Listed(database, carried, f"{mirror.git}/other.git", MirrorState.PARTIAL)
        asyncio.run(listed.told(PARTIAL_SECONDS))
    assert database.mirrors(listed.repository, NOW) == []
