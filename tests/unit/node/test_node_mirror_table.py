"""Whom callers are told of, and what happens where the database does not answer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.errors import LocalError
from gittorrent.ids import RepositoryId
from gittorrent.node.mirror_table import MAX_MIRRORS, MirrorTable
from gittorrent.repository.carried import Carried
from gittorrent.store.database import Database, MirrorRow
from gittorrent.wire.limits import MAX_VALID_SECONDS
from gittorrent.wire.mirrorlist import MirrorState
from support.programs import PATIENCE

HERE = RepositoryId("a" * 52)


def row(number: int, verified: int = 100, expires: int = 1000) -> MirrorRow:
    url = f"git://192.0.2.{number}/project.git"
    return MirrorRow(url, MirrorState.CURRENT, f"192.0.2.{number}", verified, expires, 0)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "db", busy_seconds=0.01)
    yield opened
    opened.close()


def test_mirrors_are_capped_and_shuffled_with_the_recent_first(
    carried: Carried, database: Database
) -> None:
    repository = carried.info.repository_id
    for number in range(MAX_MIRRORS + 10):
        url = f"git://192.0.2.{number}/project.git"
        made = MirrorRow(url, MirrorState.CURRENT, "192.0.2.1", number, 1000 + number, 0)
        database.list_mirror(repository, made)
    expired = MirrorRow("git://192.0.2.99/x", MirrorState.CURRENT, "192.0.2.1", 999, 10, 0)
    database.list_mirror(repository, expired)
    table = MirrorTable(database, None, lambda: 500.0, lambda rows: rows.reverse())
    told = asyncio.run(table.entries(repository))
    urls = [entry.url for entry in told]
    # Verified 59 to 10, in halves, each reversed by the stand-in for chance.
    expected = [*range(35, 60), *range(10, 35)]
    assert urls == [f"git://192.0.2.{number}/project.git" for number in expected]
    assert told[0].valid == 1035 - 500


def test_what_a_clock_that_was_ahead_listed_can_be_told(database: Database) -> None:
    database.list_mirror(HERE, row(1, verified=4_000_000, expires=4_000_600))
    database.list_mirror(HERE, row(2, expires=501))
    told = asyncio.run(MirrorTable(database, None, lambda: 500.0, lambda _: None).entries(HERE))
    assert {entry.valid for entry in told} == {1, MAX_VALID_SECONDS}


def test_one_network_takes_no_place_of_others_in_what_is_told(database: Database) -> None:
    """Somebody who has a whole network announces hundreds of mirrors, later than all others."""
    for number in range(200):
        url, source = f"git://93.184.216.{number}/project.git", f"93.184.216.{number}"
        crowd = MirrorRow(url, MirrorState.CURRENT, source, 900, 2000, 0)
        database.list_mirror(HERE, crowd)
        peer = MirrorRow(f"{url}/{number}", MirrorState.PARTIAL, source, 900, 2000, 0)
        database.list_mirror(HERE, peer)
    others = [row(number, verified=number) for number in range(1, 4)]
    others[1:] = [
        MirrorRow(f"git://host{n}/project.git", MirrorState.CURRENT, source, n, 2000, 0)
        for n, source in enumerate(["11.1.1.1", "2606:2800:220:1::/64"])
    ]
    for other in others:
        database.list_mirror(HERE, other)
    told = asyncio.run(MirrorTable(database, None, lambda: 500.0).entries(HERE))
    assert {other.url for other in others} <= {entry.url for entry in told}
    assert len(told) == MAX_MIRRORS


class Hanging(Database):
    """A database that answers when it is let."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go_on = threading.Event()
        self.go_on.set()

    def mirrors(self, repository: RepositoryId, now: int) -> list[MirrorRow]:
        self.go_on.wait()
        return super().mirrors(repository, now)


def test_a_list_does_not_wait_for_a_database_that_hangs(tmp_path: Path) -> None:
    database = Hanging(tmp_path / "db")
    database.list_mirror(HERE, row(1))
    clock = 500.0
    table = MirrorTable(database, clock=lambda: clock, wait_seconds=0.01)

    async def told() -> list[str]:
        return [entry.url for entry in await table.entries(HERE)]

    async def work() -> None:
        patient = MirrorTable(database, clock=lambda: clock)
        assert [entry.url for entry in await patient.entries(HERE)] == [row(1).url]
        table._known = patient._known  # what was read before
        database.go_on.clear()
        assert await told() == [row(1).url]
        assert await table.entries(RepositoryId("b" * 52)) == []
        nonlocal clock
        clock = 1000.0
        assert await told() == [], "its time has passed"
        database.go_on.set()

    asyncio.run(work())
    database.close()


def test_lists_are_told_while_another_process_writes(tmp_path: Path, database: Database) -> None:
    """Whoever announces itself waits for that process; whoever asks for a list does not."""
    database.list_mirror(HERE, row(1))
    table = MirrorTable(database, clock=lambda: 500.0)
    other = sqlite3.connect(tmp_path / "db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    async def work() -> None:
        writing = asyncio.create_task(table.change(lambda db: db.list_mirror(HERE, row(2))))
        assert [entry.url for entry in await table.entries(HERE)] == [row(1).url]
        with pytest.raises(LocalError, match="locked"):
            await writing
        other.execute("ROLLBACK")
        await table.change(lambda db: db.list_mirror(HERE, row(2)))
        assert len(await table.entries(HERE)) == 2

    asyncio.run(work())
    other.close()


def test_threads_share_a_database(database: Database) -> None:
    """What one thread changes as a whole no other one sees half of, nor cuts short."""

    def work(number: int) -> None:
        for _ in range(20):
            database.list_mirror(HERE, row(number))
            database.saw_head(HERE, "0" * 40, number, 1)  # type: ignore[arg-type]
            assert row(number) in database.mirrors(HERE, 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(database.mirrors(HERE, 0)) == 8
