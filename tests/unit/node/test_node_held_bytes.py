"""What is held of what peers send, and whose conversation ends when that is too much."""

from __future__ import annotations

from functools import partial

from gittorrent.node.held_bytes import HeldBytes
from gittorrent.push.spreading import PeerKey

HONEST, GREEDY = PeerKey(1), PeerKey(2)


def test_the_one_that_holds_most_is_dropped_and_only_once() -> None:
    held, dropped = HeldBytes(100), list[PeerKey]()

    def add(peer: PeerKey, size: int) -> None:
        held.add(peer, size, lambda _reason: dropped.append(peer))

    for size in (40, 50):
        add(GREEDY, size)
    assert not dropped
    add(HONEST, 11)
    assert dropped == [GREEDY]
    add(HONEST, 1)
    assert dropped == [GREEDY]
    release = partial(held.release, GREEDY)
    release(50)
    release(40)
    assert held.total == 12
    add(HONEST, 88)
    assert dropped == [GREEDY]


def test_who_is_not_known_releases_nothing() -> None:
    held = HeldBytes(1)
    held.release(HONEST, 5)
    assert held.total == 0
