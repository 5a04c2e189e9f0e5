"""Whose HEAD counts, and which branch takes the place of one that is gone."""

from __future__ import annotations

import pytest

from gittorrent.ids import Oid, RefName, Refs
from gittorrent.push.head_branch import compare_head, default_branch, first_head, successor
from gittorrent.push.listing import Entry, empty_listing
from gittorrent.push.origin_refs import Side


def branch(name: str) -> RefName:
    return RefName(f"refs/heads/{name}".encode())


def refs(**branches: int) -> Refs:
    return {branch(name): Oid(f"{value}" * 40) for name, value in branches.items()}


@pytest.mark.parametrize(
    ("here", "elsewhere", "was", "expected"),
    [
        ("a", "a", "b", None),
        ("b", "a", "a", Side.HERE),
        ("a", "b", "a", Side.ELSEWHERE),
        ("a", "gone", "a", None),
        ("a", "b", "c", None),
        ("a", "b", "", None),
        ("gone", "b", "a", Side.ELSEWHERE),
        ("gone", "a", "a", None),
        ("", "b", "a", None),
    ],
)
def test_whose_head_counts(here: str, elsewhere: str, was: str, expected: Side | None) -> None:
    branches = refs(a=1, b=1, c=1)
    own, before = (branch(name) if name else None for name in (here, was))
    assert compare_head(own, branch(elsewhere), before, branches) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (refs(main=1, other=1), refs(other=1, trunk=1), "trunk"),
        (refs(main=1, other=3), refs(other=3, zulu=2), "zulu"),
        (refs(main=1, other=1), refs(other=1), "other"),
        (refs(main=1, alpha=2, zulu=1), refs(alpha=2, zulu=1), "zulu"),
        (refs(main=1), refs(alpha=2, master=3), "master"),
        (refs(main=1), refs(beta=2, alpha=3), "alpha"),
        (refs(), refs(dev=1), "dev"),
    ],
)
def test_successors(before: Refs, after: Refs, expected: str) -> None:
    assert successor(branch("main"), before, after) == branch(expected)


def test_no_branch_has_no_successor() -> None:
    tags: Refs = {RefName(b"refs/tags/v1"): Oid("1" * 40)}
    assert successor(branch("main"), refs(main=1), tags) is None


def test_the_first_head() -> None:
    assert first_head(branch("a"), refs(a=1, main=1)) == branch("a")
    assert first_head(branch("gone"), refs(a=1, main=1)) == branch("main")
    assert first_head(branch("unborn"), {}) == branch("unborn")
    assert first_head(None, refs(a=1)) == branch("a")
    assert first_head(None, {}) == branch("main")


@pytest.mark.parametrize(
    ("present", "expected"),
    [("unborn main a", "unborn"), ("main a", "main"), ("b a", "a"), ("", None)],
)
def test_no_branch_that_is_not_there_is_shown(present: str, expected: str | None) -> None:
    listing = empty_listing(branch("unborn"))
    for name in [*map(branch, present.split()), RefName(b"refs/tags/main")]:
        listing = listing.with_entry(Entry(name, Oid("a" * 40)))
    assert default_branch(listing) == (None if expected is None else branch(expected))
