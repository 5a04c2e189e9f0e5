"""What is wanted, paused and looked at, in the node's database."""

from __future__ import annotations

import pytest

from gittorrent.ids import RepositoryId
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import CheckRow, Database
from gittorrent.store.following import FollowRow, FollowTable, LookRow, WantedRow

A = RepositoryId("a" * 52)
B = RepositoryId("b" * 52)
URL = "git://origin.example.org/project.git"


@pytest.fixture
def table(database: Database) -> FollowTable:
    return FollowTable(database)


def test_what_is_wanted_is_kept_in_the_order_it_came(table: FollowTable) -> None:
    table.want(WantedRow(URL, "one"), 7)
    table.want(WantedRow("git://h/b", ""), 5)
    assert table.wanted() == [WantedRow("git://h/b"), WantedRow(URL, "one")]
    assert table.unwant(URL)
    assert not table.unwant(URL)
    assert table.wanted() == [WantedRow("git://h/b")]


def test_repositories_are_followed_as_usual_until_somebody_says_otherwise(
    table: FollowTable,
) -> None:
    assert table.followed(A) == FollowRow()
    table.follow(A, FollowRow(paused=True))
    table.follow(B, FollowRow(by_config=True))
    assert table.all_followed() == {A: FollowRow(paused=True), B: FollowRow(by_config=True)}
    table.follow(A, FollowRow())
    assert table.all_followed() == {B: FollowRow(by_config=True)}


def test_every_change_is_seen_by_its_number(database: Database, table: FollowTable) -> None:
    row = CarriedRow("project", A, "/srv/project.git", "mirror", URL)
    numbers = [table.change_number()]
    for change in (
        lambda: table.want(WantedRow(URL), 1),
        lambda: table.unwant(URL),
        lambda: table.follow(A, FollowRow(paused=True)),
        lambda: table.follow(A, FollowRow(paused=True, by_config=True)),
        lambda: table.follow(A, FollowRow()),
        lambda: database.carry(row),
        lambda: database.uncarry(row),
    ):
        change()
        numbers.append(table.change_number())
    assert len(set(numbers)) == len(numbers)


def test_looks_do_not_count_as_changes(database: Database, table: FollowTable) -> None:
    before = table.change_number()
    table.looked([LookRow(A, 5, URL, 9)])
    database.check_failed(A, "no", 6)
    assert table.change_number() == before


def test_a_look_that_found_nothing_leaves_what_the_last_update_came_to(
    database: Database, table: FollowTable
) -> None:
    database.check_succeeded(A, URL, 5, "12" * 20)
    database.check_failed(A, "gone", 6)
    table.looked([LookRow(A, 7, "git://h/b", 70, live=True), LookRow(B, 0, "", 80)])
    assert database.check(A) == CheckRow(
        7, "git://h/b", 6, "gone", 0, head="12" * 20, whole=5, next=70, live=True
    )
    assert database.check(B) == CheckRow(next=80)


def test_a_look_that_is_only_planned_changes_no_result(
    database: Database, table: FollowTable
) -> None:
    database.check_failed(A, "gone", 6)
    table.looked([LookRow(A, 0, "", 80)])
    assert database.check(A) == CheckRow(0, "", 6, "gone", 1, next=80)


def test_what_is_removed_is_followed_anew_when_it_comes_back(
    database: Database, table: FollowTable
) -> None:
    row = CarriedRow("project", A, "/srv/project.git", "mirror", URL)
    database.carry(row)
    table.follow(A, FollowRow(paused=True))
    database.uncarry(row)
    assert table.followed(A) == FollowRow()
