"""The captured session of 2008: decoded completely, encoded again, and spoken in both roles."""

from __future__ import annotations

import pytest

from gittorrent.gtp import handshake
from gittorrent.gtp.framing import FrameReader, encode_frame
from gittorrent.gtp.machine import Opened, PeerMachine, Received, Side
from gittorrent.gtp.messages import (
    BEGINNING,
    BlockName,
    BlocksRequest,
    BlocksStatus,
    Message,
    PlayAnswer,
    PlayRequest,
    ReelName,
    Reels,
    References,
    blocks_in,
)
from gittorrent.gtp.profile import PERL_2008
from gittorrent.gtp.reference import Tagger, parse_reference, reference_id, write_reference
from gittorrent.ids import Oid, RefName
from support.gtp_vectors import Record, session

RECORDS = session()
REPO_HASH = bytes.fromhex("0a1a2dfbf0bc5dac711c65d98461a2da8222483f")
END = bytes.fromhex("b933c06bcf7f3e4704c27cdd04e47278dc9e8543")
REEL = ReelName(BEGINNING, END)
CODEC = PERL_2008.codec


def decoded(record: Record) -> Message:
    (message,) = FrameReader(CODEC).feed(record.padded)
    return message


def test_everything_decodes_to_what_the_peer_meant() -> None:
    hello = [handshake.parse(r.kept) for r in RECORDS[:2]]
    assert [h.repo_hash for h in hello] == [REPO_HASH, REPO_HASH]
    messages = [decoded(record) for record in RECORDS[2:]]
    assert messages[:4] == [Reels(), Reels(), References(), References()]
    assert isinstance(messages[4], Reels)
    assert [(o.reel, o.size) for o in messages[4].offers] == [(REEL, 7793)]
    assert messages[5] == BlocksRequest(REEL, 0)
    assert isinstance(messages[6], References)
    assert [(e.reference, len(e.body)) for e in messages[6].entries] == [(END, 400)]
    status = messages[7]
    assert isinstance(status, BlocksStatus)
    assert (status.count, status.bitmap) == (15, b"\xff\x7f")
    assert blocks_in(status.bitmap, status.count) == set(range(15))
    asked = messages[8:23]
    assert asked == [PlayRequest(BlockName(REEL, index, 0)) for index in range(15)]
    answers = [m for m in messages[23:] if isinstance(m, PlayAnswer)]
    assert [a.block.index for a in answers] == list(range(15))
    assert all(a.pack.startswith(b"PACK\0\0\0\2") for a in answers)
    assert len(messages) == 38


@pytest.mark.parametrize("number", range(2, len(RECORDS)))
def test_every_message_encodes_to_the_bytes_it_came_as(number: int) -> None:
    record = RECORDS[number]
    encoded = encode_frame(CODEC, decoded(record))
    assert encoded == record.padded
    assert encoded[: len(record.kept)] == record.kept
    # Only packs and the reference object were cut when the capture was written down.
    assert record.is_whole or record.label in ("play", "references")


def test_handshakes_encode_to_the_bytes_they_came_as() -> None:
    for record in RECORDS[:2]:
        assert handshake.parse(record.kept).encode() == record.kept


def reference_of_400_bytes() -> bytes:
    """A reference object as long as the one in the capture, of which only the head was kept."""
    oid = Oid("b716567229f4f231d631c9cd84d4105f3e6a421e")
    for length in range(1, 300):
        refs = {RefName(b"refs/heads/" + b"m" * length): oid}
        body = write_reference(refs, oid, None, Tagger(b"A <a@b>", 1), b" ")
        if len(body) == 400:
            return body
    raise AssertionError("no length fits")


def as_sent(record: Record, body: bytes) -> bytes:
    """The record's bytes for a session about our own reference object."""
    data = record.padded.replace(END, reference_id(body))
    if record.label == "references" and record.size > 8:
        data = data[:32] + body
    return data


@pytest.mark.parametrize("side", list(Side), ids=lambda side: side.name.lower())
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_machine_speaks_either_role_byte_by_byte(side: Side, step: int) -> None:
    body = reference_of_400_bytes()
    assert parse_reference(body, b" ").refs
    ours_listen = side is Side.LISTENING
    peer_ids = {r.from_listener: handshake.parse(r.kept).peer_id for r in RECORDS[:2]}
    machine = PeerMachine(
        side=side,
        peer_id=peer_ids[ours_listen],
        identify=lambda repo_hash: PERL_2008 if repo_hash == REPO_HASH else None,
        admit=lambda _repo, peer: peer == peer_ids[not ours_listen],
        now=0.0,
        repo_hash=b"" if ours_listen else REPO_HASH,
    )
    heard: list[Message] = []
    for record in RECORDS:
        data = as_sent(record, body)
        if record.from_listener is ours_listen:
            if record.label != "handshake":
                (message,) = FrameReader(CODEC).feed(data)
                machine.send(1.0, message)
            assert machine.output() == data
            continue
        for at in range(0, len(data), step):
            for event in machine.receive(1.0, data[at : at + step]):
                if isinstance(event, Received):
                    heard.append(event.message)
                else:
                    assert isinstance(event, Opened)
    theirs = [r for r in RECORDS[2:] if r.from_listener is not ours_listen]
    expected = [next(iter(FrameReader(CODEC).feed(as_sent(r, body)))) for r in theirs]
    assert heard == expected
    assert machine.output() == b""
    assert machine.waiting == []
    assert machine.asked == []
