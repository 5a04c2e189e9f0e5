"""What is known of one peer: its claim, its speed, what it owes, how it behaved.

For the scheduler. Tracks the parts in flight with the time each was asked for, goodput (an
exponentially weighted mean over the time in which something was owed), the time to the first
byte, the last sign of life, failures, and whether it is snubbed.

Rules: a peer is expected to serve in the order it was asked. Silence is measured from the last
byte, so a slow peer that flows is never mistaken for a stalled one. Times are absolute seconds on
the caller's clock, rates bytes per second.
Must not know: other peers, or which parts are wanted.
"""

from __future__ import annotations

import math

from msgspec import Struct, field

from gittorrent.swarm.events import PeerKey, PeerKind
from gittorrent.swarm.settings import MAX_DEPTH, MAX_RUN, Settings

RATE_MEMORY = 3.0
"""Seconds over which goodput is averaged: a change of speed shows within a few seconds."""

ASSUMED_ROUND_TRIP = 0.1
"""Seconds to the first byte while unmeasured."""

LINE_WAITS = 3.0
"""How many times the usual wait in line at an incomplete peer is too long."""

MIN_SAMPLE = 1e-4
"""Shortest time, in seconds, a delivery is taken to last: bursts must not look infinitely fast."""


class Flight(Struct):
    """One part owed by one peer; ``shared`` when others may be asked for it as well."""

    part: int
    size: int
    asked: float
    received: int = 0
    shared: bool = False


class Meter(Struct):
    """Goodput and time to first byte of one peer, from what it delivers."""

    round_trip: float | None = None
    _bytes: float = 0.0
    _seconds: float = 0.0
    _mark: float = 0.0
    _waiting: bool = False  # for the first byte after an idle spell
    _opening: int = 0  # bytes of the first piece, whose own time is not yet known

    @property
    def rate(self) -> float | None:
        """Bytes per second, or None before the first delivery."""
        return self._bytes / self._seconds if self._seconds > 0 else None

    @property
    def mark(self) -> float:
        """When the peer last delivered bytes, or was first asked after an idle spell."""
        return self._mark

    def begin(self, now: float) -> None:
        """Something is owed after nothing was."""
        self._mark = now
        self._waiting = True

    def deliver(self, now: float, size: int, *, partial: bool) -> None:
        """``size`` more bytes came; ``partial`` when they are the beginning or middle of a part."""
        elapsed = now - self._mark
        if self._waiting:
            self._waiting = False
            if partial:  # the first piece of an answer tells of distance, not of speed
                self._heard_first(elapsed, size)
                self._mark = now
                return
            elapsed = max(elapsed - (self.round_trip or 0.0), elapsed / 2)
        self._mark = now
        elapsed = max(elapsed, MIN_SAMPLE)
        fade = math.exp(-elapsed / RATE_MEMORY)
        self._bytes = self._bytes * fade + size
        self._seconds = self._seconds * fade + elapsed
        if self._opening and self.round_trip is not None:
            self.round_trip = max(
                0.0, self.round_trip - self._opening * self._seconds / self._bytes
            )
            self._opening = 0

    def _heard_first(self, elapsed: float, size: int) -> None:
        """Learn the distance: the time to the first piece less the time the piece itself took."""
        if self.rate is None:
            self.round_trip, self._opening = elapsed, size
            return
        sample = max(0.0, elapsed - size / self.rate)
        known = self.round_trip
        self.round_trip = sample if known is None else 0.75 * known + 0.25 * sample


