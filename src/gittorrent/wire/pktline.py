"""Git's pkt-line framing: four hexadecimal digits of length, then that many bytes less four.

For every reader and writer of the wire; pure. Keeps nothing: readers hold their own bytes.

Rules: a flush is not a delimiter is not an empty packet, so they have their own type. Lengths are
read digit by digit, since ``int(x, 16)`` also takes signs, spaces, underscores and ``0x``: with
those a peer could make two programs disagree on where a packet ends. Source: gitprotocol-common(5)
and docs/protocol/mirrorsync.md, Frames.
"""

from __future__ import annotations

from enum import Enum

from gittorrent.errors import ProtocolError
from gittorrent.printable import decoded
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
    """The byte stream is no sequence of pkt-lines."""


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
            f"not a pkt-line length: {decoded(raw)!r}",
            hint="the other end may not speak this protocol",
        )
    length = int(raw, 16)
    if length < HEADER_SIZE:
        if length == 3:
            raise PktLineError("pkt-line length 0003 is not defined")
        return Special(length)
    if length > MAX_PKT_LINE:
        raise PktLineError(f"pkt-line of {length} bytes; at most {MAX_PKT_LINE} are allowed")
    return length - HEADER_SIZE
