"""Several conversations over one connection: room, turns, ends, and faults."""

from __future__ import annotations

import pytest

from gittorrent.errors import ProtocolError
from gittorrent.wire.fields import RemoteRefusal
from gittorrent.wire.limits import (
    IDLE_SECONDS,
    KEEPALIVE_SECONDS,
    MAX_STREAM_DATA,
    STREAM_WINDOW,
)
from gittorrent.wire.mux import Agreed, Arrived, Closed, Event, Life, Mux, MuxError, Opened
from gittorrent.wire.pktline import encode
from gittorrent.wire.session import Role

ALL = 1 << 30


def ends(most: int = 1024) -> tuple[Mux, Mux]:
    """Return two ends that have agreed."""
    caller, answerer = Mux(Role.CALLER, 0.0, most), Mux(Role.ANSWERER, 0.0, most)
    assert pass_on(answerer, caller) == [Agreed()]
    return caller, answerer


def pass_on(source: Mux, target: Mux, most: int = ALL) -> list[Event]:
    """Let one end hear what the other says."""
    return target.received(source.output(most))


def test_conversations_are_opened_and_carry_both_ways() -> None:
    caller, answerer = ends()
    assert caller.open(b"/a b.git") == 1
    assert caller.open("/\u00e4.git".encode()) == 2
    assert pass_on(caller, answerer) == [Opened(1, b"/a b.git"), Opened(2, "/\u00e4.git".encode())]
    caller.send(2, b"question")
    answerer.send(1, b"first words")
    assert pass_on(caller, answerer) == [Arrived(2, b"question")]
    assert pass_on(answerer, caller) == [Arrived(1, b"first words")]


def test_what_comes_one_byte_at_a_time_means_the_same() -> None:
    caller, answerer = ends()
    number = caller.open(b"/a")
    caller.send(number, b"hello")
    caller.close(number, "done")
    caller.send(caller.open(b"/b"), b"xy")
    events = []
    for at in caller.output(ALL):
        events += answerer.received(bytes([at]))
    heard = b"".join(e.data for e in events if isinstance(e, Arrived) and e.number == 2)
    assert heard == b"xy"
    assert [e for e in events if not isinstance(e, Arrived)] == [
        Opened(1, b"/a"),
        Closed(1, "done"),
        Opened(2, b"/b"),
    ]


