"""What is asked of whom: pickers, paths, and the exchange without any I/O."""

from __future__ import annotations

import tracemalloc

import pytest

from gittorrent.gtp.believed import ReferenceBook
from gittorrent.gtp.blocks import ReelIndex, ReelObject, check_block_size, usual_block_size
from gittorrent.gtp.choking import Candidate, unchoked
from gittorrent.gtp.effects import (
    Assemble,
    Compact,
    Compare,
    Discard,
    Drop,
    Effect,
    SendMessage,
    Splice,
    StoreBlock,
)
from gittorrent.gtp.errors import BadReferenceError, MessageError, UnsignedReferenceError
from gittorrent.gtp.exchange import EXPLORE_SECONDS, MOST_KEPT, TOO_MUCH, Exchange
from gittorrent.gtp.exchange_state import STATUS_SECONDS, Phase
from gittorrent.gtp.limits import MAX_BLOCKS, MAX_REEL_SIZE, PIPELINE, REQUEST_SECONDS
from gittorrent.gtp.messages import (
    BEGINNING,
    BlockName,
    BlocksRequest,
    BlocksStatus,
    Choke,
    Interested,
    Kind,
    ObjectsRequest,
    Peers,
    PlayAnswer,
    PlayRequest,
    ReelName,
    ReelOffer,
    Reels,
    ReferenceEntry,
    References,
    ScanAnswer,
    ScanEntry,
    ScanRequest,
    Stop,
    Unchoke,
    Uninterested,
    bitmap_of,
)
from gittorrent.gtp.metainfo import MetainfoSpec, parse_metainfo, write_metainfo
from gittorrent.gtp.path import Way, best_path
from gittorrent.gtp.path_choice import SETTLE_SECONDS
from gittorrent.gtp.picker import Picker
from gittorrent.gtp.profile import PERL_2008
from gittorrent.gtp.received import most_bytes
from gittorrent.gtp.reference import Tagger, reference_id, write_reference
from gittorrent.ids import Oid, RefName
from support.gtp_exchanges import (
    DIRECT,
    NEW,
    SIZE,
    connect,
    exchange,
    played,
    said,
    status,
    tabbed,
)


def place(name: str) -> bytes:
    return name.encode().ljust(20, b".")


def way(start: str, end: str, size: int, copies: int = 1) -> Way:
    first = place(start) if start else BEGINNING
    return Way(ReelName(first, place(end)), size, copies)


def names(path: list[Way] | None) -> list[str]:
    assert path is not None
    return [w.reel.end.rstrip(b".").decode() for w in path]


def test_the_cheapest_chain_of_reels_is_taken() -> None:
    ways = [way("", "c", 100), way("", "a", 20), way("a", "b", 20), way("b", "c", 20)]
    assert names(best_path(ways, (), place("c"))) == ["a", "b", "c"]
    assert names(best_path(ways, [place("b")], place("c"))) == ["c"]
    assert best_path(ways, [place("c")], place("c")) == []
    assert best_path(ways, (), place("d")) is None


def test_circles_and_reels_that_nobody_has_lead_nowhere() -> None:
    ways = [way("a", "b", 0), way("b", "a", 0), way("a", "a", 0), way("", "b", 5, copies=0)]
    assert best_path(ways, (), place("b")) is None


def test_of_equal_paths_the_better_copied_is_taken() -> None:
    ways = [way("", "x", 9), way("x", "z", 10), way("", "y", 9, 5), way("y", "z", 10, 5)]
    assert names(best_path(ways, (), place("z"))) == ["y", "z"]


def test_rarest_first_and_twice_near_the_end() -> None:
    picker = Picker(5)
    picker.offer("a", range(5))
    picker.offer("b", [0, 1, 2])
    picker.offer("c", [0])
    assert picker.picture() == "32211"
    assert set(picker.pick("a", 2)) == {3, 4}
    assert picker.pick("c", 2) == [0]
    assert picker.picture() == "?22??"
    assert set(picker.pick("b", 9)) == {1, 2}
    assert picker.pick("b", 9) == [0]
    assert picker.add(0) == {"b", "c"}
    assert picker.picture() == "#????"
    picker.forget("a")
    assert picker.picture() == "#??.."
    assert picker.unavailable() == {3, 4}
    picker.check_invariant()


