"""Whose word counts for what a log is: its own entries, what was verified here, and no mirror's."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path

import pytest

from gittorrent.errors import TrustError
from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, PushId
from gittorrent.push.log import VerifiedLog
from gittorrent.repository.layout import Layout
from gittorrent.repository.logstore import LogStore
from gittorrent.store.database import MAX_FAILURES, Database
from gittorrent.transfer.acquire import Acquisition
from gittorrent.transfer.context import Context
from gittorrent.transfer.location import Location
from gittorrent.transfer.log_extent import LogExtent
from gittorrent.transfer.peer_manager import Sharing
from support import nodes
from support.logs import MAIN, Writer, oid
from support.notes import Notes
from support.starving import Manner, Starver, Step

NOW = 1_700_000_000


class Clone:
    """A clone that follows whoever it is sent to, and commits what it verified."""

    def __init__(self, root: Path, writer: Writer) -> None:
        self.git_dir = root / "clone"
        self.git_dir.mkdir()
        self.home = nodes.make_home(root / "home")
        self.writer = writer
        self.said: list[str] = []
        self.asked = 0

    @property
    def store(self) -> LogStore:
        return LogStore(Layout(self.git_dir), SHA1, self.writer.repository)

    def follow(self, writer: Writer, scheme: str = "git") -> VerifiedLog:
        """Bring the log up to date with a mirror that has what ``writer`` wrote."""
        notes, database = Notes(), Database(self.home.database)
        mirror = Starver(writer, Step.NEVER, Manner.SILENT, scheme)

        async def work() -> VerifiedLog:
            async with mirror.open():
                location = Location(mirror.endpoint, writer.repository)
                context = Context(
                    database, self.home, Git(self.git_dir), notes, Sharing(None), lambda: NOW
                )
                async with Acquisition(location, context) as acquisition:
                    await acquisition.open()
                    return await acquisition.fetch_log(self.store, SHA1, LogExtent.SHORT)

        try:
            log = asyncio.run(work())
        finally:
            database.close()
        self.said, self.asked = notes.said, mirror.logs
        self.store.commit(log)
        return log


@pytest.fixture
def writer() -> Writer:
    writer = Writer()
    for number in range(1, 4):
        writer.publish({MAIN: oid(number)})
    return writer


@pytest.fixture
def clone(tmp_path: Path, writer: Writer) -> Clone:
    return Clone(tmp_path, writer)


def heads(log: VerifiedLog) -> tuple[PushId | None, int]:
    return log.head, log.number


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_a_mirror_that_is_behind_does_not_take_us_back(
    writer: Writer, clone: Clone, scheme: str
) -> None:
    older = copy.deepcopy(writer)
    writer.publish({MAIN: oid(9)})
    before = heads(clone.follow(writer, scheme))
    assert heads(clone.follow(older, scheme)) == before == (writer.head, 5)
    [said] = clone.said
    assert f"is behind: it does not have checkpoint {writer.head} yet" in said
    assert clone.asked == 0


def test_another_clone_of_this_machine_remembers_what_was_seen(
    writer: Writer, clone: Clone, tmp_path: Path
) -> None:
    older = copy.deepcopy(writer)
    writer.publish({MAIN: oid(9)})
    clone.follow(writer)
    clone.git_dir = tmp_path / "second"
    clone.git_dir.mkdir()
    assert clone.follow(older).head == older.head
    [said] = clone.said
    assert "behind or withholds something" in said
    assert writer.head in said


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_nothing_is_asked_for_twice(writer: Writer, clone: Clone, scheme: str) -> None:
    writer.push({MAIN: oid(9)})
    clone.follow(writer, scheme)
    assert clone.asked == 1
    clone.follow(writer, scheme)
    assert clone.asked == 0
    push = writer.push({MAIN: oid(10)})
    log = clone.follow(writer, scheme)
    assert clone.asked == 1
    assert push in log
    writer.keep()
    assert clone.follow(writer, scheme).refs == {MAIN: oid(10)}


def test_a_keeper_that_shows_each_another_checkpoint_is_found_out(
    writer: Writer, clone: Clone, tmp_path: Path
) -> None:
    other = copy.deepcopy(writer)
    writer.publish({MAIN: oid(9)})
    other.publish({MAIN: oid(10)})
    clone.follow(writer)
    log = clone.follow(other)
    assert log.head == writer.head, "the side that was verified first"
    assert any("the keeper signed two checkpoints number 5" in said for said in clone.said)
    assert log.final_refs == {MAIN: oid(9)}
    # One that has only the other side is warned by what this machine verified.
    clone.git_dir = tmp_path / "second"
    clone.git_dir.mkdir()
    clone.follow(other)
    assert any(f"{writer.head} as number 5" in said for said in clone.said)


def test_what_is_announced_has_to_be_sent(writer: Writer, clone: Clone) -> None:
    liar = copy.deepcopy(writer)
    liar.publish({MAIN: oid(9)})
    liar.pushes.pop()
    with pytest.raises(TrustError, match="announced checkpoint"):
        clone.follow(liar)


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_mirrors_are_not_forgotten_because_our_clock_is_behind(
    writer: Writer, clone: Clone, scheme: str
) -> None:
    """What a keeper dated ahead is no failure of the mirror that has it; the rest counts."""
    before = heads(clone.follow(writer, scheme))
    shown = writer.push({MAIN: oid(8)})
    writer.time = NOW + 86400
    writer.keep()
    for _ in range(MAX_FAILURES + 1):
        log = clone.follow(writer, scheme)
        assert heads(log) == before
        assert "ahead of this machine's clock" in clone.said[0]
    assert shown in log
    database = Database(clone.home.database)
    try:
        known = database.remembered_mirrors(writer.repository)
    finally:
        database.close()
    assert {each.failures for each in known} == {0}
