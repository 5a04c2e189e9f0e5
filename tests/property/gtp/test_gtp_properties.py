"""Every message of both dialects survives writing, cutting into pieces and reading."""

from __future__ import annotations

import hashlib
import itertools
import random

import gtp_strategies as strategies
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gittorrent.gtp import bencode, perl2008
from gittorrent.gtp.blocks import ReelIndex, ReelObject, block_count
from gittorrent.gtp.errors import BencodeError
from gittorrent.gtp.framing import FrameReader, encode_frame
from gittorrent.gtp.messages import Kind, Message, bitmap_of, blocks_in
from gittorrent.gtp.order2008 import order_of_2008
from gittorrent.gtp.picker import Picker
from gittorrent.gtp.profile import PERL_2008, RFC, Profile
from gittorrent.gtp.tracker_messages import (
    TrackerAnswer,
    TrackerEvent,
    TrackerRequest,
    parse_answer,
    parse_request,
)
from gittorrent.ids import Oid
from gittorrent.reel.order import Commit

values = st.recursive(
    st.integers(-(10**18), 10**18) | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_bencoding_survives(value: bencode.Value) -> None:
    encoded = bencode.encode(value)
    assert bencode.decode(encoded) == value
    assert bencode.encode(bencode.decode(encoded)) == encoded


@given(st.binary(max_size=40))
def test_what_is_read_has_one_encoding(data: bytes) -> None:
    try:
        value = bencode.decode(data)
    except BencodeError:
        return
    assert bencode.encode(value) == data


def assert_survives(profile: Profile, messages: list[Message], cuts: list[int]) -> None:
    data = b"".join(encode_frame(profile.codec, message) for message in messages)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    reader = FrameReader(profile.codec)
    found: list[Message] = []
    for start, end in itertools.pairwise(places):
        found += reader.feed(data[start:end])
    assert found == messages
    again = b"".join(encode_frame(profile.codec, message) for message in messages)
    assert list(reader.feed(again)) == messages


cuts = st.lists(st.integers(0, 2000), max_size=8)


@given(st.lists(strategies.rfc, max_size=4), cuts)
def test_draft_messages_survive(messages: list[Message], places: list[int]) -> None:
    assert_survives(RFC, messages, places)


@given(st.lists(strategies.perl_2008, max_size=4), cuts)
def test_messages_of_2008_survive_and_are_allowed(
    messages: list[Message], places: list[int]
) -> None:
    for message in messages:
        perl2008.check(message)
    assert_survives(PERL_2008, messages, places)


@given(strategies.rfc, st.integers(12, 255), st.binary(max_size=60))
def test_unknown_messages_are_skipped(message: Message, kind: int, payload: bytes) -> None:
    unknown = (1 + len(payload)).to_bytes(4, "big") + bytes([kind]) + payload
    data = unknown + encode_frame(RFC.codec, message) + unknown
    reader = FrameReader(RFC.codec)
    found = [m for at in range(len(data)) for m in reader.feed(data[at : at + 1])]
    assert found == [message]
    assert list(reader.feed(encode_frame(RFC.codec, message))) == [message]


@given(st.sets(st.integers(0, 99)), st.integers(100, 200))
def test_bitmaps_survive(have: set[int], count: int) -> None:
    assert blocks_in(bitmap_of(have, count), count) == have


groups = st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=4), min_size=1, max_size=20)


@given(groups, st.integers(1, 120))
def test_blocks_divide_a_reel_without_gap_or_overlap(sizes: list[list[int]], size: int) -> None:
    block_size = size + 4095
    index = ReelIndex()
    number = 0
    for group in sizes:
        found = []
        for width in group:
            number += 1
            # Widths are scaled, so that groups are smaller and larger than blocks.
            found.append(ReelObject(Oid(f"{number:040x}"), Kind.BLOB, width * 300))
        index.add(found)
    assert index.count(block_size) == block_count(index.size, block_size)
    seen: list[ReelObject] = []
    end = 0
    for at in range(index.count(block_size)):
        block = index.block(at, block_size)
        seen += block.objects
        if block.objects:
            start = at * block_size + block.offset
            assert start == end
            end = start + sum(item.size for item in block.objects)
    assert seen == index.objects
    assert end == index.size


