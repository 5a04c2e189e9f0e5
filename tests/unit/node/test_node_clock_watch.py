"""A clock that is set while a node runs, or was wrong while another one did, empties no list."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.ids import RepositoryId
from gittorrent.node.clock_watch import NOTICED_SECONDS, ClockWatch
from gittorrent.store.database import Database, MirrorRow
from gittorrent.store.signing_time import Clocks
from gittorrent.transfer.off_loop import Threads
from gittorrent.wire.limits import MAX_VALID_SECONDS
from gittorrent.wire.mirrorlist import MirrorState

ID = RepositoryId("a" * 52)
NOW, DAY = 1_700_000_000, 86400


class Node:
    """A node, its database and its clocks."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.time, self.steady = NOW, 7.0
        self.watch = self.started()

    def started(self) -> ClockWatch:
        clocks = Clocks(lambda: float(self.time), lambda: self.steady)
        return ClockWatch(self.database, Threads().executor(), clocks)

    def list_for(self, seconds: int, name: str = "m") -> None:
        row = MirrorRow(f"git://{name}.example.org/x", MirrorState.CURRENT, "203.0.113.9",
                        self.time, self.time + seconds, 1)  # fmt: skip
        self.database.list_mirror(ID, row)

    def passes(self, seconds: int) -> None:
        self.time += seconds
        self.steady += seconds

    def look(self) -> None:
        asyncio.run(self.watch.look())

    @property
    def left(self) -> list[int]:
        """For how long mirrors are listed."""
        return [row.expires - self.time for row in self.database.mirrors(ID, self.time)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    database = Database(tmp_path / "node.sqlite")
    yield Node(database)
    database.close()


@pytest.mark.parametrize("leap", [40 * DAY, DAY, 3600, -3600, -DAY, -40 * DAY])
def test_what_is_left_of_the_time_of_mirrors_outlasts_a_leap_and_the_way_back(
    node: Node, leap: int, caplog: pytest.LogCaptureFixture
) -> None:
    node.list_for(1200)
    node.passes(100)
    node.look()
    node.time += leap
    node.passes(1)
    node.look()
    assert node.left == [1099]
    assert "the clock was set" in caplog.text
    node.list_for(2400, "new")
    node.passes(99)
    node.time -= leap
    node.look()
    assert sorted(node.left) == [1000, 2301]
    node.passes(1000)
    node.look()
    assert node.left == [1301]


def test_a_clock_that_ntp_moves_a_little_changes_nothing(node: Node) -> None:
    node.list_for(1200)
    node.time += int(NOTICED_SECONDS) - 1
    node.look()
    assert node.left == [1200 - int(NOTICED_SECONDS) + 1]


def test_a_node_that_ended_while_its_clock_was_ahead_lists_nobody_for_ever(node: Node) -> None:
    node.time += 40 * DAY
    node.list_for(MAX_VALID_SECONDS)
    node.time = NOW
    asyncio.run(node.started().begin())
    assert node.left == [MAX_VALID_SECONDS]
    (row,) = node.database.mirrors(ID, node.time)
    assert row.verified == NOW
