"""A compact set of part numbers, laid out as it travels.

For the scheduler, the wire codecs and the store alike: one bit per part, the most significant
bit of the first byte being part 0 (which the wire calls part 1), so that a set *is* the bitmap
a mirror sends (docs/protocol/mirrorsync.md, mirror-sync).

Tracks which parts are members and how many they are.
Rules: part numbers run from 0 to ``parts - 1``; the padding bits of the last byte are zero.
Must not know: what a part contains, or who has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PARTS = 1 << 22
"""Most parts one pack may be cut into: 4 TiB in parts of 1 MiB, a bitmap of 512 KiB."""


class PartSet:
    """A set of part numbers out of a fixed number of parts.

    Arguments: ``parts``, how many parts there are (0 to ``MAX_PARTS``); ``raw``, the members as
    a bitmap of exactly ``(parts + 7) // 8`` bytes, or nothing for the empty set.
    Raises ValueError for a count out of range, a bitmap of another length, or padding bits set.
    """

    __slots__ = ("_bits", "_count", "parts")

    def __init__(self, parts: int, raw: bytes | bytearray | None = None) -> None:
        if not 0 <= parts <= MAX_PARTS:
            raise ValueError(f"{parts} parts: a pack has 0 to {MAX_PARTS} parts")
        size = (parts + 7) // 8
        if raw is None:
            raw = bytes(size)
        if len(raw) != size:
            raise ValueError(f"a bitmap of {parts} parts takes {size} bytes, not {len(raw)}")
        if parts % 8 and raw[-1] & (0xFF >> parts % 8):
            raise ValueError(f"the bitmap has bits set beyond part {parts - 1}")
        self.parts = parts
        self._bits = bytearray(raw)
        self._count = int.from_bytes(raw, "big").bit_count()

    @classmethod
    def full(cls, parts: int) -> PartSet:
        """Return the set of all of ``parts`` parts."""
        width = (parts + 7) // 8 * 8
        return cls.from_mask(parts, ((1 << parts) - 1) << (width - parts))

    @classmethod
    def from_mask(cls, parts: int, mask: int) -> PartSet:
        """Return the set whose bitmap, read as one big-endian number, is ``mask``."""
        return cls(parts, mask.to_bytes((parts + 7) // 8, "big"))

    def _check(self, part: int) -> None:
        if not 0 <= part < self.parts:
            raise ValueError(f"part {part}: there are parts 0 to {self.parts - 1}")

    def add(self, part: int) -> None:
        """Make ``part`` a member; ValueError when there is no such part."""
        self._check(part)
        bit = 0x80 >> (part & 7)
        if not self._bits[part >> 3] & bit:
            self._bits[part >> 3] |= bit
            self._count += 1

    def discard(self, part: int) -> None:
        """Make ``part`` no member; ValueError when there is no such part."""
        self._check(part)
        bit = 0x80 >> (part & 7)
        if self._bits[part >> 3] & bit:
            self._bits[part >> 3] ^= bit
            self._count -= 1

    def first_missing(self, start: int = 0) -> int:
        """Return the lowest part >= ``start`` that is no member, or ``parts`` if there is none."""
        part = max(start, 0)
        while part < self.parts:
            if part & 7 == 0 and self._bits[part >> 3] == 0xFF:
                part += 8
            elif part in self:
                part += 1
            else:
                return part
        return self.parts

    def to_bytes(self) -> bytes:
        """Return the bitmap: ``(parts + 7) // 8`` bytes, part 0 the most significant bit."""
        return bytes(self._bits)

    def to_mask(self) -> int:
        """Return the bitmap read as one big-endian number."""
        return int.from_bytes(self._bits, "big")

    def copy(self) -> PartSet:
        """Return an equal set that changes independently."""
        return PartSet(self.parts, self._bits)

    def __contains__(self, part: int) -> bool:
        if not 0 <= part < self.parts:
            return False
        return bool(self._bits[part >> 3] & (0x80 >> (part & 7)))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        for index, byte in enumerate(self._bits):
            if byte:
                for offset in range(8):
                    if byte & (0x80 >> offset):
                        yield index * 8 + offset

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PartSet):
            return NotImplemented
        return self.parts == other.parts and self._bits == other._bits

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"<PartSet {self._count} of {self.parts}>"
