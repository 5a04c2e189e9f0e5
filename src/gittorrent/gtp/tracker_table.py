"""Who is in which swarm, as a tracker knows it.

Pure. Tracks peers by swarm and id, until when each is listed and how often it renewed in time.
Rules: a peer that renews before it expires is believed for longer each time; one that does not
begins anew; one address, or what counts as one, may list only so many peers, and ask only so often.
Answers choose peers by lot, those that have data first. A peer is listed where it asks from,
whatever it says. Time and the lot come in as arguments.
Source: docs/protocol/gtp01.md, Tracker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from gittorrent.gtp.errors import TrackerError
from gittorrent.gtp.limits import MAX_TRACKER_PEERS, MAX_TRACKER_REFERENCES
from gittorrent.gtp.messages import PeerAddress
from gittorrent.gtp.tracker_messages import TrackerAnswer, TrackerEvent
from gittorrent.wire.urls import AddressClass, address_class, may_contact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.gtp.tracker_messages import TrackerRequest

FIRST_LIFETIME = 600
"""Seconds a newcomer is listed: long enough to clone, short enough to forget who crashed."""

LONGEST_LIFETIME = 4 * 3600
"""Seconds a peer of long standing is listed."""

GRACE = 60
"""Seconds after its expiry in which a peer still renews in time."""

MAX_SWARMS = 10_000
"""Swarms of an open tracker."""

MAX_SWARM_PEERS = 5_000
"""Peers of one swarm."""

MAX_LISTED_PER_ADDRESS = 64
"""Peers that one address may list, over all swarms."""

BURST = 30
"""Requests an address may make at once."""

REFILL_SECONDS = 5.0
"""Time after which an address may make one more."""

MAX_SOURCES = 100_000
"""Addresses whose requests are counted."""


class TooManyRequestsError(TrackerError):
    """An address asks too often; ``seconds`` says when it may ask again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many requests; ask again in {seconds} seconds")
        self.seconds = seconds


class ListedPeer(Struct, frozen=True):
    """A peer in a swarm.

    Args:
        repo_hash: of the swarm.
        peer: id, address and port.
        source: address its requests come from.
        completed: whether it has everything.
        has_data: whether it has something: everything, or bytes it downloaded.
        expires: when it is forgotten.
        lifetime: seconds it was last given.
    """

    repo_hash: bytes
    peer: PeerAddress
    source: str
    completed: bool
    has_data: bool
    expires: float
    lifetime: int


class _Source(Struct):
    """What an address may still do."""

    tokens: float
    counted: float


