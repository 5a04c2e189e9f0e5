"""Packs that are small enough to be made and joined in memory (gitformat-pack(5)).

So that objects of ours and those that somebody sent are stored by one run of git, which also finds
collision attacks in them. Ids are computed here as well, to know them before; git's word counts.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import ProtocolError
from gittorrent.ids import Oid
from gittorrent.reel.pack import HEADER_SIZE, pack_header, parse_pack_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.ids import ObjectFormat

_KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}


class SmallPackError(ProtocolError):
    """Something that was sent as a pack is none."""


class NewObject(Struct, frozen=True):
    """An object to be stored.

    Args:
        kind: ``commit``, ``tree``, ``blob`` or ``tag``.
        content: without git's header.
    """

    kind: str
    content: bytes

    def id(self, object_format: ObjectFormat) -> Oid:
        """Return its id."""
        header = b"%s %d\0" % (self.kind.encode("ascii"), len(self.content))
        return Oid(object_format.new_hash(header + self.content).hexdigest())


def pack_objects_in(pack: bytes, object_format: ObjectFormat) -> int:
    """Return how many objects a pack says it has.

    Raises:
        SmallPackError: it is cut short, or not what its checksum says.
    """
    body, trailer = pack[: -object_format.raw_size], pack[-object_format.raw_size :]
    if len(body) < HEADER_SIZE or object_format.new_hash(body).digest() != trailer:
        raise SmallPackError("what was sent is no pack, or was cut short")
    return parse_pack_header(body[:HEADER_SIZE])


def joined_pack(
    packs: Sequence[bytes], objects: Iterable[NewObject], object_format: ObjectFormat
) -> bytes:
    """Return one pack of all objects of some packs and some more.

    Deltas stay where they are relative to their bases, so what was a pack goes on being right.

    Args:
        packs: whole ones, thin or not, which `pack_objects_in` found in order.
        objects: to be added.
        object_format: of the repository.
    """
    count, parts = 0, []
    for pack in packs:
        count += parse_pack_header(pack[:HEADER_SIZE])
        parts.append(pack[HEADER_SIZE : -object_format.raw_size])
    for item in objects:
        count += 1
        parts.append(_head(_KINDS[item.kind], len(item.content)) + zlib.compress(item.content, 1))
    body = b"".join([pack_header(count), *parts])
    return body + object_format.new_hash(body).digest()


def _head(kind: int, size: int) -> bytes:
    """Return what stands before an object: its kind and size, seven bits at a time."""
    first, size = kind << 4 | size & 15, size >> 4
    found = bytearray()
    while size:
        found.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    found.append(first)
    return bytes(found)
