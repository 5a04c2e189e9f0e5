"""What collections bring, and what of that the operator's limits and wishes leave out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from gittorrent.ids import RepositoryId
from gittorrent.node.collection_plan import (
    AFTER_OPERATOR,
    CollectionPlan,
    Named,
    State,
    World,
    plan_collections,
)
from gittorrent.node.follow_plan import Records, plan
from gittorrent.push.carry_limits import CollectionLimits
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.collected import CollectedRow
from gittorrent.store.following import FollowRow, WantedRow

COLLECTION, OTHER = RepositoryId("y" * 52), RepositoryId("z" * 52)
A, B, C = (RepositoryId(letter * 52) for letter in "abc")
URL = "git://h.example.org/list.git"


def rows(*ids: RepositoryId, **more: object) -> list[CollectedRow]:
    return [
        replace(CollectedRow(each, f"n{each[0]}", place=place), **more)
        for place, each in enumerate(ids)
    ]


def named(entries: Sequence[CollectedRow], collection: RepositoryId = COLLECTION) -> Named:
    return Named(collection, URL, CollectionLimits(), entries)


def limited(entries: Sequence[CollectedRow], **limits: object) -> Named:
    return replace(named(entries), limits=replace(CollectionLimits(), **limits))


def mirror(repository: RepositoryId, name: str = "") -> CarriedRow:
    name = name or f"n{repository[0]}"
    return CarriedRow(name, repository, f"/{name}.git", "mirror", f"gittorrent://{repository}")


def here(*ids: RepositoryId, **more: object) -> World:
    """Return a world in which collections brought some repositories already."""
    return replace(World({each: mirror(each) for each in ids}, frozenset(ids)), **more)


def states(found: CollectionPlan, collection: RepositoryId = COLLECTION) -> dict[str, str]:
    return {each.row.repository[0]: each.state.value for each in found.outcomes[collection]}


def reason(found: CollectionPlan, repository: RepositoryId) -> str:
    (outcome,) = [e for e in found.outcomes[COLLECTION] if e.row.repository == repository]
    return outcome.reason


def test_what_is_named_is_brought_by_its_id() -> None:
    found = plan_collections([named(rows(A, B))], here(A))
    assert states(found) == {"a": "carried", "b": "coming"}
    assert (found.brought[A].is_here, found.brought[B].is_here) == (True, False)
    assert found.brought[B].name == "nb"


def test_why_something_did_not_come_is_said() -> None:
    world = replace(here(A), failing={A: "they are down", B: "nobody has it"})
    found = plan_collections([named(rows(A, B))], world)
    assert states(found) == {"a": "carried", "b": "coming"}
    assert (reason(found, A), reason(found, B)) == ("", "nobody has it")


def test_what_the_operator_asked_for_is_left_alone() -> None:
    origin = CarriedRow("na", A, "/a.git", "origin")
    world = World({A: origin, B: mirror(B)}, asked=frozenset({C}))
    found = plan_collections([named(rows(A, B, C, COLLECTION))], world)
    assert set(states(found).values()) == {"elsewhere"}
    assert found.brought == {}
    assert reason(found, A) == "it is published from here"
    assert reason(found, B) == reason(found, C) == "you asked for it yourself"
    assert reason(found, COLLECTION) == "it is the collection itself"


def test_of_two_collections_the_one_followed_longest_brings_it_and_then_the_other() -> None:
    both = [named(rows(A)), named(rows(A), OTHER)]
    found = plan_collections(both, here(A))
    assert found.brought[A].collection == COLLECTION
    assert states(found, OTHER) == {"a": "elsewhere"}
    found = plan_collections([named([]), named(rows(A), OTHER)], here(A))
    assert found.brought[A].collection == OTHER


def test_the_limit_of_repositories_keeps_what_is_here_and_then_goes_by_priority() -> None:
    entries = [*rows(A, B), replace(rows(C)[0], priority=5, place=2)]
    found = plan_collections([limited(entries, repositories=2)], here(B))
    assert states(found) == {"a": "left out", "b": "carried", "c": "coming"}
    assert reason(found, A) == "the limit of 2 repositories is reached"
    found = plan_collections([limited(entries, repositories=1)], here(A, B))
    assert states(found) == {"a": "carried", "b": "not followed", "c": "left out"}
    assert reason(found, B) == "the limit of 1 repository is reached"
    assert found.barred == {B}


def test_bytes_count_of_each_and_in_all() -> None:
    world = here(A, B, sizes={A: 100, B: 50})
    found = plan_collections([limited(rows(A, B, C), each=90, total=200)], world)
    assert states(found) == {"a": "not followed", "b": "carried", "c": "coming"}
    assert "100 bytes, more than the 90 bytes allowed" in reason(found, A)
    assert (found.brought[B].room, found.brought[C].room) == (40, 50)
    found = plan_collections([limited(rows(A, B, C), total=150)], world)
    assert states(found) == {"a": "carried", "b": "carried", "c": "left out"}
    found = plan_collections([limited(rows(A, B, C), total=149)], world)
    assert found.brought == {}
    assert found.barred == {A, B}


def test_a_name_that_is_taken_is_not_taken_over() -> None:
    world = World({C: mirror(C, "na")})
    found = plan_collections([named(rows(A, B))], world)
    assert states(found) == {"a": "left out", "b": "coming"}
    assert reason(found, A) == f"the name na is taken by {C}"
    found = plan_collections([named(rows(A))], replace(World({}), names=frozenset({"na"})))
    assert states(found) == {"a": "left out"}
    # What is here keeps the name that it has.
    world = replace(here(A), carried={A: mirror(A, "old"), C: mirror(C, "na")})
    found = plan_collections([named(rows(A))], world)
    assert (states(found), found.brought[A].name) == ({"a": "carried"}, None)
    found = plan_collections([named([*rows(A), replace(rows(B)[0], name="na")])], World({}))
    assert states(found) == {"a": "coming", "b": "left out"}


def test_what_was_removed_or_refused_is_not_brought() -> None:
    world = here(C, excluded=frozenset({A}), refused={B: "no key", C: "no key"})
    found = plan_collections([named(rows(A, B, C))], world)
    assert states(found) == {"a": "left out", "b": "left out", "c": "not followed"}
    assert "gittorrent mirror gittorrent://" in reason(found, A)
    # It is looked at again, since that may change.
    assert set(found.brought) == {B, C}
    assert found.barred == {C}


def test_what_is_held_is_carried_on() -> None:
    found = plan_collections([replace(named(rows(A)), held=frozenset({A}))], here(A))
    assert states(found) == {"a": State.HELD.value}
    assert A in found.brought


@pytest.mark.parametrize("most", [0, 5])
def test_what_is_held_is_told_apart_from_what_is_named(most: int) -> None:
    """Even where a limit keeps it from being followed."""
    given = replace(
        named(rows(A, B)), held=frozenset({B}), limits=CollectionLimits(repositories=most)
    )
    found = plan_collections([given], here(A, B))
    assert [each.is_named for each in found.outcomes[given.collection]] == [True, False]


# -- and what a node follows by that


def records(*carried: CarriedRow, followed: dict[RepositoryId, FollowRow]) -> Records:
    return Records(carried, followed, [], {})


def test_what_a_collection_brings_comes_after_what_the_operator_wants_and_by_its_id() -> None:
    urgent = plan_collections([named(rows(A, priority=1000))], World({}))
    wanted = Records([], {}, [WantedRow("git://h.example.org/w.git")], {})
    found = plan(wanted, [], urgent)
    target = found.targets[A]
    assert target.priority == AFTER_OPERATOR + 1000 < -1000
    assert (target.location.endpoint, target.location.expected) == (None, A)
    assert len(found.targets) == 2


def test_what_no_collection_names_any_more_stays_and_is_not_followed() -> None:
    brought = {A: FollowRow(by_collection=True)}
    found = plan(records(mirror(A), followed=brought), [], plan_collections([], World({})))
    assert (found.targets, found.dropped) == ({}, {A: "na"})
    here_a = plan_collections([named(rows(A))], here(A))
    assert plan(records(mirror(A), followed=brought), [], here_a).targets[A].brought is not None


def test_what_is_about_to_be_deleted_is_not_told_to_stay() -> None:
    leaving = {A: FollowRow(by_collection=True, leaving=True)}
    found = plan(records(mirror(A), followed=leaving), [], plan_collections([], World({})))
    assert (found.targets, found.dropped) == ({}, {})


@pytest.mark.parametrize("how", [FollowRow(by_collection=True, paused=True)])
def test_what_is_paused_is_followed_by_no_collection(how: FollowRow) -> None:
    found = plan(
        records(mirror(A), followed={A: how}), [], plan_collections([named(rows(A))], here(A))
    )
    assert found.targets == {}
    assert found.paused == {A}
