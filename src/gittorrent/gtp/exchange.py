"""Downloading: what to ask which peer, so that a wanted reference becomes complete.

Pure. Tracks peers and what they offer, the path of reels chosen, the blocks of each reel, and what
is open. Rules:

- explore first: reels, references and peers are asked of everybody once, when they connect;
- the newest believed reference that a path leads to is wanted; the cheapest path is taken;
- blocks are played rarest first from everybody who has them;
- when the peers that have a missing block are gone, another path is taken: what is here already is
  spliced in, blocks of the new path are scanned, and only objects that are missing are requested;
- when the proof at the end finds objects missing, they are requested by id;
- when what came does not hold together and several peers sent it, all of it is forgotten and each
  peer has to give everything alone in turn: whoever fails then is dropped for sure.

Time comes in, effects go out; a shell carries them out in order and reports back. Must not know
sockets, files or git. Source: docs/protocol/gtp01.md, Downloading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.gtp import limits
from gittorrent.gtp.blocks import COMMITS
from gittorrent.gtp.books import Books, Phase
from gittorrent.gtp.effects import (
    Assemble,
    Believed,
    Compare,
    Discard,
    Effect,
    Fetch,
    Keep,
    KeepObjects,
    Meet,
    ObjectsJob,
    PeerBook,
    PeerKey,
    Splice,
)
from gittorrent.gtp.errors import BadReferenceError
from gittorrent.gtp.messages import (
    UNKNOWN_OFFSET,
    BlockName,
    BlocksRequest,
    BlocksStatus,
    Choke,
    Interested,
    Message,
    ObjectsAnswer,
    ObjectsRequest,
    Peers,
    PlayAnswer,
    PlayRequest,
    ReelName,
    Reels,
    References,
    ScanAnswer,
    ScanRequest,
    Stop,
    Unchoke,
    Uninterested,
    blocks_in,
)
from gittorrent.gtp.path import Way
from gittorrent.gtp.received import ReceivedBytes, most_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.ids import Oid

SETTLE_SECONDS = 5.0
"""How long a missing block may be nobody's before another path is looked for."""

MAX_REPAIRS = 4
"""Rounds of asking for missing objects before everything received is given up."""


