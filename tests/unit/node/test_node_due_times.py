"""When things are due: what is not costs nothing."""

from __future__ import annotations

import random

from gittorrent.node.due_times import AT_ONCE, NEVER, DueTimes


def test_what_is_due_is_taken_once_the_longest_due_first() -> None:
    times: DueTimes[str] = DueTimes()
    for key, due in (("b", 2.0), ("a", 1.0), ("c", 3.0), ("never", NEVER)):
        times.no_later(key, due)
    assert times.take(0.5) == []
    assert times.take(2.0) == ["a", "b"]
    assert times.take(2.0) == []
    assert len(times) == 1


def test_the_sooner_time_counts_until_it_came() -> None:
    times: DueTimes[str] = DueTimes()
    times.no_later("a", 5.0)
    times.no_later("a", AT_ONCE)
    times.no_later("a", 9.0)
    assert times.take(0.0) == ["a"]
    assert times.take(100.0) == []
    times.no_later("a", 9.0)
    times.remove("a")
    assert times.take(100.0) == []


def test_times_that_count_no_more_take_no_room() -> None:
    times: DueTimes[int] = DueTimes()
    draw = random.Random(5)
    for number in range(5000):
        times.no_later(draw.randrange(4), 5000.0 - number)
    assert len(times._queue) <= 2 * 4 + 16
    assert times.take(0.5) == []
    assert set(times.take(5000.0)) == {0, 1, 2, 3}
