"""``gittorrent confirm``: what is listed, confirmed and refused, and that ``status`` shows it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from gittorrent.push.purge_guard import Decision
from gittorrent.store.database import Database
from gittorrent.store.held import HeldKind, HeldRow, HeldTable
from support.programs import Person, somebody

A = "a" * 52
NAME = "project"


@pytest.fixture
def operator(tmp_path: Path) -> Person:
    """Somebody whose node holds two things back."""
    person = somebody(tmp_path / "operator")
    person.gittorrent("status").ok()
    refs = {f"refs/heads/b{number}": "12" * 20 for number in range(5)}
    with contextlib.closing(Database(person.node / "node.sqlite")) as database:
        table = HeldTable(database)
        table.hold(HeldRow(HeldKind.TRACKED, NAME, NAME, refs, 6, 7))
        table.hold(HeldRow(HeldKind.REPOSITORIES, A, "list", {"b" * 52: "one"}, 3, 7))
    return person


def decisions(person: Person) -> list[Decision]:
    with contextlib.closing(Database(person.node / "node.sqlite")) as database:
        return [row.decision for row in HeldTable(database).all()]


def test_what_is_held_back_is_listed_with_what_confirms_it(operator: Person) -> None:
    said = operator.gittorrent("confirm").ok().out
    assert "1: project: 5 of 6 refs disappeared at once" in said
    assert "(refs/heads/b0, refs/heads/b1, refs/heads/b2 and 2 more)" in said
    assert "2: list: 1 of 3 repositories disappeared at once" in said
    assert "(one); carried on until 'gittorrent confirm 2'" in said
    shown = operator.gittorrent("status").ok().out
    assert all(f"held back: {line}"[:60] in shown for line in said.splitlines())
    listed = json.loads(operator.gittorrent("confirm", "--json").ok().out)
    assert listed == json.loads(operator.gittorrent("status", "--json").ok().out)["held"]
    assert [each["number"] for each in listed] == [1, 2]
    assert listed[1] == {
        "number": 2,
        "kind": "repositories",
        "subject": A,
        "title": "list",
        "names": ["b" * 52],
        "held": 1,
        "total": 3,
        "since": 7,
        "until": None,
        "decision": "waiting",
    }
    assert decisions(operator) == [Decision.WAITING, Decision.WAITING]


@pytest.mark.parametrize("word", ["2", "list", A, A.upper()])
def test_a_number_a_name_or_an_id_confirms(operator: Person, word: str) -> None:
    said = operator.gittorrent("confirm", word).ok().out
    assert said.startswith("2: list:")
    assert "confirmed, and about to go" in said
    assert decisions(operator) == [Decision.WAITING, Decision.CONFIRMED]


def test_what_was_refused_can_be_confirmed_later(operator: Person) -> None:
    said = operator.gittorrent("confirm", "--refuse", "project").ok().out
    assert "since that was refused; 'gittorrent confirm 1' lets them go" in said
    assert decisions(operator) == [Decision.REFUSED, Decision.WAITING]
    operator.gittorrent("confirm", "-q", "1", "2").ok()
    assert decisions(operator) == [Decision.CONFIRMED, Decision.CONFIRMED]


def test_what_is_not_held_is_a_mistake_and_nothing_else_is_decided(operator: Person) -> None:
    operator.gittorrent("confirm", "1", "other").failed(2, "other is no number of what")
    operator.gittorrent("confirm", "--refuse").failed(2, "--refuse needs to know what to keep")
    assert decisions(operator) == [Decision.WAITING, Decision.WAITING]


def test_where_nothing_is_held_that_is_said(tmp_path: Path) -> None:
    person = somebody(tmp_path / "person")
    assert person.gittorrent("confirm").ok().out == "nothing is held back\n"
    assert json.loads(person.gittorrent("confirm", "--json").ok().out) == []
