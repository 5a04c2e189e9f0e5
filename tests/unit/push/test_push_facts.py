"""Answers about objects that outlive the objects."""

from __future__ import annotations

import pytest

from gittorrent.ids import Oid
from gittorrent.push import facts
from gittorrent.push.facts import KeptFacts, NoObjects
from gittorrent.push.rule import UnknownObjectError
from support.logs import Numbered, oid


class Counting(Numbered):
    """Counts what it is asked."""

    asked = 0

    def contains(self, outer: Oid, inner: Oid) -> bool:
        self.asked += 1
        return super().contains(outer, inner)

    def is_commit(self, value: Oid) -> bool:
        self.asked += 1
        return super().is_commit(value)


def test_answers_are_kept_when_the_objects_are_gone() -> None:
    kept, there = KeptFacts(NoObjects), Counting()
    with kept.looking_in(there):
        for _ in range(3):
            assert kept.contains(oid(2), oid(1))
            assert not kept.contains(oid(1), oid(2))
            assert kept.is_commit(oid(3))
    assert there.asked == 3
    assert kept.contains(oid(2), oid(1))
    assert not kept.contains(oid(1), oid(2))
    assert kept.is_commit(oid(3))


def test_what_contains_another_and_that_are_commits() -> None:
    """A push that moves a branch forward costs one question."""
    kept, there = KeptFacts(NoObjects), Counting()
    with kept.looking_in(there):
        assert kept.contains(oid(2), oid(1))
        assert kept.is_commit(oid(2))
        assert kept.is_commit(oid(1))
    assert there.asked == 1


def test_what_is_not_here_is_asked_again() -> None:
    kept = KeptFacts(NoObjects)
    with pytest.raises(UnknownObjectError):
        kept.contains(oid(2), oid(1))
    with pytest.raises(UnknownObjectError):
        kept.is_commit(oid(2))
    with kept.looking_in(Numbered()):
        assert kept.contains(oid(2), oid(1))
        assert kept.is_commit(oid(2))


def test_memory_is_bounded() -> None:
    kept, there = KeptFacts(NoObjects), Counting()
    with kept.looking_in(there):
        for number in range(facts.MAX_ANSWERS + 2):
            kept.is_commit(oid(number))
        before = there.asked
        kept.is_commit(oid(0))
    assert there.asked == before + 1
