"""What an `gittorrent.gtp.exchange.Exchange` wants done, and what it knows of each peer.

Pure values. Effects are carried out in order by a shell, which reports back to the exchange.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct, field

from gittorrent.gtp.received import ReceivedBytes

if TYPE_CHECKING:
    from gittorrent.gtp.messages import BlockName, Message, PeerAddress, ReelName, ScanEntry
    from gittorrent.gtp.picker import Picker
    from gittorrent.ids import Oid

PeerKey: TypeAlias = int
"""A connection's number, never used twice."""


class SendMessage(Struct, frozen=True):
    """Send a message to a peer."""

    peer: PeerKey
    message: Message


class Drop(Struct, frozen=True):
    """End a connection; ``reason`` says what the peer did wrong, ``ban`` that it may not return."""

    peer: PeerKey
    reason: str
    ban: bool = True


class ReferenceVerified(Struct, frozen=True):
    """A reference object was verified; remember it."""

    reference: bytes


class ConnectTo(Struct, frozen=True):
    """``peer`` named others; connect if there is room, and if it may send us there."""

    peer: int
    peers: tuple[PeerAddress, ...]


class StoreBlock(Struct, frozen=True):
    """Check and store a block's pack, then report `Exchange.kept`."""

    peer: PeerKey
    block: BlockName
    offset: int
    pack: bytes


class StoreObjects(Struct, frozen=True):
    """Store objects that were asked for by id, then report `Exchange.kept_objects`."""

    peer: PeerKey
    job: ObjectsJob
    pack: bytes


class Compare(Struct, frozen=True):
    """Find which of a block's objects are not here, then report `Exchange.compared`."""

    peer: PeerKey
    block: BlockName
    entries: tuple[ScanEntry, ...]


class Splice(Struct, frozen=True):
    """The path changed: make the objects of these reels' blocks usable, and forget the blocks."""

    reels: tuple[ReelName, ...]


class Discard(Struct, frozen=True):
    """Some of what was received is bad and nobody knows which: forget all of these reels."""

    reels: tuple[ReelName, ...]


class Compact(Struct, frozen=True):
    """Keep each object of a reel's stored blocks once, then report `Exchange.compacted`."""

    reel: ReelName


class Assemble(Struct, frozen=True):
    """All blocks of the path are here: index, prove, report `Exchange.assembled` or a failure.

    ``without``: what refs name and nobody sends; those refs are left out.
    """

    wanted: bytes
    path: tuple[ReelDownload, ...]
    without: frozenset[Oid] = frozenset()


Effect: TypeAlias = (
    SendMessage
    | Drop
    | ReferenceVerified
    | ConnectTo
    | StoreBlock
    | StoreObjects
    | Compare
    | Splice
    | Compact
    | Discard
    | Assemble
)


class ObjectsJob(Struct, frozen=True):
    """Objects asked for by id: those of a block, or (without one) what the proof found missing."""

    block: BlockName | None
    oids: tuple[Oid, ...]


class ReelDownload(Struct):
    """The download of one reel.

    Args:
        reel: of it.
        size: uncompressed bytes, as its offers say.
        block_size: that we chose; 0 where blocks are commits.
        picker: made when the number of blocks is known.
        spliced: whether blocks are scanned before they are played, since much is here.
        scanned: blocks whose objects were compared.
        providers: who sent each block.
        received: bytes of the packs that came.
        lacked: peers whose last block had not all that refs name.
    """

    reel: ReelName
    size: int
    block_size: int
    picker: Picker | None = None
    spliced: bool = False
    scanned: set[int] = field(default_factory=set)
    providers: dict[int, PeerKey] = field(default_factory=dict)
    received: ReceivedBytes = field(default_factory=ReceivedBytes)
    lacked: set[PeerKey] = field(default_factory=set)


class PeerState(Struct):
    """What an exchange knows of one peer.

    Args:
        choked: whether it lets us ask.
        offers: its reels and their sizes.
        pending: reels whose status it was asked and has not told, and when.
        open: blocks it was asked for, and when.
        jobs: objects it was asked for, in order, and when.
        interested: whether we said that we want something.
        heard: when bytes came last.
        explored: when it was asked last whom it knows.
    """

    choked: bool
    offers: dict[ReelName, int] = field(default_factory=dict)
    pending: dict[ReelName, float] = field(default_factory=dict)
    open: dict[BlockName, float] = field(default_factory=dict)
    jobs: list[tuple[ObjectsJob, float]] = field(default_factory=list)
    interested: bool = False
    heard: float = 0.0
    explored: float = 0.0
