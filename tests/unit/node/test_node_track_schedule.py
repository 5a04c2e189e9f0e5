"""When upstreams are looked at."""

from __future__ import annotations

import pytest

from gittorrent.node.track_schedule import GAP, KNOWN_GAP, LONGEST, TrackSchedule

EVERY = 300.0


@pytest.fixture
def schedule() -> TrackSchedule:
    made = TrackSchedule(lambda: 0.5)  # no spread
    made.put("a", EVERY, 0.0, 10.0)
    return made


def test_each_is_looked_at_in_its_time(schedule: TrackSchedule) -> None:
    assert schedule.take(9.0) is None
    assert schedule.take(10.0) == "a"
    assert schedule.due("a") is None
    assert schedule.take(1e6) is None, "it is looked at already"
    schedule.done("a", 12.0, 0)
    assert schedule.due("a") == 12.0 + EVERY
    assert len(schedule) == 1


def test_the_longest_due_comes_first(schedule: TrackSchedule) -> None:
    schedule.put("b", EVERY, 0.0, 5.0)
    assert [schedule.take(20.0), schedule.take(20.0), schedule.take(20.0)] == ["b", "a", None]


def test_failures_wait_twice_as_long_each_time(schedule: TrackSchedule) -> None:
    waits = []
    for failures in range(1, 7):
        schedule.take(1e6)
        schedule.done("a", 0.0, failures)
        waits.append(schedule.due("a"))
    assert waits == [EVERY, 2 * EVERY, 4 * EVERY, 8 * EVERY, LONGEST, LONGEST]
    schedule.put("rare", 2 * LONGEST, 0.0, 0.0)
    assert schedule.take(0.0) == "rare"
    schedule.done("rare", 0.0, 5)
    assert schedule.due("rare") == 2 * LONGEST, "failures make nothing more frequent"


def test_a_burst_of_webhooks_is_one_look_and_one_more(schedule: TrackSchedule) -> None:
    for moment in (1.0, 1.1, 1.2):
        schedule.at_once("a", moment)
    assert schedule.take(1.2) == "a"
    for moment in (1.3, 1.4):
        schedule.at_once("a", moment)
    schedule.done("a", 2.0, 0)
    assert schedule.due("a") == 1.2 + GAP
    assert schedule.take(1.2 + GAP) == "a"
    schedule.done("a", 7.0, 0)
    assert schedule.due("a") == 7.0 + EVERY


def test_what_was_said_before_asks_less_often(schedule: TrackSchedule) -> None:
    schedule.at_once("a", 1.0, KNOWN_GAP)
    assert schedule.take(1.0) == "a", "there was no look lately"
    schedule.at_once("a", 1.5, KNOWN_GAP)
    schedule.done("a", 2.0, 0)
    assert schedule.due("a") == 1.0 + KNOWN_GAP
    for moment in (3.0, 20.0):
        schedule.at_once("a", moment, KNOWN_GAP)
    assert schedule.due("a") == 1.0 + KNOWN_GAP
    schedule.at_once("a", 21.0)
    assert schedule.take(21.0) == "a", "a replay holds nothing new up"
    schedule.at_once("a", 21.5)
    schedule.at_once("a", 21.6, KNOWN_GAP)
    schedule.done("a", 22.0, 0)
    assert schedule.due("a") == 21.0 + GAP


def test_a_webhook_soon_after_a_look_waits_a_little(schedule: TrackSchedule) -> None:
    assert schedule.take(10.0) == "a"
    schedule.done("a", 10.5, 0)
    schedule.at_once("a", 11.0)
    assert schedule.due("a") == 10.0 + GAP
    schedule.at_once("unknown", 11.0)


def test_another_time_counts_from_now(schedule: TrackSchedule) -> None:
    schedule.put("a", 3.0, 0.0, 10.0)
    assert schedule.due("a") == 3.0
    schedule.put("a", EVERY, 0.0, 10.0)
    assert schedule.due("a") == 3.0
    schedule.remove("a")
    assert schedule.take(1e6) is None
    schedule.done("a", 1e6, 0)
    assert schedule.due("a") is None


def test_waits_are_spread() -> None:
    dues = set()
    for chance in (0.0, 0.5, 1.0):
        made = TrackSchedule(lambda chance=chance: chance)  # type: ignore[misc]
        made.put("a", EVERY, 0.0, 0.0)
        made.take(0.0)
        made.done("a", 0.0, 0)
        dues.add(made.due("a"))
    assert dues == {0.9 * EVERY, EVERY, 1.1 * EVERY}
