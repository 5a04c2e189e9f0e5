"""What an `gittorrent.gtp.exchange.Exchange` wants done, and the books it keeps about peers.

Pure values. Effects are carried out in order by a shell, which reports back to the exchange.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from gittorrent.gtp.messages import BlockName, Message, PeerAddress, ReelName, ScanEntry
    from gittorrent.gtp.picker import Picker
    from gittorrent.ids import Oid

PeerKey: TypeAlias = int
"""A connection's number, never used twice."""


@dataclass(frozen=True, slots=True)
class Say:
    """Send a message to a peer."""

    peer: PeerKey
    message: Message


@dataclass(frozen=True, slots=True)
class Drop:
    """End a connection; ``reason`` says what the peer did wrong, ``ban`` that it may not return."""

    peer: PeerKey
    reason: str
    ban: bool = True


@dataclass(frozen=True, slots=True)
class Believed:
    """A reference object was verified; remember it."""

    reference: bytes


@dataclass(frozen=True, slots=True)
class Meet:
    """A peer named others; connect if there is room."""

    peers: tuple[PeerAddress, ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """Check and store a block's pack, then report `Exchange.kept`."""

    peer: PeerKey
    block: BlockName
    offset: int
    pack: bytes


@dataclass(frozen=True, slots=True)
class KeepObjects:
    """Store objects that were asked for by id, then report `Exchange.kept_objects`."""

    peer: PeerKey
    job: ObjectsJob
    pack: bytes


@dataclass(frozen=True, slots=True)
class Compare:
    """Find which of a block's objects are not here, then report `Exchange.compared`."""

    peer: PeerKey
    block: BlockName
    entries: tuple[ScanEntry, ...]


@dataclass(frozen=True, slots=True)
class Splice:
    """The path changed: make the objects of these reels' blocks usable, and forget the blocks."""

    reels: tuple[ReelName, ...]


@dataclass(frozen=True, slots=True)
class Discard:
    """Some of what was received is bad and nobody knows which: forget all of these reels."""

    reels: tuple[ReelName, ...]


@dataclass(frozen=True, slots=True)
class Assemble:
    """All blocks of the path are here: index, prove, report `Exchange.assembled` or a failure."""

    wanted: bytes
    path: tuple[Fetch, ...]


Effect: TypeAlias = (
    Say | Drop | Believed | Meet | Keep | KeepObjects | Compare | Splice | Discard | Assemble
)


@dataclass(frozen=True, slots=True)
class ObjectsJob:
    """Objects asked for by id: those of a block, or (without one) what the proof found missing."""

    block: BlockName | None
    oids: tuple[Oid, ...]


@dataclass(slots=True)
class Fetch:
    """The download of one reel.

    Args:
        reel: of it.
        size: uncompressed bytes, as its offers say.
        block_size: that we chose; 0 where blocks are commits.
        picker: made when the number of blocks is known.
        spliced: whether blocks are scanned before they are played, since much is here.
        scanned: blocks whose objects were compared.
        providers: who sent each block.
        received: bytes of packs that came.
    """

    reel: ReelName
    size: int
    block_size: int
    picker: Picker | None = None
    spliced: bool = False
    scanned: set[int] = field(default_factory=set)
    providers: dict[int, PeerKey] = field(default_factory=dict)
    received: int = 0


@dataclass(slots=True)
class PeerBook:
    """What an exchange knows of one peer.

    Args:
        choked: whether it lets us ask.
        offers: its reels and their sizes.
        pending: reels whose status it was asked and has not told, and when.
        open: blocks it was asked for, and when.
        jobs: objects it was asked for, in order, and when.
        interested: whether we said that we want something.
        heard: when bytes came last.
    """

    choked: bool
    offers: dict[ReelName, int] = field(default_factory=dict)
    pending: dict[ReelName, float] = field(default_factory=dict)
    open: dict[BlockName, float] = field(default_factory=dict)
    jobs: list[tuple[ObjectsJob, float]] = field(default_factory=list)
    interested: bool = False
    heard: float = 0.0
