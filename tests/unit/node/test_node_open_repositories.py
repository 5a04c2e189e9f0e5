"""Which logs are open, where there are more than may be."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gittorrent.node.open_repositories import (
    AGAIN_SECONDS,
    LOOKED_AT,
    TRIED_AT_ONCE,
    OpenRepositories,
)


def nobody(_key: str) -> bool:
    return False


def carrying(*keys: str, most: int = 2) -> OpenRepositories[str]:
    made: OpenRepositories[str] = OpenRepositories(most)
    made.carry(keys)
    return made


def test_all_are_opened_where_there_is_room() -> None:
    ours = carrying("a", "b", most=3)
    assert ours.to_open(0.0, ()) == ["a", "b"]
    assert ours.to_open(1.0, ("a", "b")) == []
    assert ours.to_close(1.0, ("a", "b"), nobody) == []


def test_some_are_where_there_is_not_and_what_is_asked_for() -> None:
    ours = carrying("a", "b", "c", "d")
    assert ours.to_open(0.0, ()) == ["a", "b"]
    assert ours.to_open(1.0, ("a", "b")) == []
    ours.ask("d")
    assert ours.to_open(2.0, ("a", "b")) == ["d"]
    assert ours.to_open(3.0, ("a", "b", "d")) == []


def test_the_longest_unused_gives_way() -> None:
    ours = carrying("a", "b", "c")
    for key, when in (("a", 0.0), ("b", 1.0), ("c", 2.0)):
        ours.opened(key, when)
    assert ours.to_close(3.0, ("a", "b", "c"), lambda key: key == "a") == ["b"]
    assert ours.to_close(4.0, ("a", "c"), nobody) == []


def test_what_is_in_use_stays_open_beyond_the_bound() -> None:
    ours = carrying("a", "b", "c")
    assert ours.to_close(0.0, ("a", "b", "c"), lambda _: True) == []


def test_one_that_cannot_be_opened_is_tried_again_after_a_while_or_when_asked_for() -> None:
    ours = carrying("a")
    ours.could_not("a", 0.0)
    assert ours.to_open(1.0, ()) == []
    assert ours.to_open(AGAIN_SECONDS, ()) == ["a"]
    ours.could_not("a", AGAIN_SECONDS)
    assert ours.to_open(2 * AGAIN_SECONDS, ()) == []
    assert ours.to_open(3 * AGAIN_SECONDS, ()) == ["a"]
    ours.ask("a")
    assert ours.to_open(AGAIN_SECONDS + 1, ()) == ["a"]


def test_what_changed_while_nobody_had_it_open_is_opened() -> None:
    ours = carrying("a", "b", "c")
    for key in ours.to_look_at(("a", "b")):
        ours.saw(key, 1)
    assert ours.to_open(0.0, ("a", "b")) == []
    (key,) = ours.to_look_at(("a", "b"))
    ours.saw(key, 2)
    assert ours.to_open(0.0, ("a", "b")) == ["c"]


def test_looks_take_turns_and_cost_the_same_whatever_is_carried() -> None:
    keys = [str(number) for number in range(5 * LOOKED_AT)]
    ours = carrying(*keys)
    seen: list[str] = []
    for _ in range(5):
        found = ours.to_look_at(())
        assert len(found) == LOOKED_AT
        seen += found
    assert sorted(seen) == sorted(keys)


def test_what_is_carried_no_more_is_forgotten() -> None:
    ours = carrying("a", "b")
    ours.ask("b")
    ours.carry(["a"])
    assert ours.to_open(0.0, ()) == ["a"]
    assert ours.to_look_at(()) == ["a"]


def test_few_are_tried_each_time_though_none_can_be_opened() -> None:
    keys = [str(number) for number in range(10 * TRIED_AT_ONCE)]
    ours = carrying(*keys, most=len(keys))
    tried: list[str] = []
    for second in range(10):
        found = ours.to_open(float(second), ())
        assert len(found) == TRIED_AT_ONCE
        for key in found:
            ours.could_not(key, float(second))
        tried += found
    assert tried == keys, "each once before any is tried twice"


def test_what_nobody_asked_for_waits_while_what_is_asked_for_is_opened_at_once() -> None:
    keys = [str(number) for number in range(3 * TRIED_AT_ONCE)]
    ours = carrying(*keys, most=len(keys))
    for key in reversed(keys):
        ours.ask(key)
    assert ours.to_open(0.0, ()) == keys[::-1]


def test_one_that_is_closed_is_opened_again_where_there_is_room() -> None:
    ours = carrying("a", "b", "c")
    assert ours.to_open(0.0, ()) == ["a", "b"]
    for key in ("a", "b"):
        ours.opened(key, 0.0)
    ours.closed("a")
    assert ours.to_open(1.0, ("b",)) == ["a"]


def test_one_whose_opening_was_cut_short_is_tried_again() -> None:
    ours = carrying("a")
    assert ours.to_open(0.0, ()) == ["a"]
    assert ours.to_open(1.0, ()) == []
    assert ours.to_open(AGAIN_SECONDS, ()) == ["a"]


class Counting(Collection[str]):
    """What is open; counts how often it is asked about one."""

    def __init__(self, keys: Collection[str]) -> None:
        self._keys = frozenset(keys)
        self.asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def test_a_round_looks_at_none_of_those_that_wait() -> None:
    keys = [str(number) for number in range(1000)]
    ours = carrying(*keys, most=len(keys))
    opened: list[str] = []
    for second in range(1000):
        for key in ours.to_open(float(second), opened):
            if key == "7":
                opened.append(key)
                ours.opened(key, float(second))
            else:
                ours.could_not(key, 1e6)
    is_open = Counting(opened)
    for second in range(1000, 1100):
        assert ours.to_open(float(second), is_open) == []
    assert is_open.asked <= 1


def test_what_is_carried_anew_while_it_is_open_is_opened_once() -> None:
    """As where it was renamed: who opens it twice keeps two, and ends one."""
    ours = carrying("a", "b", most=9)
    assert ours.to_open(0.0, ()) == ["a", "b"]
    for key in "ab":
        ours.opened(key, 0.0)
    assert ours.to_open(100.0, ("a", "b")) == []
    ours.carry("ab")
    ours.closed("a")
    assert ours.to_open(101.0, ("b",)) == ["a"]
    assert ours.to_open(101.0, ("a", "b")) == []


def test_what_is_carried_anew_has_one_turn() -> None:
    ours = carrying("a", "b")
    ours.carry("b")
    ours.carry("ab")
    assert sorted(ours.to_look_at(())) == ["a", "b"]
