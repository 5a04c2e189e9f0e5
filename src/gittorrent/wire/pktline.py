"""Git's pkt-line framing: four hexadecimal digits of length, then that many bytes less four.

For every reader and writer of the wire; pure. Tracks the bytes of at most one unfinished packet.

Rules: a flush is not a delimiter is not an empty packet, so they have their own type. Lengths are
read digit by digit, since ``int(x, 16)`` also takes signs, spaces, underscores and ``0x``: with
those a peer could make two programs disagree on where a packet ends. Source: gitprotocol-common(5)
and docs/protocol/mirrorsync.md, Frames.
"""

from __future__ import annotations

from enum import Enum

from gittorrent.errors import ProtocolError
from gittorrent.wire.limits import MAX_PKT_LINE, MAX_PKT_PAYLOAD

HEADER_SIZE = 4

_DIGIT = {byte: int(chr(byte), 16) for byte in b"0123456789abcdefABCDEF"}


class Special(Enum):
    """The packets that carry no data; the value is the length they are written with."""

    FLUSH = 0
    DELIM = 1
    RESPONSE_END = 2


FLUSH = Special.FLUSH
DELIM = Special.DELIM
RESPONSE_END = Special.RESPONSE_END

Packet = bytes | Special
"""A packet's payload, or one of the packets without any."""


class PktLineError(ProtocolError):
    """The byte stream is no sequence of pkt-lines; ``packets`` are those read before that."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.packets: tuple[Packet, ...] = ()


def encode(data: bytes) -> bytes:
    """Frame one payload.

    ``data``: at most MAX_PKT_PAYLOAD bytes. Raises ValueError when it is longer, which is a
    mistake of this program. Source: gitprotocol-common(5), pkt-line format.
    """
    if len(data) > MAX_PKT_PAYLOAD:
        raise ValueError(
            f"{len(data)} bytes do not fit a pkt-line of {MAX_PKT_PAYLOAD}; split them"
        )
    return b"%04x" % (len(data) + HEADER_SIZE) + data


def encode_special(packet: Special) -> bytes:
    """Write a packet that carries no data."""
    return b"%04x" % packet.value


def encode_lines(lines: list[bytes]) -> bytes:
    """Frame several payloads and end them with a flush."""
    return b"".join([*map(encode, lines), encode_special(FLUSH)])


def parse_length(header: bytes | bytearray | memoryview) -> int | Special:
    """Read the four length digits of a packet.

    ``header``: exactly four bytes. Returns the size of the payload (0 to MAX_PKT_PAYLOAD) or the
    special packet. Raises PktLineError for anything else. Source: gitprotocol-common(5).
    """
    raw = bytes(header)
    digits = [_DIGIT.get(byte) for byte in raw]
    if len(digits) != HEADER_SIZE or None in digits:
        raise PktLineError(
            f"not a pkt-line length: {raw!r}", hint="the other end may not speak this protocol"
        )
    length = int(raw, 16)
    if length < HEADER_SIZE:
        if length == 3:
            raise PktLineError("pkt-line length 0003 is not defined")
        return Special(length)
    if length > MAX_PKT_LINE:
        raise PktLineError(f"pkt-line of {length} bytes; at most {MAX_PKT_LINE} are allowed")
    return length - HEADER_SIZE


class PktReader:
    """Cuts a stream into packets, however it is chunked.

    Holds at most one unfinished packet beyond what one ``feed`` brought and left unread.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._error: str | None = None

    @property
    def mid_packet(self) -> bool:
        """Tell whether bytes are held that make no whole packet yet."""
        return bool(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview, limit: int | None = None) -> list[Packet]:
        """Take in bytes and return the packets now whole.

        ``data``: the next bytes of the stream, any number. ``limit``: stop after so many packets
        and leave the rest for ``take_rest``, for streams that turn into something else. Raises
        PktLineError, whose ``packets`` hold those before the fault; the reader is then spent.
        """
        if self._error is not None:
            raise PktLineError(self._error)
        self._buffer += data
        packets: list[Packet] = []
        at = 0
        try:
            while limit is None or len(packets) < limit:
                if len(self._buffer) - at < HEADER_SIZE:
                    break
                size = parse_length(self._buffer[at : at + HEADER_SIZE])
                if isinstance(size, Special):
                    packets.append(size)
                    at += HEADER_SIZE
                    continue
                end = at + HEADER_SIZE + size
                if len(self._buffer) < end:
                    break
                packets.append(bytes(self._buffer[at + HEADER_SIZE : end]))
                at = end
        except PktLineError as error:
            self._error = str(error)
            self._buffer.clear()
            error.packets = tuple(packets)
            raise
        del self._buffer[:at]
        return packets

    def take_rest(self) -> bytes:
        """Hand over the bytes not yet read as packets, and forget them."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
