"""What is held of what peers send, and whose conversation ends when that is too much."""

from __future__ import annotations

from gittorrent.node.held_bytes import MAX_HELD, SMALL, HeldBytes
from gittorrent.push.spreading import PeerKey

HONEST, GREEDY, OTHER = PeerKey(1), PeerKey(2), PeerKey(3)


class Held(HeldBytes):
    """Notes whose conversation was ended."""

    def __init__(self, most: int, small: int = 0) -> None:
        super().__init__(most, small)
        self.dropped: list[PeerKey] = []

    def came(self, peer: PeerKey, size: int) -> None:
        self.add(peer, size, lambda _reason: self.dropped.append(peer))

    def announced(self, peer: PeerKey, size: int) -> None:
        self.coming(peer, size, lambda _reason: self.dropped.append(peer))


def test_the_one_that_holds_most_is_dropped_and_only_once() -> None:
    held = Held(100, small=20)
    for size in (40, 50):
        held.came(GREEDY, size)
    assert not held.dropped
    held.came(HONEST, 11)
    assert held.dropped == [GREEDY]
    held.came(HONEST, 1)
    assert held.dropped == [GREEDY]
    held.release(GREEDY, 50)
    held.release(GREEDY, 40)
    assert held.total == 12
    held.came(HONEST, 88)
    assert held.dropped == [GREEDY]


def test_who_is_not_known_releases_nothing() -> None:
    held = HeldBytes(1)
    held.release(HONEST, 5)
    held.coming(HONEST, 0, lambda _reason: None)
    assert held.total == 0


def test_what_was_announced_counts_before_it_comes() -> None:
    held = Held(100)
    held.announced(GREEDY, 60)
    held.announced(OTHER, 41)
    assert held.dropped == [GREEDY]
    assert held.total == 41


def test_what_came_takes_the_place_of_what_was_announced() -> None:
    held = Held(100)
    held.announced(HONEST, 60)
    held.announced(HONEST, 0)
    held.came(HONEST, 60)
    assert (held.total, held.dropped) == (60, [])
    held.release(HONEST, 60)
    assert held.total == 0


def test_who_was_ended_before_does_not_stand_in_for_the_next() -> None:
    """What it sent is held until it was judged, and others would go on meanwhile."""
    held = Held(100)
    held.came(GREEDY, 101)
    held.announced(OTHER, 90)
    assert held.dropped == [GREEDY, OTHER]
    assert held.total == 101


def test_those_who_pass_on_small_things_stay_whatever_others_do() -> None:
    held = Held(MAX_HELD, SMALL)
    held.came(GREEDY, MAX_HELD + 1)
    held.came(HONEST, SMALL)
    assert held.dropped == [GREEDY]
