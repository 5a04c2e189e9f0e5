"""Fuzz target: one end of a connection of several conversations is fed any bytes, in any pieces.

The first byte chooses the role. What the bytes mean, and the fault, must not depend on how they
were cut; nothing may be held beyond what there was room for.
"""

from __future__ import annotations

from gittorrent.errors import ProtocolError
from gittorrent.wire.limits import STREAM_WINDOW
from gittorrent.wire.mux import Agreed, Arrived, Closed, Mux, Opened
from gittorrent.wire.pktline import encode
from gittorrent.wire.session import Role

_READY = encode(b"mirror-mux ready 1\n")

SEEDS = [
    b"\0" + _READY + encode(b"data 1 5\n") + b"hello" + encode(b"room 1 3\n"),
    b"\0" + _READY + encode(b"close 1 not here\n") + encode(b"alive\n") + encode(b"close 2\n"),
    b"\0" + encode(b"ERR no service mirror-mux here\n"),
    b"\1" + encode(b"open 1 /a.git\n") + encode(b"data 1 3\n") + b"abc" + encode(b"close 1\n"),
    b"\1" + encode(b"open 1 /a\n") + encode(b"open 7 /b c\n") + encode(b"data 7 1\n") + b"x",
    b"\1" + encode(b"open 1 /a\n") + (encode(b"data 1 16384\n") + bytes(16384)) * 4,
]


def _end(role: Role) -> Mux:
    mux = Mux(role, 0.0, most=4)
    if role is Role.CALLER:
        for _ in range(2):
            mux.send(mux.open(b"/x"), b"said")
    return mux


def _feed(role: Role, data: bytes, step: int) -> tuple[list[object], dict[int, bytes], str | None]:
    mux = _end(role)
    others: list[object] = []
    heard: dict[int, bytes] = {}
    fault = None
    try:
        for at in range(0, len(data), step):
            for event in mux.received(data[at : at + step]):
                if isinstance(event, Arrived):
                    heard[event.number] = heard.get(event.number, b"") + event.data
                else:
                    others.append(event)
    except ProtocolError as error:
        fault = str(error)
    return others, heard, fault


def one_input(data: bytes) -> None:
    """Feed bytes, whole and in pieces; raises on a defect."""
    role = Role.ANSWERER if data[:1] == b"\1" else Role.CALLER
    whole, heard, fault = _feed(role, data[1:], max(1, len(data)))
    others, in_pieces, other_fault = _feed(role, data[1:], 7)
    if fault != other_fault:
        raise AssertionError(f"{fault!r} as a whole, {other_fault!r} in pieces")
    if fault is None and (whole, heard) != (others, in_pieces):
        raise AssertionError("other events in pieces")
    for event in others:
        if not isinstance(event, (Agreed, Opened, Closed)):
            raise AssertionError(f"{event!r} is no event")
    if any(len(each) > STREAM_WINDOW for each in in_pieces.values()):
        raise AssertionError("more than there was room for")
