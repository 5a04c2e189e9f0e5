"""Downloading: what to ask which peer, so that a wanted reference becomes complete.

Pure. Tracks peers and what they offer, the path of reels chosen, the blocks of each reel, and what
is open. Rules:

- explore first: reels, references and peers are asked of everybody when they connect, and peers
  again now and then;
- blocks are played rarest first from everybody who has them;
- blocks of a path that was taken in place of another are scanned, and only objects that are missing
  are requested.

Which path is taken is decided by `gittorrent.gtp.path_choice`, what follows a proof that failed by
`gittorrent.gtp.failed_proofs`.

Time comes in, effects go out; a shell carries them out in order and reports back. Must not know
sockets, files or git. Source: docs/protocol/gtp01.md, Downloading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.gtp import limits
from gittorrent.gtp.blocks import COMMITS
from gittorrent.gtp.effects import (
    Assemble,
    Compact,
    Compare,
    ConnectTo,
    Effect,
    ObjectsJob,
    PeerKey,
    PeerState,
    ReelDownload,
    ReferenceVerified,
    StoreBlock,
    StoreObjects,
)
from gittorrent.gtp.errors import BadReferenceError, UnsignedReferenceError
from gittorrent.gtp.exchange_state import Phase
from gittorrent.gtp.failed_proofs import FailedProofs
from gittorrent.gtp.messages import (
    UNKNOWN_OFFSET,
    BlockName,
    BlocksStatus,
    Choke,
    Interested,
    Message,
    ObjectsAnswer,
    ObjectsRequest,
    Peers,
    PlayAnswer,
    PlayRequest,
    Reels,
    References,
    ScanAnswer,
    ScanRequest,
    Stop,
    Unchoke,
    Uninterested,
)
from gittorrent.gtp.received import most_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.gtp.messages import ReelName
    from gittorrent.ids import Oid

EXPLORE_SECONDS = 300.0
"""How often a peer is asked whom it knows, besides the first time."""

MOST_KEPT = 4
"""How many times what a reel's objects may have is kept when repetitions were removed."""

TOO_MUCH = "it sends more than the reel can hold, or than gittorrent.maxSize allows"

MAX_HEADS = 256
"""Commits named in a request for objects as bases of deltas; a few do, since all are related."""