class Exchange(Books):
    """Downloads one repository; see the module, and `Books` for its arguments."""

    # --- what happens ------------------------------------------------------------------------

    def joined(self, now: float, peer: PeerKey) -> list[Effect]:
        """A connection is open: explore."""
        del now
        self.peers[peer] = PeerBook(choked=self.profile.starts_choked)
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
                self._effects.append(Meet(peer, peers))
            case References(entries) if entries:
                self._hear_references(now, peer, message)
            case Reels(offers) if offers:
                for offer in offers:
                    if offer.reel in book.offers or len(book.offers) < limits.MAX_REELS:
                        book.offers[offer.reel] = offer.size
                self._ask_statuses(now, peer)
                self._reconsider(now)
            case BlocksStatus():
                self._hear_status(peer, book, message)
            case PlayAnswer():
                self._hear_play(peer, book, message)
            case ScanAnswer():
                self._hear_scan(peer, book, message)
            case ObjectsAnswer(pack):
                if book.jobs:
                    job, _ = book.jobs.pop(0)
                    self._effects.append(KeepObjects(peer, job, pack))
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
            fetch.providers[block.index] = peer
            self._done(fetch, block, peer)
        return self._flush(now)

    def kept_objects(
        self, now: float, peer: PeerKey, job: ObjectsJob, fault: str = ""
    ) -> list[Effect]:
        """Objects asked for by id were stored, or did not come."""
        if fault:
            self._drop(peer, fault)
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

    def assembled(self, now: float) -> list[Effect]:
        """The path was proved complete and is installed."""
        self.have.update(fetch.reel.end for fetch in self.path)
        self._rest()
        self._reconsider(now)
        return self._flush(now)

    def lacking(self, now: float, missing: Sequence[Oid]) -> list[Effect]:
        """The proof found objects missing."""
        self._repairs += 1
        if self.profile.blocks_are_commits or self._repairs > MAX_REPAIRS:
            self._suspect(now)
        else:
            self.phase = Phase.REPAIRING
            self._lacking = list(missing)
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
                    self._effects.append(Believed(entry.reference))
            except BadReferenceError:
                continue
        self._reconsider(now)
        return self._flush(now)

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
                    self._effects.append(Believed(entry.reference))
            except BadReferenceError as error:
                self._drop(peer, str(error))
                return
        if unknown:
            self._say(peer, References())
            self._say(peer, Reels())
        self._reconsider(now)

    def _reconsider(self, now: float, *, gone: bool = False) -> None:
        """Choose a path when there is none, or another when this one leads nowhere any more."""
        if self.phase is Phase.EXPLORING:
            path = self._best(set())
            if path:
                self._take(now, path)
        elif self.phase is Phase.FETCHING and (gone or now - self._changed > SETTLE_SECONDS):
            blocked = [fetch for fetch in self.path if self._is_blocked(now, fetch)]
            path = self._best({(fetch.reel, fetch.size) for fetch in blocked}) if blocked else None
            if path:
                self._change(now, path)

    def _take(self, now: float, path: list[Way], *, spliced: bool = False) -> None:
        kept = {fetch.reel: fetch for fetch in self.path}
        self.path = []
        for way in path:
            fetch = kept.get(way.reel)
            if fetch is None or fetch.size != way.size:
                fetch = self._new_fetch(way, spliced=spliced)
            self.path.append(fetch)
        self.phase = Phase.FETCHING
        self._changed = now
        self._repairs = 0
        for peer in list(self.peers):
            self._ask_statuses(now, peer)

    def _change(self, now: float, path: list[Way]) -> None:
        """Take another path, and use of the old one what is here."""
        staying = {way.reel for way in path}
        same = {(way.reel, way.size) for way in path}
        kept = [f for f in self.path if f.picker is not None and f.picker.have]
        leaving = [f for f in kept if (f.reel, f.size) not in same]
        if leaving:
            self._effects.append(Splice(tuple(fetch.reel for fetch in leaving)))
        for peer, book in self.peers.items():
            self._withdraw(peer, book, staying)
        spliced = bool(leaving) and not self.profile.blocks_are_commits
        self._take(now, path, spliced=spliced)

    def _withdraw(self, peer: PeerKey, book: PeerBook, staying: set[ReelName]) -> None:
        for block in [b for b in book.open if b.reel not in staying]:
            del book.open[block]
            if not self.profile.blocks_are_commits:
                self._say(peer, Stop(block))

    def _ask_statuses(self, now: float, peer: PeerKey) -> None:
        book = self.peers[peer]
        if self.phase is not Phase.FETCHING:
            return
        for fetch in self.path:
            if book.offers.get(fetch.reel) == fetch.size and fetch.reel not in book.pending:
                book.pending[fetch.reel] = now
                self._say(peer, BlocksRequest(fetch.reel, fetch.block_size))

    def _hear_status(self, peer: PeerKey, book: PeerBook, message: BlocksStatus) -> None:
        fetch = self._fetch(message.reel, message.block_size)
        book.pending.pop(message.reel, None)
        if fetch is None:
            return
        if fetch.picker is None:
            fetch.picker = self._new_picker(fetch.reel, COMMITS, message.count)
        count = fetch.picker.count
        exact = message.count == count
        if not exact and (fetch.block_size == COMMITS or message.count != -(-count // 8) * 8):
            self._drop(peer, f"it counts {message.count} blocks of a reel that has {count}")
            return
        fetch.picker.offer(peer, blocks_in(message.bitmap, count))

    # --- data --------------------------------------------------------------------------------

    def _hear_play(self, peer: PeerKey, book: PeerBook, message: PlayAnswer) -> None:
        block = message.block
        book.open.pop(block, None)
        fetch = self._fetch(block.reel, block.size)
        if fetch is None or fetch.picker is None or block.index in fetch.picker.have:
            return
        # A peer of 2008 sends an object in every commit that brings it back, so the sum of its
        # packs has no bound; each alone holds objects of the reel, once.
        each = self.profile.blocks_are_commits
        most = most_bytes(fetch.size, fetch.picker.count, commits=each)
        if message.offset == UNKNOWN_OFFSET:
            fetch.picker.refuse(peer, block.index)
        elif not fetch.received.fits(peer, block.index, len(message.pack), most, each=each):
            self._drop(peer, "it sends more than the reel can hold")
        else:
            self._effects.append(Keep(peer, block, message.offset, message.pack))

    def _hear_scan(self, peer: PeerKey, book: PeerBook, message: ScanAnswer) -> None:
        book.open.pop(message.block, None)
        fetch = self._fetch(message.block.reel, message.block.size)
        if fetch is None or fetch.picker is None:
            return
        if message.offset == UNKNOWN_OFFSET:
            fetch.picker.refuse(peer, message.block.index)
        else:
            self._effects.append(Compare(peer, message.block, message.entries))

    def _done(self, fetch: Fetch, block: BlockName, peer: PeerKey) -> None:
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
            if self.phase is Phase.FETCHING and self._may_give(peer):
                self._ask_blocks(now, peer, book)
            elif self.phase is Phase.REPAIRING and self._lacking and not book.jobs:
                chunk = tuple(self._lacking[: limits.MAX_OBJECTS_ASKED])
                del self._lacking[: limits.MAX_OBJECTS_ASKED]
                self._request(now, peer, book, ObjectsJob(None, chunk))
        self._finish()

    def _ask_blocks(self, now: float, peer: PeerKey, book: PeerBook) -> None:
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

    def _request(self, now: float, peer: PeerKey, book: PeerBook, job: ObjectsJob) -> None:
        book.jobs.append((job, now))
        self._say(peer, ObjectsRequest(tuple(bytes.fromhex(oid) for oid in job.oids)))

    def _finish(self) -> None:
        complete = all(f.picker is not None and f.picker.is_complete for f in self.path)
        asked = any(book.jobs for book in self.peers.values())
        repaired = self.phase is Phase.REPAIRING and not self._lacking and not asked
        if (self.phase is Phase.FETCHING and complete) or repaired:
            keeping = any(isinstance(effect, KeepObjects) for effect in self._effects)
            assert self.wanted is not None
            if not keeping:
                self.phase = Phase.ASSEMBLING
                self._effects.append(Assemble(self.wanted, tuple(self.path)))

    def _suspect(self, now: float) -> None:
        """Somebody lied: forget everything, and find out who by asking one peer at a time."""
        providers = {peer for fetch in self.path for peer in fetch.providers.values()}
        self._effects.append(Discard(tuple(fetch.reel for fetch in self.path)))
        for fetch in self.path:
            fetch.providers.clear()
            fetch.received = ReceivedBytes()
            fetch.scanned.clear()
            fetch.spliced = False
            if fetch.picker is not None:
                fetch.picker.have.clear()
        self.phase = Phase.FETCHING
        self._changed, self._repairs, self._lacking = now, 0, []
        for peer in providers if len(providers) == 1 else ():
            self._drop(peer, "what it sent does not lead to the reference")
        self._alone = len(providers) > 1
        self._reconsider(now, gone=True)

    def _flush(self, now: float | None = None) -> list[Effect]:
        if now is not None:
            self._pump(now)
        effects, self._effects = self._effects, []
        return effects
