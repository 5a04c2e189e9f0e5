"""What peers say to each other, whatever the dialect.

Pure values. A reel is named by the ids of the two reference objects it runs between; a block by
its number and, in the dialect of the draft, the block size that its reader chose. Sizes and offsets
are in uncompressed bytes. How each becomes bytes is `gittorrent.gtp.codec`'s business.
Source: docs/protocol/gtp01.md, Messages.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TypeAlias

BEGINNING = hashlib.sha1(b"", usedforsecurity=False).digest()
"""Start of reels that begin with history: the SHA-1 of the empty string."""

UNKNOWN_OFFSET = 0xFFFFFFFF
"""Offset in a scan or play answer that says: not here."""


@unique
class MessageId(IntEnum):
    """The twelve messages."""

    CHOKE = 0
    UNCHOKE = 1
    INTERESTED = 2
    UNINTERESTED = 3
    PEERS = 4
    REFERENCES = 5
    REELS = 6
    BLOCKS = 7
    SCAN = 8
    REQUEST = 9
    PLAY = 10
    STOP = 11


@unique
class Kind(IntEnum):
    """Types of objects, numbered as in packs."""

    COMMIT = 1
    TREE = 2
    BLOB = 3
    TAG = 4


@dataclass(frozen=True, slots=True, order=True)
class ReelName:
    """A reel: binary ids (20 bytes each) of the references it starts after and leads to."""

    start: bytes
    end: bytes

    def __str__(self) -> str:
        first = "" if self.start == BEGINNING else self.start.hex()[:12]
        return f"{first}:{self.end.hex()[:12]}"


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Nothing, to show that the sender lives."""


@dataclass(frozen=True, slots=True)
class Choke:
    """The receiver may send no data messages; what it asked for is discarded."""


@dataclass(frozen=True, slots=True)
class Unchoke:
    """The receiver may send data messages."""


@dataclass(frozen=True, slots=True)
class Interested:
    """The sender would ask for data if it were not choked."""


@dataclass(frozen=True, slots=True)
class Uninterested:
    """The sender wants nothing."""


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a peer listens: its id (20 bytes), an IP address or DNS name, a port."""

    peer_id: bytes
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Peers:
    """Peers the sender knows; without any, a request for them."""

    peers: tuple[PeerAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class ReferenceEntry:
    """A reference object's id (20 bytes) and body; no body announces that it can be had."""

    reference: bytes
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class References:
    """Reference objects; without any, a request for them."""

    entries: tuple[ReferenceEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class ReelOffer:
    """A reel that the sender has something of, and its uncompressed size."""

    reel: ReelName
    size: int


@dataclass(frozen=True, slots=True)
class Reels:
    """Reels the sender has something of; without any, a request for them."""

    offers: tuple[ReelOffer, ...] = ()


@dataclass(frozen=True, slots=True)
class BlocksRequest:
    """A question which blocks the receiver has; ``block_size`` is 0 where blocks are commits."""

    reel: ReelName
    block_size: int


@dataclass(frozen=True, slots=True)
class BlocksStatus:
    """Which blocks the sender has.

    Args:
        reel: of it.
        block_size: as asked; 0 where blocks are commits.
        count: number of blocks; where the wire does not say it, eight for each byte of bitmap.
        bitmap: one bit a block, the lowest bit of the first byte for the first block.
    """

    reel: ReelName
    block_size: int
    count: int
    bitmap: bytes


@dataclass(frozen=True, slots=True)
class BlockName:
    """A block: number ``index`` of the blocks of ``size`` bytes of a reel (0: of one commit)."""

    reel: ReelName
    index: int
    size: int


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """A question which objects a block holds."""

    block: BlockName


@dataclass(frozen=True, slots=True)
class ScanEntry:
    """An object in a block: binary id, type, uncompressed size."""

    oid: bytes
    kind: Kind
    size: int


@dataclass(frozen=True, slots=True)
class ScanAnswer:
    """The objects of a block in order, and how far into it the first begins."""

    block: BlockName
    offset: int
    entries: tuple[ScanEntry, ...]


@dataclass(frozen=True, slots=True)
class ObjectsRequest:
    """Objects to send in a pack, which may build on what the given commits reach."""

    objects: tuple[bytes, ...]
    bases: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class PlayRequest:
    """A request for a block's objects as a pack."""

    block: BlockName


@dataclass(frozen=True, slots=True)
class PlayAnswer:
    """A block's pack, and how far into the block its first object begins.

    An empty block has an empty ``pack``; `UNKNOWN_OFFSET` with an empty pack is a refusal.
    """

    block: BlockName
    offset: int
    pack: bytes


@dataclass(frozen=True, slots=True)
class ObjectsAnswer:
    """The pack that answers an `ObjectsRequest`; empty when the objects are not here."""

    pack: bytes


@dataclass(frozen=True, slots=True)
class Stop:
    """The sender does not want a block any more."""

    block: BlockName


Message: TypeAlias = (
    KeepAlive
    | Choke
    | Unchoke
    | Interested
    | Uninterested
    | Peers
    | References
    | Reels
    | BlocksRequest
    | BlocksStatus
    | ScanRequest
    | ScanAnswer
    | ObjectsRequest
    | PlayRequest
    | PlayAnswer
    | ObjectsAnswer
    | Stop
)

DATA_REQUESTS = (ScanRequest, ObjectsRequest, PlayRequest)
"""Messages that ask for data, which a choked peer may not send."""


def bitmap_of(have: set[int] | frozenset[int], count: int) -> bytes:
    """Return the bitmap of ``count`` blocks with the bits in ``have`` set."""
    bits = bytearray((count + 7) // 8)
    for index in have:
        bits[index >> 3] |= 1 << (index & 7)
    return bytes(bits)


def blocks_in(bitmap: bytes, count: int) -> set[int]:
    """Return which of ``count`` blocks a bitmap names; bits beyond are ignored."""
    found: set[int] = set()
    for at, byte in enumerate(bitmap):
        if byte:
            found.update(at * 8 + bit for bit in range(8) if byte >> bit & 1)
    return {index for index in found if index < count}