class Exchange(FailedProofs):
    """Downloads one repository; see the module, and `ExchangeState` for its arguments."""

    # --- what happens ------------------------------------------------------------------------

    def joined(self, now: float, peer: PeerKey) -> list[Effect]:
        """A connection is open: explore."""
        self.peers[peer] = PeerState(choked=self.profile.starts_choked, explored=now)
        self._say(peer, Reels())
        self._say(peer, References())
        if not self.profile.blocks_are_commits:
            self._say(peer, Peers())
        return self._flush()

    def left(self, now: float, peer: PeerKey) -> list[Effect]:
        """A connection is gone."""
        self._remove(peer)
        self._reconsider(now, gone=True)
        return self._flush(now)

    def discarded(self, now: float, peer: PeerKey) -> list[Effect]:
        """A peer choked us: what it was asked is open again."""
        book = self.peers.get(peer)
        if book is not None:
            book.choked = True
            self._reopen(peer, book)
        return self._flush(now)

    def heard(self, now: float, peer: PeerKey, message: Message) -> list[Effect]:
        """A peer said something."""
        book = self.peers.get(peer)
        if book is None:
            return []
        match message:
            case Choke():
                return self.discarded(now, peer)
            case Unchoke():
                book.choked = False
            case Peers(peers) if peers:
                self._effects.append(ConnectTo(peer, peers))
            case References(entries) if entries:
                self._hear_references(now, peer, message)
            case Reels(offers) if offers:
                for offer in offers:
                    if offer.reel in book.offers or len(book.offers) < limits.MAX_OFFERS:
                        book.offers[offer.reel] = offer.size
                self._ask_statuses(now, peer)
                self._reconsider(now)
            case BlocksStatus():
                self._hear_status(peer, book, message)
            case PlayAnswer():
                self._hear_play(now, peer, book, message)
            case ScanAnswer():
                self._hear_scan(peer, book, message)
            case ObjectsAnswer(pack):
                if book.jobs:
                    job, _ = book.jobs.pop(0)
                    self._effects.append(StoreObjects(peer, job, pack))
            case _:
                pass
        return self._flush(now)

    def kept(self, now: float, peer: PeerKey, block: BlockName, fault: str = "") -> list[Effect]:
        """A block was stored, or was found bad for the reason given."""
        fetch = self._fetch(block.reel, block.size)
        if fault:
            if fetch is not None and fetch.picker is not None:
                fetch.picker.unask(peer, block.index)
                fetch.received.forget(peer, block.index)
            self._drop(peer, fault)
        elif fetch is not None and fetch.picker is not None:
            self._moved = now
            fetch.providers[block.index] = peer
            self._done(fetch, block, peer)
        return self._flush(now)

    def kept_objects(
        self, now: float, peer: PeerKey, job: ObjectsJob, fault: str = ""
    ) -> list[Effect]:
        """Objects asked for by id were stored, or did not come."""
        if fault:
            self._drop(peer, fault)
        else:
            self._moved = now
        if job.block is None:
            if fault:
                self._lacking += job.oids
        else:
            fetch = self._fetch(job.block.reel, job.block.size)
            if fetch is not None and fetch.picker is not None:
                if fault:
                    fetch.picker.unask(peer, job.block.index)
                else:
                    self._done(fetch, job.block, peer)
        return self._flush(now)

    def compared(
        self, now: float, peer: PeerKey, block: BlockName, listed: int, missing: Sequence[Oid]
    ) -> list[Effect]:
        """The objects of a scanned block were compared with what is here."""
        fetch, book = self._fetch(block.reel, block.size), self.peers.get(peer)
        if fetch is None or fetch.picker is None:
            return []
        fetch.scanned.add(block.index)
        if listed and not missing:
            self._done(fetch, block, peer)
        elif book is None or book.choked:
            fetch.picker.unask(peer, block.index)
        elif listed and 2 * len(missing) <= listed <= limits.MAX_OBJECTS_ASKED:
            self._request(now, peer, book, ObjectsJob(block, tuple(missing)))
        else:
            book.open[block] = now
            self._say(peer, PlayRequest(block))
        return self._flush(now)

    def compacted(self, now: float, reel: ReelName, size: int) -> list[Effect]:
        """What came of a reel was made free of repetitions, and has ``size`` bytes now."""
        self._compacting = False
        fetch = self._fetch(reel, COMMITS)
        # Blocks whose bases did not come yet are as they came; but they come in order.
        if fetch is not None and size > min(
            self._max_bytes, MOST_KEPT * most_bytes(fetch.size, 0, self._max_bytes)
        ):
            self._suspect(now, TOO_MUCH)
        return self._flush(now)

    def assembled(self, now: float) -> list[Effect]:
        """The path was proved complete and is installed."""
        self.have.update(fetch.reel.end for fetch in self.path)
        self._rest()
        self._reconsider(now)
        return self._flush(now)

    def lacking(self, now: float, missing: Sequence[Oid]) -> list[Effect]:
        """The proof found objects missing."""
        self._mend(now, missing)
        return self._flush(now)

    def broken(self, now: float) -> list[Effect]:
        """The proof found a pack broken, or its bases missing."""
        self._suspect(now)
        return self._flush(now)

    def learned(self, now: float, entries: References) -> list[Effect]:
        """A tracker or file gave reference objects."""
        for entry in entries.entries:
            try:
                if entry.body and self.book.add(entry.reference, entry.body):
                    self._effects.append(ReferenceVerified(entry.reference))
            except BadReferenceError:
                continue
        self._reconsider(now)
        return self._flush(now)

    def most_in_answer(self) -> int:
        """Return how long an answer with data may be: no longer than all reels of the path."""
        by_commits = self.profile.blocks_are_commits
        counts = [0 if by_commits or f.picker is None else f.picker.count for f in self.path]
        sizes = [
            most_bytes(fetch.size, count, self._max_bytes)
            for fetch, count in zip(self.path, counts, strict=True)
        ]
        return min(limits.MAX_PACK_MESSAGE, sum(sizes) + limits.MAX_MESSAGE)

    def receiving(self, now: float, peer: PeerKey) -> None:
        """Bytes came, perhaps of a long message: the peer is at it."""
        if peer in self.peers:
            self.peers[peer].heard = now

    def tick(self, now: float) -> list[Effect]:
        """Time passed: withdraw what takes too long, look for another path."""
        late = now - limits.REQUEST_SECONDS
        for peer, book in list(self.peers.items()):
            jobs = [asked for _, asked in book.jobs[:1]]
            if any(max(asked, book.heard) < late for asked in [*book.open.values(), *jobs]):
                self._drop(peer, "it does not answer", ban=False)
            elif now - book.explored >= EXPLORE_SECONDS and not self.profile.blocks_are_commits:
                book.explored = now
                self._say(peer, Peers())
        self._leave_idlers(now)
        self._reconsider(now)
        return self._flush(now)

    # --- references, reels, paths ------------------------------------------------------------

    def _hear_references(self, now: float, peer: PeerKey, message: References) -> None:
        unknown = False
        for entry in message.entries:
            if not entry.body:
                unknown = unknown or entry.reference not in self.book
                continue
            try:
                if self.book.add(entry.reference, entry.body):
                    self._effects.append(ReferenceVerified(entry.reference))
            except UnsignedReferenceError:
                continue  # no lie: peers of 2008 cannot know what is listed here
            except BadReferenceError as error:
                self._drop(peer, str(error))
                return
        if unknown:
            self._say(peer, References())
            self._say(peer, Reels())
        self._reconsider(now)

    # --- data --------------------------------------------------------------------------------

    def _hear_play(self, now: float, peer: PeerKey, book: PeerState, message: PlayAnswer) -> None:
        block = message.block
        was_asked = book.open.pop(block, None) is not None
        fetch = self._fetch(block.reel, block.size)
        if fetch is None or fetch.picker is None or block.index in fetch.picker.have:
            return
        if not was_asked and self._alone:
            return  # it crossed our doubts: now each is to give everything alone
        size, by_commits = len(message.pack), self.profile.blocks_are_commits
        most = most_bytes(fetch.size, 0 if by_commits else fetch.picker.count, self._max_bytes)
        if message.offset == UNKNOWN_OFFSET:
            fetch.picker.refuse(peer, block.index)
        elif size > most:
            self._drop(peer, TOO_MUCH)
        elif not by_commits and self._is_too_much(fetch, peer, block, size, most):
            self._suspect(now, TOO_MUCH, peer)
        else:
            fetch.received.count(peer, block.index, size)
            self._effects.append(StoreBlock(peer, block, message.offset, message.pack))
            self._compact_if_due(fetch, most)

    def _is_too_much(
        self, fetch: ReelDownload, peer: PeerKey, block: BlockName, size: int, most: int
    ) -> bool:
        """Tell whether one more pack is more than a reel can hold, or than the user allows."""
        here = fetch.received.sum_with(peer, block.index, size)
        others = sum(each.received.since_compacted for each in self.path if each is not fetch)
        return here > most or here + others > self._max_bytes

    def _compact_if_due(self, fetch: ReelDownload, most: int) -> None:
        """Have objects that came repeatedly kept once, when packs grow beyond what a reel has.

        A peer of 2008 sends an object with every commit that brings it back, so the sum of what is
        received has no bound; what is distinct in it has.
        """
        is_due = self.profile.blocks_are_commits and fetch.received.since_compacted > most
        if is_due and not self._compacting:
            self._compacting = True
            fetch.received.compacted()
            self._effects.append(Compact(fetch.reel))

    def _hear_scan(self, peer: PeerKey, book: PeerState, message: ScanAnswer) -> None:
        book.open.pop(message.block, None)
        fetch = self._fetch(message.block.reel, message.block.size)
        if fetch is None or fetch.picker is None:
            return
        if message.offset == UNKNOWN_OFFSET:
            fetch.picker.refuse(peer, message.block.index)
        else:
            self._effects.append(Compare(peer, message.block, message.entries))

    def _done(self, fetch: ReelDownload, block: BlockName, peer: PeerKey) -> None:
        assert fetch.picker is not None
        if block.index in fetch.picker.have:
            return
        for other in fetch.picker.add(block.index):
            book = self.peers.get(int(str(other)))
            if other == peer or book is None or block not in book.open:
                continue
            del book.open[block]
            if not self.profile.blocks_are_commits:
                self._say(int(str(other)), Stop(block))

    def _pump(self, now: float) -> None:
        """Ask for what can be asked."""
        for peer, book in list(self.peers.items()):
            wants = self.phase is Phase.REPAIRING or any(
                fetch.reel in book.offers for fetch in self.path
            )
            wants = wants and self.phase is not Phase.EXPLORING
            if wants != book.interested and self.profile.starts_choked:
                book.interested = wants
                self._say(peer, Interested() if wants else Uninterested())
            if book.choked:
                continue
            if self.phase is Phase.FETCHING and self._may_give(peer) and not self._compacting:
                self._ask_blocks(now, peer, book)
            elif self.phase is Phase.REPAIRING and self._lacking and not book.jobs:
                chunk = tuple(self._lacking[: limits.MAX_OBJECTS_ASKED])
                del self._lacking[: limits.MAX_OBJECTS_ASKED]
                self._request(now, peer, book, ObjectsJob(None, chunk))
        self._restore_last_block()
        self._finish()

    def _ask_blocks(self, now: float, peer: PeerKey, book: PeerState) -> None:
        for fetch in self.path:
            room = limits.PIPELINE - len(book.open) - len(book.jobs)
            if room <= 0:
                return
            if fetch.picker is None:
                continue
            for index in fetch.picker.pick(peer, room):
                block = BlockName(fetch.reel, index, fetch.block_size)
                book.open[block] = now
                scan = fetch.spliced and index not in fetch.scanned
                self._say(peer, ScanRequest(block) if scan else PlayRequest(block))

    def _request(self, now: float, peer: PeerKey, book: PeerState, job: ObjectsJob) -> None:
        book.jobs.append((job, now))
        objects = tuple(bytes.fromhex(oid) for oid in job.oids)
        self._say(peer, ObjectsRequest(objects, self._complete_heads()))

    def _complete_heads(self) -> tuple[bytes, ...]:
        """Return commits that are here with all they reach, which deltas may build on."""
        heads: set[str] = set()
        for reference in self.book.newest_first():
            if reference.id in self.have and len(heads) < MAX_HEADS:
                named = reference.refs.items()
                heads.update(oid for name, oid in named if name.startswith(b"refs/heads/"))
        return tuple(bytes.fromhex(oid) for oid in sorted(heads)[:MAX_HEADS])

    def _finish(self) -> None:
        complete = all(f.picker is not None and f.picker.is_complete for f in self.path)
        asked = any(book.jobs for book in self.peers.values())
        repaired = self.phase is Phase.REPAIRING and not self._lacking and not asked
        if ((self.phase is Phase.FETCHING and complete) or repaired) and not self._compacting:
            keeping = any(isinstance(effect, StoreObjects) for effect in self._effects)
            assert self.wanted is not None
            if not keeping:
                self.phase = Phase.ASSEMBLING
                self._effects.append(Assemble(self.wanted, tuple(self.path)))

    def _flush(self, now: float | None = None) -> list[Effect]:
        if now is not None:
            self._pump(now)
        effects, self._effects = self._effects, []
        return effects
