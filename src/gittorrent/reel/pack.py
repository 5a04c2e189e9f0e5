"""The reel pack: segments joined into one pack, and its form on the wire.

Pure. A pack is a 12-byte header, entries, and a trailer that is the hash of all before it.
Segments are joined by dropping their headers and trailers: offset deltas stay valid because
they point backwards by distance, deltas across segments name their base by id.

A thin reel pack completed by git on disk has bases appended, hence another count and trailer;
`WireView` gives the bytes as the manifest describes them either way
(docs/protocol/reels.md, "Reel pack").
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import ProtocolError
from gittorrent.shapes import ShapeKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.ids import ObjectFormat
    from gittorrent.reel.manifest import Manifest

HEADER_SIZE = 12
_SIGNATURE = b"PACK"
_VERSION = 2


class PackHeaderError(ProtocolError):
    """What should be a pack does not begin like one."""


def pack_header(objects: int) -> bytes:
    """Return the header of a pack of ``objects`` entries."""
    return struct.pack(">4sII", _SIGNATURE, _VERSION, objects)


def empty_pack(object_format: ObjectFormat) -> bytes:
    """Return a pack without objects."""
    header = pack_header(0)
    return header + hashlib.new(object_format.name, header).digest()


def parse_pack_header(header: bytes) -> int:
    """Return the number of entries a pack's first 12 bytes announce.

    Raises:
        PackHeaderError: no version 2 pack begins like this.
    """
    if len(header) < HEADER_SIZE:
        raise PackHeaderError(f"a pack needs {HEADER_SIZE} bytes of header, got {len(header)}")
    signature, version, objects = struct.unpack(">4sII", header[:HEADER_SIZE])
    if signature != _SIGNATURE or version != _VERSION:
        raise PackHeaderError(f"not a version 2 pack: it begins {header[:8].hex()}")
    return int(objects)


class FilePiece(Struct, frozen=True):
    """Bytes to take from the stored pack file: ``count`` of them from ``offset``."""

    offset: int
    count: int


class FileView(Struct, frozen=True):
    """The wire form of what travels as it is on disk, such as a pack's index.

    Args:
        size: bytes.
    """

    size: int

    def pieces(self, offset: int, count: int) -> Iterator[bytes | FilePiece]:
        """Yield what makes up bytes ``offset`` to ``offset + count``."""
        end = min(offset + count, self.size)
        if offset < end:
            yield FilePiece(offset, end - offset)


class WireView(Struct, frozen=True):
    """The wire form of a reel pack, whatever git appended to it on disk.

    Args:
        object_format: decides the trailer's length.
        objects: number of entries, from the manifest.
        size: bytes of the wire form, from the manifest.
        checksum: the wire form's trailer, hexadecimal, from the manifest.
    """

    object_format: ObjectFormat
    objects: int
    size: int
    checksum: str

    @property
    def middle_end(self) -> int:
        """Offset at which the trailer begins; up to it the file on disk has the same bytes."""
        return self.size - self.object_format.raw_size

    def pieces(self, offset: int, count: int) -> Iterator[bytes | FilePiece]:
        """Yield what makes up bytes ``offset`` to ``offset + count``: literal or from the file."""
        end = min(offset + count, self.size)
        if offset < HEADER_SIZE:
            stop = min(end, HEADER_SIZE)
            yield pack_header(self.objects)[offset:stop]
            offset = stop
        if offset < min(end, self.middle_end):
            stop = min(end, self.middle_end)
            yield FilePiece(offset, stop - offset)
            offset = stop
        if offset < end:
            yield bytes.fromhex(self.checksum)[offset - self.middle_end : end - self.middle_end]


def view_of(manifest: Manifest) -> WireView | FileView:
    """Return how the wire form of what a manifest describes lies in its file."""
    if manifest.shape.kind is ShapeKind.INDEX:
        return FileView(manifest.pack_size)
    return WireView(
        manifest.object_format, manifest.objects, manifest.pack_size, manifest.pack_checksum
    )
