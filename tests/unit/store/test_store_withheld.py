"""Mirrors that withheld something: for how long that counts, and how many are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.ids import RepositoryId
from gittorrent.store.database import Database
from gittorrent.store.privacy import note_private
from gittorrent.store.withheld import (
    MAX_OF_ONE,
    MAX_WITHHELD,
    REMEMBERED_SECONDS,
    forgive,
    note_withheld,
    withheld_lately,
)

A, B = RepositoryId("a" * 52), RepositoryId("b" * 52)
NOW = 1_700_000_000
X, Y = "git://x.example/a.git", "git://y.example/a.git"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "node.sqlite")
    yield made
    made.close()


def test_it_counts_for_a_day_and_for_one_repository(database: Database) -> None:
    note_withheld(database, A, [X], NOW)
    assert withheld_lately(database, A, NOW + REMEMBERED_SECONDS - 1) == {X}
    assert withheld_lately(database, A, NOW + REMEMBERED_SECONDS) == set()
    assert withheld_lately(database, B, NOW) == set()


def test_what_a_clock_that_was_ahead_wrote_does_not_count(database: Database) -> None:
    note_withheld(database, A, [X], NOW + 10 * REMEMBERED_SECONDS)
    assert withheld_lately(database, A, NOW) == set()
    note_withheld(database, A, [Y], NOW)
    assert database.rows("SELECT url FROM withheld") == [(Y,)]


def test_who_gives_is_forgiven(database: Database) -> None:
    note_withheld(database, A, [X, Y], NOW)
    forgive(database, A, [X])
    assert withheld_lately(database, A, NOW) == {Y}


def test_of_a_repository_that_turns_private_nothing_stays(database: Database) -> None:
    note_withheld(database, A, [X], NOW)
    note_private(database, A, private=True)
    assert withheld_lately(database, A, NOW) == set()


def test_the_newest_are_kept(database: Database) -> None:
    for number in range(MAX_OF_ONE + 2):
        note_withheld(database, A, [f"git://{number}.example/a.git"], NOW + number)
    found = withheld_lately(database, A, NOW + MAX_OF_ONE + 1)
    assert found == {f"git://{n}.example/a.git" for n in range(2, MAX_OF_ONE + 2)}
    repositories = [
        RepositoryId(f"{number:a>52}") for number in range(MAX_WITHHELD // MAX_OF_ONE + 2)
    ]
    for repository in repositories:
        urls = [f"git://{number}.example/a.git" for number in range(MAX_OF_ONE)]
        note_withheld(database, repository, urls, NOW + 1000)
    assert database.rows("SELECT COUNT(*) FROM withheld") == [(MAX_WITHHELD,)]
    assert len(withheld_lately(database, repositories[-1], NOW + 1000)) == MAX_OF_ONE
