"""When a keeper's node makes a reel."""

from __future__ import annotations

from gittorrent.reel.timing import LONGEST, MANY, PATIENCE, QUIET, RETRY, ReelTiming


def test_nothing_is_due_while_reels_cover_everything() -> None:
    timing = ReelTiming()
    timing.saw(5, 0)
    assert timing.deadline() is None
    assert not timing.is_due(1e9)


def test_one_checkpoint_waits_for_long() -> None:
    timing = ReelTiming()
    timing.saw(100, 1)
    assert timing.deadline() == 100 + LONGEST
    assert not timing.is_due(99 + LONGEST)
    assert timing.is_due(100 + LONGEST)


def test_looking_again_changes_nothing() -> None:
    timing = ReelTiming()
    for now in range(100, 100 + int(LONGEST)):
        timing.saw(now, 1)
        assert not timing.is_due(now)
    assert timing.is_due(100 + LONGEST)


def test_many_checkpoints_wait_for_a_quiet_moment() -> None:
    timing = ReelTiming()
    timing.saw(0, MANY - 1)
    assert timing.deadline() == LONGEST
    timing.saw(10, MANY)
    assert timing.deadline() == 10 + QUIET
    timing.saw(13, MANY + 1)
    assert timing.deadline() == 13 + QUIET


def test_pushes_without_end_do_not_keep_a_reel_from_being_made() -> None:
    timing = ReelTiming()
    for number in range(300):
        timing.saw(number, number)
    assert timing.deadline() == MANY + PATIENCE


def test_a_reel_begins_the_count_anew() -> None:
    timing = ReelTiming()
    timing.saw(0, MANY)
    timing.saw(50, 2)  # pushes that came while it was made
    assert timing.deadline() == 50 + LONGEST


def test_what_failed_is_tried_again_later() -> None:
    timing = ReelTiming()
    timing.saw(0, MANY)
    assert timing.is_due(QUIET)
    timing.failed(QUIET)
    assert timing.deadline() == QUIET + RETRY
