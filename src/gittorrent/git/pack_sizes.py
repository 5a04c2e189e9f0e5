"""How many bytes the objects of a pack are when they are unpacked, without unpacking them.

A few bytes of a delta can stand for gigabytes, which git sets memory aside for when it unpacks.
Both kinds of entries say at their beginning what they come to (gitformat-pack(5)).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import ObjectFormat

_OFFSET_DELTA, _REF_DELTA = 6, 7

_DELTA_HEAD = 20
"""Bytes that hold two sizes of 64 bits, seven bits in each byte."""


def unpacked_size(pack: bytes, offsets: Iterable[int], object_format: ObjectFormat) -> int:
    """Return the bytes that the objects which begin at some offsets of a pack come to.

    Args:
        pack: one that git has indexed, so that its entries are what they should be.
        offsets: where objects begin.
        object_format: of the repository.
    """
    return sum(_size_at(pack, offset, object_format.raw_size) for offset in offsets)


def _size_at(pack: bytes, at: int, raw_size: int) -> int:
    byte = pack[at]
    kind, size, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 0x80:
        at += 1
        byte = pack[at]
        size |= (byte & 0x7F) << shift
        shift += 7
    at += 1
    if kind == _OFFSET_DELTA:
        while pack[at] & 0x80:
            at += 1
        at += 1
    elif kind == _REF_DELTA:
        at += raw_size
    else:
        return size
    head = zlib.decompressobj().decompress(pack[at : at + 1024], _DELTA_HEAD)
    _, rest = _number(head, 0)
    return _number(head, rest)[0]


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a size, and where what follows it begins."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at
