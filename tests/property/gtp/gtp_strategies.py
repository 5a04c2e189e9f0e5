"""Hypothesis strategies for GTP messages, in both dialects."""

from __future__ import annotations

from hypothesis import strategies as st

from gittorrent.gtp.messages import (
    BlockName,
    BlocksRequest,
    BlocksStatus,
    Choke,
    Interested,
    KeepAlive,
    Kind,
    Message,
    ObjectsAnswer,
    ObjectsRequest,
    PeerAddress,
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
)
from gittorrent.gtp.reference import reference_id

ids = st.binary(min_size=20, max_size=20)
u32 = st.integers(0, 2**32 - 1)
reels = st.builds(ReelName, ids, ids)
hosts = st.text(st.sampled_from("abcdef0123456789.:-"), min_size=1, max_size=40)
peers = st.lists(st.builds(PeerAddress, ids, hosts, st.integers(1, 65535)), max_size=5)
packs = st.binary(max_size=200)
bodies = st.binary(min_size=1, max_size=60)


def _blocks(sizes: st.SearchStrategy[int]) -> st.SearchStrategy[BlockName]:
    return st.builds(BlockName, reels, st.integers(0, 2**22 - 1), sizes)


def _status(reel: ReelName, size: int, raw: bytes) -> BlocksStatus:
    return BlocksStatus(reel, size, len(raw) * 8, raw)


def _status_2008(reel: ReelName, flags: list[bool]) -> BlocksStatus:
    bitmap = bytearray((len(flags) + 7) // 8)
    for at, flag in enumerate(flags):
        bitmap[at >> 3] |= flag << (at & 7)
    return BlocksStatus(reel, 0, len(flags), bytes(bitmap))


sizes = st.integers(1, 2**31 - 1)
blocks = _blocks(sizes)
entries = st.lists(st.builds(ScanEntry, ids, st.sampled_from(Kind), u32), max_size=5).map(tuple)
object_lists = st.lists(ids, max_size=5).map(tuple)
announced = st.builds(ReferenceEntry, ids, st.binary(max_size=60))
owned = bodies.map(lambda body: ReferenceEntry(reference_id(body), body))

rfc: st.SearchStrategy[Message] = st.one_of(
    st.sampled_from([KeepAlive(), Choke(), Unchoke(), Interested(), Uninterested()]),
    peers.map(lambda found: Peers(tuple(found))),
    st.lists(announced, max_size=4).map(lambda found: References(tuple(found))),
    st.lists(st.builds(ReelOffer, reels, st.integers(0, 2**44)), max_size=4).map(
        lambda found: Reels(tuple(found))
    ),
    st.builds(BlocksRequest, reels, sizes),
    st.builds(_status, reels, sizes, st.binary(min_size=1, max_size=20)),
    st.builds(ScanRequest, blocks),
    st.builds(ScanAnswer, blocks, u32, entries),
    st.builds(ObjectsRequest, st.lists(ids, min_size=1, max_size=5).map(tuple), object_lists),
    st.builds(PlayRequest, blocks),
    st.builds(PlayAnswer, blocks, u32, packs),
    st.builds(ObjectsAnswer, packs),
    st.builds(Stop, blocks),
)

commits = _blocks(st.just(0))
perl_2008: st.SearchStrategy[Message] = st.one_of(
    st.sampled_from([Choke(), Unchoke()]),
    peers.map(lambda found: Peers(tuple(found))),
    st.lists(owned, max_size=4).map(lambda found: References(tuple(found))),
    st.lists(st.builds(ReelOffer, reels, u32), max_size=4).map(lambda found: Reels(tuple(found))),
    st.builds(BlocksRequest, reels, st.just(0)),
    st.builds(_status_2008, reels, st.lists(st.booleans(), min_size=1, max_size=40)),
    st.builds(PlayRequest, commits),
    st.builds(PlayAnswer, commits, st.just(0), st.binary(min_size=1, max_size=200)),
)
