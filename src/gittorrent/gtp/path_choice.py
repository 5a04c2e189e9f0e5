"""Downloading: which reels to take, and what to know of them before anything is asked for.

Pure. Rules: the newest believed reference that a path leads to is wanted; the cheapest path is
taken; when nobody is left who has a missing block, another path is taken and what is here already
is spliced in. Peers on the path are asked which blocks they have.
Source: docs/protocol/gtp01.md, "Path evaluation" and "Downloading".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.gtp.blocks import COMMITS
from gittorrent.gtp.effects import PeerKey, PeerState, Splice
from gittorrent.gtp.exchange_state import ExchangeState, Phase
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
        offered = set(blocks_in(message.bitmap, count))
        if peer in fetch.lacked:
            offered.discard(count - 1)
        fetch.picker.offer(peer, offered)
