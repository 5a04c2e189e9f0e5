"""What peers say to each other, whatever the dialect.

Pure values. A reel is named by the ids of the two reference objects it runs between; a block by
its number and, in the dialect of the draft, the block size that its reader chose. Sizes and offsets
are in uncompressed bytes. How each becomes bytes is `gittorrent.gtp.codec`'s business.
Source: docs/protocol/gtp01.md, Messages.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum, unique
from typing import TypeAlias

from msgspec import Struct

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


class ReelName(Struct, frozen=True, order=True):
    """A reel: binary ids (20 bytes each) of the references it starts after and leads to."""

    start: bytes
    end: bytes

    def __str__(self) -> str:
        first = "" if self.start == BEGINNING else self.start.hex()[:12]
        return f"{first}:{self.end.hex()[:12]}"


class KeepAlive(Struct, frozen=True):
    """Nothing, to show that the sender lives."""


class Choke(Struct, frozen=True):
    """The receiver may send no data messages; what it asked for is discarded."""


class Unchoke(Struct, frozen=True):
    """The receiver may send data messages."""


class Interested(Struct, frozen=True):
    """The sender would ask for data if it were not choked."""


class Uninterested(Struct, frozen=True):
    """The sender wants nothing."""


class PeerAddress(Struct, frozen=True):
    """Where a peer listens: its id (20 bytes), an IP address or DNS name, a port."""

    peer_id: bytes
    host: str
    port: int


class Peers(Struct, frozen=True):
    """Peers the sender knows; without any, a request for them."""

    peers: tuple[PeerAddress, ...] = ()


class ReferenceEntry(Struct, frozen=True):
    """A reference object's id (20 bytes) and body; no body announces that it can be had."""

    reference: bytes
    body: bytes = b""


class References(Struct, frozen=True):
    """Reference objects; without any, a request for them."""

    entries: tuple[ReferenceEntry, ...] = ()


class ReelOffer(Struct, frozen=True):
    """A reel that the sender has something of, and its uncompressed size."""

    reel: ReelName
    size: int


class Reels(Struct, frozen=True):
    """Reels the sender has something of; without any, a request for them."""

    offers: tuple[ReelOffer, ...] = ()


class BlocksRequest(Struct, frozen=True):
    """A question which blocks the receiver has; ``block_size`` is 0 where blocks are commits."""

    reel: ReelName
    block_size: int


class BlocksStatus(Struct, frozen=True):
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


class BlockName(Struct, frozen=True):
    """A block: number ``index`` of the blocks of ``size`` bytes of a reel (0: of one commit)."""

    reel: ReelName
    index: int
    size: int


class ScanRequest(Struct, frozen=True):
    """A question which objects a block holds."""

    block: BlockName


class ScanEntry(Struct, frozen=True):
    """An object in a block: binary id, type, uncompressed size."""

    oid: bytes
    kind: Kind
    size: int


class ScanAnswer(Struct, frozen=True):
    """The objects of a block in order, and how far into it the first begins."""

    block: BlockName
    offset: int
    entries: tuple[ScanEntry, ...]


class ObjectsRequest(Struct, frozen=True):
    """Objects to send in a pack, which may build on what the given commits reach."""

    objects: tuple[bytes, ...]
    bases: tuple[bytes, ...] = ()


class PlayRequest(Struct, frozen=True):
    """A request for a block's objects as a pack."""

    block: BlockName


class PlayAnswer(Struct, frozen=True):
    """A block's pack, and how far into the block its first object begins.

    An empty block has an empty ``pack``; `UNKNOWN_OFFSET` with an empty pack is a refusal.
    """

    block: BlockName
    offset: int
    pack: bytes


class ObjectsAnswer(Struct, frozen=True):
    """The pack that answers an `ObjectsRequest`; empty when the objects are not here."""

    pack: bytes


class Stop(Struct, frozen=True):
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


FOR_MESSAGE, FOR_ID = 320, 64
"""Bytes that a message takes in memory, and each id that it lists: all of them are objects."""


def memory_of(message: Message) -> int:
    """Return how many bytes a message takes while it waits, by estimate."""
    match message:
        case ObjectsRequest(objects, bases):
            return FOR_MESSAGE + FOR_ID * (len(objects) + len(bases))
        case ScanAnswer(_, _, entries):
            return FOR_MESSAGE + 3 * FOR_ID * len(entries)
        case PlayAnswer(_, _, pack) | ObjectsAnswer(pack):
            return FOR_MESSAGE + len(pack)
        case _:
            return FOR_MESSAGE


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
