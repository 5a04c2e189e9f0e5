"""What is tracked, in the node's database."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gittorrent.store.database import Database
from gittorrent.store.following import FollowTable
from gittorrent.store.tracks import Track, TrackState, TrackTable

TRACK = Track("p", "https://h/p.git", 300, ("refs/pull/*/head", "^refs/heads/x"), "/key", "/secret")


@pytest.fixture
def table(database: Database) -> TrackTable:
    return TrackTable(database)


def test_what_is_put_is_found_until_it_is_removed(table: TrackTable) -> None:
    plain = Track("a", "/srv/a.git", 0)
    table.put(TRACK)
    table.put(plain)
    assert table.all() == [plain, TRACK]
    assert table.find("p") == TRACK
    assert table.remove("p")
    assert not table.remove("p")
    assert table.find("p") is None
    assert table.state("p") == TrackState()


def test_what_looks_came_to_stays_where_the_same_is_tracked(table: TrackTable) -> None:
    table.put(TRACK)
    table.succeeded(TRACK, "digest", 7, 7)
    table.failed("p", "gone", 8)
    table.failed("p", "gone again", 9)
    table.plan("p", 99)
    state = TrackState("digest", 7, 7, 9, "gone again", 2, 99)
    assert table.state("p") == state
    table.put(replace(TRACK, every=5, paused=True, key="/other"))
    assert table.state("p") == state
    table.put(replace(TRACK, url="https://elsewhere/p.git"))
    assert table.state("p") == replace(state, settled="")
    table.succeeded(replace(TRACK, url="https://elsewhere/p.git"), "new", 10, None)
    assert table.state("p") == replace(state, settled="new", succeeded=10, failures=0)
    table.unsettle("p")
    assert not table.state("p").settled


def test_a_look_at_what_is_tracked_otherwise_by_now_settles_nothing(table: TrackTable) -> None:
    table.put(TRACK)
    table.put(replace(TRACK, patterns=()))
    table.succeeded(TRACK, "digest", 7, 7)
    assert table.state("p") == TrackState()


def test_what_is_to_be_done_counts_as_a_change_and_what_came_of_it_does_not(
    database: Database, table: TrackTable
) -> None:
    number = FollowTable(database).change_number
    before = number()
    table.put(TRACK)
    assert number() > before
    before = number()
    table.succeeded(TRACK, "digest", 7, 7)
    table.failed("p", "gone", 8)
    table.plan("p", 99)
    table.unsettle("p")
    assert number() == before
    table.put(replace(TRACK, paused=True))
    assert number() > before
    before = number()
    table.remove("p")
    assert number() > before
