"""A private repository is looked for nowhere, and asked for where both ends prove who they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

import pytest

from gittorrent.discovery.ports import Place
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.git.runner import Git
from gittorrent.ids import PushId, RepositoryId
from gittorrent.store.database import Database, MirrorRow, RememberedMirror
from gittorrent.store.home import Home
from gittorrent.store.privacy import is_private, note_private
from gittorrent.transfer.acquire import Acquisition
from gittorrent.transfer.context import Context
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.reaching import known_here
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.urls import AddressClass
from support.notes import Notes

REPOSITORY = RepositoryId("a" * 52)
HEAD = PushId("12" * 20)


class LookUp:
    """Notes what it is asked for, and finds nothing."""

    def __init__(self) -> None:
        self.asked: list[RepositoryId] = []

    async def find(self, repository: RepositoryId) -> AsyncGenerator[Sequence[Place], None]:
        """Yield nothing."""
        self.asked.append(repository)
        if not repository:
            yield ()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(Database(tmp_path / "node.sqlite")) as found:
        yield found


def asked_for(url: str, database: Database, tmp_path: Path) -> list[RepositoryId]:
    """Return what strangers are asked for when nobody answers at a URL."""
    look_up = LookUp()
    home = Home(tmp_path)
    context = Context(database, home, Git(tmp_path), Notes(), lookups=[look_up])

    async def work() -> None:
        async with Acquisition(parse_location(url), context) as acquisition:
            await acquisition.open()

    with pytest.raises(GitTorrentError):
        asyncio.run(work())
    return look_up.asked


def test_what_was_never_seen_is_private_where_it_may_be(database: Database, tmp_path: Path) -> None:
    there = f"127.0.0.1:1/{REPOSITORY}/x.git"
    assert asked_for(f"gittorrent://{REPOSITORY}", database, tmp_path) == [REPOSITORY]
    assert asked_for(f"gittorrent::https://{REPOSITORY}@{there}", database, tmp_path) == []
    assert asked_for(f"gittorrent::http://{REPOSITORY}@{there}", database, tmp_path) == [REPOSITORY]
    database.saw_head(REPOSITORY, HEAD, 1, 1)
    https = f"gittorrent::https://{REPOSITORY}@{there}"
    assert asked_for(https, database, tmp_path) == [REPOSITORY], "it is known to be public"
    note_private(database, REPOSITORY, private=True)
    assert asked_for(https, database, tmp_path) == []
    assert asked_for(f"gittorrent://{REPOSITORY}", database, tmp_path) == []


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_it_is_not_asked_for_in_the_clear(scheme: str, database: Database, tmp_path: Path) -> None:
    note_private(database, REPOSITORY, private=True)
    url = f"gittorrent::{scheme}://{REPOSITORY}@127.0.0.1:1/x.git"
    context = Context(database, Home(tmp_path), Git(tmp_path), Notes())

    async def work() -> None:
        async with Acquisition(parse_location(url), context) as acquisition:
            await acquisition.open()

    with pytest.raises(UsageError, match="in the clear"):
        asyncio.run(work())


def test_what_others_told_of_it_is_forgotten(database: Database, tmp_path: Path) -> None:
    told = RememberedMirror("git://told.example.org/x", AddressClass.PUBLIC)
    own = [RememberedMirror(f"{s}://own.example.org/x", None) for s in ("git", "https", "ssh")]
    database.remember_mirrors(REPOSITORY, [told, *own], 1)
    row = MirrorRow("git://192.0.2.1/x", MirrorState.CURRENT, "192.0.2.1", 1, 1000, 1)
    database.list_mirror(REPOSITORY, row)
    home = Home(tmp_path)
    assert len(known_here(REPOSITORY, database, home, 2)) == 5
    note_private(database, REPOSITORY, private=True)
    assert [each.url for each in known_here(REPOSITORY, database, home, 2)] == [
        "https://own.example.org/x", "ssh://own.example.org/x",
    ]  # fmt: skip
    note_private(database, REPOSITORY, private=False)
    assert not is_private(database, REPOSITORY)
    assert [each.url for each in known_here(REPOSITORY, database, home, 2)] == [
        each.url for each in own
    ]
