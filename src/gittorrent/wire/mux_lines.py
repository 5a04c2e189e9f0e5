"""The lines of a connection that carries several conversations.

For ``mux``; pure. Each line is one packet; ``data`` announces raw bytes. Lines of other words are
skipped. Source: docs/protocol/mirrorsync.md, mirror-mux.
"""

from __future__ import annotations

from msgspec import Struct

from gittorrent.wire.fields import (
    MessageError,
    Words,
    clean_reason,
    encode_words,
    parse_number,
    shown,
    strip_newline,
)
from gittorrent.wire.limits import (
    MAX_PATH,
    MAX_STREAM_DATA,
    MAX_STREAM_NUMBER,
    STREAM_WINDOW,
)

VERSION = 1


class MuxReady(Struct, frozen=True):
    """The one who answers agrees to carry several conversations."""

    version: int

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("mirror-mux", "ready", self.version)


class Open(Struct, frozen=True):
    """The caller begins a conversation about the repository at ``path``."""

    number: int
    path: bytes

    def encode(self) -> bytes:
        """Write the line."""
        return b"open %d %s\n" % (self.number, self.path)


class Data(Struct, frozen=True):
    """``size`` raw bytes of a conversation follow."""

    number: int
    size: int

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("data", self.number, self.size)


class Room(Struct, frozen=True):
    """``size`` more bytes of a conversation may be sent."""

    number: int
    size: int

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("room", self.number, self.size)


class Close(Struct, frozen=True):
    """This end says nothing more in a conversation, and reads nothing more of it."""

    number: int
    reason: str = ""

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("close", self.number, *([self.reason] if self.reason else []))


class Alive(Struct, frozen=True):
    """Nothing: the connection is there."""

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("alive")


Line = MuxReady | Open | Data | Room | Close | Alive


def parse_mux_line(line: bytes) -> Line | None:
    """Read one line; None for one of an unknown word, which is skipped.

    Raises:
        MessageError: it breaks the grammar or a limit.
    """
    if line.startswith(b"open "):
        return _parse_open(strip_newline(line))
    words = Words(line)
    word = words.peek()
    if word not in ("mirror-mux", "data", "room", "close", "alive"):
        return None
    words.take("keyword")
    if word == "mirror-mux":
        words.literal("ready")
        return MuxReady(words.number("version", 1, MAX_STREAM_NUMBER))
    if word == "alive":
        return Alive()
    number = words.number("number of a conversation", 1, MAX_STREAM_NUMBER)
    if word == "data":
        return Data(number, words.number("size in bytes", 1, MAX_STREAM_DATA))
    if word == "room":
        return Room(number, words.number("size in bytes", 1, STREAM_WINDOW))
    return Close(number, clean_reason(words.rest()))


def _parse_open(line: bytes) -> Open:
    _, _, rest = line.partition(b" ")
    text, _, path = rest.partition(b" ")
    number = parse_number(
        text.decode("ascii", "replace"), "number of a conversation", 1, MAX_STREAM_NUMBER
    )
    if not path.startswith(b"/") or len(path) > MAX_PATH or min(path) < 0x20 or 0x7F in path:
        raise MessageError(f"not a path: {shown(path)}")
    return Open(number, path)
