"""Fuzz target: what a deflated log inflates to is any bytes, cut anywhere, or the stream is any.

The first byte chooses: as it comes, or deflated as it should be. What is read must not depend on
how the stream is cut, little may come out at a time, and all of it was announced.
"""

from __future__ import annotations

import zlib

from gittorrent.errors import ProtocolError
from gittorrent.ids import PushId
from gittorrent.wire.log_stream import INFLATED_AT_ONCE, LogDeflater, LogInflater
from gittorrent.wire.messages import ReceivePush
from gittorrent.wire.pktline import encode

PUSH = PushId("ab" * 20)
_LINE = b"receive push " + PUSH.encode() + b" size %d\n"


def _made(*entries: bytes) -> bytes:
    deflater = LogDeflater()
    pieces = [piece for data in entries for piece in deflater.add(PUSH, data)]
    return b"".join([*pieces, *deflater.finish()])


SEEDS = [
    b"\0" + _made(b"hello"),
    b"\0" + _made(b"a", b"b" * 300, b"c"),
    b"\0" + _made(),
    b"\1" + encode(_LINE % 5) + b"hello",
    b"\1" + encode(_LINE % 9) + b"nine more" + encode(_LINE % 1) + b"x",
    b"\1" + encode(b"receive log " + PUSH.encode() + b" size 5\n") + b"hello",
    b"\1" + encode(_LINE % (64 << 20)) + b"not that much",
    b"\1" + b"0000",
]


def _read(stream: bytes, step: int) -> tuple[list[tuple[str, bytes]], str | None]:
    inflater = LogInflater()
    announced: list[ReceivePush] = []
    found: list[tuple[str, bytes]] = []
    try:
        for at in range(0, len(stream), step):
            inflater.feed(stream[at : at + step])
            while inflater.is_busy:
                events = inflater.read(announced.append)
                found += [(repr(e.message), bytes(e.payload or b"")) for e in events]
                size = sum(len(e.payload or b"") for e in events)
                if size > INFLATED_AT_ONCE + inflater.held:
                    raise AssertionError("more comes out at a time than may")
        inflater.end()
    except ProtocolError as error:
        return found, str(error)
    for message, (_, data) in zip(announced, found, strict=True):
        if message.size != len(data):
            raise AssertionError("a push object has not the size announced")
    return found, None


def one_input(data: bytes) -> None:
    stream = data[1:] if data[:1] != b"\1" else zlib.compress(data[1:])
    whole = _read(stream, max(1, len(stream)))
    if whole[1] is None and whole != _read(stream, 3):
        raise AssertionError("what is read depends on how the stream is cut")


if __name__ == "__main__":
    from harness import run

    run(one_input)
