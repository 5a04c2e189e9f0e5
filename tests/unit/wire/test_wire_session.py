"""The conversation: order, questions and answers, payloads, limits and time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence

import pytest

from gittorrent.ids import ManifestId, PushId
from gittorrent.wire import limits
from gittorrent.wire.messages import (
    ALL,
    Answer,
    Busy,
    Bye,
    CancelParts,
    EndLog,
    EndWant,
    FetchLog,
    FetchManifest,
    FetchPack,
    FetchParts,
    FetchPush,
    HaveBundle,
    HavePush,
    Message,
    MissingLog,
    MissingManifest,
    MissingPack,
    MissingParts,
    MissingPush,
    Question,
    Ready,
    ReceiveManifest,
    ReceivePack,
    ReceivePart,
    ReceivePush,
    SendPushes,
    SentPush,
    WantBundle,
)
from gittorrent.wire.pktline import encode
from gittorrent.wire.reelname import PackShape, ReelName
from gittorrent.wire.session import (
    IdleTimeout,
    KeepAliveDue,
    MessageReceived,
    MessageTimeout,
    Receiving,
    Refused,
    Role,
    Session,
    SessionError,
    SessionMisuse,
    Timeouts,
    farewell,
)

P, Q = PushId("aa" * 20), PushId("bb" * 20)
M = ManifestId("cc" * 32)
REEL = ReelName(None, P)
SHAPE = PackShape(10, 4)
READY = Ready(1, "node")


def _line(message: Message) -> bytes:
    return encode(message.encode())


def _fetch(first: int, last: int) -> FetchParts:
    return FetchParts(REEL, M, first, last, 3)


def _part(part: int, size: int) -> ReceivePart:
    return ReceivePart(REEL, M, part, 3, size)


def _caller() -> Session:
    session = Session(Role.CALLER, 0.0)
    session.feed(_line(READY))
    return session


def _pair() -> tuple[Session, Session]:
    """Two ends that have introduced themselves."""
    caller, answerer = Session(Role.CALLER, 0.0), Session(Role.ANSWERER, 0.0)
    assert caller.feed(answerer.send(READY)) == [MessageReceived(READY)]
    return caller, answerer


def _ask(session: Session, question: Question) -> bytes:
    return session.send(question, shape=SHAPE if isinstance(question, FetchParts) else None)


def test_both_ends_ask_and_answer() -> None:
    caller, answerer = _pair()
    for one, other in ((caller, answerer), (answerer, caller)):
        question = FetchPush(P)
        assert other.feed(one.send(question)) == [MessageReceived(question)]
        assert one.pending_requests == 1
        answer = ReceivePush(P, 5)
        events = one.feed(other.send(answer) + b"hello" + other.send(Busy(5)))
        assert events == [
            MessageReceived(answer, bytearray(b"hello")),
            MessageReceived(Busy(5)),
        ]
        assert one.pending_requests == 0


def test_pushes_are_sent_along_to_who_asked_for_that() -> None:
    caller, answerer = _pair()
    answerer.feed(caller.send(SendPushes(10)))
    sent = SentPush(P, 7, 3)
    events = caller.feed(answerer.send(sent) + b"x" * 10)
    assert events == [MessageReceived(sent, bytearray(b"x" * 10))]
    with pytest.raises(SessionMisuse, match="not asked for"):
        answerer.send(SentPush(P, 7, 4))


def test_pushes_that_were_under_way_are_let_in() -> None:
    caller, answerer = _pair()
    answerer.feed(caller.send(SendPushes(10)))
    sent = answerer.send(SentPush(P, 7, 3))
    answerer.feed(caller.send(SendPushes(0)))
    assert len(caller.feed(sent + b"x" * 10)) == 1
    with pytest.raises(SessionMisuse, match="not asked for"):
        answerer.send(SentPush(P, 1, 1))


def test_pushes_are_not_sent_along_unasked() -> None:
    """Nothing of it is let in: whoever calls could send without end."""
    caller, _ = _pair()
    with pytest.raises(SessionError, match="not asked for"):
        caller.feed(encode(SentPush(P, 1, 1).encode()) + b"xx")
    assert caller.receiving is None


def test_bytes_that_are_sent_along_count_as_lines() -> None:
    caller, answerer = _pair()
    answerer.feed(caller.send(SendPushes(limits.MAX_SENT_BYTES)))
    before = caller.unasked
    caller.feed(answerer.send(SentPush(P, 1024, 9 * 1024)) + bytes(10 * 1024))
    assert caller.unasked == before + 11


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        (FetchPush(P), [MissingPush(P)]),
        (FetchPack(P), [ReceivePack(P, 3)]),
        (FetchPack(P), [MissingPack(P)]),
        (FetchManifest(M), [ReceiveManifest(M, 1)]),
        (FetchManifest(M), [MissingManifest(M)]),
        (FetchLog(P, Q), [ReceivePush(Q, 1), ReceivePush(P, 1), EndLog(P)]),
        (FetchLog(P), [EndLog(P)]),
        (FetchLog(P), [MissingLog(P)]),
        (WantBundle(REEL), [HaveBundle(REEL, M, 10, ALL), EndWant(REEL)]),
        (_fetch(0, 2), [_part(2, 2), _part(0, 4), _part(1, 4)]),
        (_fetch(0, 2), [_part(0, 4), MissingParts(REEL, M, 1, 2, 3)]),
    ],
)
def test_answers_close_their_question_once(question: Question, answers: list[Message]) -> None:
    caller, answerer = _pair()
    answerer.feed(_ask(caller, question))
    for answer in answers:
        assert caller.pending_requests == 1
        size = getattr(answer, "size", 0)
        events = caller.feed(answerer.send(answer) + b"x" * size)
        assert [e.message for e in events if isinstance(e, MessageReceived)] == [answer]
    assert caller.pending_requests == 0
    again = answers[-1]
    assert isinstance(again, Answer)
    with pytest.raises(SessionMisuse):
        answerer.send(again)
    with pytest.raises(SessionError):
        caller.feed(_line(again))


def _in_ten(part: int) -> ReceivePart:
    return ReceivePart(REEL, M, part, 10, 4)


@pytest.mark.parametrize("part", [0, 2, 6, 9])
def test_parts_beside_the_runs_asked_for_are_an_offence(part: int) -> None:
    session = _caller()
    for first, last in ((3, 5), (7, 8)):
        session.send(FetchParts(REEL, M, first, last, 10), shape=PackShape(40, 4))
    with pytest.raises(SessionError, match="not asked"):
        session.feed(_line(_in_ten(part)))


def test_a_part_in_two_runs_comes_twice_at_most() -> None:
    session = _caller()
    for first, last in ((3, 5), (5, 6)):
        session.send(FetchParts(REEL, M, first, last, 10), shape=PackShape(40, 4))
    for part in (5, 5, 6):
        session.feed(_line(_in_ten(part)) + b"part")
    assert session.pending_requests == 1
    with pytest.raises(SessionError, match="not asked"):
        session.feed(_line(_in_ten(5)))


@pytest.mark.parametrize(
    "answer",
    [
        ReceivePush(P, 1),
        ReceivePack(P, 1),
        ReceiveManifest(M, 1),
        _part(0, 4),
        EndLog(P),
        EndWant(REEL),
        MissingPush(P),
        MissingPack(P),
        MissingLog(P),
        MissingManifest(M),
        MissingParts(REEL, M, 0, 0, 3),
    ],
)
def test_unasked_answer_is_an_offence(answer: Message) -> None:
    session = _caller()
    with pytest.raises(SessionError, match="not asked"):
        session.feed(_line(answer))
    assert session.closed
    assert session.receiving is None
    assert session.feed(_line(READY)) == []


def test_part_of_the_wrong_size_or_total_is_an_offence() -> None:
    for wrong in (_part(0, 3), _part(2, 4), ReceivePart(REEL, M, 0, 4, 4)):
        session = _caller()
        session.send(_fetch(0, 2), shape=SHAPE)
        with pytest.raises(SessionError):
            session.feed(_line(wrong))


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (FetchManifest(M), lambda size: ReceiveManifest(M, size)),
        (FetchPush(P), lambda size: ReceivePush(P, size)),
    ],
)
def test_an_answer_beyond_what_was_asked_for_is_an_offence(
    question: Question, answer: Callable[[int], Message]
) -> None:
    session = _caller()
    session.send(question, most=10)
    events = session.feed(_line(answer(10)) + b"x" * 10)
    assert events == [MessageReceived(answer(10), bytearray(b"x" * 10))]
    session.send(question, most=10)
    with pytest.raises(SessionError, match="more than 10"):
        session.feed(_line(answer(11)))


def test_events_before_a_fault_are_not_lost() -> None:
    session = _caller()
    with pytest.raises(SessionError) as caught:
        session.feed(_line(HavePush(P)) + b"zzzz")
    assert caught.value.events == (MessageReceived(HavePush(P)),)
    assert farewell(str(caught.value)).startswith(b"00")


def test_cancelled_parts_may_still_arrive_once() -> None:
    caller, answerer = _pair()
    answerer.feed(caller.send(_fetch(0, 2), shape=SHAPE))
    cancel = CancelParts(REEL, M, 1, 2, 3)
    assert answerer.feed(caller.send(cancel)) == [MessageReceived(cancel)]
    assert caller.pending_requests == 1
    caller.feed(answerer.send(_part(0, 4)) + b"1234")
    assert caller.pending_requests == 0
    assert caller.feed(answerer.send(_part(1, 4)) + b"5678")
    with pytest.raises(SessionError):
        caller.feed(_line(_part(1, 4)))


def test_a_late_part_must_have_its_size_too() -> None:
    session = _caller()
    session.send(_fetch(0, 0), shape=SHAPE)
    session.send(CancelParts(REEL, M, 0, 0, 3))
    with pytest.raises(SessionError, match="instead of 4"):
        session.feed(_line(_part(0, 3)))


def test_asking_again_after_cancel_lets_both_answers_in() -> None:
    session = _caller()
    session.send(_fetch(0, 0), shape=SHAPE)
    session.send(CancelParts(REEL, M, 0, 0, 3))
    session.send(_fetch(0, 0), shape=SHAPE)
    packet = _line(_part(0, 4)) + b"1234"
    assert len(session.feed(packet * 2)) == 2
    with pytest.raises(SessionError):
        session.feed(packet)


def test_a_push_in_a_log_does_not_use_up_its_own_question() -> None:
    session = _caller()
    session.send(FetchPush(P))
    session.send(FetchLog(Q))
    packet = _line(ReceivePush(P, 1)) + b"x"
    assert len(session.feed(packet + _line(EndLog(Q)) + packet)) == 3
    with pytest.raises(SessionError):
        session.feed(packet)


def test_a_log_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gittorrent.wire.pending_requests.MAX_LOG_ENTRIES", 2)
    session = _caller()
    session.send(FetchLog(P))
    packet = _line(ReceivePush(Q, 1)) + b"x"
    session.feed(packet * 2)
    with pytest.raises(SessionError, match="log of more than 2"):
        session.feed(packet)


def test_late_answers_are_bounded() -> None:
    """The oldest are forgotten."""
    session = _caller()
    for part in (0, *[1] * limits.MAX_LATE_RUNS):
        session.send(_fetch(part, part), shape=SHAPE)
        session.send(CancelParts(REEL, M, part, part, 3))
    for _ in range(2):
        assert session.feed(_line(_part(1, 4)) + b"1234")
    with pytest.raises(SessionError):
        session.feed(_line(_part(0, 4)))


def test_many_requests_for_parts_cost_little() -> None:
    """A peer that reads nothing keeps all of its questions open: each names 256 parts."""
    session = Session(Role.ANSWERER, 0.0)
    runs = [_runs(256 * number) for number in range(limits.MAX_INCOMING)]
    tracemalloc.start()
    try:
        for run in runs:
            session.feed(run)
        assert tracemalloc.get_traced_memory()[0] < 256 << 10
    finally:
        tracemalloc.stop()


def _runs(first: int) -> bytes:
    return _line(FetchParts(REEL, M, first, first + 255, 1 << 16))


def test_pipelining_is_bounded_on_both_ends() -> None:
    session = _caller()
    for _ in range(limits.MAX_PIPELINED):
        session.send(FetchPush(P))
    assert session.room == 0
    with pytest.raises(SessionMisuse, match="at once"):
        session.send(FetchPush(P))
    question = _line(FetchPush(P))
    session.feed(question * limits.MAX_INCOMING)
    with pytest.raises(SessionError, match="at once"):
        session.feed(question)


@pytest.mark.parametrize(
    "data",
    [
        b"0000",
        b"0001",
        b"0003",
        b"zzzz",
        encode(b"\xff"),
        encode(b"busy soon"),
        _line(READY),
    ],
)
def test_broken_grammar_ends_the_session(data: bytes) -> None:
    session = _caller()
    with pytest.raises(SessionError):
        session.feed(data)
    assert session.next_deadline() is None


def test_the_answering_end_begins_with_ready_of_our_version() -> None:
    for first in (HavePush(P), Ready(2, "node")):
        with pytest.raises(SessionError):
            Session(Role.CALLER, 0.0).feed(_line(first))
    assert Session(Role.CALLER, 0.0).feed(_line(Bye("full"))) == [MessageReceived(Bye("full"))]
    with pytest.raises(SessionMisuse):
        Session(Role.ANSWERER, 0.0).send(HavePush(P))
    session = Session(Role.ANSWERER, 0.0)
    assert session.feed(_line(READY) + _line(HavePush(P)))
    with pytest.raises(SessionError):
        session.feed(_line(READY))


def test_unknown_lines_are_skipped_even_before_ready() -> None:
    session = Session(Role.CALLER, 0.0)
    lines = encode(b"alive\n") + encode(b"fetch moon\n") + encode(b"")
    assert session.feed(lines + _line(READY) + lines) == [MessageReceived(READY)]


def test_refusal_closes() -> None:
    session = Session(Role.CALLER, 0.0)
    assert session.feed(encode(b"ERR no \x07such") + b"zzzz") == [Refused("no \\x07such")]
    assert session.closed


def test_bye_closes_either_way() -> None:
    session = _caller()
    assert session.feed(_line(Bye("done")) + b"zzzz") == [MessageReceived(Bye("done"))]
    assert session.closed
    assert session.bye() == b""
    other = _caller()
    assert other.bye("a\nb") == encode(b"bye a b\n")
    assert other.feed(b"zzzz") == []
    with pytest.raises(SessionMisuse, match="closed"):
        other.send(Busy(1))


@pytest.mark.parametrize(
    "message",
    [
        READY,
        Busy(-1),
        Busy(9999),
        HavePush(PushId("short")),
        HavePush(P, "key:with space"),
        HavePush(P, "key:x\nfetch"),
        HaveBundle(REEL, M, 10, b""),
        ReceivePush(P, 1),
        CancelParts(REEL, M, 2, 1, 3),
        Bye("a\nb"),
    ],
)
def test_what_the_peer_would_refuse_is_not_sent(message: Message) -> None:
    caller = _caller()
    caller.send(Busy(1))
    with pytest.raises(SessionMisuse):
        caller.send(message)
    assert not caller.closed


def test_parts_are_asked_for_with_a_fitting_shape() -> None:
    session = _caller()
    with pytest.raises(SessionMisuse, match="shape"):
        session.send(_fetch(0, 1))
    with pytest.raises(SessionMisuse, match="does not fit"):
        session.send(_fetch(0, 1), shape=PackShape(100, 4))
    assert session.pending_requests == 0


def test_payload_is_received_into_its_own_buffer() -> None:
    session = _caller()
    session.send(FetchManifest(M))
    session.feed(_line(ReceiveManifest(M, 6)) + b"ab")
    assert session.receiving == Receiving(ReceiveManifest(M, 6), 2)
    room = session.writable()
    assert len(room) == 4
    room[:4] = b"cdef"
    (event,) = session.received(4)
    assert isinstance(event, MessageReceived)
    assert event.payload is not None
    assert bytes(event.payload) == b"abcdef"
    assert room.obj is event.payload
    assert session.receiving is None


def test_memory_follows_what_arrived_not_what_was_announced() -> None:
    session = _caller()
    session.send(FetchManifest(M))
    size = limits.MAX_MANIFEST_BYTES
    session.feed(_line(ReceiveManifest(M, size)))
    assert len(session.writable()) == limits.FIRST_PAYLOAD_BUFFER
    filled = 0
    events: Sequence[object] = ()
    while not events:
        held = session.writable()
        filled += len(held)
        assert filled <= size
        events = session.received(len(held))
    assert filled == size


def test_received_refuses_an_impossible_count() -> None:
    session = _caller()
    for n in (-1, len(session.writable()) + 1):
        with pytest.raises(ValueError, match="do not fit"):
            session.received(n)
    assert session.received(0) == []


def test_end_of_stream_in_the_middle_is_an_offence() -> None:
    session = _caller()
    session.end_of_stream()
    assert session.closed
    for begun in (b"00", b"0009he"):
        session = _caller()
        session.feed(begun)
        with pytest.raises(SessionError, match="middle"):
            session.end_of_stream()


TIMES = Timeouts(keepalive=10, idle=30, message=100)


def test_silence_of_ours_calls_for_alive() -> None:
    session = Session(Role.CALLER, 0.0, TIMES)
    assert session.next_deadline() == 10
    assert session.tick(9.9) == []
    (due,) = session.tick(10)
    assert due == KeepAliveDue(encode(b"alive\n"))
    assert session.next_deadline() == 20
    session.send(HavePush(P))
    assert session.tick(20) == []
    assert session.next_deadline() == 30


def test_silence_of_the_peer_ends_the_session() -> None:
    session = Session(Role.CALLER, 0.0, TIMES)
    session.feed(_line(READY))
    session.tick(5)
    assert not any(isinstance(e, IdleTimeout) for t in (15, 25, 34.9) for e in session.tick(t))
    assert session.tick(35) == [IdleTimeout(30)]
    assert session.closed
    assert session.tick(1000) == []


def test_a_trickle_does_not_keep_a_message_going_for_ever() -> None:
    session = Session(Role.ANSWERER, 0.0, TIMES)
    session.send(READY)
    session.send(FetchPush(P))
    session.feed(_line(ReceivePush(P, 1000)))
    events = []
    now = 0.0
    while now < 200 and not session.closed:
        now += 5
        session.feed(b"x")
        events += [e for e in session.tick(now) if not isinstance(e, KeepAliveDue)]
    assert events == [MessageTimeout(100)]


def test_finished_messages_start_the_clock_anew() -> None:
    session = Session(Role.ANSWERER, 0.0, TIMES)
    for now in range(0, 500, 20):
        session.feed(_line(HavePush(P)) + b"00")
        assert not session.closed
        session.tick(now)
        assert not session.closed
        session.feed(_line(HavePush(P))[2:])


@pytest.mark.parametrize("step", [1000, 50_000, 65_519, 300_000])
def test_long_lines_cross_the_end_of_the_buffer(step: int) -> None:
    session = _caller()
    said = [HaveBundle(REEL, M, size, bytes([size]) * 32_000) for size in range(1, 5)]
    stream = b"".join(map(_line, said))
    events = []
    for at in range(0, len(stream), step):
        events += session.feed(stream[at : at + step])
    assert events == [MessageReceived(message) for message in said]


@pytest.mark.parametrize("wrong", [_part(-1, 4), _part(3, 4), _part(1, 0), _part(1, 1 << 30)])
def test_a_part_that_the_wire_cannot_carry_is_not_sent_after_one_that_it_can(
    wrong: ReceivePart,
) -> None:
    caller, answerer = _pair()
    answerer.feed(caller.send(_fetch(0, 2), shape=SHAPE))
    assert answerer.send(_part(0, 4)) == _line(_part(0, 4))
    with pytest.raises(SessionMisuse):
        answerer.send(wrong)
    assert answerer.send(_part(1, 4)) == _line(_part(1, 4))


def _rest(part: int, size: int, begun: int) -> ReceivePart:
    return ReceivePart(REEL, M, part, 3, size, begun)


def _asking_for_the_rest() -> Session:
    """Return a session that has the first three bytes of a part of four."""
    session = _caller()
    session.send(FetchParts(REEL, M, 1, 1, 3, 3), shape=SHAPE)
    return session


@pytest.mark.parametrize(
    ("answer", "payload"),
    [(_rest(1, 1, 3), b"d"), (_part(1, 4), b"abcd")],
    ids=["the rest", "all of it"],
)
def test_a_part_that_was_begun_is_answered_by_its_rest_or_by_all_of_it(
    answer: ReceivePart, payload: bytes
) -> None:
    session = _asking_for_the_rest()
    (event,) = session.feed(_line(answer) + payload)
    assert event == MessageReceived(answer, bytearray(payload))
    assert session.pending_requests == 0


@pytest.mark.parametrize("wrong", [_rest(1, 2, 2), _rest(1, 4, 3), _rest(0, 1, 3), _part(1, 1)])
def test_another_beginning_than_was_asked_for_is_an_offence(wrong: ReceivePart) -> None:
    with pytest.raises(SessionError):
        _asking_for_the_rest().feed(_line(wrong))


def test_nobody_leaves_out_what_was_not_begun() -> None:
    session = _caller()
    session.send(_fetch(1, 1), shape=SHAPE)
    with pytest.raises(SessionError, match="from byte 3"):
        session.feed(_line(_rest(1, 1, 3)))


def test_answers_to_both_ways_of_asking_are_told_apart() -> None:
    """A part is asked for, withdrawn while it is under way, and asked for from a byte on."""
    session = _caller()
    session.send(_fetch(1, 1), shape=SHAPE)
    session.send(CancelParts(REEL, M, 1, 1, 3))
    session.send(FetchParts(REEL, M, 1, 1, 3, 3), shape=SHAPE)
    session.feed(_line(_part(1, 4)) + b"abcd" + _line(_rest(1, 1, 3)) + b"d")
    assert session.pending_requests == 0


def test_what_came_of_a_payload_is_handed_over_once_when_the_conversation_ends() -> None:
    session = _caller()
    session.send(_fetch(1, 1), shape=SHAPE)
    session.feed(_line(_part(1, 4)) + b"ab")
    assert session.take_cut_short() is None
    with pytest.raises(SessionError, match="in the middle"):
        session.end_of_stream()
    assert session.take_cut_short() == MessageReceived(_part(1, 4), bytearray(b"ab"))
    assert session.take_cut_short() is None
