"""Decides which parts to request from which peer, so that every peer's pipeline is full.

For ``Download``, which calls ``fill`` whenever a peer may have room. The rules:

- *Pipeline*: each peer owes as much as its bandwidth and distance make sensible (peers.py).
- *Begun*: a peer that comes back goes on with what it had begun to give.
- *In order*: a peer gets the lowest part that would not come sooner from the others. While it
  fetches one part the others get through so many; a slow peer therefore starts that far ahead
  and never holds up the part that the indexer needs next.
- *Rarest first*, when incomplete peers are the majority.
- *Tail*, in order: of the last few parts, a peer gets none that the others would all finish
  before it. (Among incomplete peers few parts can be had at a time anyway, and nobody waits.)
- *Endgame*: once nothing is idle, a peer without work repeats what is expected last, if it is
  clearly faster than whoever owes it. How often is bounded, unless it saves seconds.
- *Late head*: the same for the part the indexer waits for, once the others are far ahead.

Tracks nothing between calls but the number of repeats.
Must not know: why a peer has room, or what became of former requests.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.swarm.events import Ask, Effect, PeerKind
from gittorrent.swarm.settings import CLEARLY, SMALL, TAIL, UNKNOWN_RATE, Mode, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.swarm.download_state import DownloadState
    from gittorrent.swarm.peers import Peer

LATE_LOOKED_AT = 32
"""Of the parts owed, how many of the latest an idle peer considers repeating."""


class _DecisionContext(Struct):
    """Figures common to all decisions of one call of ``fill``."""

    now: float
    mode: Mode
    rate: float  # of all live peers together
    assumed_rate: float  # of a peer whose rate is unknown
    owed: int  # parts in flight at live peers
    live: int  # peers that can be asked
    late: list[tuple[float, int]] | None = None  # parts owed, latest expected first


class RequestScheduler:
    """Decides what to ask of peers that have room."""

    def __init__(self, state: DownloadState, settings: Settings) -> None:
        self.state = state
        self.settings = settings
        self.repeats = 0
        self.idle = False  # whether the last ``fill`` left a peer without work by choice
        self._part_size = state.layout.part_size
        self._window = max(8, settings.window // self._part_size)

    def mode(self) -> Mode:
        """Return the order in force: in order while complete peers are many enough.

        With one of them at most, whatever nobody else has comes through that one: rarest first.
        """
        if self.settings.mode is not None:
            return self.settings.mode
        partial = self.state.partial_peers
        complete = len(self.state.peers) - partial
        swarming = partial > complete or (partial > 0 and complete <= 1)
        return Mode.RAREST if swarming else Mode.IN_ORDER

    def fill(self, now: float, peers: Iterable[Peer]) -> list[Effect]:
        """Ask peers that have room for what they are best asked for; return the requests."""
        self.idle = False
        peers = [peer for peer in peers if peer.room(now, self._part_size, self.settings)]
        if not peers:
            return []
        context = self._context(now)
        chosen = sorted(peers, key=lambda peer: self._rank(context, peer))
        effects = self._fill_each(context, chosen)
        if self.idle and len(chosen) < len(self.state.peers):
            # work was left to a better peer: see that it takes it
            rest = sorted(self.state.peers.values(), key=lambda peer: self._rank(context, peer))
            effects += self._fill_each(context, rest)
        return effects

    def _fill_each(self, context: _DecisionContext, peers: list[Peer]) -> list[Effect]:
        effects: list[Effect] = []
        for peer in peers:
            room = peer.room(context.now, self._part_size, self.settings)
            while room > 0:
                run = self._choose(context, peer, room)
                if run is None:
                    break
                first, last = run
                self.state.ask(context.now, peer, first, last)
                context.owed += last - first + 1
                context.late = None
                room -= last - first + 1
                before = effects[-1] if effects else None
                if isinstance(before, Ask) and before.peer == peer.key and before.last + 1 == first:
                    effects[-1] = Ask(peer.key, before.first, last)
                else:
                    effects.append(Ask(peer.key, first, last))
        return effects

    def _context(self, now: float) -> _DecisionContext:
        total, slowest, owed, live = 0.0, math.inf, 0, 0
        for peer in self.state.peers.values():
            if self._live(now, peer):
                live += 1
                owed += len(peer.flights)
                rate = peer.meter.rate
                if rate is not None:
                    total += rate
                    slowest = min(slowest, rate)
        assumed = slowest if total else UNKNOWN_RATE
        return _DecisionContext(now, self.mode(), total, max(assumed, 1.0), owed, max(live, 1))

    @staticmethod
    def _live(now: float, peer: Peer) -> bool:
        return not peer.snubbed and now >= peer.quiet_until

    def _rank(self, context: _DecisionContext, peer: Peer) -> tuple[bool, bool, bool, float]:
        """Sort key: the first peer is offered the most urgent part."""
        soon = peer.finish_after(context.now, self._part_size, context.assumed_rate)
        return peer.snubbed, peer.unreliable, peer.kind is PeerKind.HTTP, soon

    def _choose(self, context: _DecisionContext, peer: Peer, room: int) -> tuple[int, int] | None:
        """Return the run to ask a peer for, or None."""
        picker = self.state.picker
        candidates = picker.candidates(peer.claim)
        for flight in peer.flights.values():
            if flight.shared:
                candidates &= ~picker.bit(flight.part)
        if not candidates:
            return self._repeat(context, peer) if not picker.free else None
        if begun := candidates & peer.begun:
            return picker.pick(begun, Mode.IN_ORDER, 0, 1)
        if peer.snubbed:
            return picker.pick(candidates, context.mode, self.state.layout.parts, 1)
        if (head := self._late_head(context, peer)) is not None:
            return head
        left = candidates.bit_count()
        if left <= TAIL and context.mode is Mode.IN_ORDER:
            if self._others_sooner(context, peer, candidates, left):
                self.idle = True
                return None
            room = 1
        if peer.meter.rate is None:  # of a small pack every newcomer gets its share
            wanted = left + context.owed
            share = 1 if wanted <= SMALL else -(-wanted // context.live)
            room = min(room, max(share - len(peer.flights), 0 if peer.flights else 1))
            if not room:
                return None
        start = self._start(context, peer, candidates) if context.mode is Mode.IN_ORDER else 0
        return picker.pick(candidates, context.mode, start, room)

    def _start(self, context: _DecisionContext, peer: Peer, candidates: int) -> int:
        """Return the lowest part that would not come sooner from the other peers."""
        lowest = self.state.picker.first_from(candidates, 0) or 0
        wait = peer.finish_after(context.now, self._part_size, context.assumed_rate) - context.now
        others = max(context.rate - (peer.meter.rate or 0.0), 0.0)
        done_meanwhile = int(min(others * wait / self._part_size, self.state.layout.parts))
        skip = done_meanwhile - (context.owed - len(peer.flights))
        return lowest + max(skip, 0)

    def _others_sooner(
        self, context: _DecisionContext, peer: Peer, candidates: int, left: int
    ) -> bool:
        """Tell whether the others would finish all of these parts before ``peer`` finishes one.

        Never true of the peer that finishes first, so somebody always takes the work.
        """
        own = peer.finish_after(context.now, self._part_size, context.assumed_rate)
        line: list[tuple[float, float]] = []
        for other in self.state.peers.values():
            rate = other.meter.rate
            if other is peer or rate is None or not self._live(context.now, other):
                continue
            if other.unreliable or (other.claim is not None and candidates & ~other.claim):
                continue
            ready = other.finish_after(context.now, self._part_size, rate)
            if ready < own:
                line.append((ready, self._part_size / rate))
        if not line:
            return False
        heapq.heapify(line)
        for _ in range(left):
            ready, step = line[0]
            if ready >= own:
                return False
            heapq.heapreplace(line, (ready + step, step))
        return True

    def _repeat(self, context: _DecisionContext, peer: Peer) -> tuple[int, int] | None:
        """Endgame: return a part that is owed by a clearly slower peer."""
        if len(peer.flights) > 1 or peer.snubbed or not self.state.askers:
            return None
        self.idle = True
        if context.late is None:
            expected = ((self._expected(context, part), part) for part in self.state.askers)
            context.late = heapq.nlargest(LATE_LOOKED_AT, expected)
        for _, part in context.late:
            if self._worth_repeating(context, peer, part):
                self.repeats += 1
                return part, part
        return None

    def _late_head(self, context: _DecisionContext, peer: Peer) -> tuple[int, int] | None:
        """Return the part the indexer waits for if it is worth asking this peer for it too."""
        head = self.state.prefix
        if context.mode is not Mode.IN_ORDER or head not in self.state.askers:
            return None
        frontier = self.state.picker.first_from(self.state.picker.free, head)
        if frontier is None or frontier - head <= self._window:
            return None
        if not self._worth_repeating(context, peer, head):
            return None
        self.repeats += 1
        return head, head

    def _expected(self, context: _DecisionContext, part: int) -> float:
        """Return when a part that is owed will be here."""
        owing = self.state.askers[part]
        return min(peer.finish_of(context.now, part, context.assumed_rate) for peer in owing)

    def _is_overdue(self, context: _DecisionContext, part: int) -> bool:
        """Tell whether a part has been owed for long, and is late at everybody who owes it.

        What is expected says little then: who delivers nothing may be trickling, or gone.
        """
        owing = self.state.askers[part]
        asked = min(peer.flights[part].asked for peer in owing)
        return context.now - asked > self.settings.line_patience and all(
            peer.due_of(part, context.assumed_rate) < context.now for peer in owing
        )

    def _worth_repeating(self, context: _DecisionContext, peer: Peer, part: int) -> bool:
        """Tell whether to ask a peer, too, for a part that is owed already.

        To end a little sooner, a part is asked of two live peers at most and not often. To save
        seconds, or if it is overdue, there is no such bound: each further peer must beat the best
        before it clearly.
        """
        owing = self.state.askers[part]
        if peer in owing or not self.state.claims(peer, part):
            return False
        expected = self._expected(context, part)
        # A peer of unknown speed may be no better; but who owes the part may be trickling for ever.
        suits_anybody = expected == math.inf or (
            expected - context.now > self.settings.untried and len(owing) == 1
        )
        if peer.meter.rate is None:
            return suits_anybody
        own = peer.finish_after(context.now, self.state.layout.size(part), context.assumed_rate)
        if own - context.now > CLEARLY * (expected - context.now):
            return False
        patience = self.settings.patience
        if context.mode is Mode.RAREST:
            patience = self.settings.line_patience
        if expected - own > patience or suits_anybody or self._is_overdue(context, part):
            return True
        live = sum(not other.snubbed for other in owing)
        share = self.settings.duplicate_share * self.state.layout.parts
        return live <= 1 and self.repeats < max(2, int(share))
