"""What to answer a peer's question: from what is complete, else from a download under way.

Blocking; run in threads. Silence (None) is an answer too: where there is nothing to offer an empty
message would be a question. Source: docs/protocol/gtp01.md, Messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.gtp.blocks import COMMITS, block_count
from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.limits import MAX_REFERENCES_MESSAGE
from gittorrent.gtp.messages import (
    UNKNOWN_OFFSET,
    BlocksRequest,
    BlocksStatus,
    Message,
    ObjectsAnswer,
    ObjectsRequest,
    PlayAnswer,
    PlayRequest,
    ReelOffer,
    Reels,
    ReferenceEntry,
    References,
    ScanAnswer,
    ScanRequest,
    bitmap_of,
)

if TYPE_CHECKING:
    from gittorrent.gtp.exchange import Exchange
    from gittorrent.gtp.node.holding import Holding
    from gittorrent.gtp.node.target import Target
    from gittorrent.gtp.profile import Profile
    from gittorrent.gtp.reference import Reference

_LENGTH = 4
"""Bytes of the length before a reference object."""

MOST_NEWS = 8
"""Reference objects in one answer that no offered reel names, the newest ones."""


class Answers(Struct, frozen=True):
    """Answers for one swarm.

    Args:
        profile: dialect.
        exchange: knows the download under way.
        holding: what is complete; None for nothing.
        target: where blocks of the download are; None at a node that only gives.
        known_there: ids of references whose objects the peer has.
    """

    profile: Profile
    exchange: Exchange
    holding: Holding | None
    target: Target | None
    known_there: frozenset[bytes] = frozenset()

    def answer(self, question: Message) -> Message | None:
        """Return the answer, None for silence."""
        match question:
            case References():
                return self._references()
            case Reels():
                return self._reels()
            case BlocksRequest():
                return self._status(question)
            case PlayRequest():
                return self._play(question)
            case ScanRequest():
                return self._scan(question)
            case ObjectsRequest():
                return self._objects(question)
            case _:
                return None

    def partial_offers(self) -> tuple[ReelOffer, ...]:
        """Return the reels that are being downloaded, where the dialect shares them."""
        if not self.profile.shares_partial:
            return ()
        return tuple(ReelOffer(fetch.reel, fetch.size) for fetch in self.exchange.path)

    def _references(self) -> Message | None:
        bodies: list[ReferenceEntry] = []
        room = MAX_REFERENCES_MESSAGE
        for reference in self._references_to_tell():
            entry = ReferenceEntry(reference.id, reference.body)
            room -= len(entry.reference) + _LENGTH + len(entry.body)
            if room < 0:
                break  # the next question brings the rest
            bodies.append(entry)
        return References(tuple(bodies)) if bodies else None

    def _references_to_tell(self) -> list[Reference]:
        """Return what offered reels lead from or to, and what is new, unless the peer has it."""
        book = self.exchange.book
        offers = [*self._whole_offers(), *self.partial_offers()]
        named = {place for offer in offers for place in (offer.reel.end, offer.reel.start)}
        newest = book.newest_first()
        if not self.profile.shares_partial:
            newest = [] if self.holding is None else self.holding.references()
        named.update(reference.id for reference in newest[:MOST_NEWS])
        return [
            reference
            for reference in book.newest_first()
            if reference.id in named and reference.id not in self.known_there
        ]

    def _whole_offers(self) -> list[ReelOffer]:
        return [] if self.holding is None else self.holding.offers()

    def _reels(self) -> Message | None:
        offers = self._whole_offers()
        whole = {offer.reel for offer in offers}
        offers += [offer for offer in self.partial_offers() if offer.reel not in whole]
        return Reels(tuple(offers)) if offers else None

    def _status(self, question: BlocksRequest) -> Message | None:
        reel, size = question.reel, question.block_size
        if self.holding is not None:
            try:
                count = self.holding.count(reel, size)
            except MessageError:
                pass
            else:
                return BlocksStatus(reel, size, count, bitmap_of(set(range(count)), count))
        for fetch in self.exchange.path:
            if self.target is None or fetch.reel != reel or size == COMMITS:
                continue
            count = block_count(fetch.size, size)
            here = {n for n in self.target.store.have(reel, size) if n < count}
            return BlocksStatus(reel, size, count, bitmap_of(here, count))
        return None

    def _play(self, question: PlayRequest) -> Message | None:
        block = question.block
        found: tuple[int, bytes] | None = None
        if self.holding is not None:
            try:
                found = self.holding.play(block)
            except MessageError:
                found = None
        if found is None and self.target is not None and self.profile.shares_partial:
            found = self.target.store.get(block)
        if found is not None:
            return PlayAnswer(block, *found)
        # The peer of 2008 has no word for "not here".
        return None if self.profile.blocks_are_commits else PlayAnswer(block, UNKNOWN_OFFSET, b"")

    def _scan(self, question: ScanRequest) -> Message | None:
        if self.holding is not None:
            try:
                return ScanAnswer(question.block, *self.holding.scan(question.block))
            except MessageError:
                pass
        return ScanAnswer(question.block, UNKNOWN_OFFSET, ())

    def _objects(self, question: ObjectsRequest) -> Message | None:
        if self.holding is not None:
            try:
                return ObjectsAnswer(self.holding.objects(question))
            except MessageError:
                pass
        return ObjectsAnswer(b"")
