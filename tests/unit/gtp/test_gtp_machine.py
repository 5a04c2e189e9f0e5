"""One connection: handshakes, choking, requests and answers, silence."""

from __future__ import annotations

import tracemalloc

import pytest

from gittorrent.gtp import limits
from gittorrent.gtp.errors import ForbiddenMessageError, HandshakeError, MessageError
from gittorrent.gtp.machine import Discarded, Event, Opened, PeerMachine, Received, Side
from gittorrent.gtp.messages import (
    BEGINNING,
    BlockName,
    Choke,
    Interested,
    KeepAlive,
    Message,
    ObjectsAnswer,
    ObjectsRequest,
    PlayAnswer,
    PlayRequest,
    ReelName,
    ReferenceEntry,
    References,
    ScanAnswer,
    ScanRequest,
    Stop,
    Unchoke,
)
from gittorrent.gtp.profile import RFC

HASH = b"h" * 20
BLOCK = BlockName(ReelName(BEGINNING, b"e" * 20), 1, 4096)
OTHER = BlockName(ReelName(BEGINNING, b"e" * 20), 2, 4096)


def machine(side: Side, peer_id: bytes, unwelcome: frozenset[bytes] = frozenset()) -> PeerMachine:
    return PeerMachine(
        side=side,
        peer_id=peer_id,
        identify=lambda repo_hash: RFC if repo_hash == HASH else None,
        admit=lambda _hash, peer: peer != peer_id and peer not in unwelcome,
        now=0.0,
        repo_hash=HASH if side is Side.CONNECTING else b"",
    )


class Pair:
    """Two machines and the wire between them."""

    def __init__(self) -> None:
        self.a = machine(Side.CONNECTING, b"a" * 20)
        self.b = machine(Side.LISTENING, b"b" * 20)
        self.now = 0.0
        self.move()
        assert self.a.is_open
        assert self.b.is_open

    def move(self) -> list[Event]:
        """Carry bytes until nothing moves; returns what happened at both ends."""
        found: list[Event] = []
        while True:
            forth, back = self.a.output(), self.b.output()
            if not forth and not back:
                return found
            found += self.b.receive(self.now, forth) if forth else []
            found += self.a.receive(self.now, back) if back else []

    def say(self, sender: PeerMachine, message: Message) -> list[Event]:
        sender.send(self.now, message)
        return self.move()


def test_whoever_has_sent_a_handshake_knows_how_to_end_the_connection() -> None:
    """The peer of 2008 wants it drained, also when its handshake is refused."""
    a = machine(Side.CONNECTING, b"a" * 20)
    assert a.profile is RFC
    b = machine(Side.LISTENING, b"b" * 20, frozenset({b"a" * 20}))
    assert b.profile is None
    with pytest.raises(HandshakeError):
        list(b.receive(0, a.output()))
    assert b.profile is RFC
    assert not b.is_open


def test_the_listener_answers_when_it_knows_the_repository() -> None:
    a, b = machine(Side.CONNECTING, b"a" * 20), machine(Side.LISTENING, b"b" * 20)
    hello = a.output()
    assert list(b.receive(0, hello[:35])) == []
    assert b.output() == b""
    assert list(b.receive(0, hello[35:36])) == []
    answer = b.output()
    assert len(answer) == 56
    assert list(b.receive(0, hello[36:])) == [Opened(HASH, b"a" * 20, RFC)]
    assert list(a.receive(0, answer)) == [Opened(HASH, b"b" * 20, RFC)]


@pytest.mark.parametrize(
    "data",
    [b"\7GTP/0.2", b"\6GTP/0", b"GET / HTTP", b"\7GTP/0.1" + bytes(8) + b"other" * 4],
)
def test_wrong_names_and_unknown_repositories_end_it(data: bytes) -> None:
    with pytest.raises(HandshakeError):
        list(machine(Side.LISTENING, b"b" * 20).receive(0, data))


def test_an_answer_for_another_repository_ends_it() -> None:
    hello = b"\7GTP/0.1" + bytes(8) + b"o" * 20 + b"b" * 20
    with pytest.raises(HandshakeError, match="another repository"):
        list(machine(Side.CONNECTING, b"a" * 20).receive(0, hello))


@pytest.mark.parametrize("theirs", [b"b" * 20, b"c" * 20])
def test_own_and_connected_peer_ids_end_it(theirs: bytes) -> None:
    listener = machine(Side.LISTENING, b"b" * 20, frozenset({b"c" * 20}))
    hello = b"\7GTP/0.1" + bytes(8) + HASH + theirs
    with pytest.raises(HandshakeError, match="ourselves"):
        list(listener.receive(0, hello))


def test_data_is_asked_and_answered_when_unchoked() -> None:
    pair = Pair()
    with pytest.raises(ForbiddenMessageError):
        pair.a.send(0, PlayRequest(BLOCK))
    assert pair.say(pair.a, Interested()) == [Received(Interested())]
    assert pair.b.state.interesting
    pair.say(pair.b, Unchoke())
    for ask, answer in (
        (PlayRequest(BLOCK), PlayAnswer(BLOCK, 0, b"PACK")),
        (ScanRequest(BLOCK), ScanAnswer(BLOCK, 0, ())),
        (ObjectsRequest((b"o" * 20,)), ObjectsAnswer(b"PACK")),
    ):
        assert pair.say(pair.a, ask) == [Received(ask)]
        assert pair.b.waiting == [ask]
        assert pair.say(pair.b, answer) == [Received(answer)]
        assert (pair.a.asked, pair.b.waiting) == ([], [])