class Peer(Struct, eq=False):
    """One peer of one download. ``claim`` is a picker mask, None when it has everything."""

    key: PeerKey
    kind: PeerKind
    claim: int | None
    meter: Meter = field(default_factory=Meter)
    flights: dict[int, Flight] = field(default_factory=dict)
    begun: int = 0  # a picker mask of the parts whose beginning came from it
    refused: set[int] = field(default_factory=set)
    unjudged: int = 0  # parts that came from it and are being verified
    snubbed: bool = False
    snubs: int = 0
    quiet_until: float = -math.inf
    delivered_parts: int = 0
    delivered_bytes: int = 0

    def depth(self, part_size: int, settings: Settings) -> int:
        """Return how many parts should be in flight, from bandwidth times delay."""
        if self.snubbed:
            return 1
        if self.unreliable:
            return 1  # what it says cannot be relied on; what it sends is still welcome
        rate = self.meter.rate
        if rate is None or self.delivered_parts == 0:
            # However fast it sends, nothing of it is verified: it may be rubbish.
            return 2
        round_trip = self.round_trip
        wanted = max(2, math.ceil(rate * (2 * round_trip + settings.slack) / part_size))
        most = max(4, int(rate * settings.in_flight / part_size))
        # One part that came out of a buffer says little: what is owed at most doubles with each.
        return min(wanted, most, 2 + 2 * self.delivered_parts, MAX_DEPTH)

    def room(self, now: float, part_size: int, settings: Settings) -> int:
        """Return how many parts to ask for now, 0 while the pipeline is full enough.

        Half the depth is refilled at a time, so that a fast peer is asked in long runs.
        """
        if now < self.quiet_until:
            return 0
        depth = self.depth(part_size, settings)
        room = depth - len(self.flights)
        if self.delivered_parts == 0:
            room -= self.unjudged
        return min(room, MAX_RUN) if room >= max(1, depth // 2) else 0

    @property
    def unreliable(self) -> bool:
        """Whether it has twice lacked a part that it claimed."""
        return len(self.refused) >= 2

    @property
    def round_trip(self) -> float:
        """Seconds to the first byte, measured or assumed."""
        known = self.meter.round_trip
        return ASSUMED_ROUND_TRIP if known is None else known

    def fly(self, now: float, part: int, size: int) -> None:
        """Record that a part was asked for."""
        if not self.flights:
            self.meter.begin(now)
        self.flights[part] = Flight(part, size, now)

    def take_up(self, part: int, received: int) -> None:
        """Record that of a part just asked for ``received`` bytes are here since before."""
        flight = self.flights.get(part)
        if flight is not None:
            flight.received = min(received, flight.size)

    def receive(self, now: float, part: int, received: int, *, complete: bool) -> None:
        """Record that of a part ``received`` bytes are here by now (clipped to its size)."""
        flight = self.flights.get(part)
        if flight is None:
            return
        grown = min(received, flight.size) - flight.received
        if grown > 0:
            flight.received += grown
            self.meter.deliver(now, grown, partial=not complete)

    def finish_after(self, now: float, extra: int, assumed_rate: float) -> float:
        """Return when ``extra`` bytes asked for now would be here, behind all that is owed."""
        rate = self.meter.rate or assumed_rate
        owed = sum(flight.size - flight.received for flight in self.flights.values())
        lead = 0.0 if self.flights else self.round_trip
        return now + lead + (owed + extra) / rate

    def finish_of(self, now: float, part: int, assumed_rate: float) -> float:
        """Return when a part in flight is expected; never, if the peer is snubbed.

        A part that is late already is expected to be as late again.
        """
        due = self.due_of(part, assumed_rate)
        return due if due >= now else now + (now - due)

    def due_of(self, part: int, assumed_rate: float) -> float:
        """Return when a part in flight was to be here by the rate known; never, if snubbed."""
        if self.snubbed:
            return math.inf
        rate = self.meter.rate or assumed_rate
        owed = 0
        for flight in self.flights.values():
            owed += flight.size - flight.received
            if flight.part == part:
                break
        return self.meter.mark + owed / rate

    def stalls_at(
        self, part_size: int, settings: Settings, usual: float = 0.0, *, crowd: bool = True
    ) -> float:
        """Return when the peer counts as stalled if nothing comes; never, if nothing is due.

        ``usual``: seconds that a part asked of an incomplete peer usually takes. ``crowd``:
        whether others download too, so that one may have to wait for a turn.
        """
        if not self.flights or all(flight.shared for flight in self.flights.values()):
            return math.inf
        rate = self.meter.rate
        patience = settings.first_patience
        if rate is not None:
            patience = max(settings.patience, settings.stall_factor * part_size / rate)
        if rate is not None and self.delivered_parts == 0:
            patience = max(patience, settings.first_patience)
        if self.claim is not None:
            patience = max(patience, settings.line_patience, LINE_WAITS * usual)
        longest = settings.longest_patience if crowd else settings.mirror_patience
        patience = min(patience * 2.0 ** min(self.snubs, 8), longest)
        return self.meter.mark + patience
