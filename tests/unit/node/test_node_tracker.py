"""When a change in the database makes a node look at an upstream at once."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gittorrent.node.tracker import is_asked_for
from gittorrent.store.tracks import Track, TrackState

TRACK = Track("project", "https://upstream.example.org/project.git", 300, (), "key", "")
FAILING = TrackState(failures=3)
FINE = TrackState(settled="0" * 64)


@pytest.mark.parametrize("could_go", [False, True])
@pytest.mark.parametrize("state", [FAILING, replace(FINE, failures=1), FINE])
def test_what_concerns_others_is_no_reason(state: TrackState, could_go: bool) -> None:
    asked = is_asked_for(TRACK, TRACK, state, may_go=False, could_go=could_go)
    assert not asked


def test_what_may_go_is_a_reason_once_while_looks_fail() -> None:
    assert is_asked_for(TRACK, TRACK, FAILING, may_go=True, could_go=False)
    assert not is_asked_for(TRACK, TRACK, FAILING, may_go=True, could_go=True)
    assert is_asked_for(TRACK, TRACK, FINE, may_go=True, could_go=True)


def test_what_the_operator_changes_is_looked_at() -> None:
    other = replace(TRACK, url="https://moved.example.org/project.git")
    assert is_asked_for(TRACK, other, FAILING, may_go=False, could_go=False)
    assert is_asked_for(TRACK, TRACK, TrackState(), may_go=False, could_go=False)
    assert not is_asked_for(None, TRACK, TrackState(), may_go=False, could_go=False)
    assert is_asked_for(None, TRACK, FINE, may_go=True, could_go=False)
