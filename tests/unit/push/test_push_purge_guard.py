"""Which disappearances are ordinary, which are held back, and how that ends."""

from __future__ import annotations

import pytest

from gittorrent.push.purge_guard import (
    REFS,
    REPOSITORIES,
    Decision,
    Held,
    Judgement,
    Threshold,
    is_sudden,
    judge,
)

FEW = Threshold(count=2, percent=50)


def names(count: int, first: int = 0) -> frozenset[str]:
    return frozenset(f"n{number}" for number in range(first, first + count))


@pytest.mark.parametrize(
    ("gone", "total", "sudden"),
    [(2, 2, False), (3, 3, True), (3, 6, False), (4, 7, True), (3, 5, True), (50, 100, False)],
)
def test_both_the_number_and_the_share_have_to_be_exceeded(
    gone: int, total: int, sudden: bool
) -> None:
    assert is_sudden(gone, total, FEW) is sudden
    found = judge(names(total), names(total - gone), FEW, now=0)
    assert bool(found.newly_held) is sudden
    assert len(found.go) == (0 if sudden else gone)
    assert found.departed == gone


def test_ordinary_work_is_never_held() -> None:
    assert not is_sudden(10, 10, REFS)
    assert is_sudden(11, 11, REFS)
    assert not is_sudden(30, 100, REFS)
    assert is_sudden(31, 100, REFS)
    assert not is_sudden(2, 2, REPOSITORIES)
    assert is_sudden(3, 3, REPOSITORIES)
    assert not is_sudden(25, 100, REPOSITORIES)


def test_what_comes_and_stays_is_nothing_to_judge() -> None:
    assert judge(names(3), names(5), FEW, now=0) == Judgement(
        frozenset(), frozenset(), frozenset(), frozenset(), 0
    )


def test_small_steps_count_together() -> None:
    there, recent, gone = names(12), 0, 0
    while there:
        found = judge(there, there - {min(there)}, FEW, now=0, recent=recent)
        recent += found.departed
        if found.newly_held:
            break
        gone += len(found.go)
        there -= found.go
    assert gone == 6  # half of twelve; the seventh is held


def test_what_is_held_waits_until_it_is_confirmed() -> None:
    there, gone = names(3), names(5, 3)
    held = [Held(gone)]
    found = judge(there | gone, there, FEW, now=10**9, held=held)
    assert (found.go, found.newly_held, found.held) == (frozenset(), frozenset(), gone)
    assert found.departed == 0
    found = judge(there | gone, there, FEW, now=0, held=[Held(gone, 0, Decision.CONFIRMED)])
    assert (found.go, found.held) == (gone, frozenset())


def test_what_is_held_goes_when_its_time_is_up() -> None:
    there, gone = names(3), names(5, 3)
    held = [Held(gone, until=100)]
    assert judge(there | gone, there, FEW, now=99, held=held).go == frozenset()
    assert judge(there | gone, there, FEW, now=100, held=held).go == gone


def test_what_was_refused_stays_and_its_time_is_never_up() -> None:
    there, gone = names(3), names(5, 3)
    held = [Held(gone, 100, Decision.REFUSED)]
    found = judge(there | gone, there, FEW, now=200, held=held)
    assert (found.go, found.held) == (frozenset(), gone)


def test_what_comes_back_is_held_no_more_and_goes_no_more() -> None:
    gone = names(5)
    for decision in Decision:
        found = judge(gone, {"n0"}, FEW, now=0, held=[Held(gone, 0, decision)])
        assert found.back == {"n0"}
        assert "n0" not in found.go | found.held


def test_another_disappearance_is_judged_apart_from_what_is_held() -> None:
    there, gone = names(20), names(30, 20)
    found = judge(there | gone, there - {"n0"}, FEW, now=0, held=[Held(gone)])
    assert (found.go, found.newly_held, found.held) == (frozenset({"n0"}), frozenset(), gone)


def test_what_is_confirmed_and_not_known_any_more_is_no_matter() -> None:
    found = judge(names(3), names(3), FEW, now=0, held=[Held(names(2, 7), 0, Decision.CONFIRMED)])
    assert found.go == frozenset()


def test_what_came_lately_is_no_share_of_what_was_there() -> None:
    assert not is_sudden(3, 12, FEW)
    assert is_sudden(3, 12, FEW, recent=0, arrived=8)
    assert not judge(names(12), names(9), FEW, now=0).newly_held
    assert judge(names(12), names(9), FEW, now=0, arrived=8).newly_held == names(3, 9)
    # All that was there may have come, and what went lately with it.
    assert is_sudden(3, 3, FEW, recent=5, arrived=8)
    assert not is_sudden(2, 2, FEW, recent=0, arrived=8)
