"""Exchanges of GTP/0.1 in the draft's dialect, without any I/O, and peers that speak to them."""

from __future__ import annotations

from gittorrent.gtp.believed import ReferenceBook
from gittorrent.gtp.effects import Effect, SendMessage
from gittorrent.gtp.exchange import Exchange
from gittorrent.gtp.limits import MAX_REEL_SIZE
from gittorrent.gtp.messages import (
    BEGINNING,
    BlocksRequest,
    BlocksStatus,
    Message,
    Peers,
    PlayRequest,
    ReelName,
    ReelOffer,
    Reels,
    ReferenceEntry,
    References,
    bitmap_of,
)
from gittorrent.gtp.metainfo import MetainfoSpec, parse_metainfo, write_metainfo
from gittorrent.gtp.profile import RFC
from gittorrent.gtp.reference import TAB, Tagger, reference_id, write_reference
from gittorrent.ids import Oid, RefName

SIZE = 4096
MAIN = Oid("ab" * 20)


class Unsigned(ReferenceBook):
    """A book for the draft's dialect that believes everything."""

    def _believe(self, reference: object) -> None:
        pass


def exchange(max_bytes: int = MAX_REEL_SIZE) -> Exchange:
    """Return an exchange that believes every reference object."""
    info = parse_metainfo(write_metainfo(MetainfoSpec(b"key", ())))
    return Exchange(RFC, Unsigned(info), block_size=SIZE, max_bytes=max_bytes)


def tabbed() -> References:
    """Return the one reference object that there is."""
    refs = {RefName(b"refs/heads/main"): MAIN}
    body = write_reference(refs, MAIN, None, Tagger(b"A <a@b>", 5), TAB)
    return References((ReferenceEntry(reference_id(body), body),))


NEW = tabbed().entries[0].reference
DIRECT = ReelName(BEGINNING, NEW)


def said(effects: list[Effect], peer: int) -> list[Message]:
    """Return what a peer is told by effects."""
    return [e.message for e in effects if isinstance(e, SendMessage) and e.peer == peer]


def connect(x: Exchange, peer: int, *offers: ReelOffer, have: set[int], now: float = 0) -> None:
    """Let a peer join, offer reels, say which blocks it has, and unchoke us."""
    assert said(x.joined(now, peer), peer) == [Reels(), References(), Peers()]
    x.heard(now, peer, tabbed())
    effects = x.heard(now, peer, Reels(offers))
    for message in said(effects, peer):
        if isinstance(message, BlocksRequest):
            status(x, peer, message.reel, have, now)


def status(x: Exchange, peer: int, reel: ReelName, have: set[int], now: float = 0) -> None:
    """Let a peer say which blocks it has."""
    fetch = next(f for f in x.path if f.reel == reel)
    assert fetch.picker is not None
    count = fetch.picker.count
    bitmap = bitmap_of({b for b in have if b < count}, count)
    x.heard(now, peer, BlocksStatus(reel, SIZE, len(bitmap) * 8, bitmap))


def played(effects: list[Effect], peer: int) -> set[int]:
    """Return the blocks that a peer is asked for by effects."""
    return {m.block.index for m in said(effects, peer) if isinstance(m, PlayRequest)}