def test_choking_discards_on_both_sides_and_what_crosses_is_ignored() -> None:
    pair = Pair()
    pair.say(pair.b, Unchoke())
    pair.say(pair.a, PlayRequest(BLOCK))
    assert pair.say(pair.b, Choke()) == [Discarded((PlayRequest(BLOCK),))]
    assert pair.b.waiting == []
    assert pair.say(pair.b, PlayAnswer(BLOCK, 0, b"PACK")) == []
    # A request that was on its way when the choke went out is no offence.
    pair.say(pair.b, Unchoke())
    pair.a.send(0, PlayRequest(OTHER))
    pair.b.send(0, Choke())
    assert pair.move() == [Discarded((PlayRequest(OTHER),))]
    assert pair.b.waiting == []


def test_stop_withdraws_a_request() -> None:
    pair = Pair()
    pair.say(pair.b, Unchoke())
    pair.say(pair.a, PlayRequest(BLOCK))
    pair.say(pair.a, PlayRequest(OTHER))
    assert pair.say(pair.a, Stop(BLOCK)) == [Received(Stop(BLOCK))]
    assert pair.b.waiting == [PlayRequest(OTHER)]
    assert pair.say(pair.b, PlayAnswer(BLOCK, 0, b"PACK")) == []
    assert pair.a.asked == [PlayRequest(OTHER)]


def test_answers_that_nobody_asked_for_are_ignored() -> None:
    pair = Pair()
    pair.a.send(0, Interested())
    pair.move()
    frame = (1 + 52).to_bytes(4, "big") + b"\x0a" + bytes(52)
    assert list(pair.a.receive(0, frame)) == []


def test_too_many_open_requests_end_it() -> None:
    pair = Pair()
    pair.say(pair.b, Unchoke())
    for index in range(limits.MAX_OPEN_REQUESTS):
        pair.say(pair.a, PlayRequest(BlockName(BLOCK.reel, index, 4096)))
    pair.a.send(0, PlayRequest(BlockName(BLOCK.reel, 999, 4096)))
    with pytest.raises(MessageError, match="requests without an answer"):
        pair.move()


def test_a_reference_is_announced_once_a_connection() -> None:
    pair = Pair()
    announced = References((ReferenceEntry(b"r" * 20),))
    assert pair.say(pair.a, announced) == [Received(announced)]
    assert pair.say(pair.a, announced) == []
    with_body = References((ReferenceEntry(b"r" * 20, b"body"),))
    assert pair.say(pair.a, with_body) == [Received(with_body)]


def test_silence_is_broken_by_keep_alives_and_ends_it_at_last() -> None:
    pair = Pair()
    assert pair.a.next_deadline() == limits.KEEPALIVE_SECONDS
    pair.a.tick(limits.KEEPALIVE_SECONDS - 1)
    assert pair.a.output() == b""
    pair.a.tick(limits.KEEPALIVE_SECONDS)
    assert pair.a.output() == bytes(4)
    with pytest.raises(MessageError, match="silent"):
        pair.a.tick(limits.IDLE_SECONDS)
    assert pair.say(pair.b, KeepAlive()) == []


def test_a_handshake_has_a_time_limit() -> None:
    slow = machine(Side.LISTENING, b"b" * 20)
    slow.tick(limits.HANDSHAKE_SECONDS - 1)
    with pytest.raises(HandshakeError, match="no handshake"):
        slow.tick(limits.HANDSHAKE_SECONDS)


def test_messages_before_the_handshake_are_ours_to_avoid() -> None:
    with pytest.raises(ForbiddenMessageError):
        machine(Side.CONNECTING, b"a" * 20).send(0, Choke())


def test_a_stop_without_a_block_withdraws_requests_by_id() -> None:
    pair = Pair()
    pair.say(pair.b, Unchoke())
    pair.say(pair.a, ObjectsRequest((b"o" * 20,)))
    pair.say(pair.a, PlayRequest(BLOCK))
    pair.say(pair.a, Stop(BlockName(ReelName(b"\0" * 20, b"\0" * 20), 0, 0)))
    assert pair.b.waiting == [PlayRequest(BLOCK)]
    assert pair.a.asked == [PlayRequest(BLOCK)]


def test_what_either_end_told_of_is_known_there_and_not_announced_again() -> None:
    pair = Pair()
    first, second = ReferenceEntry(b"1" * 20), ReferenceEntry(b"2" * 20, b"body")
    pair.say(pair.a, References((first,)))
    pair.say(pair.a, References((second,)))
    assert pair.b.known_there == {b"1" * 20, b"2" * 20}
    assert pair.a.known_there == {b"2" * 20}
    assert pair.say(pair.b, References((first, ReferenceEntry(b"2" * 20)))) == []
    found = pair.say(pair.b, References((first, ReferenceEntry(b"3" * 20))))
    assert found == [Received(References((ReferenceEntry(b"3" * 20),)))]


def long_answer(size: int) -> bytes:
    return (size + 1).to_bytes(4, "big") + b"\x0a"


def test_a_long_answer_that_nobody_asked_for_is_not_kept() -> None:
    pair = Pair()
    pair.say(pair.b, Unchoke())
    piece, pieces = bytes(limits.MAX_MESSAGE), 3
    tracemalloc.start()
    try:
        for data in (long_answer(pieces * len(piece)), *[piece] * pieces):
            assert list(pair.a.receive(0, data)) == []
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < len(piece)
    assert pair.say(pair.b, Interested()) == [Received(Interested())]


def test_an_answer_is_no_longer_than_what_can_be_right() -> None:
    pair = Pair()
    pair.say(pair.b, Unchoke())
    pair.a.most_data = 2 * limits.MAX_MESSAGE
    pair.say(pair.a, PlayRequest(BLOCK))
    with pytest.raises(MessageError):
        list(pair.a.receive(0, long_answer(2 * limits.MAX_MESSAGE + 1)))
