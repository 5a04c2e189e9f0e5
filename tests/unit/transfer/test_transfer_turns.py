"""A log that flows slowly has its turn, and then another mirror goes on with it."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, PushId
from gittorrent.repository.layout import Layout
from gittorrent.repository.logstore import LogStore
from gittorrent.store.database import Database, RememberedMirror
from gittorrent.transfer.acquire import Acquisition
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.context import Context
from gittorrent.transfer.location import Location
from gittorrent.transfer.log_extent import LogExtent
from gittorrent.transfer.peer_manager import Sharing
from support import nodes
from support.logs import MAIN, Writer, oid
from support.notes import Notes
from support.starving import Manner, Starver, Step

ENOUGH = 120.0
PATIENCE = ClientTimeouts(turn=0.5)
NOW = 1_700_000_000


@pytest.fixture
def writer() -> Writer:
    writer = Writer()
    for number in range(1, 4):
        writer.publish({MAIN: oid(number)})
    return writer


def follow(root: Path, writer: Writer, mirrors: list[Starver]) -> tuple[list[PushId], list[str]]:
    """Fetch the log from mirrors of which the first is named; returns it and what was said."""
    home, notes = nodes.make_home(root / "home"), Notes()
    database = Database(home.database)

    async def work() -> list[PushId]:
        async with AsyncExitStack() as stack:
            for mirror in mirrors:
                await stack.enter_async_context(mirror.open())
            others = [RememberedMirror(mirror.endpoint.url, None) for mirror in mirrors[1:]]
            database.remember_mirrors(writer.repository, others, NOW)
            location = Location(mirrors[0].endpoint, writer.repository)
            git = Git(root)
            context = Context(
                database, home, git, notes, Sharing(None), lambda: NOW + 1, client_timeouts=PATIENCE
            )
            async with asyncio.timeout(ENOUGH), Acquisition(location, context) as acquisition:
                await acquisition.open()
                store = LogStore(Layout(root), SHA1, writer.repository)
                return (await acquisition.fetch_log(store, SHA1, LogExtent.SHORT)).entries

    try:
        return asyncio.run(work()), notes.said
    finally:
        database.close()


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_a_slow_log_gives_way(tmp_path: Path, writer: Writer, scheme: str) -> None:
    slow = Starver(writer, Step.ENTRY, Manner.SLOW, scheme)
    other = Starver(writer, Step.NEVER, Manner.SILENT, scheme)
    ids, said = follow(tmp_path, writer, [slow, other])
    assert ids == [push for push, _ in writer.pushes]
    assert any("takes long to send its log" in note for note in said)


def deflated_size(writer: Writer) -> int:
    whole = Starver(writer, Step.NEVER, Manner.SILENT, "git")
    return len(zlib.compress(whole.undeflated()))


@pytest.mark.parametrize("deflates", [True, False])
def test_another_mirror_goes_on_where_a_deflated_log_was_cut_off(
    tmp_path: Path, writer: Writer, deflates: bool
) -> None:
    cut = deflated_size(writer) // 2
    broken = Starver(writer, Step.NEVER, Manner.SILENT, "git", deflates=True, cut=cut)
    other = Starver(writer, Step.NEVER, Manner.SILENT, "git", deflates=deflates)
    ids, said = follow(tmp_path, writer, [broken, other])
    assert ids == [push for push, _ in writer.pushes]
    assert (broken.logs, other.logs) == (1, 1)
    assert any("going on with" in note for note in said)


def test_a_deflated_log_that_trickles_gives_way(tmp_path: Path, writer: Writer) -> None:
    slow = Starver(writer, Step.ENTRY, Manner.SLOW, "git", deflates=True)
    other = Starver(writer, Step.NEVER, Manner.SILENT, "git", deflates=True)
    ids, said = follow(tmp_path, writer, [slow, other])
    assert ids == [push for push, _ in writer.pushes]
    assert any("takes long to send its log" in note for note in said)


def test_alone_a_slow_log_has_its_time(tmp_path: Path, writer: Writer) -> None:
    """All of this one's entries come, only not in the time of a turn."""
    late = Starver(writer, Step.NEVER, Manner.SILENT, "git", hesitates=2 * PATIENCE.turn)
    ids, _ = follow(tmp_path, writer, [late])
    assert ids == [push for push, _ in writer.pushes]


def test_when_all_are_slow_time_does_not_count(tmp_path: Path, writer: Writer) -> None:
    late = [
        Starver(writer, Step.NEVER, Manner.SILENT, "git", hesitates=2 * PATIENCE.turn)
        for _ in range(2)
    ]
    ids, said = follow(tmp_path, writer, late)
    assert ids == [push for push, _ in writer.pushes]
    assert len([note for note in said if "takes long to send its log" in note]) >= 1
