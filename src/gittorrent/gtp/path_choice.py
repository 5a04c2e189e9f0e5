"""Downloading: which reels to take, and what to know of them before anything is asked for.

Pure. Rules: the newest believed reference that a path leads to is wanted; the cheapest path is
taken; when nobody is left who has a missing block, another path is taken and what is here already
is spliced in. Peers on the path are asked which blocks they have. Whom the download waits for in
vain is left if the others can do without.
Source: docs/protocol/gtp01.md, "Path evaluation" and "Downloading".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.gtp.blocks import COMMITS, block_count, check_block_size, scaled
from gittorrent.gtp.effects import PeerKey, PeerState, Splice
from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.exchange_state import ExchangeState, Phase
from gittorrent.gtp.limits import STALL_SECONDS
from gittorrent.gtp.messages import BlocksRequest, BlocksStatus, ReelName, Stop, blocks_in

if TYPE_CHECKING:
    from gittorrent.gtp.path import Way

SETTLE_SECONDS = 5.0
"""How long a missing block may be nobody's before another path is looked for."""


class PathChoice(ExchangeState):
    """Chooses the path of a download; see the module."""

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
        self._changed = self._moved = now
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

    def _leave_idlers(self, now: float) -> None:
        """When nothing comes any more, leave whom we wait for, if the others have a path."""
        is_under_way = self.phase in (Phase.FETCHING, Phase.REPAIRING)
        if not is_under_way or now - self._moved < STALL_SECONDS:
            return
        self._moved = now
        idlers = [peer for peer, book in self.peers.items() if self._waits_for(peer, book)]
        others = self.peers.keys() - set(idlers)
        if not idlers or self._best_among(others)[1] is None:
            return
        for peer in idlers:
            self._drop(peer, "the download waits for it in vain", ban=False)
        self._reconsider(now, gone=True)

    def _waits_for(self, peer: PeerKey, book: PeerState) -> bool:
        """Tell whether nothing else can be done before this peer gives something."""
        if self.phase is Phase.REPAIRING:
            return bool(book.jobs) or book.choked
        if self._alone:
            return peer == self._tested
        return bool(book.open or book.jobs) or (book.choked and self._has_some(peer))

    def _withdraw(self, peer: PeerKey, book: PeerState, staying: set[ReelName]) -> None:
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

    def _hear_status(self, peer: PeerKey, book: PeerState, message: BlocksStatus) -> None:
        book.pending.pop(message.reel, None)
        fetch = next((fetch for fetch in self.path if fetch.reel == message.reel), None)
        if fetch is None:
            return
        if fetch.picker is None:
            fetch.picker = self._new_picker(fetch.reel, COMMITS, message.count)
        try:
            offered = offered_blocks(message, fetch.size, fetch.block_size, fetch.picker.count)
        except MessageError as error:
            self._drop(peer, str(error))
            return
        if peer in fetch.lacked:
            offered.discard(fetch.picker.count - 1)
        fetch.picker.offer(peer, offered)


def offered_blocks(status: BlocksStatus, size: int, block_size: int, count: int) -> set[int]:
    """Return which of our blocks of a reel a peer has.

    Args:
        status: what it says, in blocks of any size.
        size: uncompressed bytes of the reel.
        block_size: of our blocks; `COMMITS` where they are commits.
        count: how many of ours there are.

    Raises:
        MessageError: it has another number of blocks than the reel.
    """
    theirs = count
    if (block_size == COMMITS) != (status.block_size == COMMITS):
        raise MessageError(f"it counts blocks of {status.block_size} bytes, not of {block_size}")
    if block_size != COMMITS:
        check_block_size(size, status.block_size)
        theirs = block_count(size, status.block_size)
    # Only where blocks are commits does a status say how many there are, beyond whole bytes.
    told = theirs if block_size == COMMITS else -(-theirs // 8) * 8
    if status.count not in (theirs, told):
        raise MessageError(f"it counts {status.count} blocks of a reel that has {theirs}")
    found = blocks_in(status.bitmap, theirs)
    if block_size == status.block_size:
        return found
    return scaled(found, theirs, status.block_size, count, block_size)
