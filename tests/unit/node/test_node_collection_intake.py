"""What newer content of a collection adds, takes out, and has to wait for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from gittorrent.ids import RepositoryId
from gittorrent.node.collection_file import parse_collection
from gittorrent.node.collection_intake import Before, Intake, let_go, take_in
from gittorrent.push.purge_guard import WINDOW_SECONDS, Decision
from gittorrent.store.collected import CollectedRow
from gittorrent.store.held import HeldKind, HeldRow

COLLECTION = RepositoryId("z" * 52)
IDS = [RepositoryId(letter * 52) for letter in "abcdef"]
A, B, C, D, E, F = IDS


def text(*ids: RepositoryId, more: str = "") -> str:
    return "".join(f'[[repository]]\nid = "{each}"\n' for each in ids) + more


def before(
    *ids: RepositoryId,
    held: HeldRow | None = None,
    recent: int = 0,
    here: Mapping[RepositoryId, str] | None = None,
) -> Before:
    named: Mapping[RepositoryId, CollectedRow] = {
        each: CollectedRow(each, f"n{each[0]}", since=5) for each in ids
    }
    if here is None:
        here = {each: f"here {each[0]}" for each in ids}
    return Before(COLLECTION, "list", named, [] if held is None else [held], recent, here)


def after(content: str, known: Before) -> Intake:
    return take_in(parse_collection(content.encode()), known, now=9)


def held(*ids: RepositoryId, decision: Decision = Decision.WAITING) -> HeldRow:
    names = {str(each): "" for each in ids}
    return HeldRow(HeldKind.REPOSITORIES, COLLECTION, "list", names, decision=decision, number=1)


def test_what_is_added_counts_and_what_was_there_keeps_its_time() -> None:
    found = after(text(B, A), before(A))
    assert [(row.repository, row.place, row.since) for row in found.rows] == [(B, 0, 9), (A, 1, 5)]
    assert (found.gone, found.hold, found.departed) == (frozenset(), None, 0)


def test_a_few_that_are_taken_out_go() -> None:
    found = after(text(C), before(A, B, C))
    assert (found.gone, found.hold, found.departed) == (frozenset({A, B}), None, 2)
    assert [row.repository for row in found.rows] == [C]


def test_many_that_are_taken_out_are_held() -> None:
    found = after(text(D), before(A, B, C, D))
    assert found.gone == frozenset()
    assert found.hold == HeldRow(
        HeldKind.REPOSITORIES,
        COLLECTION,
        "list",
        {A: "here a", B: "here b", C: "here c"},
        total=4,
        since=9,
    )
    assert {row.repository for row in found.rows} == {A, B, C, D}


def test_only_what_is_here_for_the_collection_is_held() -> None:
    """Deciding would do nothing about others, such as the operator's own, or what never came."""
    found = after(text(D), before(A, B, C, D, here={B: "beta", D: "delta"}))
    assert found.hold == HeldRow(
        HeldKind.REPOSITORIES, COLLECTION, "list", {B: "beta"}, total=2, since=9
    )
    assert (found.gone, found.departed) == (frozenset({A, C}), 3)
    assert {row.repository for row in found.rows} == {B, D}
    found = after(text(D), before(A, B, C, D, here={D: "delta"}))
    assert (found.hold, found.gone) == (None, frozenset({A, B, C}))


def test_small_steps_are_held_too() -> None:
    assert after(text(B, C, D), before(A, B, C, D, recent=2)).hold is not None


def test_what_was_added_a_moment_ago_does_not_hide_a_purge() -> None:
    """Who has stolen a key could add a hundred of no worth, and take all others out then."""
    now = 10 * WINDOW_SECONDS
    more = [RepositoryId(letter * 52) for letter in "ghijklmnopqrst"]

    def hold(since: int) -> HeldRow | None:
        named = {
            **{each: CollectedRow(each, since=5) for each in (A, B, C, D)},
            **{each: CollectedRow(each, since=since) for each in more},
        }
        known = replace(before(A, B, C, D), named=named)
        return take_in(parse_collection(text(D, *more).encode()), known, now).hold

    found = hold(now - 60)
    assert found is not None
    assert found.names.keys() == {A, B, C}
    assert hold(now - WINDOW_SECONDS) is None  # they were there for a day


def test_small_purges_soon_after_a_collection_was_followed_go() -> None:
    known = before(*IDS, *(RepositoryId(letter * 52) for letter in "ghijklmnopqrst"))
    content = text(*(each for each in known.named if each not in (A, B, C)))
    assert after(content, known).gone == {A, B, C}


def test_what_is_held_waits_and_goes_when_it_is_confirmed() -> None:
    known = before(A, B, C, D, held=held(A, B, C))
    found = after(text(D, E), known)
    assert (found.gone, found.hold, found.released) == (frozenset(), None, frozenset())
    assert {row.repository for row in found.rows} == {A, B, C, D, E}
    assert let_go(known, 9) is None
    known = before(A, B, C, D, held=held(A, B, C, decision=Decision.CONFIRMED))
    found = after(text(B, D), known)
    assert found.gone == {A, C}
    assert found.released == {A, B, C}  # one is named again
    # Though nothing can be read any more, what was confirmed goes.
    alone = let_go(known, 9)
    assert alone is not None
    assert (alone.gone, [row.repository for row in alone.rows]) == (frozenset({A, B, C}), [D])


@pytest.mark.parametrize(
    "more", [f'[[repository]]\nid = "{A}"\nurls = ["ext::x"]\n', "[[repository]]\nid = 7\n"]
)
def test_a_mistake_takes_nothing_out(more: str) -> None:
    """One of an entry whose id can be read concerns that one; any other could be about all."""
    found = after(text(C, D, more=more), before(A, C, D))
    assert (found.gone, found.hold) == (frozenset(), None)
    assert {row.repository for row in found.rows} == {A, C, D}
    assert next(row for row in found.rows if row.repository == A).name == "na"
