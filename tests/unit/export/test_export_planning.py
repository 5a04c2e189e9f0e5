"""What an export sends, what it leaves, and what goes."""

from __future__ import annotations

import pytest

from gittorrent.export.inventory import (
    HEADS,
    Inventory,
    InventoryError,
    is_exported_name,
    parse_inventory,
)
from gittorrent.export.planning import ForeignFilesError, plan_export
from gittorrent.ids import RepositoryId

REPOSITORY = RepositoryId("a" * 52)
OLD, NEW = f"reels/{'1' * 64}.pack", f"reels/{'2' * 64}.pack"
PUSH = f"pushes/{'3' * 40}"
DAY = 86_400


def known(**files: int) -> Inventory:
    return Inventory(REPOSITORY, dict(files))


def test_everything_is_sent_to_an_empty_place() -> None:
    plan = plan_export({NEW: 7, PUSH: None}, HEADS, {}, known(), 100, DAY)
    assert plan.send == (NEW, PUSH)
    assert plan.before == plan.after == dict.fromkeys([NEW, PUSH, *HEADS], 0)
    assert not plan.remove


def test_what_is_there_is_not_sent_again() -> None:
    here = Inventory(REPOSITORY, dict.fromkeys([NEW, PUSH, *HEADS], 0))
    present = {NEW: 7, PUSH: 99, **dict.fromkeys(HEADS, 1)}
    assert plan_export({NEW: 7, PUSH: None}, HEADS, present, here, 100, DAY).send == ()
    assert plan_export({NEW: 8, PUSH: None}, HEADS, present, here, 100, DAY).send == (NEW,)
    again = plan_export({NEW: 7, PUSH: None}, HEADS, present, here, 100, DAY, again=True)
    assert again.send == (NEW, PUSH)


def test_what_is_superseded_stays_for_a_while() -> None:
    here = Inventory(REPOSITORY, {OLD: 0})
    first = plan_export({NEW: 7}, (), {OLD: 5}, here, 1000, DAY)
    assert (first.remove, first.after[OLD], first.superseded) == ((), 1000, 1)
    assert first.before[OLD] == 0, "until the heads are replaced it is not superseded"
    later = Inventory(REPOSITORY, first.after)
    present = {OLD: 5, NEW: 7}
    assert plan_export({NEW: 7}, (), present, later, 999 + DAY, DAY).remove == ()
    last = plan_export({NEW: 7}, (), present, later, 1000 + DAY, DAY)
    assert last.remove == (OLD,)
    assert OLD not in last.after
    assert OLD in last.before, "what is about to be removed is still ours"


def test_what_is_wanted_again_is_not_superseded_any_more() -> None:
    here = Inventory(REPOSITORY, {OLD: 1000})
    plan = plan_export({OLD: 5}, (), {OLD: 5}, here, 1000 + 9 * DAY, DAY)
    assert (plan.remove, plan.send, plan.after) == ((), (), {OLD: 0})


def test_nobody_elses_file_is_replaced() -> None:
    with pytest.raises(ForeignFilesError, match="no export wrote it"):
        plan_export({NEW: 7}, HEADS, {"mirror-list": 3}, known(), 0, DAY)


def test_what_no_inventory_lists_is_not_removed() -> None:
    plan = plan_export({NEW: 7}, (), {OLD: 5}, known(), 10 * DAY, 0)
    assert not plan.remove
    assert OLD not in plan.after


def test_an_inventory_is_read_as_it_was_written() -> None:
    inventory = Inventory(REPOSITORY, {OLD: 12, PUSH: 0, "mirror-list": 0})
    assert parse_inventory(inventory.text()) == inventory


@pytest.mark.parametrize(
    "line",
    [
        "0 ../../etc/passwd", "0 pushes/../x", "0 /etc/passwd", "0 index.html", "-1 mirror-list",
        "00 mirror-list", "0  mirror-list", "0 mirror-list\n0 mirror-list", f"0 {PUSH}0",
        f"{1 << 48} mirror-list", "", f"0 reels/{'1' * 64}.have", "0 .gittorrent-export/lock",
    ],
)  # fmt: skip
def test_an_inventory_names_nothing_else(line: str) -> None:
    text = Inventory(REPOSITORY, {}).text() + f"{line}\n".encode()
    with pytest.raises(InventoryError):
        parse_inventory(text)


def test_an_inventory_that_is_cut_off_is_none() -> None:
    whole = Inventory(REPOSITORY, {OLD: 0, NEW: 0}).text()
    for end in (0, 5, len(whole) - 1):
        with pytest.raises(InventoryError):
            parse_inventory(whole[:end])


def test_heads_have_names_of_an_export() -> None:
    assert all(map(is_exported_name, HEADS))
    assert HEADS[-1] == "mirror-list"
