"""The state of an exchange: its peers, the path under way, and which blocks each peer has.

Pure. `ExchangeState` keeps and answers; what follows from it is decided by
`gittorrent.gtp.exchange.Exchange`. Tracks peers and their offers, open questions, the path with a
picker for each reel, and effects that wait to be handed out.
Source: docs/protocol/gtp01.md, "Path evaluation" and "Downloading".
"""

from __future__ import annotations

from collections import Counter
from enum import Enum, auto
from typing import TYPE_CHECKING

from gittorrent.gtp.blocks import COMMITS, block_count, check_block_size, usual_block_size
from gittorrent.gtp.effects import Drop, Effect, PeerKey, PeerState, ReelDownload, SendMessage
from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.limits import MAX_REEL_SIZE
from gittorrent.gtp.path import Way, best_path
from gittorrent.gtp.picker import Picker

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from gittorrent.gtp.believed import ReferenceBook
    from gittorrent.gtp.messages import Message, ReelName
    from gittorrent.gtp.profile import Profile
    from gittorrent.ids import Oid

STATUS_SECONDS = 30.0
"""How long a peer may take to say which blocks it has, before it counts as having none."""


class Phase(Enum):
    """What the exchange is doing."""

    EXPLORING = auto()
    FETCHING = auto()
    ASSEMBLING = auto()
    REPAIRING = auto()


