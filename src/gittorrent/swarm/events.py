"""Everything that can be said to and by a download: its events and its effects.

For the shells that move bytes and for the scheduler between them. An event tells what happened;
an effect asks the shell to do something. Parts are numbered from 0, runs of parts are inclusive
at both ends, sizes are bytes, times are seconds.

Rules: values only, frozen. A peer is named by a ``PeerKey`` that the shell picks and never gives
to another peer while the download lives.
Must not know: sockets, addresses, digests, or how parts are chosen.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NewType

from msgspec import Struct

if TYPE_CHECKING:
    from gittorrent.swarm.bitmap import PartSet

PeerKey = NewType("PeerKey", int)
"""The shell's number for a mirror in one download; see also `gittorrent.swarm.keys`."""


class PeerKind(enum.Enum):
    """How a peer is asked, which decides what a request costs."""

    SESSION = "session"  # a mirror-sync conversation: requests are pipelined, cheap, cancellable
    HTTP = "http"  # a static file server: each run is one ranged request


class PeerJoined(Struct, frozen=True):
    """A peer can be asked from now on; ``have`` is what it claims, None for everything.

    ``begun``: parts that it gave the beginning of before it was lost, which it is asked for first.
    """

    peer: PeerKey
    have: PartSet | None
    cost: PeerKind = PeerKind.SESSION
    begun: tuple[int, ...] = ()


class PeerHas(Struct, frozen=True):
    """A peer told anew which parts it has (the whole set, not the difference)."""

    peer: PeerKey
    have: PartSet | None


class PartProgress(Struct, frozen=True):
    """``received`` bytes of a part have come so far; sent now and then while a part flows."""

    peer: PeerKey
    part: int
    received: int


class PartTakenUp(Struct, frozen=True):
    """A part was asked for without its first ``received`` bytes: the peer gave them before."""

    peer: PeerKey
    part: int
    received: int


class PartArrived(Struct, frozen=True):
    """All ``size`` bytes of a part have come and are now being verified."""

    peer: PeerKey
    part: int
    size: int


class PartVerified(Struct, frozen=True):
    """A part that came from ``peer`` has the right digest and is stored."""

    peer: PeerKey
    part: int


class PartWrong(Struct, frozen=True):
    """A part that came from ``peer`` has the wrong digest and was thrown away."""

    peer: PeerKey
    part: int


class PartMissing(Struct, frozen=True):
    """A peer says that it lacks these parts, whatever it claimed before."""

    peer: PeerKey
    first: int
    last: int


class PeerBusy(Struct, frozen=True):
    """A peer refused what it was asked for and wants to be left alone for so many seconds."""

    peer: PeerKey
    seconds: float


class PeerLost(Struct, frozen=True):
    """The connection ended; what was asked of it will not come."""

    peer: PeerKey
    reason: str


class PartFromElsewhere(Struct, frozen=True):
    """A part was stored and verified by another process."""

    part: int


class Tick(Struct, frozen=True):
    """Nothing but time passed; due when ``next_deadline()`` is reached."""


Event = (
    PeerJoined
    | PeerHas
    | PartProgress
    | PartTakenUp
    | PartArrived
    | PartVerified
    | PartWrong
    | PartMissing
    | PeerBusy
    | PeerLost
    | PartFromElsewhere
    | Tick
)


class Ask(Struct, frozen=True):
    """Request the run of parts ``first`` to ``last`` from a peer."""

    peer: PeerKey
    first: int
    last: int


class Cancel(Struct, frozen=True):
    """Tell a peer that these parts, asked for earlier, are no longer wanted from it."""

    peer: PeerKey
    first: int
    last: int


class Ban(Struct, frozen=True):
    """Have nothing more to do with a peer; whatever it was asked for is asked elsewhere."""

    peer: PeerKey
    reason: str


class Finished(Struct, frozen=True):
    """Every part is here and verified; the last effect there will be."""


class Starved(Struct, frozen=True):
    """Nothing that is missing can be had from any peer present; said once until that changes."""

    reason: str


Effect = Ask | Cancel | Ban | Finished | Starved
