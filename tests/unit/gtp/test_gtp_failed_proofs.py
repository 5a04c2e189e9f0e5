"""What the exchange does in the dialect of 2008 when objects are missing at the proof."""

from __future__ import annotations

from gittorrent.gtp.believed import ReferenceBook
from gittorrent.gtp.effects import Assemble, Discard, Drop, Effect, SendMessage
from gittorrent.gtp.exchange import Exchange
from gittorrent.gtp.exchange_state import Phase
from gittorrent.gtp.messages import (
    BEGINNING,
    BlockName,
    BlocksStatus,
    Choke,
    PlayAnswer,
    PlayRequest,
    ReelName,
    ReelOffer,
    Reels,
    ReferenceEntry,
    References,
)
from gittorrent.gtp.metainfo import parse_metainfo
from gittorrent.gtp.profile import PERL_2008
from gittorrent.gtp.reference import SPACE, Tagger, reference_id, write_reference
from gittorrent.ids import Oid, RefName

MAIN, TAG = Oid("ab" * 20), Oid("cd" * 20)
REFS = {RefName(b"refs/heads/main"): MAIN, RefName(b"refs/tags/v1"): TAG}
BODY = write_reference(REFS, MAIN, None, Tagger(b"A <a@b>", 5), SPACE)
REEL = ReelName(BEGINNING, reference_id(BODY))
FIRST, LAST = BlockName(REEL, 0, 0), BlockName(REEL, 1, 0)


def exchange(*peers: int) -> Exchange:
    """Return an exchange with peers that have both commits of a reel."""
    info = parse_metainfo(b"d10:referenceslee")
    x = Exchange(PERL_2008, ReferenceBook(info, allow_unverified=True))
    for peer in peers:
        join(x, peer)
    return x


def join(x: Exchange, peer: int) -> None:
    x.joined(0, peer)
    x.heard(0, peer, References((ReferenceEntry(REEL.end, BODY),)))
    x.heard(0, peer, Reels((ReelOffer(REEL, 4096),)))
    x.heard(0, peer, BlocksStatus(REEL, 0, 2, b"\3"))


def give(x: Exchange, peer: int, *blocks: BlockName) -> list[Effect]:
    effects: list[Effect] = []
    for block in blocks:
        x.heard(0, peer, PlayAnswer(block, 0, b"PACK"))
        effects = x.kept(0, peer, block)
    return effects


def left_out(effects: list[Effect]) -> list[frozenset[Oid]]:
    return [effect.without for effect in effects if isinstance(effect, Assemble)]


def asked(effects: list[Effect]) -> list[tuple[int, BlockName]]:
    return [
        (e.peer, e.message.block)
        for e in effects
        if isinstance(e, SendMessage) and isinstance(e.message, PlayRequest)
    ]


def test_what_only_a_tag_names_is_left_out_when_nobody_sends_it() -> None:
    x = exchange(1)
    assert left_out(give(x, 1, FIRST, LAST)) == [frozenset()]
    effects = x.lacking(1, [TAG])
    assert left_out(effects) == [{TAG}]
    assert not any(isinstance(effect, Drop | Discard) for effect in effects)
    x.assembled(2)
    assert x.has_newest


def test_who_else_has_the_last_commit_is_asked_for_it_before_anything_is_left_out() -> None:
    x = exchange(1, 2)
    give(x, 1, FIRST, LAST)
    assert asked(x.lacking(1, [TAG])) == [(2, LAST)]
    assert left_out(give(x, 2, LAST)) == [frozenset()]
    assert left_out(x.lacking(2, [TAG])) == [{TAG}]


def test_what_came_first_is_used_when_nobody_else_gives_the_last_commit() -> None:
    x = exchange(1, 2)
    give(x, 1, FIRST, LAST)
    x.lacking(1, [TAG])
    assert left_out(x.left(2, 2)) == [frozenset()]
    assert left_out(x.lacking(3, [TAG])) == [{TAG}]


def test_who_chokes_us_is_not_waited_for() -> None:
    x = exchange(1, 2)
    give(x, 1, FIRST, LAST)
    x.lacking(1, [TAG])
    assert left_out(x.heard(2, 2, Choke())) == [frozenset()]
    assert left_out(x.lacking(3, [TAG])) == [{TAG}]


def test_who_had_it_not_is_not_asked_again_when_it_says_so_again() -> None:
    x = exchange(1, 2)
    give(x, 1, FIRST, LAST)
    x.lacking(1, [TAG])
    assert asked(x.heard(2, 1, BlocksStatus(REEL, 0, 2, b"\3"))) == []


def test_a_branch_that_is_not_there_is_a_lie() -> None:
    for missing in ([MAIN], [MAIN, TAG], [Oid("ef" * 20)]):
        x = exchange(1)
        give(x, 1, FIRST, LAST)
        effects = x.lacking(1, missing)
        assert [effect.peer for effect in effects if isinstance(effect, Drop)] == [1]


def test_what_was_left_out_and_is_missed_by_something_else_is_a_lie() -> None:
    x = exchange(1)
    give(x, 1, FIRST, LAST)
    x.lacking(1, [TAG])
    effects = x.lacking(2, [TAG])
    assert [effect.peer for effect in effects if isinstance(effect, Drop)] == [1]
    assert x.phase is Phase.FETCHING