class ExchangeState:
    """The state of one download.

    Args:
        profile: dialect of the swarm.
        book: believed reference objects.
        have: ids of references whose objects are here.
        block_size: to ask for; 0 for the usual one.
        seed: makes this node begin elsewhere than others.
        stored: tells which blocks of a reel, in blocks of a size, were kept from before.
        max_bytes: of packs to take for the reels of a path.
    """

    def __init__(
        self,
        profile: Profile,
        book: ReferenceBook,
        have: Iterable[bytes] = (),
        *,
        block_size: int = 0,
        seed: int = 0,
        stored: Callable[[ReelName, int], set[int]] = lambda _reel, _size: set(),
        max_bytes: int = MAX_REEL_SIZE,
    ) -> None:
        self.profile = profile
        self.book = book
        self.have = set(have)
        self.phase = Phase.EXPLORING
        self.wanted: bytes | None = None
        self.path: list[ReelDownload] = []
        self.peers: dict[PeerKey, PeerState] = {}
        self._block_size = block_size
        self._seed = seed
        self._stored = stored
        self._max_bytes = max_bytes
        self._changed = 0.0
        self._moved = 0.0
        self._repairs = 0
        self._lacking: list[Oid] = []
        self._without: frozenset[Oid] = frozenset()
        self._alone = False
        self._compacting = False
        self._tested: PeerKey = -1
        self._effects: list[Effect] = []

    # --- looking at it -----------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is being downloaded."""
        return self.phase is Phase.EXPLORING

    @property
    def has_newest(self) -> bool:
        """Tell whether the newest believed reference is complete here."""
        newest = self.book.newest_first()
        return bool(newest) and newest[0].id in self.have

    def progress(self) -> tuple[int, int]:
        """Return blocks done and blocks in all of the path under way."""
        pickers = [fetch.picker for fetch in self.path if fetch.picker is not None]
        return sum(len(p.have) for p in pickers), sum(p.count for p in pickers)

    # --- ways ---

    def _ways(
        self, without: Collection[tuple[ReelName, int]], among: Collection[PeerKey] | None
    ) -> list[Way]:
        votes = Counter(
            (reel, size)
            for peer, book in self.peers.items()
            if among is None or peer in among
            for reel, size in book.offers.items()
        )
        best: dict[ReelName, Way] = {}
        for (reel, size), copies in votes.items():
            way = Way(reel, size, copies)
            known = best.get(reel)
            if (reel, size) in without:
                continue
            if known is None or (copies, -size) > (known.copies, -known.size):
                best[reel] = way
        return list(best.values())

    def _best(self, without: Collection[tuple[ReelName, int]]) -> list[Way] | None:
        wanted, path = self._best_among(None, without)
        self.wanted = wanted or self.wanted
        return path

    def _best_among(
        self,
        among: Collection[PeerKey] | None,
        without: Collection[tuple[ReelName, int]] = (),
    ) -> tuple[bytes | None, list[Way] | None]:
        """Return the newest reference that offers lead to, and the path there; or None twice.

        Args:
            among: peers whose offers count; None for all.
            without: reels and sizes that do not.
        """
        newest = self.book.newest_first()
        if not newest or newest[0].id in self.have:
            return None, None
        ways = self._ways(without, among)
        for reference in newest:
            if reference.id in self.have:
                break
            path = best_path(ways, self.have, reference.id)
            if path:
                return reference.id, path
        return None, None

    def _is_blocked(self, now: float, fetch: ReelDownload) -> bool:
        late = now - STATUS_SECONDS
        if any(book.pending.get(fetch.reel, late) > late for book in self.peers.values()):
            return False
        return fetch.picker is None or bool(fetch.picker.unavailable())

    def _new_fetch(self, way: Way, *, spliced: bool) -> ReelDownload:
        if self.profile.blocks_are_commits:
            return ReelDownload(way.reel, way.size, COMMITS)
        size = self._block_size or usual_block_size(way.size)
        try:
            check_block_size(way.size, size)
        except MessageError:
            size = usual_block_size(way.size)
        picker = self._new_picker(way.reel, size, block_count(way.size, size))
        return ReelDownload(way.reel, way.size, size, picker, spliced)

    def _new_picker(self, reel: ReelName, block_size: int, count: int) -> Picker:
        picker = Picker(count, self._seed, in_order=self.profile.blocks_are_commits)
        picker.have = {block for block in self._stored(reel, block_size) if block < count}
        return picker

    # --- tests and ends ---

    def _may_give(self, peer: PeerKey) -> bool:
        """Tell whether a peer may be asked for blocks, while one is put to the test."""
        if not self._alone:
            return True
        if self._tested not in self.peers or not self._has_some(self._tested):
            self._tested = next((key for key in sorted(self.peers) if self._has_some(key)), -1)
        return peer == self._tested

    def _has_some(self, peer: PeerKey) -> bool:
        return any(f.picker is not None and f.picker.interesting(peer) for f in self.path)

    def _rest(self) -> None:
        self.phase = Phase.EXPLORING
        self.path = []
        self._lacking = []
        self._without = frozenset()
        self._alone = False
        for book in self.peers.values():
            book.pending.clear()

    # --- state -------------------------------------------------------------------------------

    def _fetch(self, reel: ReelName, block_size: int) -> ReelDownload | None:
        for fetch in self.path:
            if fetch.reel == reel and fetch.block_size == block_size:
                return fetch
        return None

    def _reopen(self, peer: PeerKey, book: PeerState) -> None:
        for block in book.open:
            fetch = self._fetch(block.reel, block.size)
            if fetch is not None and fetch.picker is not None:
                fetch.picker.unask(peer, block.index)
        book.open.clear()
        for job, _ in book.jobs:
            if job.block is None:
                self._lacking += job.oids
            else:
                fetch = self._fetch(job.block.reel, job.block.size)
                if fetch is not None and fetch.picker is not None:
                    fetch.picker.unask(peer, job.block.index)
        book.jobs.clear()

    def _remove(self, peer: PeerKey) -> None:
        book = self.peers.pop(peer, None)
        if book is None:
            return
        self._reopen(peer, book)
        for fetch in self.path:
            if fetch.picker is not None:
                fetch.picker.forget(peer)

    def _drop(self, peer: PeerKey, reason: str, *, ban: bool = True) -> None:
        if peer in self.peers:
            self._remove(peer)
            self._effects.append(Drop(peer, reason, ban))

    def _say(self, peer: PeerKey, message: Message) -> None:
        self._effects.append(SendMessage(peer, message))
