"""Packs of a few KiB that stand for any number of bytes."""

from __future__ import annotations

import hashlib
import struct
import zlib


def entry(kind: int, size: int, content: bytes, base: bytes = b"") -> bytes:
    """Return an entry of a pack (gitformat-pack(5))."""
    head = bytearray([kind << 4 | size & 15])
    size >>= 4
    while size:
        head[-1] |= 128
        head.append(size & 127)
        size >>= 7
    return bytes(head) + base + zlib.compress(content)


def number(value: int) -> bytes:
    """Return a size as deltas have it."""
    digits = bytearray([value & 127])
    while value := value >> 7:
        digits[-1] |= 128
        digits.append(value & 127)
    return bytes(digits)


def inflating_pack(size: int) -> bytes:
    """Return a pack of a few KiB with a blob of zeros, and a delta that makes ``size`` of them."""
    blob = bytes(1 << 16)
    name = hashlib.sha1(b"blob %d\0" % len(blob) + blob).digest()
    copies = size // len(blob)
    delta = number(len(blob)) + number(copies * len(blob)) + b"\x80" * copies
    body = b"PACK" + struct.pack(">II", 2, 2)
    body += entry(3, len(blob), blob) + entry(7, len(delta), delta, name)
    return body + hashlib.sha1(body).digest()