def test_no_more_is_sent_than_there_is_room_for_and_others_go_on() -> None:
    caller, answerer = ends()
    slow, quick = caller.open(b"/slow"), caller.open(b"/quick")
    pass_on(caller, answerer)
    answerer.send(slow, bytes(3 * STREAM_WINDOW))
    for _ in range(5):
        answerer.send(quick, bytes(STREAM_WINDOW // 2))
        events = pass_on(answerer, caller)
        came = sum(len(e.data) for e in events if isinstance(e, Arrived) and e.number == quick)
        assert came == STREAM_WINDOW // 2
        caller.read(quick, came)  # nobody reads what comes of the slow one
        pass_on(caller, answerer)
    assert answerer.unsent(slow) == 2 * STREAM_WINDOW
    caller.read(slow, STREAM_WINDOW)
    pass_on(caller, answerer)
    pass_on(answerer, caller)
    assert answerer.unsent(slow) == STREAM_WINDOW


def test_those_that_have_much_to_say_take_turns() -> None:
    caller, answerer = ends()
    numbers = [caller.open(b"/x") for _ in range(3)]
    pass_on(caller, answerer)
    for number in numbers:
        answerer.send(number, bytes(STREAM_WINDOW))
    answerer.close(numbers[2])
    order = []
    while output := answerer.output(1):
        order += [e.number for e in caller.received(output) if isinstance(e, Arrived)]
    turns = STREAM_WINDOW // MAX_STREAM_DATA
    assert order == numbers[:2] * turns


def test_an_end_is_heard_of_after_all_that_was_said_and_numbers_are_not_used_again() -> None:
    caller, answerer = ends()
    number = caller.open(b"/a")
    pass_on(caller, answerer)
    answerer.send(number, b"last words")
    said = answerer.output(ALL)
    answerer.close(number, "shut\x1bdown")
    caller.send(number, b"on its way meanwhile")
    crossing = caller.output(ALL)
    assert caller.received(said + answerer.output(ALL)) == [
        Arrived(number, b"last words"),
        Closed(number, "shut\\x1bdown"),
    ]
    assert answerer.received(crossing) == []
    caller.close(number)
    pass_on(caller, answerer)
    assert (len(caller), len(answerer)) == (0, 0)
    assert caller.open(b"/a") == number + 1


def test_room_for_what_is_over_is_no_fault() -> None:
    caller, answerer = ends()
    number = caller.open(b"/a")
    pass_on(caller, answerer)
    answerer.send(number, bytes(STREAM_WINDOW))
    pass_on(answerer, caller)
    caller.read(number, STREAM_WINDOW)
    caller.close(number)
    answerer.close(number)
    pass_on(answerer, caller)
    assert pass_on(caller, answerer) == []
    assert len(answerer) == 0


def test_signs_of_life_are_the_connections() -> None:
    caller, answerer = ends()
    assert caller.tick(KEEPALIVE_SECONDS - 1) is Life.GOOD
    assert caller.output(ALL) == b""
    assert caller.tick(KEEPALIVE_SECONDS) is Life.GOOD
    assert pass_on(caller, answerer) == []
    answerer.heard(KEEPALIVE_SECONDS)
    assert answerer.tick(IDLE_SECONDS) is Life.GOOD
    assert caller.tick(IDLE_SECONDS) is Life.LOST


def test_who_does_not_know_of_it_refuses() -> None:
    with pytest.raises(RemoteRefusal, match="no service mirror-mux here"):
        Mux(Role.CALLER, 0.0).received(encode(b"ERR no service mirror-mux here\n"))


def test_lines_of_later_versions_are_skipped() -> None:
    caller, answerer = ends()
    assert answerer.received(encode(b"priority 7 high\n") + encode(b"open 5 /a\n")) == [
        Opened(5, b"/a")
    ]
    assert caller.received(encode(b"alive and well\n")) == []


@pytest.mark.parametrize(
    "said",
    [
        b"open 1 a",
        b"open 1 /a\x01",
        b"open 0 /a",
        b"open 01 /a",
        b"open x /a",
        b"open 1",
        b"open 1 /" + b"a" * 4096,
        b"data 1 1",
        b"room 1 1",
        b"close 1",
        b"mirror-mux ready 1",
        b"mirror-mux steady",
    ],
)
def test_what_an_answerer_must_not_hear_first(said: bytes) -> None:
    _, answerer = ends()
    with pytest.raises(ProtocolError):
        answerer.received(encode(said))


@pytest.mark.parametrize(
    "said",
    [
        b"open 1 /a",
        b"open 2 /a",
        b"data 1 0",
        b"data 1 16385",
        b"room 1 0",
        b"room 1 1",
        b"room 1 65537",
        b"close 3",
    ],
)
def test_what_an_answerer_must_not_hear_later(said: bytes) -> None:
    caller, answerer = ends()
    caller.open(b"/a")
    caller.open(b"/b")
    pass_on(caller, answerer)
    with pytest.raises(ProtocolError):
        answerer.received(encode(said))


def test_limits_of_conversations_and_of_room() -> None:
    _, answerer = ends(most=2)
    answerer.received(encode(b"open 1 /a") + encode(b"open 2 /b"))
    with pytest.raises(MuxError, match="more than 2 conversations"):
        answerer.received(encode(b"open 3 /c"))
    _, answerer = ends()
    answerer.received(encode(b"open 1 /a"))
    data = encode(b"data 1 16384") + bytes(MAX_STREAM_DATA)
    answerer.received(data * (STREAM_WINDOW // MAX_STREAM_DATA))
    with pytest.raises(MuxError, match="room"):
        answerer.received(data)


def test_a_caller_is_opened_no_conversations_and_hears_agreement_first() -> None:
    caller, _ = ends()
    with pytest.raises(MuxError, match="only the caller"):
        caller.received(encode(b"open 1 /a"))
    with pytest.raises(MuxError, match="first"):
        Mux(Role.CALLER, 0.0).received(encode(b"close 1"))
    with pytest.raises(MuxError, match="flush"):
        Mux(Role.ANSWERER, 0.0).received(b"0000")


def test_an_end_in_the_middle_is_a_fault() -> None:
    caller, _ = ends()
    caller.end_of_stream()
    caller.received(b"000")
    with pytest.raises(MuxError, match="middle"):
        caller.end_of_stream()
