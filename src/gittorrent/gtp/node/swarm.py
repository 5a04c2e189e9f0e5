"""One repository's swarm at this node: connections, downloading, giving, who may ask.

Carries out what the exchange wants, in order: messages at once, work on the target one after
another in threads. Answers peers from the holding, or from the blocks of a download under way.
Must not know sockets beyond links, nor how peers are found.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.errors import GitTorrentError
from gittorrent.git.runner import GitError
from gittorrent.gtp.choking import ROTATE_SECONDS, Candidate, unchoked
from gittorrent.gtp.effects import (
    Assemble,
    Compact,
    Compare,
    ConnectTo,
    Discard,
    Drop,
    Effect,
    ReferenceVerified,
    SendMessage,
    Splice,
    StoreBlock,
    StoreObjects,
)
from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.limits import UPLOAD_SLOTS
from gittorrent.gtp.machine import Discarded, Event, Opened, Received
from gittorrent.gtp.messages import (
    BlocksRequest,
    Choke,
    Interested,
    Message,
    ObjectsRequest,
    PeerAddress,
    Peers,
    PlayRequest,
    Reels,
    ReferenceEntry,
    References,
    ScanRequest,
    Unchoke,
    Uninterested,
)
from gittorrent.gtp.node.answers import Answers
from gittorrent.gtp.node.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.gtp.exchange import Exchange
    from gittorrent.gtp.metainfo import Metainfo
    from gittorrent.gtp.node.holding import Holding
    from gittorrent.gtp.node.link import Link
    from gittorrent.gtp.node.target import Target

_log = logging.getLogger(__name__)

TICK_SECONDS = 1.0

MOST_BANNED = 10_000
"""Peers that may not return; a liar can take a new id, but has to be caught again."""

FOR_ENTRY = 192
"""Bytes that an object of a scan takes while it waits."""

_Storage = StoreBlock | StoreObjects | Compare | Splice | Compact | Assemble | Discard


class Traffic(Struct):
    """Bytes to and from peers since the start, those of closed connections included."""

    sent: int = 0
    received: int = 0


class Swarm(Struct):
    """See the module.

    Args:
        metainfo: of the repository.
        exchange: decides what to download; a complete node has one too, and nothing to do for it.
        holding: gives what is complete; None until something is.
        target: where a download goes; None at a node that only gives.
        open_holding: makes the holding when the first download is complete.
        meet: told who named which addresses of peers.
        remember: told of reference objects that are believed now.
        room: counts what is held for all peers of the node.
    """

    metainfo: Metainfo
    exchange: Exchange
    holding: Holding | None
    target: Target | None
    open_holding: Callable[[], Holding | None]
    meet: Callable[[Link, tuple[PeerAddress, ...]], None]
    remember: Callable[[bytes], None]
    room: Room = field(default_factory=Room)
    links: dict[int, Link] = field(default_factory=dict)
    banned: set[tuple[str, bytes | int]] = field(default_factory=set)
    traffic: Traffic = field(default_factory=Traffic)
    installed: asyncio.Event = field(default_factory=asyncio.Event)
    failure: BaseException | None = None
    last_progress: float = field(default_factory=time.monotonic)
    _storage: asyncio.Queue[_Storage] = field(default_factory=asyncio.Queue)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _turn: int = 0
    _fresh: bool = False

    def start(self) -> None:
        """Begin to carry things out."""
        for work in (self._store_all(), self._tick_forever()):
            self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def stop(self) -> None:
        """Stop; connections are ended by whoever runs them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def sent(self) -> int:
        """Bytes sent to peers."""
        return self.traffic.sent + sum(link.sent for link in self.links.values())

    @property
    def received(self) -> int:
        """Bytes received from peers."""
        return self.traffic.received + sum(link.received for link in self.links.values())

    def is_welcome(self, link: Link, peer_id: bytes) -> bool:
        """Tell whether a peer may join that shows an id: neither connected already nor banned.

        Anybody can show the id of somebody else, to keep that one out. So an id counts together
        with the address; of those that we called the place is known, and the id does not count.
        """
        if any(_are_one(link, peer_id, other) for other in self.links.values()):
            return False
        return (link.address, peer_id if link.port is None else link.port) not in self.banned

    # --- what happens ------------------------------------------------------------------------

    def happen(self, link: Link, event: Event) -> None:
        """A link's machine reports an event."""
        now = time.monotonic()
        match event:
            case Opened():
                self.links[link.key] = link
                self._carry(self.exchange.joined(now, link.key))
                self._greet(link)
            case Discarded():
                self._carry(self.exchange.discarded(now, link.key))
            case Received(message):
                self._hear(link, message)
                self._carry(self.exchange.heard(now, link.key, message))

    def ended(self, link: Link, reason: str) -> None:
        """A link is gone."""
        if self.links.pop(link.key, None) is not None:
            self.traffic.sent += link.sent
            self.traffic.received += link.received
            _log.info("%s left: %s", link.address, reason)
            self._carry(self.exchange.left(time.monotonic(), link.key))
            self._rechoke()

    def learned(self, references: References) -> None:
        """A tracker gave references."""
        self._carry(self.exchange.learned(time.monotonic(), references))

    async def answer(self, link: Link, question: Message) -> None:
        """Answer one question of a peer."""
        profile, known_there = self.metainfo.profile, link.machine.known_there
        answers = Answers(profile, self.exchange, self.holding, self.target, known_there)
        if isinstance(question, PlayRequest | ScanRequest | ObjectsRequest):
            if question not in link.machine.waiting:
                return  # stopped, or choked, meanwhile
        elif isinstance(question, BlocksRequest):
            link.watch(question)
        found: Message | None
        if isinstance(question, Peers):
            known = self._known_peers(link)
            found = known if known.peers else None
        else:
            found = await asyncio.to_thread(answers.answer, question)
        if found is not None:
            await link.pace(found)

    def _hear(self, link: Link, message: Message) -> None:
        """Queue what wants an answer, and mind who is interested."""
        match message:
            case Peers(()) | References(()) | Reels(()):
                link.ask(message)
            case BlocksRequest() | PlayRequest() | ScanRequest() | ObjectsRequest():
                link.ask(message)
            case Interested() | Uninterested():
                self._rechoke()
            case _:
                pass

    def _known_peers(self, link: Link) -> Peers:
        found = [
            PeerAddress(other.machine.remote_id, other.address, other.port)
            for other in self.links.values()
            if other is not link and other.port is not None
        ]
        return Peers(tuple(found))

    def _greet(self, link: Link) -> None:
        """Tell a new peer what there is, without being asked, where the dialect allows it."""
        if self.metainfo.profile.blocks_are_commits:
            return
        self._announce_references(link)
        if not self.exchange.is_idle:
            self._announce_reels(link)

    def _announce_references(self, link: Link) -> None:
        known = [] if self.holding is None else self.holding.references()[:8]
        if known:
            link.say(References(tuple(ReferenceEntry(r.id) for r in known)))

    def _announce_reels(self, link: Link) -> None:
        answers = Answers(self.metainfo.profile, self.exchange, self.holding, self.target)
        offers = answers.partial_offers()
        if offers:
            link.say(Reels(offers))

    # --- effects -----------------------------------------------------------------------------

    def _carry(self, effects: list[Effect]) -> None:
        started = self.exchange.path
        for effect in effects:
            match effect:
                case SendMessage(peer, message):
                    self._say(peer, message)
                case Drop(peer, reason, ban):
                    self._drop(peer, reason, ban=ban)
                case ReferenceVerified(reference):
                    self.remember(reference)
                case ConnectTo(peer, peers):
                    teller = self.links.get(peer)
                    if teller is not None:
                        self.meet(teller, peers)
                case _:
                    self._put_by(effect)
        if started and any(isinstance(e, SendMessage) and _is_status(e) for e in effects):
            self._tell_of_download()

    def _put_by(self, effect: _Storage) -> None:
        """Have something carried out when what came before is."""
        link = self.links.get(_sender_of(effect))
        give_up = (lambda _reason: None) if link is None else link.give_up
        self.room.storing(_sender_of(effect), _memory_of(effect), give_up)
        self._storage.put_nowait(effect)

    def _say(self, peer: int, message: Message) -> None:
        link = self.links.get(peer)
        if link is not None:
            if isinstance(message, PlayRequest | ObjectsRequest):
                link.machine.most_data = self.exchange.most_in_answer()
            link.say(message)

    def _drop(self, peer: int, reason: str, *, ban: bool) -> None:
        link = self.links.get(peer)
        if link is not None:
            if ban and len(self.banned) < MOST_BANNED:
                self.banned.add((link.address, link.machine.remote_id))
                if link.port is not None:
                    self.banned.add((link.address, link.port))
            _log.warning("dropping %s: %s", link.address, reason)
            link.close()

    def _tell_of_download(self) -> None:
        if self.metainfo.profile.shares_partial:
            for link in self.links.values():
                self._announce_reels(link)

    async def _store_all(self) -> None:
        while True:
            effect = await self._storage.get()
            try:
                found = await self._store(effect)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # disk full, git gone: the download cannot go on
                _log.debug("storing failed", exc_info=True)
                self.failure = error
                self.installed.set()
                return
            finally:
                self.room.stored(_sender_of(effect), _memory_of(effect))
            self.last_progress = time.monotonic()
            self._carry(found)

    async def _store(self, effect: _Storage) -> list[Effect]:
        assert self.target is not None
        now = time.monotonic
        match effect:
            case StoreBlock(peer, block):
                try:
                    await asyncio.to_thread(self.target.keep, effect)
                except MessageError as error:
                    return self.exchange.kept(now(), peer, block, str(error))
                self._fresh = True
                return self.exchange.kept(now(), peer, block)
            case StoreObjects(peer, job):
                try:
                    await asyncio.to_thread(self.target.keep_objects, effect)
                except GitTorrentError as error:
                    return self.exchange.kept_objects(now(), peer, job, str(error))
                return self.exchange.kept_objects(now(), peer, job)
            case Compare(peer, block, entries):
                missing = await asyncio.to_thread(self.target.compare, effect)
                return self.exchange.compared(now(), peer, block, len(entries), missing)
            case Splice():
                await asyncio.to_thread(self.target.splice, effect)
                return []
            case Compact(reel):
                size = await asyncio.to_thread(self.target.compact, effect)
                return self.exchange.compacted(now(), reel, size)
            case Discard():
                await asyncio.to_thread(self.target.discard, effect)
                return []
            case Assemble():
                return await self._assemble(effect)

    async def _assemble(self, effect: Assemble) -> list[Effect]:
        assert self.target is not None
        have = frozenset(self.exchange.have)
        try:
            missing = await asyncio.to_thread(self.target.assemble, effect, have)
        except GitError as error:
            if "No space left" in error.stderr:
                raise
            _log.info("what was received does not hold together: %s", error)
            return self.exchange.broken(time.monotonic())
        if missing:
            _log.info("%d objects are missing still", len(missing))
            return self.exchange.lacking(time.monotonic(), missing)
        if self.holding is None:
            self.holding = await asyncio.to_thread(self.open_holding)
        if self.holding is not None:
            await asyncio.to_thread(self.holding.refresh)
        effects = self.exchange.assembled(time.monotonic())
        self.installed.set()
        await self._offer_all()
        return effects

    async def _offer_all(self) -> None:
        """Tell everybody what is complete now."""
        if self.holding is None or self.metainfo.profile.blocks_are_commits:
            return
        offers = await asyncio.to_thread(self.holding.offers)
        for link in list(self.links.values()):
            self._announce_references(link)
            if offers:
                link.say(Reels(tuple(offers)))
            self._push_statuses(link)

    # --- time --------------------------------------------------------------------------------

    async def _tick_forever(self) -> None:
        rotated = time.monotonic()
        seen: dict[int, int] = {}
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for link in self.links.values():
                # Whoever is not read on, since the disk is slow, is not to blame.
                if link.received != seen.get(link.key) or self.room.is_behind(link.key):
                    self.exchange.receiving(time.monotonic(), link.key)
            seen = {link.key: link.received for link in self.links.values()}
            self._carry(self.exchange.tick(time.monotonic()))
            if self._fresh:
                self._fresh = False
                for link in list(self.links.values()):
                    self._push_statuses(link)
            if time.monotonic() - rotated >= ROTATE_SECONDS:
                rotated = time.monotonic()
                self._turn += 1
                self._rechoke()

    def _push_statuses(self, link: Link) -> None:
        """Tell a peer what blocks came since, of the reels it asked about."""
        if not self.metainfo.profile.shares_partial:
            return
        for question in link.watching:
            link.tell(question)

    def _rechoke(self) -> None:
        if not self.metainfo.profile.starts_choked:
            return
        everybody = [
            Candidate(link.key, link.machine.state.interesting, link.received)
            for link in self.links.values()
        ]
        chosen = unchoked(everybody, self._turn, UPLOAD_SLOTS)
        for link in list(self.links.values()):
            choking = link.machine.state.choking
            if choking and link.key in chosen:
                link.say(Unchoke())
            elif not choking and link.key not in chosen:
                link.say(Choke())


def _are_one(link: Link, peer_id: bytes, other: Link) -> bool:
    """Tell whether a connection that shows ``peer_id`` leads to the peer of another one."""
    if other.machine.remote_id != peer_id or other.address != link.address:
        return False
    return link.port is None or other.port is None or link.port == other.port


def _sender_of(effect: _Storage) -> int:
    """Return whose bytes something holds; 0 for nobody's."""
    return effect.peer if isinstance(effect, StoreBlock | StoreObjects | Compare) else 0


def _memory_of(effect: _Storage) -> int:
    """Return how many bytes something takes while it waits."""
    match effect:
        case StoreBlock(_, _, _, pack) | StoreObjects(_, _, pack):
            return len(pack)
        case Compare(_, _, entries):
            return FOR_ENTRY * len(entries)
        case _:
            return 0


def _is_status(effect: SendMessage) -> bool:
    return isinstance(effect.message, BlocksRequest)
