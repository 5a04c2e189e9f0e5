"""The constants of scheduling, named, with their reasons; and which of them a user may turn.

Must not know: peers, parts in flight, or the time.
"""

from __future__ import annotations

import enum

from msgspec import Struct

MAX_PEERS = 2000
"""Peers one download keeps track of; further ones are not asked. Bounds memory for bitmaps."""

MAX_DEPTH = 64
"""Parts in flight at one peer, whatever rate it appears to have; even if each is a request of its
own, that many may be pipelined (docs/protocol/mirrorsync.md, mirror-sync)."""

MAX_RUN = 64
"""Parts in one request; enough that requests cost nothing, few enough to be re-planned soon."""

CLEARLY = 0.7
"""A part is asked a second time only if that takes at most this fraction of the time left."""

TAIL = 64
"""So few free parts are given out one by one, each to the peer that finishes it first."""

SMALL = 8
"""Of so few missing parts a stranger gets one: it may be the slowest of those still to come."""

MAX_BUSY = 300.0
"""Seconds a peer may ask to be left alone; longer is cut to this, so a rejoin is never needed."""

MAX_BANS = 1024
"""Banned peers remembered; the oldest is forgotten first (the shell refuses addresses itself)."""

FALSE_CLAIMS = 3
"""Parts a peer may lack though its bitmap claimed them; one more and it is a liar."""

UNKNOWN_RATE = 128 * 1024.0
"""Bytes per second assumed of a peer while nothing at all is known: a 1 Mbit/s line."""


class Mode(enum.Enum):
    """In which order missing parts are asked for."""

    IN_ORDER = "in order"  # lowest first: the indexer reads the pack from its beginning
    RAREST = "rarest"  # fewest holders first, ties at random: cloners complement each other


class Settings(Struct, frozen=True):
    """What may be tuned; the defaults suit links of 1 Mbit/s to 10 Gbit/s and parts of 1 MiB.

    ``mode``: fixed order, or None to go by the share of complete peers.
    ``slack``: seconds of data asked for beyond the delay of the line.
    ``in_flight``: most seconds of data in flight at a peer.
    ``patience``: shortest silence, in seconds, before a peer counts as stalled;
    ``first_patience``: the same before its first part; ``stall_factor``: how many times the
    expected time of a part it may be silent; ``longest_patience``: what silence is never worth;
    ``mirror_patience``: the same while all peers are complete, so that nobody waits in line.
    ``line_patience``: shortest silence of an incomplete peer before it counts as stalled, since
    others wait in line there too; the seconds that asking twice must save among such peers; and
    after which a part that is late is asked of an idle peer too.
    ``window``: bytes ahead of the indexer at which a late part it waits for is asked again.
    ``duplicate_share``: fraction of parts that may be asked twice merely to end sooner.
    ``untried``: seconds a part owed must still take for a peer of unknown speed to be asked too.
    ``recheck``: seconds between reviews while a peer idles.
    """

    mode: Mode | None = None
    slack: float = 0.5
    in_flight: float = 2.0
    patience: float = 2.0
    first_patience: float = 5.0
    stall_factor: float = 4.0
    longest_patience: float = 120.0
    mirror_patience: float = 25.0
    line_patience: float = 10.0
    window: int = 64 << 20
    duplicate_share: float = 0.02
    untried: float = 10.0
    recheck: float = 0.25
