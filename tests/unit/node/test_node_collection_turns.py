"""What collections bring side by side, and what waits for its turn."""

from __future__ import annotations

from gittorrent.ids import RepositoryId
from gittorrent.node.collection_plan import Brought
from gittorrent.node.collection_turns import CollectionTurns
from gittorrent.push.carry_limits import CollectionLimits
from gittorrent.store.collected import CollectedRow

A, B, C, D = (RepositoryId(digit * 64) for digit in "abcd")
LIST, OTHER = RepositoryId("1" * 64), RepositoryId("2" * 64)


def brought(
    repository: RepositoryId, *, most: int = 10, left: int = 100, collection: RepositoryId = LIST
) -> Brought:
    row = CollectedRow(repository)
    room = min(most, left)
    url = "git://h/list.git"
    return Brought(row, collection, url, CollectionLimits(), False, None, room, most, left)


def begin(turns: CollectionTurns, each: Brought) -> int | None:
    room = turns.room(each)
    if room is not None:
        turns.begin(each, room)
    return room


def test_several_come_side_by_side_and_a_place_is_left_to_others() -> None:
    turns = CollectionTurns(at_once=4)
    assert [begin(turns, brought(each)) for each in (A, B, C, D)] == [10, 10, 10, None]
    turns.end(brought(A), came=False)
    assert begin(turns, brought(D)) == 10


def test_a_node_that_does_one_thing_at_a_time_brings_all_the_same() -> None:
    turns = CollectionTurns(at_once=1)
    assert begin(turns, brought(A)) == 10
    assert begin(turns, brought(B)) is None


def test_all_that_comes_fits_into_what_is_left() -> None:
    turns = CollectionTurns(at_once=9)
    given = [begin(turns, brought(each, left=25)) for each in (A, B, C)]
    assert given == [10, 10, None]
    assert begin(turns, brought(D, left=10, collection=OTHER)) == 10, "each has room of its own"


def test_with_little_left_one_gets_all_of_it() -> None:
    """It may be small; so it is not taken for too large while another one comes."""
    turns = CollectionTurns(at_once=9)
    assert begin(turns, brought(A, left=7)) == 7
    assert begin(turns, brought(B, left=7)) is None
    turns.end(brought(A, left=7), came=False)
    assert begin(turns, brought(B, left=7)) == 7


def test_what_came_counts_until_sizes_are_measured() -> None:
    turns = CollectionTurns(at_once=2)
    assert begin(turns, brought(A, left=12)) == 10
    turns.end(brought(A), came=True)
    came = turns.ended()
    assert begin(turns, brought(A, left=12)) is None, "it is planned as if it were not here"
    assert begin(turns, brought(B, left=12)) is None
    turns.measured(came)
    assert begin(turns, brought(B, left=9)) == 9


def test_what_came_while_sizes_were_measured_counts_until_the_next_time() -> None:
    turns = CollectionTurns(at_once=9)
    for each in (A, B):
        begin(turns, brought(each, left=20))
    turns.end(brought(A), came=True)
    came = turns.ended()
    turns.end(brought(B), came=True)
    turns.measured(came)
    assert begin(turns, brought(C, left=15)) is None
    turns.measured(turns.ended())
    assert begin(turns, brought(C, left=15)) == 10


def test_those_who_wait_are_tried_again_when_something_ended() -> None:
    turns = CollectionTurns(at_once=3)
    for each in (A, B):
        begin(turns, brought(each))
    for key in ("c", "d", "e"):
        turns.wait(key)
    assert turns.next() == []
    turns.end(brought(A), came=False)
    assert turns.next() == ["c"], "as many as have places"
    assert turns.next() == [], "and once for each that ended"
    assert turns.leave("d")
    assert not turns.leave("d")
    turns.end(brought(B), came=True)
    assert turns.next() == ["e"]


def test_more_places_wake_those_who_wait() -> None:
    turns = CollectionTurns(at_once=2)
    begin(turns, brought(A))
    turns.wait("b")
    turns.set_at_once(3)
    assert turns.next() == ["b"]


def test_of_many_that_wait_only_those_are_touched_that_have_places() -> None:
    turns = CollectionTurns(at_once=4)
    named = [brought(RepositoryId(f"{n:064x}"), left=1 << 40) for n in range(5000)]
    known = {each.row.repository: each for each in named}
    under_way = []
    for repository, each in known.items():
        if begin(turns, each) is None:
            turns.wait(repository)
        else:
            under_way.append(each)
    touched = 0
    while under_way:
        turns.end(under_way.pop(), came=False)
        for key in turns.next():
            touched += 1
            assert begin(turns, known[RepositoryId(key)]) is not None
            under_way.append(known[RepositoryId(key)])
    assert touched == len(known) - 3