def test_what_many_peers_say_they_have_takes_a_bit_a_block() -> None:
    """A status of half a megabyte speaks of four million blocks, and anybody may send it."""
    count, peers = 1 << 14, 8
    tracemalloc.start()
    try:
        picker = Picker(count)
        for peer in range(peers):
            picker.offer(peer, range(count))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * (2 * count + peers * count / 8) + (1 << 15)
    assert picker.pick(0, 8) != picker.pick(1, 8)
    picker.check_invariant()


def test_places_go_to_givers_and_one_goes_round() -> None:
    everybody = [Candidate(n, True, 100 - n) for n in range(10)] + [Candidate(99, False, 999)]
    first, second = unchoked(everybody, 0, 4), unchoked(everybody, 1, 4)
    assert {0, 1, 2} <= first & second
    assert first != second
    assert 99 not in first
    assert unchoked(everybody[:3], 7, 4) == {0, 1, 2}


def test_block_sizes_are_bounded() -> None:
    with pytest.raises(MessageError):
        check_block_size(1, 4095)
    with pytest.raises(MessageError):
        check_block_size(4096 * (MAX_BLOCKS + 1), 4096)
    assert usual_block_size(0) == usual_block_size(2**20)
    assert usual_block_size(2**44) * MAX_BLOCKS >= 2**44


def test_a_large_object_leaves_empty_blocks_behind() -> None:
    index = ReelIndex()
    for number, size in enumerate([10, 3 * SIZE, 20, 0]):
        index.add([ReelObject(Oid(f"{number:040x}"), Kind.BLOB, size)])
    counts = [len(index.block(n, SIZE).objects) for n in range(index.count(SIZE))]
    assert counts == [2, 0, 0, 2]
    assert index.block(3, SIZE).offset == 10
    with pytest.raises(MessageError):
        index.block(4, SIZE)


# --- the exchange ------------------------------------------------------------------------------

OID = Oid("ab" * 20)
BODY = write_reference({RefName(b"refs/heads/main"): OID}, OID, None, Tagger(b"A <a@b>", 5), b" ")
END = reference_id(BODY)
REEL = ReelName(BEGINNING, END)
OLD = place("old")


def test_a_download_from_two_peers_to_the_end() -> None:
    x = exchange()
    connect(x, 1, ReelOffer(DIRECT, 4 * SIZE), have={0, 1, 2, 3})
    connect(x, 2, ReelOffer(DIRECT, 4 * SIZE), have={0, 1})
    assert x.phase is Phase.FETCHING
    second = played(x.heard(1, 2, Unchoke()), 2)
    assert second == {0, 1}
    first = played(x.heard(1, 1, Unchoke()), 1)
    assert first == {2, 3}
    effects: list[Effect] = []
    for peer, index in ((2, 0), (2, 1), (1, 2), (1, 3)):
        block = BlockName(DIRECT, index, SIZE)
        (keep,) = (
            e for e in x.heard(2, peer, PlayAnswer(block, 0, b"PACK")) if isinstance(e, StoreBlock)
        )
        assert keep == StoreBlock(peer, block, 0, b"PACK")
        effects = x.kept(2, peer, block)
    (assemble,) = (e for e in effects if isinstance(e, Assemble))
    assert assemble.wanted == NEW
    assert [f.reel for f in assemble.path] == [DIRECT]
    done = x.assembled(3)
    assert Uninterested() in said(done, 1)
    assert x.is_idle
    assert x.has_newest
    assert NEW in x.have


