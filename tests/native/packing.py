"""Packs made by hand, entry by entry, and a parser that takes them apart again.

For tests: everything git would refuse to write can be written here.
"""

from __future__ import annotations

import hashlib
import zlib

from msgspec import Struct, field

TYPES = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
NAMES = {number: name for name, number in TYPES.items()}
OFS_DELTA, REF_DELTA = 6, 7


class Entry(Struct, frozen=True):
    """One entry: a whole object, or a delta against another entry or against a name."""

    number: int
    payload: bytes
    base: int | bytes | None = None
    """Position of the base in the pack, its raw id, or None for a whole object."""
    stated_size: int | None = None
    """The size the header claims; None for the true one."""
    level: int = 6


def whole(kind: str, data: bytes) -> Entry:
    """Return an entry that holds ``data`` itself."""
    return Entry(TYPES[kind], data)


def object_id(kind: str, data: bytes, object_format: str = "sha1") -> bytes:
    """Return the raw id of an object."""
    header = f"{kind} {len(data)}\0".encode()
    return hashlib.new(object_format, header + data).digest()


def varint(value: int) -> bytes:
    """Encode a size as deltas have them: seven bits a byte, lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def copy(offset: int, size: int) -> bytes:
    """Encode an instruction that copies from the base."""
    code, operands = 0x80, bytearray()
    for bit, byte in enumerate(
        offset.to_bytes(4, "little") + (size % 0x10000).to_bytes(3, "little")
    ):
        if byte:
            code |= 1 << bit
            operands.append(byte)
    return bytes([code]) + bytes(operands)


def insert(data: bytes) -> bytes:
    """Encode instructions that bring ``data`` along."""
    pieces = (data[at : at + 127] for at in range(0, len(data), 127))
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)


def delta(base: bytes, result: bytes) -> bytes:
    """Return a delta that copies the common ends and brings the middle along."""
    limit = min(len(base), len(result))
    head = next((at for at in range(limit) if base[at] != result[at]), limit)
    rest = limit - head
    tail = next((at for at in range(rest) if base[-1 - at] != result[-1 - at]), rest)
    steps = [varint(len(base)), varint(len(result))]
    steps += [copy(at, min(0xFFFF, head - at)) for at in range(0, head, 0xFFFF)]
    steps.append(insert(result[head : len(result) - tail]))
    begin = len(base) - tail
    steps += [copy(at, min(0xFFFF, len(base) - at)) for at in range(begin, len(base), 0xFFFF)]
    return b"".join(steps)


def _distance(value: int) -> bytes:
    out = bytearray([value & 0x7F])
    value >>= 7
    while value:
        value -= 1
        out.insert(0, value & 0x7F | 0x80)
        value >>= 7
    return bytes(out)


class Pack(Struct, frozen=True):
    """A written pack: its bytes and where each entry begins."""

    data: bytes
    offsets: tuple[int, ...]
    objects: int
    object_format: str = "sha1"

    def segments(self, cuts: list[int]) -> list[tuple[int, int]]:
        """Return segments that begin at entry 0 and at the entries in ``cuts``."""
        starts = sorted({0, *cuts} & set(range(len(self.offsets))))
        ends = [*starts[1:], len(self.offsets)]
        return [(self.offsets[a], b - a) for a, b in zip(starts, ends, strict=True)]


def write(
    entries: list[Entry], object_format: str = "sha1", *, count: int | None = None, version: int = 2
) -> Pack:
    """Write a pack of ``entries`` in order, trailer included."""
    count = len(entries) if count is None else count
    out = bytearray(b"PACK" + version.to_bytes(4, "big") + count.to_bytes(4, "big"))
    offsets: list[int] = []
    for entry in entries:
        offsets.append(len(out))
        size = len(entry.payload) if entry.stated_size is None else entry.stated_size
        byte, size = entry.number << 4 | size & 15, size >> 4
        while size:
            out.append(byte | 0x80)
            byte, size = size & 0x7F, size >> 7
        out.append(byte)
        if isinstance(entry.base, bytes):
            out += entry.base
        elif entry.base is not None:
            out += _distance(offsets[-1] - offsets[entry.base])
        out += zlib.compress(entry.payload, entry.level)
    out += hashlib.new(object_format, out).digest()
    return Pack(bytes(out), tuple(offsets), count, object_format)


def resealed(data: bytes, object_format: str = "sha1") -> bytes:
    """Return pack bytes with the trailer made right again."""
    body = data[: -hashlib.new(object_format).digest_size]
    return body + hashlib.new(object_format, body).digest()


class Parsed(Struct):
    """A valid pack taken apart."""

    entries: list[Entry] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)


def parse(data: bytes, object_format: str = "sha1") -> Parsed:
    """Take a valid pack apart."""
    id_size = hashlib.new(object_format).digest_size
    parsed, at = Parsed(), 12
    for _ in range(int.from_bytes(data[8:12], "big")):
        parsed.offsets.append(at)
        number = data[at] >> 4 & 7
        while data[at] & 0x80:
            at += 1
        at += 1
        base: int | bytes | None = None
        if number == REF_DELTA:
            base, at = data[at : at + id_size], at + id_size
        elif number == OFS_DELTA:
            value = data[at] & 0x7F
            while data[at] & 0x80:
                at += 1
                value = (value + 1) << 7 | data[at] & 0x7F
            at += 1
            base = parsed.offsets.index(parsed.offsets[-1] - value)
        inflater = zlib.decompressobj()
        payload = inflater.decompress(data[at:])
        at = len(data) - len(inflater.unused_data)
        parsed.entries.append(Entry(number, payload, base))
    return parsed


def tree(*entries: tuple[str, bytes, bytes]) -> bytes:
    """Return a tree of (mode, name, raw id), in the order given."""
    return b"".join(mode.encode() + b" " + name + b"\0" + oid for mode, name, oid in entries)


def commit(
    tree_id: bytes, *parents: bytes, message: str = "m", who: str = "A <a@b> 1 +0000"
) -> bytes:
    """Return a commit."""
    lines = [f"tree {tree_id.hex()}", *(f"parent {parent.hex()}" for parent in parents)]
    return "\n".join([*lines, f"author {who}", f"committer {who}", "", message]).encode()
