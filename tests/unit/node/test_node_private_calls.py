"""Whom a node calls of a private repository: the mirror named, where both ends are proved."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import cast

import pytest
from msgspec.structs import replace

from gittorrent.node.catalogue import Catalogue
from gittorrent.node.live_calls import Calling, LiveCalls
from gittorrent.node.live_repository import LiveRepository
from gittorrent.repository.carried import MIRROR, Carried
from gittorrent.store.database import Database, MirrorRow, RememberedMirror
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.shared_connections import SharedConnections
from gittorrent.trust.readers import encode_readers
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.urls import AddressClass
from support import nodes


class Repository:
    """A repository in live conversations, as far as calls look at it."""

    def __init__(self, served: object) -> None:
        self.served = served


@pytest.mark.parametrize(
    ("source", "is_asked"),
    [
        ("gittorrent::https://origin.example.org/x.git", True),
        ("gittorrent::ssh://git@origin.example.org/x.git", True),
        ("git://origin.example.org/x.git", False),
        ("gittorrent::http://origin.example.org/x.git", False),
    ],
)
def test_the_mirror_that_was_named_and_no_other(
    carried: Carried, tmp_path: Path, source: str, is_asked: bool
) -> None:
    mirror = nodes.copy_as_mirror(carried, tmp_path / "m.git", source)
    info = replace(mirror.info, role=MIRROR)
    home = nodes.make_home(tmp_path / "home")

    async def sources(database: Database) -> list[str]:
        catalogue = Catalogue([mirror])
        (served,) = catalogue
        executor = catalogue.threads.executor()
        timeouts = ClientTimeouts()
        lines = SharedConnections(Limits(), timeouts)
        calling = Calling(database, home, "1" * 40, Limits(), executor, lines, timeouts)
        calls = LiveCalls(calling, cast(LiveRepository, Repository(served)))
        await calls.look()
        begun = list(calls._calls)
        await calls.stop()
        await lines.stop()
        assert {each.url for each in await calling.sources(served)} == set(begun)
        return begun

    with contextlib.closing(Database(home.database)) as database:
        told = RememberedMirror("git://192.0.2.7/x.git", AddressClass.PUBLIC)
        database.remember_mirrors(info.repository_id, [told], 1)
        row = MirrorRow("git://192.0.2.8/x.git", MirrorState.CURRENT, "192.0.2.8", 1, 1 << 40, 1)
        database.list_mirror(info.repository_id, row)
        assert len(asyncio.run(sources(database))) == 3
        mirror.layout.readers(info.repository_id).write_bytes(encode_readers(frozenset()))
        assert len(asyncio.run(sources(database))) == (1 if is_asked else 0)
