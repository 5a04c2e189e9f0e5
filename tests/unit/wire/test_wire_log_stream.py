"""A deflated log: made in pieces, inflated a little at a time, and refused when it is none."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from collections.abc import Iterable

import pytest

from gittorrent.ids import PushId
from gittorrent.wire import limits
from gittorrent.wire.log_stream import INFLATED_AT_ONCE, LogDeflater
from gittorrent.wire.messages import (
    EndLog,
    FetchLog,
    FetchPush,
    Message,
    MissingLog,
    Ready,
    ReceiveLog,
    ReceivePush,
)
from gittorrent.wire.pktline import encode
from gittorrent.wire.session import (
    MessageReceived,
    MessageTimeout,
    Role,
    Session,
    SessionError,
    SessionMisuse,
    Timeouts,
)

P, Q = PushId("aa" * 20), PushId("bb" * 20)
READY = Ready(1, "node")
ASKED = FetchLog(P, deflated=True)
TIMES = Timeouts(keepalive=1e9, idle=1e9, message=100)


def packet(message: Message) -> bytes:
    return encode(message.encode())


def entry(data: bytes, push: PushId = Q) -> bytes:
    return packet(ReceivePush(push, len(data))) + data


def said(stream: bytes, size: int = limits.MAX_LOG_PIECE) -> bytes:
    """Return the lines that carry a stream, in pieces of ``size`` bytes."""
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    return b"".join(packet(ReceiveLog(P, len(piece))) + piece for piece in pieces)


def caller(*questions: FetchLog | FetchPush) -> Session:
    session = Session(Role.CALLER, 0.0, TIMES)
    session.feed(packet(READY))
    for question in questions or (ASKED,):
        session.send(question)
    return session


def payloads(events: Iterable[object]) -> list[bytes]:
    return [bytes(e.payload or b"") for e in events if isinstance(e, MessageReceived)]


def made(*entries: bytes) -> list[bytes]:
    deflater = LogDeflater()
    pieces = [piece for data in entries for piece in deflater.add(Q, data)]
    return [*pieces, *deflater.finish()]


@pytest.mark.parametrize("size", [1, 7, 100, limits.MAX_LOG_PIECE])
def test_what_is_deflated_at_one_end_is_told_at_the_other(size: int) -> None:
    texts = [b"one" * 100, b"2", bytes(range(256)) * 40]
    session = caller()
    events = session.feed(said(b"".join(made(*texts)), size))
    assert payloads(events) == texts
    assert {e.message for e in events if isinstance(e, MessageReceived)} == {
        ReceivePush(Q, len(text)) for text in texts
    }
    assert session.pending_requests == 1
    assert session.feed(packet(EndLog(P))) == [MessageReceived(EndLog(P))]
    assert session.pending_requests == 0
    assert session.unasked == caller().unasked


def test_pieces_are_bounded_whatever_is_added() -> None:
    noise = random.Random(5).randbytes(3 * limits.MAX_LOG_PIECE)
    pieces = made(noise, b"x" * (9 << 20))
    assert max(map(len, pieces)) == limits.MAX_LOG_PIECE
    inflated = zlib.decompress(b"".join(pieces))
    assert inflated == entry(noise) + entry(b"x" * (9 << 20))
    session = Session(Role.ANSWERER, 0.0)
    session.send(READY)
    session.feed(packet(ASKED))
    for piece in pieces:
        session.send(ReceiveLog(P, len(piece)))
    session.send(EndLog(P))


def test_who_did_not_ask_for_it_gets_none() -> None:
    """As those do who do not know of it."""
    session = Session(Role.ANSWERER, 0.0)
    session.send(READY)
    session.feed(packet(FetchLog(P)))
    with pytest.raises(SessionMisuse, match="not asked"):
        session.send(ReceiveLog(P, 10))
    for question in (FetchLog(P), FetchLog(Q, deflated=True), FetchPush(P)):
        with pytest.raises(SessionError, match="not asked"):
            caller(question).feed(said(b"".join(made(b"x"))))


def test_who_asked_for_it_takes_entries_as_they_are_too() -> None:
    session = caller()
    events = session.feed(entry(b"plain") + packet(EndLog(P)))
    assert payloads(events) == [b"plain", b""]


def test_a_log_may_be_missing_after_some_of_it() -> None:
    session = caller()
    deflate = zlib.compressobj()
    stream = deflate.compress(entry(b"first")) + deflate.flush(zlib.Z_SYNC_FLUSH)
    events = session.feed(said(stream) + packet(MissingLog(P)))
    assert payloads(events) == [b"first", b""]
    assert not session.closed


def test_logs_that_come_at_once_are_told_apart() -> None:
    session = caller(ASKED, FetchLog(Q, deflated=True))
    one, other = zlib.compress(entry(b"one")), zlib.compress(entry(b"other"))
    cut = len(one) - 5
    data = packet(ReceiveLog(P, cut)) + one[:cut]
    data += packet(ReceiveLog(Q, len(other))) + other + packet(EndLog(Q))
    data += packet(ReceiveLog(P, 5)) + one[cut:] + packet(EndLog(P))
    assert sorted(payloads(session.feed(data))) == [b"", b"", b"one", b"other"]


NOISE = random.Random(7).randbytes(200)
WHOLE = zlib.compress(entry(NOISE))
BROKEN = {
    "is broken": [b"no stream", WHOLE[:-1] + b"?", WHOLE[:2] + b"\xff" + WHOLE[3:]],
    "goes on after its end": [WHOLE + b"x", WHOLE + WHOLE],
    "ends before its end": [WHOLE[:-1], WHOLE[:50], WHOLE[:1]],
    "ends within a push object": [
        zlib.compress(entry(NOISE)[:-1]),
        zlib.compress(entry(NOISE) + b"00"),
        zlib.compress(packet(ReceivePush(Q, 5))),
    ],
    "holds something that is no push object": [
        zlib.compress(packet(ReceiveLog(P, len(WHOLE))) + WHOLE),
        zlib.compress(packet(EndLog(P))),
        zlib.compress(encode(b"alive\n")),
        zlib.compress(encode(b"ERR no\n")),
        zlib.compress(encode(b"")),
    ],
    "has no meaning in a log": [zlib.compress(b"0000"), zlib.compress(b"0001")],
    "not a pkt-line length": [zlib.compress(b"zzzz" + NOISE)],
    "size in bytes": [zlib.compress(encode(b"receive push %s size 0\n" % Q.encode()))],
}


@pytest.mark.parametrize("size", [1, 64, limits.MAX_LOG_PIECE])
@pytest.mark.parametrize(
    ("why", "stream"), [(why, stream) for why, streams in BROKEN.items() for stream in streams]
)
def test_a_stream_that_is_none_ends_the_conversation(why: str, stream: bytes, size: int) -> None:
    session = caller()
    with pytest.raises(SessionError, match=why):
        session.feed(said(stream, size) + packet(EndLog(P)))
    assert session.closed
    assert not session.is_inflating


def test_a_stream_is_not_taken_up_again_after_its_end() -> None:
    session = caller()
    session.feed(said(WHOLE))
    with pytest.raises(SessionError, match="goes on after its end"):
        session.feed(said(WHOLE))


def test_a_stream_that_holds_next_to_nothing_does_not_go_on_for_ever() -> None:
    """Each empty block is five bytes, which would earn time."""
    empty = b"\x00\x00\x00\xff\xff"
    enough = limits.MAX_LOG_PADDING // len(empty) - 1
    session = caller()
    session.feed(said(b"\x78\x9c" + empty * enough))
    with pytest.raises(SessionError, match="longer than what it holds"):
        session.feed(said(empty * 2))


def test_a_piece_is_bounded() -> None:
    with pytest.raises(SessionError, match="size in bytes"):
        caller().feed(encode(b"receive log %s size 65537\n" % P.encode()))


def test_a_bomb_comes_out_as_slowly_as_it_is_read() -> None:
    """No more is inflated than is asked for, and what is behind it waits."""
    size = 1 << 20
    bomb = zlib.compress(entry(b"x" * size) * 60)
    assert len(bomb) <= limits.MAX_LOG_PIECE
    session = caller()
    tracemalloc.start()
    try:
        data = memoryview(said(bomb) + packet(EndLog(P)))
        rounds, count = 0, 0
        while data or session.is_inflating:
            if session.is_inflating:
                events = session.go_on()
                rounds += 1
            else:
                room = session.writable()
                n = min(len(room), len(data))
                room[:n] = data[:n]
                data = data[n:]
                events = session.received(n)
            assert sum(map(len, payloads(events))) <= INFLATED_AT_ONCE + size
            count += len(payloads(events))
            del events
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 61
    assert rounds >= 60 * size // INFLATED_AT_ONCE - 1
    assert peak < 4 * size
    assert not session.pending_requests


def test_what_is_announced_within_takes_no_memory_before_it_is_there() -> None:
    session = caller()
    deflate = zlib.compressobj()
    stream = deflate.compress(packet(ReceivePush(Q, limits.MAX_PUSH_BYTES)) + b"x" * 100)
    stream += deflate.flush(zlib.Z_SYNC_FLUSH)
    tracemalloc.start()
    try:
        session.feed(said(stream))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert session.entry_size == limits.MAX_PUSH_BYTES, "whoever counts what is held counts it all"
    assert peak <= limits.FIRST_PAYLOAD_BUFFER + (1 << 20)
    assert session.is_mid_message


def test_entries_within_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gittorrent.wire.pending_requests.MAX_LOG_ENTRIES", 2)
    with pytest.raises(SessionError, match="log of more than 2") as caught:
        caller().feed(said(zlib.compress(entry(b"x") * 3)))
    assert payloads(caught.value.events) == []


def test_an_entry_that_trickles_has_its_time_whatever_the_pieces() -> None:
    session = caller()
    deflate = zlib.compressobj()
    stream = deflate.compress(packet(ReceivePush(Q, 1000))) + deflate.flush(zlib.Z_SYNC_FLUSH)
    session.feed(said(stream))
    now, events = 0.0, session.tick(0.0)
    while not session.closed:
        now += 5
        more = deflate.compress(b"x") + deflate.flush(zlib.Z_SYNC_FLUSH)
        session.feed(said(more))
        events += session.tick(now)
    assert events == [MessageTimeout(100)]
    assert now == 100


def test_only_what_came_over_the_wire_earns_time() -> None:
    session = caller()
    before = session.answered
    stream = zlib.compress(entry(b"x" * (1 << 20)))
    session.feed(said(stream))
    assert session.answered - before < 2 * len(stream)