def test_interest_is_said_once_and_choked_peers_are_not_asked() -> None:
    x = exchange()
    x.joined(0, 1)
    x.heard(0, 1, tabbed())
    effects = x.heard(0, 1, Reels((ReelOffer(DIRECT, SIZE),)))
    assert said(effects, 1) == [BlocksRequest(DIRECT, SIZE), Interested()]
    bitmap = BlocksStatus(DIRECT, SIZE, 8, b"\1")
    assert said(x.heard(0, 1, bitmap), 1) == []
    assert said(x.heard(0, 1, Unchoke()), 1) == [PlayRequest(BlockName(DIRECT, 0, SIZE))]


def test_no_more_than_the_pipeline_is_open_and_choking_reopens() -> None:
    x = exchange()
    connect(x, 1, ReelOffer(DIRECT, 40 * SIZE), have=set(range(40)))
    connect(x, 2, ReelOffer(DIRECT, 40 * SIZE), have=set(range(40)))
    asked = played(x.heard(1, 1, Unchoke()), 1)
    assert len(asked) == PIPELINE
    x.heard(1, 1, Choke())
    picker = x.path[0].picker
    assert picker is not None
    assert all(not picker.asked(block) for block in asked)


def test_a_status_of_another_length_is_a_lie() -> None:
    x = exchange()
    connect(x, 1, ReelOffer(DIRECT, 4 * SIZE), have={0})
    effects = x.heard(1, 1, BlocksStatus(DIRECT, SIZE, 16, b"\1\0"))
    assert any(isinstance(e, Drop) for e in effects)


