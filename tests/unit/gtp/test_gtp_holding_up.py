"""Peers that offer everything and give nothing: they hold a download up for a minute at most."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gittorrent.gtp.effects import Drop, Effect, SendMessage
from gittorrent.gtp.exchange import Exchange
from gittorrent.gtp.exchange_state import Phase
from gittorrent.gtp.limits import MAX_OFFERS, STALL_SECONDS
from gittorrent.gtp.messages import (
    BEGINNING,
    BlockName,
    BlocksRequest,
    Choke,
    ObjectsRequest,
    PlayAnswer,
    ReelName,
    ReelOffer,
    Reels,
    Unchoke,
)
from gittorrent.ids import Oid
from support.gtp_exchanges import DIRECT, SIZE, connect, exchange, said, status

LIAR, OTHER_LIAR, HONEST = 1, 2, 3


def both(x: Exchange) -> None:
    """Let an honest peer and one that lies give a block each, and the proof fail."""
    for peer in (LIAR, HONEST):
        connect(x, peer, ReelOffer(DIRECT, 2 * SIZE), have={0, 1})
    x.heard(1, LIAR, Unchoke())
    x.heard(1, HONEST, Unchoke())
    for peer, index in ((LIAR, 0), (HONEST, 1)):
        block = BlockName(DIRECT, index, SIZE)
        x.heard(1, peer, PlayAnswer(block, 0, b"PACK"))
        x.kept(1, peer, block)


def after_a_lie_it_chokes(x: Exchange) -> None:
    both(x)
    x.broken(1)
    x.heard(1, LIAR, Choke())


def after_a_lie_it_trickles(x: Exchange) -> None:
    both(x)
    x.broken(1)


def smaller_and_choking(x: Exchange) -> None:
    """Of the liar's reel, which seems to cost less, nobody else has a block."""
    connect(x, LIAR, ReelOffer(DIRECT, SIZE), have={0})
    connect(x, HONEST, ReelOffer(DIRECT, 2 * SIZE), have={0, 1})
    assert [fetch.size for fetch in x.path] == [SIZE]
    x.heard(1, HONEST, Unchoke())


def two_that_trickle(x: Exchange) -> None:
    """The last blocks are asked of two peers, and both of them are liars."""
    for peer in (LIAR, OTHER_LIAR):
        connect(x, peer, ReelOffer(DIRECT, 2 * SIZE), have={0, 1})
        x.heard(1, peer, Unchoke())
        x.heard(1, peer, Unchoke())
    connect(x, HONEST, ReelOffer(DIRECT, 2 * SIZE), have={0, 1}, now=1)
    x.heard(1, HONEST, Unchoke())


def later(x: Exchange, alive: tuple[int, ...] = (LIAR, OTHER_LIAR)) -> list[Effect]:
    """Let time pass, in which liars send something that is nothing."""
    effects: list[Effect] = []
    now = 1.0
    while now < STALL_SECONDS + 3:
        for peer in alive:
            x.receiving(now, peer)
        effects += x.tick(now)
        now += 1
    return effects


@pytest.mark.parametrize(
    "begin", [after_a_lie_it_chokes, after_a_lie_it_trickles, smaller_and_choking, two_that_trickle]
)
def test_who_is_waited_for_in_vain_is_left(begin: Callable[[Exchange], None]) -> None:
    x = exchange()
    begin(x)
    effects = later(x)
    dropped = {e.peer: e.ban for e in effects if isinstance(e, Drop)}
    assert dropped
    assert HONEST not in dropped
    assert not any(dropped.values())
    if BlocksRequest(DIRECT, SIZE) in said(effects, HONEST):
        status(x, HONEST, DIRECT, {0, 1}, STALL_SECONDS + 3)
    assert {block.index for block in x.peers[HONEST].open} == {0, 1}


def test_who_is_asked_for_missing_objects_and_trickles_is_left() -> None:
    x = exchange()
    both(x)
    oid = Oid("07" * 20)
    effects = x.lacking(1, [oid])
    (asked,) = {e.peer for e in effects if isinstance(e, SendMessage)}
    assert asked == LIAR
    effects = later(x)
    assert [e.peer for e in effects if isinstance(e, Drop)] == [LIAR]
    assert ObjectsRequest((b"\7" * 20,)) in said(effects, HONEST)
    assert x.phase is Phase.REPAIRING


def test_who_is_the_only_one_is_waited_for() -> None:
    x = exchange()
    connect(x, LIAR, ReelOffer(DIRECT, SIZE), have={0})
    x.heard(1, LIAR, Unchoke())
    # Somebody else who does not lead to the reference is no help.
    connect(x, OTHER_LIAR, ReelOffer(ReelName(BEGINNING, b"z" * 20), SIZE), have=set(), now=1)
    assert not any(isinstance(e, Drop) for e in later(x))


def test_who_goes_on_giving_is_not_left() -> None:
    x = exchange()
    for peer in (LIAR, HONEST):
        connect(x, peer, ReelOffer(DIRECT, 16 * SIZE), have=set(range(16)))
        x.heard(1, peer, Unchoke())
    for now in range(1, int(3 * STALL_SECONDS)):
        x.receiving(now, LIAR)
        if now % int(STALL_SECONDS / 2) == 0:
            block = next(iter(x.peers[LIAR].open))
            x.heard(now, LIAR, PlayAnswer(block, 0, b"PACK"))
            x.kept(now, LIAR, block)
        x.receiving(now, HONEST)
        assert not any(isinstance(e, Drop) for e in x.tick(now))


def test_a_peer_offers_only_so_many_reels() -> None:
    x = exchange()
    x.joined(0, LIAR)
    for number in range(3):
        offers = (ReelName(BEGINNING, b"%d %016d" % (number, n)) for n in range(MAX_OFFERS))
        x.heard(0, LIAR, Reels(tuple(ReelOffer(reel, SIZE) for reel in offers)))
    assert len(x.peers[LIAR].offers) == MAX_OFFERS
