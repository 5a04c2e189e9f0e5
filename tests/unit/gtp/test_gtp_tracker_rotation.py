"""Which tracker is asked next."""

from __future__ import annotations

from gittorrent.gtp.tracker_rotation import (
    FIRST_RETRY,
    LONGEST_RETRY,
    SHORTEST_WAIT,
    TrackerRotation,
)


def test_a_tracker_that_answers_stays_the_one() -> None:
    rotation = TrackerRotation(["a", "b"])
    assert (rotation.url, rotation.due) == ("a", 0.0)
    rotation.answered(100.0, 600.0)
    assert (rotation.url, rotation.due) == ("a", 700.0)
    rotation.answered(700.0, 1.0)
    assert rotation.due == 700.0 + SHORTEST_WAIT


def test_one_that_fails_gives_way_at_once_and_to_each_in_turn() -> None:
    rotation = TrackerRotation(["a", "b", "c"])
    asked = []
    for now in (1.0, 2.0, 3.0):
        asked.append(rotation.url)
        assert rotation.due <= now
        rotation.failed(now)
    assert asked == ["a", "b", "c"]
    assert (rotation.url, rotation.due) == ("a", 1.0 + max(FIRST_RETRY, SHORTEST_WAIT))


def test_the_one_that_took_the_place_keeps_it() -> None:
    rotation = TrackerRotation(["a", "b"])
    rotation.failed(0.0)
    rotation.answered(0.0, 3600.0)
    assert (rotation.url, rotation.due) == ("b", 3600.0)


def test_a_lonely_one_is_left_alone_for_longer_each_time() -> None:
    rotation = TrackerRotation(["a"])
    waits = []
    for _ in range(12):
        rotation.failed(0.0)
        waits.append(rotation.due)
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_RETRY
    rotation.failed(0.0, 45.0)
    assert rotation.due == 45.0
