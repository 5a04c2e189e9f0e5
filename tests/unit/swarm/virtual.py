"""A deterministic network of peers that drives a ``Download``; for tests.

Everything happens on a virtual clock, in the order of a queue of happenings. Each peer serves the
parts it was asked for one after the other at its rate, in pieces that are reported as progress;
a request and its answer each take half the round trip. Peers may die, stall, send garbage, claim
what they lack, or ask to be left alone.

Rules: the same arguments and seed give the same run, whatever the machine.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from dataclasses import dataclass, field

from gittorrent.swarm import events as ev
from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.download import Download
from gittorrent.swarm.settings import Settings

MIB = 1 << 20
PIECES = 4  # progress reports for each part


@dataclass
class VirtualPeer:
    """One peer: ``rate`` bytes/s, ``latency`` seconds of round trip, and its faults."""

    rate: float
    latency: float = 0.02
    have: PartSet | None = None
    joins: float = 0.0
    dies: float = math.inf
    stalls: tuple[float, float] = (math.inf, math.inf)  # sends nothing between these times
    garbage: frozenset[int] = frozenset()  # parts it sends wrongly
    lacks: frozenset[int] = frozenset()  # parts it claims but lacks
    busy: float = math.inf  # refuses once at this time, for 3 s
    kind: ev.PeerKind = ev.PeerKind.SESSION
    gone: bool = False
    banned: str = ""
    queue: list[int] = field(default_factory=list)
    sending: tuple[int, int] | None = None  # part, pieces sent
    turn: int = 0  # outdates happenings planned before a cancel
    sent_bytes: int = 0


class Network:
    """Runs one download of ``parts`` parts from the peers given."""

    def __init__(
        self,
        peers: list[VirtualPeer],
        parts: int,
        *,
        part_size: int = MIB,
        pack_size: int | None = None,
        have: PartSet | None = None,
        settings: Settings | None = None,
        seed: int = 1,
        progress: bool = True,
        check: bool = False,
    ) -> None:
        self.peers = peers
        self.parts = parts
        self.size = pack_size if pack_size is not None else parts * part_size
        self.part_size = part_size
        self.now = 0.0
        self.progress = progress
        self.check = check
        self.verified: Counter[int] = Counter()
        self.asked: Counter[int] = Counter()
        self.prefix_at: list[tuple[float, int]] = []
        self.finished_at: float | None = None
        self.starved: list[float] = []
        self._order = 0
        self._queue: list[tuple[float, int, tuple[object, ...]]] = []
        self._random = random.Random(seed)
        self._tick_at = math.inf
        self.download = Download(
            parts,
            part_size,
            self.size,
            have if have is not None else PartSet(parts),
            self._random.randrange,
            settings,
        )
        for key, peer in enumerate(peers):
            self._plan(peer.joins, "join", key)
            if peer.dies < math.inf:
                self._plan(peer.dies, "die", key)
            if peer.busy < math.inf:
                self._plan(peer.busy, "busy", key)

    def size_of(self, part: int) -> int:
        return min(self.part_size, self.size - part * self.part_size)

    def run(self, limit: float = 10_000.0) -> float:
        """Run until finished, out of events or out of time; return the time of the end."""
        while self._queue and self.finished_at is None:
            self.now, _, what = heapq.heappop(self._queue)
            if self.now > limit:
                break
            self._happen(what)
        return self.finished_at if self.finished_at is not None else math.inf

    @property
    def sent(self) -> int:
        return sum(peer.sent_bytes for peer in self.peers)

    @property
    def duplicates(self) -> float:
        """Bytes sent beyond the pack, as a fraction of it."""
        return self.sent / self.size - 1

    def longest_wait(self) -> float:
        """Longest time the indexer waited for the next part while the download ran."""
        times = [0.0, *(when for when, _ in self.prefix_at)]
        return max(b - a for a, b in itertools.pairwise(times))

    def _plan(self, when: float, *what: object) -> None:
        self._order += 1
        heapq.heappush(self._queue, (when, self._order, what))

    def _tell(self, event: ev.Event) -> None:
        before = self.download.prefix
        effects = self.download.handle(self.now, event)
        if self.check:
            self.download.check_invariant()
        if self.download.prefix > before:
            self.prefix_at.append((self.now, self.download.prefix))
        for effect in effects:
            self._carry_out(effect)
        due = self.download.next_deadline()
        if due is not None and due < self._tick_at:
            self._tick_at = due
            self._plan(max(due, self.now), "tick")

    def _carry_out(self, effect: ev.Effect) -> None:
        match effect:
            case ev.Ask(key, first, last):
                assert 0 <= first <= last < self.parts
                self.asked.update(range(first, last + 1))
                self._plan(self.now + self.peers[key].latency / 2, "request", key, first, last)
            case ev.Cancel(key, first, last):
                self._plan(self.now + self.peers[key].latency / 2, "cancel", key, first, last)
            case ev.Ban(key, reason):
                self.peers[key].banned = reason
                self._stop(self.peers[key])
            case ev.Finished():
                assert self.finished_at is None
                self.finished_at = self.now
            case ev.Starved():
                self.starved.append(self.now)

    @staticmethod
    def _stop(peer: VirtualPeer) -> None:
        peer.gone = True
        peer.queue.clear()
        peer.turn += 1

    def _happen(self, what: tuple[object, ...]) -> None:
        match what:
            case ("tick",):
                self._tick_at = math.inf
                self._tell(ev.Tick())
            case ("join", int(key)):
                peer = self.peers[key]
                self._tell(ev.PeerJoined(ev.PeerKey(key), peer.have, peer.kind))
            case ("die", int(key)) if not self.peers[key].gone:
                self._stop(self.peers[key])
                self._tell(ev.PeerLost(ev.PeerKey(key), "died"))
            case ("busy", int(key)) if not self.peers[key].gone:
                self.peers[key].queue.clear()
                self.peers[key].turn += 1
                self.peers[key].sending = None
                self._tell(ev.PeerBusy(ev.PeerKey(key), 3.0))
            case ("request", int(key), int(first), int(last)) if not self.peers[key].gone:
                self.peers[key].queue.extend(range(first, last + 1))
                self._serve(key)
            case ("cancel", int(key), int(first), int(last)):
                peer = self.peers[key]
                peer.queue = [part for part in peer.queue if not first <= part <= last]
                if peer.sending is not None and first <= peer.sending[0] <= last:
                    peer.sending = None
                    peer.turn += 1
                    self._serve(key)
            case ("piece", int(key), int(turn)) if turn == self.peers[key].turn:
                self._piece(key)
            case ("bytes", int(key), int(part), int(received)) if not self.peers[key].gone:
                self._bytes(key, part, received)
            case ("lack", int(key), int(part)) if not self.peers[key].gone:
                self._tell(ev.PartMissing(ev.PeerKey(key), part, part))
            case ("digest", int(key), int(part)):
                if part in self.peers[key].garbage:
                    self._tell(ev.PartWrong(ev.PeerKey(key), part))
                else:
                    self.verified[part] += 1
                    self._tell(ev.PartVerified(ev.PeerKey(key), part))

    def _serve(self, key: int) -> None:
        peer = self.peers[key]
        while peer.sending is None and peer.queue:
            part = peer.queue.pop(0)
            if part in peer.lacks:
                self._plan(self.now + peer.latency / 2, "lack", key, part)
                continue
            peer.sending = (part, 0)
            self._next_piece(key)

    def _next_piece(self, key: int) -> None:
        peer = self.peers[key]
        assert peer.sending is not None
        took = self.size_of(peer.sending[0]) / PIECES / peer.rate
        done = self.now + took
        if peer.stalls[0] <= done < peer.stalls[1]:
            done = peer.stalls[1] + took
        if done < math.inf:
            self._plan(done, "piece", key, peer.turn)

    def _piece(self, key: int) -> None:
        peer = self.peers[key]
        assert peer.sending is not None
        part, pieces = peer.sending
        size = self.size_of(part)
        before, received = size * pieces // PIECES, size * (pieces + 1) // PIECES
        peer.sent_bytes += received - before
        if self.progress or received == size:
            self._plan(self.now + peer.latency / 2, "bytes", key, part, received)
        peer.sending = None if pieces + 1 == PIECES else (part, pieces + 1)
        if peer.sending is None:
            self._serve(key)
        else:
            self._next_piece(key)

    def _bytes(self, key: int, part: int, received: int) -> None:
        if received < self.size_of(part):
            self._tell(ev.PartProgress(ev.PeerKey(key), part, received))
            return
        wanted = self.download.wants(part)
        self._tell(ev.PartArrived(ev.PeerKey(key), part, received))
        if wanted:
            self._plan(self.now + 0.001, "digest", key, part)