@given(st.integers(1, 25), st.randoms(use_true_random=False), st.integers(1, 4))
def test_order_of_2008_is_stable_and_has_parents_first(
    count: int, source: random.Random, times: int
) -> None:
    commits: list[Commit] = []
    salt = source.getrandbits(32)
    for number in range(count):
        parents = {source.choice(commits).oid for _ in range(source.randrange(3)) if commits}
        digest = hashlib.sha1(b"%d %d" % (salt, number), usedforsecurity=False)
        oid = Oid(digest.hexdigest())
        commits.append(Commit(oid, number // times, tuple(sorted(parents))))
    ordered = order_of_2008(commits)
    assert sorted(c.oid for c in ordered) == sorted(c.oid for c in commits)
    place = {commit.oid: at for at, commit in enumerate(ordered)}
    assert all(place[p] < place[c.oid] for c in ordered for p in c.parents)


@given(st.data())
def test_picker_keeps_its_invariants(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    picker = Picker(count, data.draw(st.integers(0, 9)))
    for _ in range(data.draw(st.integers(0, 30))):
        peer = data.draw(st.integers(0, 3))
        block = data.draw(st.integers(0, count - 1))
        match data.draw(st.integers(0, 5)):
            case 0:
                picker.offer(peer, data.draw(st.sets(st.integers(0, count + 3))))
            case 1:
                picker.forget(peer)
            case 2:
                picked = picker.pick(peer, data.draw(st.integers(1, 4)))
                assert not set(picked) & picker.have
            case 3:
                picker.add(block)
            case 4:
                picker.unask(peer, block)
            case _:
                picker.refuse(peer, block)
        picker.check_invariant()
        assert len(picker.picture()) == count


requests = st.builds(
    TrackerRequest,
    repo_hash=strategies.ids,
    peer_id=strategies.ids,
    port=st.integers(1, 65535),
    uploaded=st.integers(0, 2**50),
    downloaded=st.integers(0, 2**50),
    completed=st.booleans(),
    address=st.sampled_from(["", "192.0.2.1", "2001:db8::1", "peer.example.org"]),
    peers=st.none() | st.integers(0, 99),
    references=st.none() | st.integers(0, 99),
    event=st.sampled_from(TrackerEvent),
    valid=st.integers(0, 99999),
)


@given(requests)
def test_tracker_requests_survive(request: TrackerRequest) -> None:
    assert parse_request(request.query()) == request


answers = st.builds(
    TrackerAnswer,
    expires=st.integers(0, 99999),
    peers=strategies.peers.map(
        lambda found: tuple(type(p)(p.peer_id, "192.0.2.7", p.port) for p in found)
    ),
    references=st.lists(st.binary(max_size=30), max_size=3).map(tuple),
    complete=st.none() | st.integers(0, 99),
    incomplete=st.none() | st.integers(0, 99),
)


@given(answers)
def test_tracker_answers_survive(answer: TrackerAnswer) -> None:
    assert parse_answer(answer.encode()) == answer


@pytest.mark.parametrize(
    "data",
    [
        b"", b"i01e", b"i-0e", b"ie", b"i1", b"01:x", b"2:x", b"l", b"d1:ai1e", b"d1:b0:1:a0:e",
        b"d1:a0:1:a0:e", b"di1e0:e", b"i1ei1e", b"l" * 18 + b"e" * 18, b"-1:x", b"i+1e", b"i 1e",
        b"i99999999999999999999e", b"99999999999999999999:x",
    ],
)  # fmt: skip
def test_bencoding_is_strict(data: bytes) -> None:
    with pytest.raises(BencodeError):
        bencode.decode(data)
