"""Which logs are open, where there are more than may be."""

from __future__ import annotations

from gittorrent.node.open_repositories import AGAIN_SECONDS, LOOKED_AT, OpenRepositories


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
