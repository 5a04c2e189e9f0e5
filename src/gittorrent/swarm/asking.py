"""Whom to ask for what: keeps every peer busy with the parts it is best asked for.

For ``Download``, which calls ``fill`` whenever a peer may have room. The rules:

- *Pipeline*: each peer owes as much as its bandwidth and distance make sensible (peers.py).
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

    from gittorrent.swarm.books import Books
    from gittorrent.swarm.peers import Peer

LATE_LOOKED_AT = 32
"""Of the parts owed, how many of the latest an idle peer considers repeating."""


class _Scene(Struct):
    """Figures common to all decisions of one call of ``fill``."""

    now: float
    mode: Mode
    rate: float  # of all live peers together
    assumed_rate: float  # of a peer whose rate is unknown
    owed: int  # parts in flight at live peers
    live: int  # peers that can be asked
    late: list[tuple[float, int]] | None = None  # parts owed, latest expected first


class Asker:
    """Decides what to ask of peers that have room."""

    def __init__(self, books: Books, settings: Settings) -> None:
        self.books = books
        self.settings = settings
        self.repeats = 0
        self.idle = False  # whether the last ``fill`` left a peer without work by choice
        self._part_size = books.layout.part_size
        self._window = max(8, settings.window // self._part_size)

    def mode(self) -> Mode:
        """Return the order in force: in order while complete peers are many enough.

        With one of them at most, whatever nobody else has comes through that one: rarest first.
        """
        if self.settings.mode is not None:
            return self.settings.mode
        partial = self.books.partial_peers
        complete = len(self.books.peers) - partial
        swarming = partial > complete or (partial > 0 and complete <= 1)
        return Mode.RAREST if swarming else Mode.IN_ORDER

    def fill(self, now: float, peers: Iterable[Peer]) -> list[Effect]:
        """Ask peers that have room for what they are best asked for; return the requests."""
        self.idle = False
        peers = [peer for peer in peers if peer.room(now, self._part_size, self.settings)]
        if not peers:
            return []
        scene = self._scene(now)
        chosen = sorted(peers, key=lambda peer: self._rank(scene, peer))
        effects = self._fill_each(scene, chosen)
        if self.idle and len(chosen) < len(self.books.peers):
            # work was left to a better peer: see that it takes it
            rest = sorted(self.books.peers.values(), key=lambda peer: self._rank(scene, peer))
            effects += self._fill_each(scene, rest)
        return effects

    def _fill_each(self, scene: _Scene, peers: list[Peer]) -> list[Effect]:
        effects: list[Effect] = []
        for peer in peers:
            room = peer.room(scene.now, self._part_size, self.settings)
            while room > 0:
                run = self._choose(scene, peer, room)
                if run is None:
                    break
                first, last = run
                self.books.ask(scene.now, peer, first, last)
                scene.owed += last - first + 1
                scene.late = None
                room -= last - first + 1
                before = effects[-1] if effects else None
                if isinstance(before, Ask) and before.peer == peer.key and before.last + 1 == first:
                    effects[-1] = Ask(peer.key, before.first, last)
                else:
                    effects.append(Ask(peer.key, first, last))
        return effects

    def _scene(self, now: float) -> _Scene:
        total, slowest, owed, live = 0.0, math.inf, 0, 0
        for peer in self.books.peers.values():
            if self._live(now, peer):
                live += 1
                owed += len(peer.flights)
                rate = peer.meter.rate
                if rate is not None:
                    total += rate
                    slowest = min(slowest, rate)
        assumed = slowest if total else UNKNOWN_RATE
        return _Scene(now, self.mode(), total, max(assumed, 1.0), owed, max(live, 1))

    @staticmethod
    def _live(now: float, peer: Peer) -> bool:
        return not peer.snubbed and now >= peer.quiet_until

    def _rank(self, scene: _Scene, peer: Peer) -> tuple[bool, bool, bool, float]:
        """Sort key: whoever is first is offered the most urgent part first."""
        soon = peer.finish_after(scene.now, self._part_size, scene.assumed_rate)
        return peer.snubbed, peer.unreliable, peer.kind is PeerKind.HTTP, soon

    def _choose(self, scene: _Scene, peer: Peer, room: int) -> tuple[int, int] | None:
        """Return the run to ask a peer for, or None."""
        picker = self.books.picker
        candidates = picker.candidates(peer.claim)
        for flight in peer.flights.values():
            if flight.shared:
                candidates &= ~picker.bit(flight.part)
        if not candidates:
            return self._repeat(scene, peer) if not picker.free else None
        if peer.snubbed:
            return picker.pick(candidates, scene.mode, self.books.layout.parts, 1)
        if (head := self._late_head(scene, peer)) is not None:
            return head
        left = candidates.bit_count()
        if left <= TAIL and scene.mode is Mode.IN_ORDER:
            if self._others_sooner(scene, peer, candidates, left):
                self.idle = True
                return None
            room = 1
        if peer.meter.rate is None:  # of a small pack every newcomer gets its share
            wanted = left + scene.owed
            share = 1 if wanted <= SMALL else -(-wanted // scene.live)
            room = min(room, max(share - len(peer.flights), 0 if peer.flights else 1))
            if not room:
                return None
        start = self._start(scene, peer, candidates) if scene.mode is Mode.IN_ORDER else 0
        return picker.pick(candidates, scene.mode, start, room)

    def _start(self, scene: _Scene, peer: Peer, candidates: int) -> int:
        """Return the lowest part that would not come sooner from the other peers."""
        lowest = self.books.picker.first_from(candidates, 0) or 0
        wait = peer.finish_after(scene.now, self._part_size, scene.assumed_rate) - scene.now
        others = max(scene.rate - (peer.meter.rate or 0.0), 0.0)
        done_meanwhile = int(min(others * wait / self._part_size, self.books.layout.parts))
        skip = done_meanwhile - (scene.owed - len(peer.flights))
        return lowest + max(skip, 0)

    def _others_sooner(self, scene: _Scene, peer: Peer, candidates: int, left: int) -> bool:
        """Tell whether the others would finish all of these parts before ``peer`` finishes one.

        Never true of the peer that finishes first, so somebody always takes the work.
        """
        own = peer.finish_after(scene.now, self._part_size, scene.assumed_rate)
        line: list[tuple[float, float]] = []
        for other in self.books.peers.values():
            rate = other.meter.rate
            if other is peer or rate is None or not self._live(scene.now, other):
                continue
            if other.unreliable or (other.claim is not None and candidates & ~other.claim):
                continue
            ready = other.finish_after(scene.now, self._part_size, rate)
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

    def _repeat(self, scene: _Scene, peer: Peer) -> tuple[int, int] | None:
        """Endgame: return a part that is owed by a clearly slower peer."""
        if len(peer.flights) > 1 or peer.snubbed or not self.books.askers:
            return None
        self.idle = True
        if scene.late is None:
            expected = ((self._expected(scene, part), part) for part in self.books.askers)
            scene.late = heapq.nlargest(LATE_LOOKED_AT, expected)
        for _, part in scene.late:
            if self._worth_repeating(scene, peer, part):
                self.repeats += 1
                return part, part
        return None

    def _late_head(self, scene: _Scene, peer: Peer) -> tuple[int, int] | None:
        """Return the part the indexer waits for if it is worth asking this peer for it too."""
        head = self.books.prefix
        if scene.mode is not Mode.IN_ORDER or head not in self.books.askers:
            return None
        frontier = self.books.picker.first_from(self.books.picker.free, head)
        if frontier is None or frontier - head <= self._window:
            return None
        if not self._worth_repeating(scene, peer, head):
            return None
        self.repeats += 1
        return head, head

    def _expected(self, scene: _Scene, part: int) -> float:
        """Return when a part that is owed will be here."""
        owing = self.books.askers[part]
        return min(peer.finish_of(scene.now, part, scene.assumed_rate) for peer in owing)

    def _worth_repeating(self, scene: _Scene, peer: Peer, part: int) -> bool:
        """Tell whether to ask a peer, too, for a part that is owed already.

        To end a little sooner, a part is asked of two live peers at most and not often. To save
        seconds there is no such bound: each further peer must beat the best before it clearly.
        """
        owing = self.books.askers[part]
        if peer in owing or not self.books.claims(peer, part):
            return False
        expected = self._expected(scene, part)
        # A peer of unknown speed may be no better; but who owes the part may be trickling for ever.
        suits_anybody = expected == math.inf or (
            expected - scene.now > self.settings.untried and len(owing) == 1
        )
        if peer.meter.rate is None:
            return suits_anybody
        own = peer.finish_after(scene.now, self.books.layout.size(part), scene.assumed_rate)
        if own - scene.now > CLEARLY * (expected - scene.now):
            return False
        patience = self.settings.patience
        if scene.mode is Mode.RAREST:
            patience = self.settings.line_patience
        if expected - own > patience or suits_anybody:
            return True
        live = sum(not other.snubbed for other in owing)
        share = self.settings.duplicate_share * self.books.layout.parts
        return live <= 1 and self.repeats < max(2, int(share))
