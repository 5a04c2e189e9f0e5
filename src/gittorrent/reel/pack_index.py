"""The index of a pack: which sizes it can have, and what its first and last bytes say.

Pure. Git's index of version 2 is as canonical as the pack: whoever indexes a pack gets the same
bytes, so a manifest can name it by digest. A signed index is taken without its pack being read;
what is compared here costs nothing and keeps git from looking beyond its ends.
Source: gitformat-pack(5); docs/protocol/reels.md, "Pack indexes".
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

from gittorrent.errors import TrustError

if TYPE_CHECKING:
    from gittorrent.ids import ObjectFormat

BEGINNING = b"\xfftOc\0\0\0\2"
"""First bytes of an index of version 2."""

FAN_OUT = struct.Struct(">256I")
"""For each first byte of an id, how many objects have that one or a lower one."""

HEAD_SIZE = len(BEGINNING) + FAN_OUT.size
"""Bytes before the ids."""

_LARGE = 8
"""Bytes of an offset that does not fit into 31 bits."""


class PackIndexError(TrustError):
    """What should be the index of a pack cannot be that."""


def least_size(objects: int, object_format: ObjectFormat) -> int:
    """Return the bytes of an index whose offsets all fit into 31 bits.

    Each object has its id, a checksum and an offset; the checksums of pack and index come last.
    """
    size = object_format.raw_size
    return HEAD_SIZE + objects * (size + 8) + 2 * size


def is_index_size(size: int, objects: int, object_format: ObjectFormat) -> bool:
    """Tell whether an index of so many objects can have a size.

    Args:
        size: bytes.
        objects: in the pack.
        object_format: of their ids.
    """
    large, rest = divmod(size - least_size(objects, object_format), _LARGE)
    return rest == 0 and 0 <= large <= objects


def check_ends(
    head: bytes, tail: bytes, objects: int, pack_checksum: str, index_checksum: str
) -> None:
    """Compare the ends of an index with what is known of its pack.

    Args:
        head: its first `HEAD_SIZE` bytes.
        tail: its last bytes: the checksum of the pack, and that of the index.
        objects: in the pack.
        pack_checksum: trailer of the pack, hexadecimal.
        index_checksum: trailer of the index, hexadecimal.

    Raises:
        PackIndexError: it is not the index of that pack.
    """
    if len(head) != HEAD_SIZE or not head.startswith(BEGINNING):
        raise PackIndexError("it does not begin like a pack index of version 2")
    counts = FAN_OUT.unpack_from(head, len(BEGINNING))
    if any(count > later for count, later in pairwise(counts)):
        raise PackIndexError("its table of first bytes goes back")
    if counts[-1] != objects:
        raise PackIndexError(f"it lists {counts[-1]} objects, and the pack has {objects}")
    if tail.hex() != pack_checksum + index_checksum:
        raise PackIndexError("its checksums are those of another pack or index")
