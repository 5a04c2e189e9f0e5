"""Who gets the places of a table."""

from __future__ import annotations

from gittorrent.swarm.fair_shares import fair_shares, in_turn


def source(item: str) -> str:
    return item[0]


def test_places_are_given_in_turn_and_order_stays() -> None:
    items = ["a1", "a2", "a3", "a4", "b1", "c1", "c2"]
    assert fair_shares(items, source, 5) == ["a1", "a2", "b1", "c1", "c2"]
    assert fair_shares(items, source, 3) == ["a1", "b1", "c1"]
    assert fair_shares(items, source, 0) == []


def test_places_that_others_leave_are_used() -> None:
    items = ["a1", "a2", "a3", "b1"]
    assert fair_shares(items, source, 10) == items


def test_in_turn() -> None:
    assert in_turn(["a1", "a2", "b1", "c1", "c2"], source) == ["a1", "b1", "c1", "a2", "c2"]
