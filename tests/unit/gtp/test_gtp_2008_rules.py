"""What would kill the peer of 2008 is never sent to it."""

from __future__ import annotations

import pytest

from gittorrent.gtp.errors import ForbiddenMessageError, MessageError
from gittorrent.gtp.framing import FrameReader, encode_frame
from gittorrent.gtp.machine import PeerMachine, Side
from gittorrent.gtp.messages import (
    BEGINNING,
    BlockName,
    BlocksRequest,
    BlocksStatus,
    Choke,
    Interested,
    KeepAlive,
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
    ScanRequest,
    Stop,
    Unchoke,
    Uninterested,
)
from gittorrent.gtp.profile import PERL_2008
from gittorrent.gtp.reference import reference_id

REEL = ReelName(BEGINNING, b"e" * 20)
BLOCK = BlockName(REEL, 3, 0)
HASH = b"h" * 20


def opened() -> PeerMachine:
    machine = PeerMachine(
        side=Side.CONNECTING,
        peer_id=b"a" * 20,
        identify=lambda _hash: PERL_2008,
        admit=lambda _hash, _peer: True,
        now=0.0,
        repo_hash=HASH,
    )
    machine.output()
    greeting = b"\x07GTP/0.1" + bytes(8) + HASH + b"b" * 20
    list(machine.receive(0.0, greeting))
    return machine


DEADLY: list[Message] = [
    KeepAlive(),
    Interested(),
    Uninterested(),
    ScanRequest(BLOCK),
    ScanAnswer(BLOCK, 0, ()),
    ObjectsRequest((b"o" * 20,)),
    ObjectsAnswer(b"PACK"),
    Stop(BLOCK),
    References((ReferenceEntry(b"r" * 20),)),
    References((ReferenceEntry(b"r" * 20, b"another body"),)),
    BlocksStatus(REEL, 0, 0, b""),
    BlocksStatus(REEL, 0, 9, b"\xff"),
    PlayAnswer(BLOCK, 0, b""),
    Reels((ReelOffer(REEL, 2**32),)),
    Peers((PeerAddress(b"p" * 20, "192.0.2.1", 65536),)),
]


@pytest.mark.parametrize("message", DEADLY, ids=lambda m: type(m).__name__)
def test_machine_refuses_what_kills_it(message: Message) -> None:
    machine = opened()
    with pytest.raises((ForbiddenMessageError, MessageError)):
        machine.send(1.0, message)
    assert machine.output() == b""


BODY = b"object of any kind\n"
HARMLESS: list[Message] = [
    Choke(),
    Unchoke(),
    Peers(),
    Peers((PeerAddress(b"p" * 20, "192.0.2.1", 9417),)),
    References(),
    References((ReferenceEntry(reference_id(BODY), BODY),)),
    Reels(),
    Reels((ReelOffer(REEL, 7),)),
    BlocksRequest(REEL, 0),
    BlocksStatus(REEL, 0, 9, b"\xff\x01"),
    PlayRequest(BLOCK),
]


@pytest.mark.parametrize("message", HARMLESS, ids=lambda m: type(m).__name__)
def test_machine_sends_the_rest_with_ids_of_four_bytes(message: Message) -> None:
    machine = opened()
    machine.send(1.0, message)
    data = machine.output()
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert data[4:7] == b"\0\0\0"
    assert data[7] in (0, 1, 4, 5, 6, 7, 10)
    assert list(FrameReader(PERL_2008.codec).feed(data)) == [message]


def test_silence_never_makes_a_keep_alive() -> None:
    machine = opened()
    assert machine.next_deadline() == float("inf")
    machine.tick(1e9)
    assert machine.output() == b""


def test_reels_are_44_bytes_each() -> None:
    data = encode_frame(PERL_2008.codec, Reels((ReelOffer(REEL, 1), ReelOffer(REEL, 2))))
    assert len(data) == 8 + 2 * 44


def test_initiator_says_all_56_bytes_at_once_with_zero_extensions() -> None:
    machine = PeerMachine(
        side=Side.CONNECTING,
        peer_id=b"a" * 20,
        identify=lambda _hash: PERL_2008,
        admit=lambda _hash, _peer: True,
        now=0.0,
        repo_hash=HASH,
    )
    assert machine.output() == b"\x07GTP/0.1" + bytes(8) + HASH + b"a" * 20


def test_one_byte_ids_are_refused() -> None:
    with pytest.raises(MessageError):
        list(FrameReader(PERL_2008.codec).feed(b"\0\0\0\1\6"))
