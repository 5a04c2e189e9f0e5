"""Downloads one pack, cut in parts, from many mirrors: events in, effects out.

For the shells that own the connections (docs/protocol/mirrorsync.md, Swarm behaviour). A shell
reports what happens with ``handle``, carries out the effects it returns, and sends a ``Tick`` when
``next_deadline`` is reached.

Tracks, in its `DownloadState`, the state of each part and peer; and who was banned and why.
Rules: a part is verified once, and only a verified part counts. A wrong digest bans its sender at
once; a part belongs to one sender, so nobody else can be to blame. A peer that stalls keeps only
its oldest part and everything is askable of others; it is tried with one part at a time, ever less
often, until it delivers. Nothing a peer claims can make the state grow beyond its bitmap. After
``Finished`` there are no effects.
Must not know: sockets, digests, disks, the clock, or where entropy comes from.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.swarm import events as ev
from gittorrent.swarm.download_state import DownloadState, PackLayout, cancels
from gittorrent.swarm.peers import Peer
from gittorrent.swarm.request_scheduler import RequestScheduler
from gittorrent.swarm.settings import FALSE_CLAIMS, MAX_BANS, MAX_BUSY, MAX_PEERS, Mode, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.swarm.bitmap import PartSet

LONGEST_REST = 60.0
"""Seconds after which a stalled peer is tried again, at most."""


class PeerReport(Struct, frozen=True):
    """How one peer does: ``rate`` in bytes per second (0 while unknown), ``in_flight`` in parts.

    ``delivered_parts`` and ``delivered_bytes`` count verified parts; ``banned`` gives the reason,
    or nothing.
    """

    peer: ev.PeerKey
    rate: float
    delivered_parts: int
    delivered_bytes: int
    in_flight: int
    snubbed: bool
    banned: str = ""


class Download:
    """Schedules the download of one pack.

    Arguments: ``parts``, how many parts; ``part_size`` and ``pack_size``, bytes; ``have``, the
    parts already verified (copied); ``random``, entropy: ``random(n)`` gives 0 to n - 1.
    Raises ValueError when these do not agree.
    """

    def __init__(
        self,
        parts: int,
        part_size: int,
        pack_size: int,
        have: PartSet,
        random: Callable[[int], int],
        settings: Settings | None = None,
    ) -> None:
        if have.parts != parts:
            raise ValueError(f"the set of parts here is of {have.parts} parts, not {parts}")
        self._settings = settings or Settings()
        self._state = DownloadState(PackLayout(parts, part_size, pack_size), have, random)
        self._request_scheduler = RequestScheduler(self._state, self._settings)
        self._banned: dict[ev.PeerKey, PeerReport] = {}
        self._now = -math.inf
        self._wake = math.inf
        self._hungry: dict[ev.PeerKey, None] = {}  # peers that may have room
        self._all_hungry = False
        self._effects: list[ev.Effect] = []
        self._starved = False
        self._finished = False

    @property
    def finished(self) -> bool:
        """Whether every part is verified."""
        return len(self._state.have) == self._state.layout.parts

    @property
    def prefix(self) -> int:
        """The number of verified parts at the beginning of the pack."""
        return self._state.prefix

    @property
    def have(self) -> PartSet:
        """The verified parts; to be read, not changed."""
        return self._state.have

    @property
    def mode(self) -> Mode:
        """The order in which parts are asked for at present."""
        return self._request_scheduler.mode()

    @property
    def wasted_bytes(self) -> int:
        """Bytes that came for parts which another peer delivered first."""
        return self._state.wasted_bytes

    def wants(self, part: int) -> bool:
        """Tell whether the bytes of a part would be of use: not verified nor being verified."""
        known = 0 <= part < self._state.layout.parts
        return known and part not in self._state.have and part not in self._state.verifying

    def owes(self, peer: ev.PeerKey) -> bool:
        """Tell whether a peer was asked for parts that it has not given."""
        known = self._state.peers.get(peer)
        return known is not None and bool(known.flights)

    def report(self, now: float) -> tuple[PeerReport, ...]:
        """Return how each peer does at ``now``, those present first, then those banned."""
        present = tuple(self._report_of(now, peer) for peer in self._state.peers.values())
        return present + tuple(self._banned.values())

    def next_deadline(self) -> float | None:
        """Return when a ``Tick`` is due if nothing happens before, or None for never."""
        return None if self.finished or self._wake == math.inf else self._wake

    def check_invariant(self) -> None:
        """Raise AssertionError if the state contradicts itself; for tests."""
        self._state.check_invariant()
        assert not self._banned.keys() & self._state.peers.keys(), "a banned peer is present"

    def handle(self, now: float, event: ev.Event) -> list[ev.Effect]:
        """Take in what happened at ``now`` (seconds on any clock) and return what to do.

        What comes from a peer is never trusted: nonsense in an event bans the peer it came from.
        Raises ValueError for a ``PartFromElsewhere`` that names no part of this pack.
        """
        if self._finished:
            return []
        self._now = max(self._now, now)
        self._effects = []
        self._dispatch(event)
        if self._now >= self._wake:
            self._expire()
        self._fill()
        self._conclude()
        return self._effects

    def _dispatch(self, event: ev.Event) -> None:
        match event:
            case ev.PeerJoined():
                self._joined(event)
            case ev.PeerHas():
                self._has(event)
            case ev.PartProgress():
                self._progress(event)
            case ev.PartTakenUp():
                peer = self._state.peers.get(event.peer)
                if peer is not None:
                    peer.take_up(event.part, event.received)
            case ev.PartArrived():
                self._arrived(event)
            case ev.PartVerified():
                self._verified(event)
            case ev.PartWrong():
                self._state.reject(event.part, event.peer)
                self._ban(event.peer, f"part {event.part} from it has the wrong digest")
            case ev.PartMissing():
                self._missing(event)
            case ev.PeerBusy():
                self._busy(event)
            case ev.PeerLost():
                peer = self._state.peers.get(event.peer)
                if peer is not None:
                    self._state.drop_peer(peer)
                    self._all_hungry = True
            case ev.PartFromElsewhere():
                if not 0 <= event.part < self._state.layout.parts:
                    raise ValueError(f"there is no part {event.part}")
                self._complete(event.part)
            case ev.Tick():
                pass

    def _joined(self, event: ev.PeerJoined) -> None:
        known = event.peer in self._state.peers or event.peer in self._banned
        if known or len(self._state.peers) >= MAX_PEERS or self._bad_bitmap(event):
            return
        claim = None if event.have is None else event.have.to_mask()
        peer = Peer(event.peer, event.cost, claim)
        for part in event.begun:
            if self.wants(part):
                peer.begun |= self._state.picker.bit(part)
        self._state.add_peer(peer)
        self._hungry[event.peer] = None

    def _has(self, event: ev.PeerHas) -> None:
        peer = self._state.peers.get(event.peer)
        if peer is None or self._bad_bitmap(event):
            return
        self._state.set_claim(peer, None if event.have is None else event.have.to_mask())
        self._hungry[event.peer] = None

    def _bad_bitmap(self, event: ev.PeerJoined | ev.PeerHas) -> bool:
        parts = self._state.layout.parts
        if event.have is None or event.have.parts == parts:
            return False
        self._ban(event.peer, f"its bitmap is of {event.have.parts} parts, the pack has {parts}")
        return True

    def _no_such_part(self, key: ev.PeerKey, first: int, last: int) -> bool:
        if 0 <= first <= last < self._state.layout.parts:
            return False
        self._ban(key, f"it named parts {first} to {last} of {self._state.layout.parts}")
        return True

    def _progress(self, event: ev.PartProgress) -> None:
        peer = self._state.peers.get(event.peer)
        if peer is not None:
            stranger = peer.meter.rate is None
            peer.receive(self._now, event.part, event.received, complete=False)
            if stranger and peer.meter.rate is not None:
                self._hungry[peer.key] = None

    def _arrived(self, event: ev.PartArrived) -> None:
        key, part = event.peer, event.part
        if key in self._banned or self._no_such_part(key, part, part):
            return
        size = self._state.layout.size(part)
        if event.size != size:
            self._ban(key, f"it sent {event.size} bytes for part {part} of {size} bytes")
            return
        peer = self._state.peers.get(key)
        if peer is not None:
            self._delivered(peer, part)
        if self._state.arrive(part, key):
            if peer is not None:
                peer.unjudged += 1
            self._cancel_all(part)

    def _delivered(self, peer: Peer, part: int) -> None:
        if part in peer.flights:
            flight = peer.flights[part]
            self._state.note_wait(peer, self._now - flight.asked)
            peer.receive(self._now, part, flight.size, complete=True)
            self._state.release(peer, part)
        if peer.snubbed:
            peer.snubbed = False
            peer.snubs -= 1
            peer.quiet_until = -math.inf
        self._hungry[peer.key] = None
        self._watch(peer)

    def _verified(self, event: ev.PartVerified) -> None:
        if self._no_such_part(event.peer, event.part, event.part):
            return
        peer = self._state.peers.get(event.peer)
        if peer is not None:
            peer.unjudged = max(0, peer.unjudged - 1)
            self._hungry[peer.key] = None
        if peer is not None and event.part not in self._state.have:
            peer.delivered_parts += 1
            peer.delivered_bytes += self._state.layout.size(event.part)
        self._complete(event.part)

    def _complete(self, part: int) -> None:
        if part not in self._state.have:
            self._cancel_all(part)
            self._state.complete(part)

    def _cancel_all(self, part: int) -> None:
        for peer in self._state.cancel_all(part):
            self._effects.append(ev.Cancel(peer.key, part, part))
            if peer.snubbed:
                self._rest(peer)
            self._hungry[peer.key] = None

    def _missing(self, event: ev.PartMissing) -> None:
        peer = self._state.peers.get(event.peer)
        if peer is None or self._no_such_part(event.peer, event.first, event.last):
            return
        named = [p for p in peer.flights if event.first <= p <= event.last]
        for part in named:
            self._state.release(peer, part)
        # the claim, and so what is noted here, cannot exceed one bitmap; four parts are enough
        false: list[int] = []
        for part in named or range(event.first, min(event.last, event.first + FALSE_CLAIMS) + 1):
            if self._state.claims(peer, part):
                false.append(part)
        if len(peer.refused) + len(false) > FALSE_CLAIMS:
            self._ban(event.peer, "it lacks parts that it said it has")
            return
        self._state.refuse(peer, false)
        self._all_hungry = True

    def _busy(self, event: ev.PeerBusy) -> None:
        peer = self._state.peers.get(event.peer)
        if peer is None:
            return
        for part in list(peer.flights):
            self._state.release(peer, part)
        peer.quiet_until = self._now + min(max(event.seconds, 0.0), MAX_BUSY)
        self._wake = min(self._wake, peer.quiet_until)
        self._all_hungry = True

    def _ban(self, key: ev.PeerKey, reason: str) -> None:
        if key in self._banned:
            return
        peer = self._state.peers.get(key)
        report = PeerReport(key, 0.0, 0, 0, 0, False, reason)
        if peer is not None:
            report = PeerReport(
                key, 0.0, peer.delivered_parts, peer.delivered_bytes, 0, False, reason
            )
            self._state.drop_peer(peer)
        while len(self._banned) >= MAX_BANS:
            del self._banned[next(iter(self._banned))]
        self._banned[key] = report
        self._effects.append(ev.Ban(key, reason))
        self._all_hungry = True

    def _report_of(self, now: float, peer: Peer) -> PeerReport:
        silent = peer.snubbed or now < peer.quiet_until
        return PeerReport(
            peer.key,
            0.0 if silent or not peer.flights else peer.meter.rate or 0.0,
            peer.delivered_parts,
            peer.delivered_bytes,
            len(peer.flights),
            peer.snubbed,
        )

    def _watch(self, peer: Peer) -> None:
        """See that the deadline is not missed at which a peer counts as stalled."""
        stalls = self._stalls_at(peer)
        self._wake = min(self._wake, stalls)

    def _stalls_at(self, peer: Peer) -> float:
        part_size = self._state.layout.part_size
        crowd = self._state.partial_peers > 0
        return peer.stalls_at(part_size, self._settings, self._state.usual, crowd=crowd)

    def _rest(self, peer: Peer) -> None:
        """Leave a stalled peer alone for a while, ever longer."""
        rest = self._settings.patience * 2.0 ** min(peer.snubs, 8)
        peer.quiet_until = max(peer.quiet_until, self._now + min(rest, LONGEST_REST))
        self._wake = min(self._wake, peer.quiet_until)

    def _snub(self, peer: Peer) -> None:
        """A peer has stalled: others may be asked for all it owes; it keeps the oldest part."""
        peer.snubbed = True
        peer.snubs += 1
        oldest, *rest = peer.flights
        for part in rest:
            self._state.wasted_bytes += self._state.release(peer, part).received
        self._effects += cancels(peer.key, rest)
        self._state.share(peer, oldest)
        self._all_hungry = True

    def _expire(self) -> None:
        """Do what is due, and find out when the next thing is."""
        wake = math.inf
        for peer in self._state.peers.values():
            if self._stalls_at(peer) <= self._now:
                self._snub(peer)
            wake = min(wake, self._stalls_at(peer))
            if peer.quiet_until > self._now:
                wake = min(wake, peer.quiet_until)
        self._wake = wake
        self._all_hungry = True

    def _fill(self) -> None:
        peers: Iterable[Peer] = self._state.peers.values()
        if not self._all_hungry:
            known = (self._state.peers.get(key) for key in self._hungry)
            peers = [peer for peer in known if peer is not None]
        if self._all_hungry or self._hungry:
            asks = self._request_scheduler.fill(self._now, peers)
            for ask in asks:
                if isinstance(ask, ev.Ask):
                    self._watch(self._state.peers[ask.peer])
            self._effects += asks
            if self._request_scheduler.idle:
                self._wake = min(self._wake, self._now + self._settings.recheck)
        self._all_hungry = False
        self._hungry.clear()

    def _conclude(self) -> None:
        state = self._state
        if self.finished:
            self._finished = True
            self._effects.append(ev.Finished())
            return
        if state.askers or state.verifying:
            self._starved = False
            return
        if any(state.picker.candidates(peer.claim) for peer in state.peers.values()):
            self._starved = False
        elif not self._starved:
            self._starved = True
            missing = state.layout.parts - len(state.have)
            self._effects.append(
                ev.Starved(
                    f"{missing} parts are missing and none of {len(state.peers)} peers has one"
                    if state.peers
                    else f"{missing} parts are missing and no peer is present"
                )
            )
