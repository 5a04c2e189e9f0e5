"""Peer exchange: who is told of whom."""

from __future__ import annotations

import random
from collections import defaultdict

from gittorrent.swarm.keys import ParticipantKey
from gittorrent.swarm.peer_exchange import DEGREE, MOST_TOLD, PeerExchange, PeerHint


def url(n: int) -> str:
    return f"git://10.0.{n >> 8}.{n & 255}:9418/x"


def meeting(seed: int = 1) -> PeerExchange:
    return PeerExchange(random.Random(seed).randrange)


def test_the_first_is_told_of_nobody_and_the_second_of_the_first() -> None:
    book = meeting()
    assert book.listens(ParticipantKey(1), url(1)) == []
    assert book.listens(ParticipantKey(2), url(2)) == [PeerHint(ParticipantKey(2), url(1))]
    assert len(book) == 2


def test_nobody_is_told_of_itself() -> None:
    book = meeting()
    book.listens(ParticipantKey(1), url(1))
    assert book.listens(ParticipantKey(1), url(1)) == []


def test_a_newcomer_is_told_of_a_few() -> None:
    book = meeting()
    for n in range(100):
        book.listens(ParticipantKey(n), url(n))
    told = book.listens(ParticipantKey(100), url(100))
    assert {made.to for made in told} == {ParticipantKey(100)}
    assert len({made.url for made in told}) == len(told) == DEGREE


def test_who_does_not_listen_is_told_and_not_told_of() -> None:
    book = meeting()
    book.listens(ParticipantKey(1), url(1))
    assert book.listens(ParticipantKey(2), None) == [PeerHint(ParticipantKey(2), url(1))]
    told = book.listens(ParticipantKey(3), url(3))
    assert PeerHint(ParticipantKey(2), url(3)) in told, "only the deaf one can dial"
    assert PeerHint(ParticipantKey(1), url(3)) not in told
    assert all(made.url in (url(1), url(3)) for made in told)


def test_who_left_is_forgotten() -> None:
    book = meeting()
    book.listens(ParticipantKey(1), url(1))
    book.joined(ParticipantKey(2))
    book.left(ParticipantKey(1))
    book.left(ParticipantKey(1))
    assert book.listens(ParticipantKey(2), url(2)) == []
    assert len(book) == 1


def test_nobody_can_be_made_to_dial_the_world() -> None:
    book = meeting()
    book.listens(ParticipantKey(0), None)
    for n in range(1, 500):
        book.listens(ParticipantKey(n), url(n))
    told = [book.listens(ParticipantKey(0), None) for _ in range(50)]
    assert sum(len(some) for some in told) <= MOST_TOLD


def test_asking_again_tells_of_more() -> None:
    book = meeting()
    for n in range(100):
        book.listens(ParticipantKey(n), url(n))
    first = book.listens(ParticipantKey(100), url(100))
    again = book.listens(ParticipantKey(100), url(100))
    assert len(again) == DEGREE
    assert {m.url for m in first} != {m.url for m in again}


def test_a_crowd_becomes_one_connected_graph_that_survives_losses() -> None:
    draw = random.Random(5)
    book = meeting(5)
    edges: dict[int, set[int]] = defaultdict(set)
    for n in range(1000):
        for made in book.listens(ParticipantKey(n), url(n)):
            high, low = made.url.partition(":9418")[0].split(".")[2:]
            other = int(high) << 8 | int(low)
            edges[made.to].add(other)
            edges[other].add(made.to)
    left = set(draw.sample(range(1000), 700))
    reached, queue = set(), [min(left)]
    while queue:
        node = queue.pop()
        if node not in reached:
            reached.add(node)
            queue += edges[node] & left
    assert len(reached) >= 0.99 * len(left)
