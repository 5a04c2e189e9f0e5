"""The deflated answer to ``fetch log``: one stream, made in pieces and read within bounds.

For ``session``, which reads, and for whoever answers; pure. The stream is zlib's (RFC 1950), and
what it inflates to is what is said of a log otherwise: ``receive push`` packets, each followed by
its raw bytes.

Tracks, of a stream that is read: the piece at hand, the line or push object that is under way, and
how much went in and came out.

Rules: INFLATED_AT_ONCE bytes come out at a time, whatever went in, so whoever reads can stop in
between; within there are push objects and nothing else. A stream that goes on after its end, ends
before that, or is longer than what it holds, is a fault. Must not know which question it answers,
nor whether push objects are true. Source: docs/protocol/mirrorsync.md, Logs.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from gittorrent.wire import pktline
from gittorrent.wire.fields import MessageError
from gittorrent.wire.intake import MessageReceived, Payload
from gittorrent.wire.limits import MAX_LOG_PADDING, MAX_LOG_PIECE
from gittorrent.wire.messages import ReceivePush, parse_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.ids import PushId

INFLATED_AT_ONCE = 256 << 10
"""Bytes that come out of a stream at a time: what an honest piece holds, in less than 1 ms."""

STREAM_BYTES = 48 << 10
"""Bytes that zlib needs to inflate: its window and its tables."""

_LEVEL = 6
"""How hard is tried: the highest level costs twice as much and saves 2 % more."""


class LogDeflater:
    """Makes the stream of one answer."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_LEVEL)
        self._made = bytearray()

    def add(self, push: PushId, data: bytes) -> Iterator[bytes]:
        """Add an entry; yields the pieces that are complete, while it is deflated."""
        yield from self._put(pktline.encode(ReceivePush(push, len(data)).encode()))
        for at in range(0, len(data), INFLATED_AT_ONCE):
            yield from self._put(data[at : at + INFLATED_AT_ONCE])

    def finish(self) -> Iterator[bytes]:
        """End the stream; yields the last pieces."""
        self._made += self._stream.flush()
        yield from self._pieces(1)

    def _put(self, data: bytes) -> Iterator[bytes]:
        self._made += self._stream.compress(data)
        yield from self._pieces(MAX_LOG_PIECE)

    def _pieces(self, least: int) -> Iterator[bytes]:
        while len(self._made) >= least:
            piece = bytes(self._made[:MAX_LOG_PIECE])
            del self._made[:MAX_LOG_PIECE]
            yield piece


class LogInflater:
    """Reads the stream of one answer."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()
        self._piece: bytes | bytearray = b""
        self._lines = bytearray()
        self._entry: Payload | None = None
        self._went_in = 0
        self._came_out = 0
        self.is_busy = False
        self.finished = 0

    @property
    def held(self) -> int:
        """Bytes in memory."""
        entry = 0 if self._entry is None else self._entry.received
        return STREAM_BYTES + len(self._piece) + len(self._lines) + entry

    @property
    def entry_size(self) -> int:
        """Bytes that the push object under way will have; 0 when there is none."""
        return 0 if self._entry is None else self._entry.message.size

    @property
    def is_mid_entry(self) -> bool:
        """Whether a push object, or the line before one, is not whole yet."""
        return self._entry is not None or bool(self._lines)

    def feed(self, piece: bytes | bytearray) -> None:
        """Give the next piece; nothing is inflated before `read`, which is called while busy."""
        if self.is_busy:
            raise ValueError("the piece before was not read")
        self._piece = piece
        self._went_in += len(piece)
        self.is_busy = True

    def read(self, announced: Callable[[ReceivePush], None]) -> list[MessageReceived]:
        """Inflate some more, and return the push objects that are whole.

        Args:
            announced: called with each push object that begins; what it raises ends the stream.

        Raises:
            MessageError: the stream is broken, or holds something else.
        """
        try:
            out = self._stream.decompress(self._piece, INFLATED_AT_ONCE)
        except zlib.error as error:
            raise MessageError(f"the deflated log is broken: {error}") from error
        if self._stream.unused_data:
            raise MessageError("the deflated log goes on after its end")
        self._piece = self._stream.unconsumed_tail
        self._came_out += len(out)
        # zlib may hold more than it gave even if it has taken all that went in.
        self.is_busy = len(out) == INFLATED_AT_ONCE and not self._stream.eof
        if not self.is_busy and self._went_in > self._came_out + MAX_LOG_PADDING:
            raise MessageError("the deflated log is longer than what it holds")
        return self._take(memoryview(out), announced)

    def end(self) -> None:
        """See to it that nothing is missing; raises MessageError."""
        if not self._stream.eof:
            raise MessageError("the deflated log ends before its end")
        if self.is_mid_entry:
            raise MessageError("the deflated log ends within a push object")

    def _take(
        self, out: memoryview, announced: Callable[[ReceivePush], None]
    ) -> list[MessageReceived]:
        found: list[MessageReceived] = []
        while True:
            if self._entry is None:
                # A line is short, and what follows it is only looked at until it is whole.
                at, line = self._next_line(out)
                out = out[at:]
                if line is None:
                    return found
                message = parse_message(line)
                if not isinstance(message, ReceivePush):
                    raise MessageError("the deflated log holds something that is no push object")
                announced(message)
                self._entry = Payload(message)
            while out and not self._entry.complete:
                room = self._entry.writable()
                n = min(len(room), len(out))
                room[:n] = out[:n]
                self._entry.received += n
                out = out[n:]
            if not self._entry.complete:
                return found
            found.append(self._entry.event())
            self._entry = None
            self.finished += 1

    def _next_line(self, out: memoryview) -> tuple[int, bytes | None]:
        """Return how much of ``out`` belongs to the next line, and the line once it is whole."""
        before = len(self._lines)
        self._lines += out[: max(0, pktline.HEADER_SIZE - before)]
        if len(self._lines) < pktline.HEADER_SIZE:
            return len(out), None
        size = pktline.parse_length(self._lines[: pktline.HEADER_SIZE])
        if isinstance(size, pktline.Special):
            raise MessageError(f"a {size.name.lower()} packet has no meaning in a log")
        whole = pktline.HEADER_SIZE + size
        taken = len(self._lines) - before
        self._lines += out[taken : taken + whole - len(self._lines)]
        taken = len(self._lines) - before
        if len(self._lines) < whole:
            return taken, None
        line = bytes(self._lines[pktline.HEADER_SIZE :])
        self._lines.clear()
        return taken, line
