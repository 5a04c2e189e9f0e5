"""What publishing does with each ref: changed here, elsewhere, or on both sides."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gittorrent.ids import Oid, RefName, Refs
from gittorrent.push.certificate import Line
from gittorrent.push.origin_refs import Comparison, Trouble, compare, questions

PARENTS = {"2": "1", "3": "2", "8": "2", "9": "38", "5": ""}
"""1 - 2 - 3 - 9, 2 - 8 - 9; 5 has nothing to do with them."""


def oid(digit: str) -> Oid:
    return Oid(digit * 40)


def name(short: str) -> RefName:
    return RefName(f"refs/{short if '/' in short else f'heads/{short}'}".encode())


def refs(values: Mapping[str, str]) -> Refs:
    return {name(short): oid(digit) for short, digit in values.items()}


def contains(outer: Oid, inner: Oid) -> bool:
    ahead = [outer[0]]
    while ahead:
        at = ahead.pop()
        if at == inner[0]:
            return True
        ahead += PARENTS.get(at, "")
    return False


class Remembered:
    """A past with these values; ``final`` are the refs whose value was final."""

    def __init__(self, values: Refs | None, final: frozenset[RefName]) -> None:
        self.values = values
        self.final = final

    def knows(self, ref: RefName) -> bool:
        return self.values is not None

    def value(self, ref: RefName) -> Oid | None:
        return None if self.values is None else self.values.get(ref)

    def is_settled(self, ref: RefName, value: Oid) -> bool:
        assert self.value(ref) == value
        return ref in self.final


def result(
    here: Mapping[str, str],
    elsewhere: Mapping[str, str],
    was: Mapping[str, str] | None,
    final: str = "",
) -> Comparison:
    past = Remembered(None if was is None else refs(was), frozenset(map(name, final.split())))
    asked: list[tuple[Oid, Oid]] = []

    def answer(outer: Oid, inner: Oid) -> bool:
        asked.append((outer, inner))
        return contains(outer, inner)

    found = compare(refs(here), refs(elsewhere), past, answer)
    prepared = questions(refs(here), refs(elsewhere), past)
    assert {pair for pair in asked if pair[0] != pair[1]} <= set(prepared)
    return found


def lines(*changes: str) -> tuple[Line, ...]:
    """Read such as ``main 1 2``; ``-`` stands for no ref."""
    found = []
    for change in changes:
        short, old, new = change.split()
        values = [None if digit == "-" else oid(digit) for digit in (old, new)]
        found.append(Line(values[0], values[1], name(short)))
    return tuple(found)


@pytest.mark.parametrize(
    ("here", "elsewhere", "was", "expected"),
    [
        ("2", "1", "1", "publish"),
        ("5", "1", "1", "publish"),
        ("1", "2", "2", "publish"),
        ("-", "1", "1", "publish"),
        ("1", "-", "-", "publish"),
        ("1", "2", "1", "take"),
        ("-", "2", "-", "take"),
        ("3", "2", "1", "publish"),
        ("2", "3", "1", "take"),
        ("9", "8", "2", "publish"),
        ("9", "8", "3", Trouble.BOTH_MOVED),
        ("3", "8", "2", Trouble.BOTH_MOVED),
        ("1", "3", "2", Trouble.BOTH_MOVED),
        ("3", "1", "2", Trouble.BOTH_MOVED),
        ("5", "3", "2", Trouble.BOTH_MOVED),
        ("3", "5", "2", Trouble.BOTH_MOVED),
        ("-", "3", "2", Trouble.DELETED_HERE),
        ("3", "-", "2", Trouble.DELETED_ELSEWHERE),
        ("3", "2", "-", "publish"),
        ("2", "3", "-", "take"),
        ("5", "3", "-", Trouble.BOTH_MOVED),
        ("2", "1", "2", Trouble.NOT_FINAL),
        ("2", "5", "2", Trouble.NOT_FINAL),
        ("2", "-", "2", Trouble.NOT_FINAL),
        ("2", "1", "?", "publish"),
        ("1", "2", "?", "take"),
        ("3", "8", "?", Trouble.BOTH_MOVED),
        ("-", "2", "?", "take"),
        ("2", "-", "?", Trouble.DELETED_ELSEWHERE),
        ("2", "2", "1", None),
        ("2", "2", "?", None),
    ],
)
def test_one_branch(here: str, elsewhere: str, was: str, expected: str | Trouble | None) -> None:
    def state(value: str) -> dict[str, str]:
        return {} if value == "-" else {"main": value}

    found = result(state(here), state(elsewhere), None if was == "?" else state(was))
    publish, take = lines(f"main {elsewhere} {here}"), lines(f"main {here} {elsewhere}")
    assert found.publish == (publish if expected == "publish" else ())
    assert found.take == (take if expected == "take" else ())
    assert [each.trouble for each in found.parted] == (
        [expected] if isinstance(expected, Trouble) else []
    )


@pytest.mark.parametrize("elsewhere", ["1", "5", "-"])
def test_what_was_final_follows_a_rewind(elsewhere: str) -> None:
    there = {} if elsewhere == "-" else {"main": elsewhere}
    found = result({"main": "2"}, there, {"main": "2"}, "main")
    assert found == Comparison((), lines(f"main 2 {elsewhere}"), ())


def test_tags_never_move_forward() -> None:
    tag = "tags/v1"
    found = result({tag: "2"}, {tag: "3"}, {tag: "1"})
    assert [each.trouble for each in found.parted] == [Trouble.BOTH_MOVED]
    found = result({tag: "1"}, {tag: "2"}, {tag: "1"})
    assert [each.trouble for each in found.parted] == [Trouble.NOT_FINAL]
    assert result({tag: "1"}, {tag: "2"}, {tag: "1"}, tag).take == lines("tags/v1 1 2")
    assert result({tag: "2"}, {tag: "1"}, {tag: "1"}).publish == lines("tags/v1 1 2")


def test_each_ref_by_itself() -> None:
    was = {"a": "1", "b": "1", "c": "1", "d": "1", "e": "2"}
    here = {"a": "2", "b": "1", "c": "3", "e": "3", "new": "5"}
    there = {"a": "1", "b": "2", "c": "8", "d": "1", "e": "8", "other": "5"}
    found = result(here, there, was)
    assert found.publish == lines("a 1 2", "d 1 -", "new - 5")
    assert found.take == lines("b 1 2", "other - 5")
    assert [(each.ref, each.was, each.here, each.elsewhere) for each in found.parted] == [
        (name("c"), oid("1"), oid("3"), oid("8")),
        (name("e"), oid("2"), oid("3"), oid("8")),
    ]


@pytest.mark.parametrize(("own", "other"), [("a", "a/b"), ("a/b", "a"), ("x/a", "x/a/b/c")])
def test_names_that_cannot_exist_together(own: str, other: str) -> None:
    own, other = f"heads/{own}", f"heads/{other}"
    found = result({own: "1", "m": "1"}, {other: "2", "m": "1"}, {"m": "1"})
    assert (found.publish, found.take) == ((), ())
    assert {(each.ref, each.trouble) for each in found.parted} == {
        (name(own), Trouble.DIRECTORY),
        (name(other), Trouble.DIRECTORY),
    }


def test_what_goes_makes_room() -> None:
    found = result({"heads/a/b": "1"}, {"a": "1"}, {"a": "1"})
    assert found.publish == lines("a 1 -", "heads/a/b - 1")
    assert found.parted == ()
    found = result({"a": "1"}, {"heads/a/b": "1"}, {"a": "1"}, "a")
    assert found.take == lines("a 1 -", "heads/a/b - 1")


def test_a_deletion_that_is_held_back_keeps_its_name() -> None:
    """``a`` was moved elsewhere, so it is not deleted there, and ``a/b`` has no room."""
    found = result({"heads/a/b": "1"}, {"a": "3"}, {"a": "2"})
    assert found.publish == ()
    assert {each.trouble for each in found.parted} == {Trouble.DELETED_HERE, Trouble.DIRECTORY}
