"""What is held back, in the node's database."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gittorrent.push.purge_guard import WINDOW_SECONDS, Decision, Held
from gittorrent.store.database import Database
from gittorrent.store.following import FollowTable
from gittorrent.store.held import HeldKind, HeldRow, HeldTable

A = "a" * 52
ROW = HeldRow(HeldKind.REFS, A, "project", {"refs/heads/x": "12", "refs/heads/y": "34"}, 9, 7, 99)


@pytest.fixture
def table(database: Database) -> HeldTable:
    return HeldTable(database)


def test_names_that_disappeared_together_are_one_row(table: HeldTable) -> None:
    other = replace(ROW, names={"refs/heads/z": "56"}, kind=HeldKind.TRACKED)
    table.hold(ROW)
    table.hold(other)
    table.hold(ROW)
    assert table.all() == [
        replace(ROW, number=1),
        replace(other, number=2),
        replace(ROW, number=3),
    ]
    assert [row.number for row in table.of(HeldKind.REFS, A)] == [1, 3]
    assert ROW.for_judging() == Held(frozenset(ROW.names), 99)


def test_a_decision_is_seen_by_the_node(database: Database, table: HeldTable) -> None:
    table.hold(ROW)
    before = FollowTable(database).change_number()
    table.decide([1], Decision.REFUSED)
    assert FollowTable(database).change_number() != before
    # What is kept for good has no end.
    assert table.all() == [replace(ROW, number=1, decision=Decision.REFUSED, until=0)]


def test_a_row_goes_with_its_last_name_and_its_number_is_never_another_ones(
    table: HeldTable,
) -> None:
    table.hold(ROW)
    table.release(HeldKind.REFS, "b" * 52, ["refs/heads/x"])
    assert table.all() == [replace(ROW, number=1)]
    table.release(HeldKind.REFS, A, ["refs/heads/x"])
    assert table.all() == [replace(ROW, number=1, names={"refs/heads/y": "34"})]
    table.release(HeldKind.REFS, A, ["refs/heads/y"])
    assert table.all() == []
    table.hold(ROW)
    assert table.all()[0].number == 2


def test_disappearances_count_for_a_while(table: HeldTable) -> None:
    table.note_departed(HeldKind.REFS, A, 3, 1000)
    table.note_departed(HeldKind.REFS, A, 2, 2000)
    table.note_departed(HeldKind.TRACKED, A, 7, 2000)
    assert table.recently_departed(HeldKind.REFS, A, 2000) == 5
    assert table.recently_departed(HeldKind.REFS, A, 1000 + WINDOW_SECONDS + 1) == 2
    assert table.recently_departed(HeldKind.REFS, "b" * 52, 2000) == 0


def test_what_comes_counts_as_long_and_apart(table: HeldTable) -> None:
    table.note_departed(HeldKind.TRACKED, A, 7, 1000)
    table.note_arrived(HeldKind.TRACKED, A, 3, 1000)
    table.note_arrived(HeldKind.TRACKED, A, 2, 2000)
    assert table.recently_arrived(HeldKind.TRACKED, A, 2000) == 5
    assert table.recently_arrived(HeldKind.TRACKED, A, 1000 + WINDOW_SECONDS + 1) == 2
    assert table.recently_arrived(HeldKind.REFS, A, 2000) == 0
    assert table.recently_departed(HeldKind.TRACKED, A, 2000) == 7


def test_what_is_gone_itself_leaves_nothing(table: HeldTable) -> None:
    table.note_arrived(HeldKind.REFS, A, 3, 1000)
    table.hold(ROW)
    table.hold(replace(ROW, kind=HeldKind.TRACKED))
    table.note_departed(HeldKind.REFS, A, 3, 1000)
    table.forget(HeldKind.REFS, A)
    assert [row.kind for row in table.all()] == [HeldKind.TRACKED]
    assert table.recently_departed(HeldKind.REFS, A, 1000) == 0
    assert table.recently_arrived(HeldKind.REFS, A, 1000) == 0