def test_a_status_in_other_blocks_is_converted() -> None:
    """Ours are there where all of theirs are that they overlap."""
    x = exchange()
    connect(x, 1, ReelOffer(DIRECT, 10 * SIZE), have=set())
    picker = x.path[0].picker
    assert picker is not None
    x.heard(1, 1, BlocksStatus(DIRECT, 4 * SIZE, 8, bitmap_of({0, 2}, 3)))
    assert picker.picture() == "1111....11"
    x.heard(1, 1, BlocksStatus(DIRECT, SIZE + SIZE // 2, 8, bitmap_of({0, 1, 2, 4}, 7)))
    assert picker.picture() == "1111..1..."
    effects = x.heard(1, 1, BlocksStatus(DIRECT, 4 * SIZE, 16, b"\1\0"))
    assert any(isinstance(e, Drop) for e in effects)


def test_peers_are_asked_again_whom_they_know() -> None:
    x = exchange()
    connect(x, 1, ReelOffer(DIRECT, SIZE), have={0})
    assert Peers() not in said(x.tick(EXPLORE_SECONDS - 1), 1)
    assert Peers() in said(x.tick(EXPLORE_SECONDS), 1)
    assert Peers() not in said(x.tick(EXPLORE_SECONDS + 1), 1)
    assert Peers() in said(x.tick(2 * EXPLORE_SECONDS), 1)


def test_a_request_names_the_commits_that_are_here_with_all_they_reach() -> None:
    x = exchange()
    main = RefName(b"refs/heads/main")
    old = write_reference({main: OID}, OID, None, Tagger(b"A <a@b>", 4))
    x.book.add(reference_id(old), old)
    x.have.add(reference_id(old))
    other = Oid("cd" * 20)
    new = write_reference({main: other}, other, None, Tagger(b"A <a@b>", 6))
    reel = ReelName(reference_id(old), reference_id(new))
    x.joined(0, 1)
    x.heard(0, 1, References((ReferenceEntry(reel.end, new),)))
    x.heard(0, 1, Reels((ReelOffer(reel, SIZE),)))
    status(x, 1, reel, {0})
    x.heard(0, 1, Unchoke())
    x.heard(0, 1, PlayAnswer(BlockName(reel, 0, SIZE), 0, b"PACK"))
    x.kept(0, 1, BlockName(reel, 0, SIZE))
    effects = x.lacking(1, [Oid("07" * 20)])
    assert ObjectsRequest((b"\7" * 20,), (bytes.fromhex(OID),)) in said(effects, 1)


def test_a_false_reference_ends_the_connection() -> None:
    x = exchange()
    x.joined(0, 1)
    effects = x.heard(0, 1, References((ReferenceEntry(b"x" * 20, BODY),)))
    (drop,) = (e for e in effects if isinstance(e, Drop))
    assert "another id" in drop.reason
    assert x.heard(0, 1, Unchoke()) == []


def test_an_announced_reference_is_asked_for() -> None:
    x = exchange()
    x.joined(0, 1)
    announced = References((ReferenceEntry(NEW),))
    assert said(x.heard(0, 1, announced), 1) == [References(), Reels()]
    x.heard(0, 1, tabbed())
    assert said(x.heard(0, 1, announced), 1) == []


def test_when_a_peer_vanishes_another_path_is_scanned_and_completed() -> None:
    x = exchange()
    steps = ReelName(BEGINNING, OLD), ReelName(OLD, NEW)
    connect(x, 1, ReelOffer(DIRECT, 2 * SIZE), have={0, 1})
    connect(x, 2, ReelOffer(steps[0], 3 * SIZE), ReelOffer(steps[1], SIZE), have={0, 1, 2})
    assert [f.reel for f in x.path] == [DIRECT]
    x.heard(1, 1, Unchoke())
    x.heard(1, 2, Unchoke())
    block = BlockName(DIRECT, 0, SIZE)
    x.heard(1, 1, PlayAnswer(block, 0, b"PACK"))
    x.kept(1, 1, block)
    effects = x.left(2, 1)
    assert [e.reels for e in effects if isinstance(e, Splice)] == [(DIRECT,)]
    assert [f.reel for f in x.path] == list(steps)
    asked = [m for m in said(effects, 2) if isinstance(m, BlocksRequest)]
    assert [m.reel for m in asked] == list(steps)
    effects = x.heard(3, 2, BlocksStatus(steps[0], SIZE, 8, b"\7"))
    scans = [m for m in said(effects, 2) if isinstance(m, ScanRequest)]
    assert {m.block.index for m in scans} == {0, 1, 2}
    entries = tuple(ScanEntry(bytes([n]) * 20, Kind.BLOB, 5) for n in range(4))
    for scan in scans:
        (compare,) = (
            e for e in x.heard(3, 2, ScanAnswer(scan.block, 0, entries)) if isinstance(e, Compare)
        )
        assert compare.entries == entries
    whole, few, many = (scan.block for scan in scans)
    assert said(x.compared(4, 2, whole, 4, []), 2) == []
    missing = [Oid("03" * 20)]
    assert said(x.compared(4, 2, few, 4, missing), 2) == [ObjectsRequest((b"\3" * 20,))]
    assert said(x.compared(4, 2, many, 4, missing * 3), 2) == [PlayRequest(many)]


def test_the_other_of_two_that_were_asked_is_told_to_stop() -> None:
    x = exchange()
    connect(x, 1, ReelOffer(DIRECT, SIZE), have={0})
    connect(x, 2, ReelOffer(DIRECT, SIZE), have={0})
    block = BlockName(DIRECT, 0, SIZE)
    assert played(x.heard(1, 1, Unchoke()), 1) == {0}
    assert played(x.heard(1, 2, Unchoke()), 2) == {0}
    x.heard(2, 1, PlayAnswer(block, 0, b"PACK"))
    assert Stop(block) in said(x.kept(2, 1, block), 2)


def both_gave(x: Exchange) -> None:
    for peer in (1, 2):
        connect(x, peer, ReelOffer(DIRECT, 2 * SIZE), have={0, 1})
    asked = {peer: played(x.heard(1, peer, Unchoke()), peer) for peer in (1, 2)}
    assert asked[1] == {0, 1}
    for peer, index in ((1, 0), (2, 1)):
        block = BlockName(DIRECT, index, SIZE)
        x.heard(2, peer, PlayAnswer(block, 0, b"PACK"))
        x.kept(2, peer, block)


def test_after_a_lie_peers_are_tested_one_at_a_time() -> None:
    x = exchange()
    both_gave(x)
    assert x.phase is Phase.ASSEMBLING
    effects = x.broken(3)
    assert any(isinstance(e, Discard) for e in effects)
    assert not any(isinstance(e, Drop) for e in effects)
    assert played(effects, 1) == {0, 1}
    assert played(effects, 2) == set()
    for index in (0, 1):
        block = BlockName(DIRECT, index, SIZE)
        x.heard(4, 1, PlayAnswer(block, 0, b"PACK"))
        x.kept(4, 1, block)
    effects = x.broken(5)
    assert [e.peer for e in effects if isinstance(e, Drop)] == [1]
    assert played(effects, 2) == {0, 1}


def test_missing_objects_are_asked_for_by_id() -> None:
    x = exchange()
    both_gave(x)
    effects = x.lacking(3, [Oid("07" * 20)])
    wanted = ObjectsRequest((b"\7" * 20,))
    assert sum(wanted in said(effects, peer) for peer in (1, 2)) == 1
    assert x.phase is Phase.REPAIRING


def test_who_does_not_answer_is_dropped_but_may_return() -> None:
    x = exchange()
    connect(x, 1, ReelOffer(DIRECT, SIZE), have={0})
    x.heard(1, 1, Unchoke())
    assert not any(isinstance(e, Drop) for e in x.tick(REQUEST_SECONDS))
    (drop,) = (e for e in x.tick(REQUEST_SECONDS + 2) if isinstance(e, Drop))
    assert not drop.ban


def test_slow_is_not_dead() -> None:
    x = exchange()
    connect(x, 1, ReelOffer(DIRECT, SIZE), have={0})
    x.heard(1, 1, Unchoke())
    x.receiving(REQUEST_SECONDS, 1)
    assert not any(isinstance(e, Drop) for e in x.tick(REQUEST_SECONDS + 2))


def test_nobody_may_send_more_than_a_reel_can_hold() -> None:
    x = exchange()
    connect(x, 1, ReelOffer(DIRECT, SIZE), have={0})
    x.heard(1, 1, Unchoke())
    much = PlayAnswer(BlockName(DIRECT, 0, SIZE), 0, bytes(3 * 2**20))
    effects = x.heard(2, 1, much)
    assert [e.reason for e in effects if isinstance(e, Drop)] == [TOO_MUCH]
    assert not any(isinstance(e, StoreBlock) for e in effects)


def test_refused_packs_are_not_counted_against_those_who_come_next() -> None:
    x = exchange()
    block = BlockName(DIRECT, 0, SIZE)
    for peer in range(1, 5):
        connect(x, peer, ReelOffer(DIRECT, SIZE), have={0})
        x.heard(1, peer, Unchoke())
        effects = x.heard(1, peer, PlayAnswer(block, 0, bytes(2**19)))
        assert any(isinstance(e, StoreBlock) for e in effects)
        effects = x.kept(1, peer, block, "the pack's checksum is wrong")
        assert [e.peer for e in effects if isinstance(e, Drop)] == [peer]


def by_commits(*peers: int, max_bytes: int = MAX_REEL_SIZE) -> Exchange:
    info = parse_metainfo(b"d10:referenceslee")
    book = ReferenceBook(info, allow_unverified=True)
    x = Exchange(PERL_2008, book, max_bytes=max_bytes)
    for peer in peers:
        x.joined(0, peer)
        x.heard(0, peer, References((ReferenceEntry(END, BODY),)))
        x.heard(0, peer, Reels((ReelOffer(REEL, SIZE),)))
        x.heard(0, peer, BlocksStatus(REEL, 0, 6, b"\x3f"))
    return x


def commit(index: int, size: int) -> PlayAnswer:
    return PlayAnswer(BlockName(REEL, index, 0), 0, bytes(size))


def test_where_blocks_are_commits_repetitions_are_removed_and_each_pack_is_bounded() -> None:
    x = by_commits(1)
    assert not any(isinstance(e, Compact) for e in x.heard(0, 1, commit(0, 2**20)))
    effects = x.heard(0, 1, commit(1, 2**20))
    assert [e for e in effects if not isinstance(e, SendMessage)] == [
        StoreBlock(1, BlockName(REEL, 1, 0), 0, bytes(2**20)),
        Compact(REEL),
    ]
    assert played(x.kept(0, 1, BlockName(REEL, 0, 0)), 1) == set()  # not while it is done
    assert not any(isinstance(e, Compact) for e in x.heard(0, 1, commit(2, 2**20)))
    effects = x.compacted(0, REEL, 2**20)
    assert not any(isinstance(e, Drop) for e in effects)
    assert any(isinstance(e, Compact) for e in x.heard(0, 1, commit(3, 2**20)))
    assert any(isinstance(e, Drop) for e in x.heard(0, 1, commit(5, 2**21)))


def test_more_distinct_objects_than_a_reel_has_are_a_lie() -> None:
    x = by_commits(1)
    for index in range(2):
        x.heard(0, 1, commit(index, 2**20))
        x.kept(0, 1, BlockName(REEL, index, 0))
    effects = x.compacted(0, REEL, MOST_KEPT * 2**20 + 2**18)
    assert any(isinstance(e, Discard) for e in effects)
    assert [e.peer for e in effects if isinstance(e, Drop)] == [1]


def test_where_blocks_are_commits_they_are_asked_for_in_order() -> None:
    """Or their bases would be missing when repetitions are removed."""
    x = Exchange(
        PERL_2008, ReferenceBook(parse_metainfo(b"d10:referenceslee"), allow_unverified=True)
    )
    x.joined(0, 1)
    x.heard(0, 1, References((ReferenceEntry(END, BODY),)))
    x.heard(0, 1, Reels((ReelOffer(REEL, SIZE),)))
    effects = x.heard(0, 1, BlocksStatus(REEL, 0, 40, b"\xff" * 5))
    assert played(effects, 1) == set(range(PIPELINE))


def test_when_several_fill_a_reel_the_liar_is_found_and_nobody_else_is_banned() -> None:
    """The one whose pack crosses the sum may be honest: each has to give everything alone."""
    x = exchange()
    for peer in (1, 2):
        connect(x, peer, ReelOffer(DIRECT, 2 * SIZE), have={0, 1})
        x.heard(1, peer, Unchoke())
    liar, honest = BlockName(DIRECT, 0, SIZE), BlockName(DIRECT, 1, SIZE)
    most = most_bytes(2 * SIZE, 2)
    x.heard(2, 1, PlayAnswer(liar, 0, bytes(most - 10)))
    x.kept(2, 1, liar)
    effects = x.heard(2, 2, PlayAnswer(honest, 0, bytes(100)))
    assert not any(isinstance(e, Drop | StoreBlock) for e in effects)
    assert any(isinstance(e, Discard) for e in effects)
    assert played(effects, 1) == {0, 1}
    assert played(effects, 2) == set()
    x.heard(3, 1, PlayAnswer(liar, 0, bytes(most - 10)))
    x.kept(3, 1, liar)
    effects = x.heard(3, 1, PlayAnswer(honest, 0, bytes(100)))
    assert [e.peer for e in effects if isinstance(e, Drop)] == [1]
    assert played(effects, 2) == {0, 1}
    for block in (liar, honest):
        assert any(isinstance(e, StoreBlock) for e in x.heard(4, 2, PlayAnswer(block, 0, b"PACK")))


def test_what_the_user_allows_counts_whatever_size_is_claimed() -> None:
    x = exchange(max_bytes=1000)
    connect(x, 1, ReelOffer(DIRECT, 2 * SIZE), have={0, 1})
    x.heard(1, 1, Unchoke())
    first, second = (BlockName(DIRECT, n, SIZE) for n in (0, 1))
    assert any(isinstance(e, StoreBlock) for e in x.heard(2, 1, PlayAnswer(first, 0, bytes(900))))
    x.kept(2, 1, first)
    effects = x.heard(2, 1, PlayAnswer(second, 0, bytes(101)))
    assert not any(isinstance(e, StoreBlock) for e in effects)
    assert any(isinstance(e, Discard) for e in effects)
    assert [e.peer for e in effects if isinstance(e, Drop)] == [1]


def test_all_reels_of_a_path_count_together() -> None:
    x = exchange(max_bytes=1000)
    reels = ReelName(BEGINNING, OLD), ReelName(OLD, NEW)
    connect(x, 1, *(ReelOffer(reel, SIZE) for reel in reels), have={0})
    x.heard(1, 1, Unchoke())
    first, second = (BlockName(reel, 0, SIZE) for reel in reels)
    x.heard(2, 1, PlayAnswer(first, 0, bytes(900)))
    effects = x.heard(2, 1, PlayAnswer(second, 0, bytes(101)))
    assert not any(isinstance(e, StoreBlock) for e in effects)
    assert any(isinstance(e, Discard) for e in effects)


def test_where_blocks_are_commits_the_user_is_heard_too() -> None:
    x = by_commits(1, max_bytes=1000)
    assert any(isinstance(e, Drop) for e in x.heard(0, 1, commit(0, 1001)))
    x = by_commits(1, max_bytes=1000)
    x.heard(0, 1, commit(0, 900))
    x.kept(0, 1, BlockName(REEL, 0, 0))
    assert any(isinstance(e, Compact) for e in x.heard(0, 1, commit(1, 900)))
    x.kept(0, 1, BlockName(REEL, 1, 0))
    assert any(isinstance(e, Discard) for e in x.compacted(0, REEL, 1001))


def test_what_was_asked_before_the_doubts_counts_no_more() -> None:
    x = exchange()
    both_gave(x)
    x.broken(3)
    effects = x.heard(4, 2, PlayAnswer(BlockName(DIRECT, 1, SIZE), 0, b"PACK"))
    assert not any(isinstance(e, StoreBlock) for e in effects)


def test_a_peer_that_never_tells_its_blocks_does_not_hold_up_another_path() -> None:
    x = exchange()
    x.joined(0, 1)
    x.heard(0, 1, tabbed())
    x.heard(0, 1, Reels((ReelOffer(DIRECT, SIZE),)))
    connect(x, 2, ReelOffer(ReelName(BEGINNING, OLD), SIZE), ReelOffer(ReelName(OLD, NEW), SIZE),
            have={0})  # fmt: skip
    x.tick(SETTLE_SECONDS + 1)
    assert [f.reel for f in x.path] == [DIRECT]
    x.tick(STATUS_SECONDS + 1)
    assert len(x.path) == 2


def test_unsigned_references_need_the_users_word() -> None:
    info = parse_metainfo(b"d10:referenceslee")
    assert info.profile is PERL_2008
    book = ReferenceBook(info)
    with pytest.raises(BadReferenceError, match="signed by nobody"):
        book.add(END, BODY)
    assert ReferenceBook(info, allow_unverified=True).add(END, BODY)
    listed = parse_metainfo(write_metainfo(MetainfoSpec(b"", (BODY,), profile=PERL_2008)))
    assert END in ReferenceBook(listed)


def test_an_unsigned_reference_that_is_not_listed_is_no_lie() -> None:
    """A peer of 2008 tells of what it has, and cannot know what is listed here."""
    listed = BODY.replace(b"\n\n", b"\n\nanother\n")
    info = parse_metainfo(write_metainfo(MetainfoSpec(b"", (listed,), profile=PERL_2008)))
    x = Exchange(PERL_2008, ReferenceBook(info))
    x.joined(0, 1)
    effects = x.heard(0, 1, References((ReferenceEntry(END, BODY),)))
    assert not any(isinstance(effect, Drop) for effect in effects)
    assert END not in x.book


def test_who_gives_believes_unsigned_references_of_its_own_only() -> None:
    book = ReferenceBook(parse_metainfo(b"d10:referenceslee"), allow_unverified=True)
    book.add(END, BODY)
    book.require_signatures()
    other = BODY.replace(b"\n\n", b"\n\nanother\n")
    with pytest.raises(UnsignedReferenceError):
        book.add(reference_id(other), other)
    assert END in book
