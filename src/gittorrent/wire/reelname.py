"""Names and shapes of reels as the wire speaks of them: ``<start>:<end>``, bitmaps, part sizes.

For ``messages``, ``session`` and the node; pure.

Rules: a bitmap's most significant bit comes first and stands for the first part; it covers whole
bytes and its unused bits are zero, so equal sets have equal text. Parts are numbered from 0 here.
Source: docs/protocol/mirrorsync.md, mirror-sync; docs/protocol/reels.md, Parts.
"""

from __future__ import annotations

from msgspec import Struct

from gittorrent.ids import PushId
from gittorrent.wire.fields import MessageError, parse_push_id, shown
from gittorrent.wire.limits import MAX_BITMAP_DIGITS, MAX_PACK_BYTES, MAX_PART_BYTES, MAX_PARTS

_HEX_DIGITS = frozenset("0123456789abcdef")


class ReelName(Struct, frozen=True):
    """The objects between two pushes; ``start`` is None for the beginning of history."""

    start: PushId | None
    end: PushId

    def __str__(self) -> str:
        return f"{self.start or ''}:{self.end}"

    @classmethod
    def parse(cls, text: str) -> ReelName:
        """Read ``:<end>`` or ``<start>:<end>``, both ids of one format; raises MessageError."""
        start, colon, end = text.partition(":")
        if not colon:
            raise MessageError(f"not a reel's name: {shown(text)}")
        name = cls(
            parse_push_id(start, "start of the reel") if start else None,
            parse_push_id(end, "end of the reel"),
        )
        if name.start is not None and (len(name.start) != len(name.end) or name.start == name.end):
            raise MessageError(f"reel between unlike or equal ids: {shown(text)}")
        return name


class PackShape(Struct, frozen=True):
    """How a pack is cut: its size and that of every part but the last, in bytes.

    Raises ValueError outside the limits; a manifest that was verified is always inside.
    """

    pack_size: int
    part_size: int

    def __post_init__(self) -> None:
        if not (0 < self.pack_size <= MAX_PACK_BYTES and 0 < self.part_size <= MAX_PART_BYTES):
            raise ValueError(f"pack of {self.pack_size} bytes in parts of {self.part_size}")
        if self.parts > MAX_PARTS:
            raise ValueError(f"pack of {self.parts} parts; at most {MAX_PARTS} are allowed")

    @property
    def parts(self) -> int:
        """How many parts the pack has."""
        return -(-self.pack_size // self.part_size)

    def size_of(self, part: int) -> int:
        """Return the size in bytes of ``part``, counted from 0; raises IndexError beyond."""
        if not 0 <= part < self.parts:
            raise IndexError(f"part {part} of a pack of {self.parts} parts")
        return min(self.part_size, self.pack_size - part * self.part_size)


def parse_bitmap_word(text: str) -> bytes:
    """Read a bitmap whose number of parts is not known yet; raises MessageError.

    Returns it packed, eight parts to a byte, most significant bit first.
    """
    if not text or len(text) > MAX_BITMAP_DIGITS or len(text) % 2 or set(text) - _HEX_DIGITS:
        raise MessageError(f"not a part bitmap: {shown(text)}")
    return bytes.fromhex(text)


def check_bitmap(packed: bytes, total: int) -> bytes:
    """Return ``packed`` if it is a bitmap of exactly ``total`` parts; raises MessageError."""
    unused = -total % 8
    if len(packed) != (total + 7) // 8 or (packed and packed[-1] & ((1 << unused) - 1)):
        raise MessageError(f"bitmap of {len(packed)} bytes does not fit {total} parts")
    return packed