class TrackerTable(Struct):
    """The table; see the module.

    Args:
        draw: returns a random number below its argument.
        group_of: returns what an address counts as: itself, or its network.
        known: swarms that are tracked; None for any that somebody announces.
        max_sources: addresses whose requests are counted: those that asked last.
    """

    draw: Callable[[int], int]
    group_of: Callable[[str], str]
    known: frozenset[bytes] | None = None
    max_sources: int = MAX_SOURCES
    references: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    _swarms: dict[bytes, dict[bytes, ListedPeer]] = field(default_factory=dict)
    _listed: dict[str, int] = field(default_factory=dict)
    _sources: dict[str, _Source] = field(default_factory=dict)

    def admit(self, now: float, source: str) -> None:
        """Count a request.

        Raises:
            TooManyRequestsError: the address asks too often.
        """
        group = self.group_of(source)
        # The one that was counted last is the last one, and the first one goes.
        known = self._sources.pop(group) if group in self._sources else None
        bucket = self._sources[group] = known or _Source(BURST, now)
        if len(self._sources) > self.max_sources:
            del self._sources[next(iter(self._sources))]
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.counted) / REFILL_SECONDS)
        bucket.counted = now
        if bucket.tokens < 1:
            raise TooManyRequestsError(int((1 - bucket.tokens) * REFILL_SECONDS) + 1)
        bucket.tokens -= 1

    def announce(
        self, now: float, request: TrackerRequest, source: str
    ) -> tuple[TrackerAnswer, ListedPeer | None]:
        """Take a request in and answer it.

        Args:
            now: seconds.
            request: what the client says.
            source: address it comes from.

        Returns:
            The answer, and the entry to keep; None when the peer is listed no more.

        Raises:
            TrackerError: the request is refused.
        """
        if self.known is not None and request.repo_hash not in self.known:
            raise TrackerError("this tracker does not track that repository")
        self.expire(now, request.repo_hash)
        swarm = self._swarms.get(request.repo_hash, {})
        before = swarm.get(request.peer_id)
        if before is not None and before.source != source:
            # Whoever guesses or copies an id must not move or remove its owner's entry.
            raise TrackerError("that peer id is in use at another address")
        if request.event is TrackerEvent.STOPPED:
            if before is not None:
                self._remove(before)
            return self._answer(request, source, 0), None
        entry = self._entry(now, request, source, before)
        if before is None:
            self._check_room(request.repo_hash, source)
        else:
            self._remove(before)
        self._insert(entry)
        return self._answer(request, source, entry.lifetime), entry

    def restore(self, entry: ListedPeer) -> None:
        """Take in an entry kept from before a restart."""
        if self.known is None or entry.repo_hash in self.known:
            # Databases of earlier versions hold what clients said of themselves.
            peer = PeerAddress(entry.peer.peer_id, entry.source, entry.peer.port)
            self._insert(replace(entry, peer=peer))

    def expire(self, now: float, repo_hash: bytes) -> list[ListedPeer]:
        """Forget who did not renew; returns them."""
        swarm = self._swarms.get(repo_hash, {})
        gone = [entry for entry in swarm.values() if entry.expires + GRACE < now]
        for entry in gone:
            self._remove(entry)
        return gone

    def swarms(self) -> list[bytes]:
        """Return the swarms that have peers."""
        return list(self._swarms)

    def counts(self, repo_hash: bytes) -> tuple[int, int]:
        """Return how many peers of a swarm have everything, and how many do not."""
        swarm = self._swarms.get(repo_hash, {})
        complete = sum(1 for entry in swarm.values() if entry.completed)
        return complete, len(swarm) - complete

    def _entry(
        self, now: float, request: TrackerRequest, source: str, before: ListedPeer | None
    ) -> ListedPeer:
        lifetime = FIRST_LIFETIME
        if before is not None and request.event is not TrackerEvent.STARTED:
            # Only time that was really waited counts, or asking often would look like loyalty.
            waited = now >= before.expires - before.lifetime / 2
            lifetime = min(before.lifetime * (2 if waited else 1), LONGEST_LIFETIME)
        if request.valid:
            lifetime = min(lifetime, max(request.valid, GRACE))
        return ListedPeer(
            repo_hash=request.repo_hash,
            peer=PeerAddress(request.peer_id, source, request.port),
            source=source,
            completed=request.completed,
            has_data=request.completed or request.downloaded > 0,
            expires=now + lifetime,
            lifetime=lifetime,
        )

    def _check_room(self, repo_hash: bytes, source: str) -> None:
        if repo_hash not in self._swarms and len(self._swarms) >= MAX_SWARMS:
            raise TrackerError("this tracker is full")
        if len(self._swarms.get(repo_hash, {})) >= MAX_SWARM_PEERS:
            raise TrackerError("this swarm is full")
        if self._listed.get(self.group_of(source), 0) >= MAX_LISTED_PER_ADDRESS:
            raise TrackerError("too many peers from this address")

    def _answer(self, request: TrackerRequest, source: str, lifetime: int) -> TrackerAnswer:
        limit = MAX_TRACKER_PEERS if request.peers is None else request.peers
        wanted = min(limit, MAX_TRACKER_PEERS)
        swarm = self._swarms.get(request.repo_hash, {})
        asker_class = address_class(source)
        others = [
            entry
            for entry in swarm.values()
            if entry.peer.peer_id != request.peer_id and _may_tell(entry, asker_class)
        ]
        giving = self._shuffled([entry for entry in others if entry.has_data])
        empty = self._shuffled([entry for entry in others if not entry.has_data])
        complete, incomplete = self.counts(request.repo_hash)
        few = MAX_TRACKER_REFERENCES if request.references is None else request.references
        bodies = self.references.get(request.repo_hash, ())
        return TrackerAnswer(
            expires=lifetime,
            peers=tuple(entry.peer for entry in [*giving, *empty][:wanted]),
            references=bodies[: min(few, MAX_TRACKER_REFERENCES)],
            complete=complete,
            incomplete=incomplete,
        )

    def _shuffled(self, entries: Sequence[ListedPeer]) -> list[ListedPeer]:
        order = list(entries)
        for last in range(len(order) - 1, 0, -1):
            other = self.draw(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def _insert(self, entry: ListedPeer) -> None:
        self._swarms.setdefault(entry.repo_hash, {})[entry.peer.peer_id] = entry
        group = self.group_of(entry.source)
        self._listed[group] = self._listed.get(group, 0) + 1

    def _remove(self, entry: ListedPeer) -> None:
        swarm = self._swarms[entry.repo_hash]
        del swarm[entry.peer.peer_id]
        if not swarm:
            del self._swarms[entry.repo_hash]
        group = self.group_of(entry.source)
        self._listed[group] -= 1
        if not self._listed[group]:
            del self._listed[group]


def _may_tell(entry: ListedPeer, asker_class: AddressClass) -> bool:
    """Tell whether a peer's address means the same peer to whom it is told."""
    kind = address_class(entry.peer.host)
    return kind is AddressClass.RESERVED or may_contact(kind, asker_class)
