"""Peer exchange and super-seeding for those who download from a node at the same time.

For each repository it introduces downloaders to each other, and for each pack that several of them
want it shows parts as `gittorrent.swarm.super_seeder` decides, so that the swarm multiplies what
the node sends. A single downloader notices nothing of this.

Tracks the participants of each repository. Rules: an address is passed on only if it is the one the
participant calls from; what participants claim is bounded and only steers what is shown.
Source: docs/protocol/mirrorsync.md, "Super-seeding" and "Peer exchange".
"""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.shapes import WHOLE
from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.keys import ParticipantKey
from gittorrent.swarm.peer_exchange import PeerExchange
from gittorrent.swarm.super_seeder import (
    CROWD,
    DEAF_SECONDS,
    SHAPED_CROWD,
    SMALLEST_PACK,
    SMALLEST_SHAPED_PACK,
    SuperSeeder,
)
from gittorrent.transfer.git_mirror import claimed_parts
from gittorrent.wire.messages import CancelParts, FetchManifest, FetchParts, HaveBundle, Try
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorState
from gittorrent.wire.urls import parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import ManifestId, RepositoryId
    from gittorrent.wire.messages import Message, Question, ReceivePart
    from gittorrent.wire.session import MessageReceived

SHOW_SECONDS = 0.25
"""How often participants are shown what they may ask for next, while several want the same."""

_KEYS = itertools.count(1)
_log = EventLog(__name__)


class Swarm:
    """The participants of one repository.

    Args:
        name: what logs call it.
        introduces: whether participants are told of each other.
    """

    def __init__(self, name: str, *, introduces: bool = True) -> None:
        self.name = name
        self.introduces = introduces
        self.peer_exchange = PeerExchange(random.SystemRandom().randrange)
        self.super_seeders: dict[ManifestId, SuperSeeder] = {}
        self.participants: dict[ParticipantKey, Participant] = {}
        self._timer: asyncio.TimerHandle | None = None

    def stir(self) -> None:
        """Look at all participants soon: one came, or is gone, or has said something of itself."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SHOW_SECONDS, self._look)

    def _look(self) -> None:
        """Show everybody what they may ask for by now; again soon, if that may become more."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        busy = [participant.look(now) for participant in list(self.participants.values())]
        if any(busy):
            self.stir()

    def introduce(self, peer: ParticipantKey, url: str | None) -> None:
        """Carry out what follows from a participant's word on where it listens."""
        if not self.introduces:
            return
        for made in self.peer_exchange.listens(peer, url):
            target = self.participants.get(made.to)
            if target is not None:
                target.say(Try(MirrorEntry(made.url, 3600, MirrorState.PARTIAL)))


class Swarms:
    """The swarms of a node, by repository.

    Args:
        introduces: whether participants are told of each other.
    """

    def __init__(self, *, introduces: bool = True) -> None:
        self._introduces = introduces
        self._swarms: dict[RepositoryId, Swarm] = {}

    def enter(
        self, repository: RepositoryId, name: str, address: str, *, introduces: bool = True
    ) -> Participant:
        """Let a caller take part; `Participant.leave` must follow.

        Args:
            repository: that it asked for.
            name: of it.
            address: where the caller calls from.
            introduces: whether it may be told of the others, and they of it.
        """
        swarm = self._swarms.get(repository)
        if swarm is None:
            swarm = self._swarms[repository] = Swarm(name)
        swarm.introduces = introduces and self._introduces
        return Participant(swarm, address)

    def introduce(self, *, introduces: bool) -> None:
        """Tell participants of each other from now on, or do not; see the class."""
        self._introduces = introduces
        for swarm in self._swarms.values():
            swarm.introduces = swarm.introduces and introduces

    def __len__(self) -> int:
        return sum(len(swarm.participants) for swarm in self._swarms.values())


class _Offered(Struct, frozen=True):
    """A pack that a caller was told of: the whole offer, and how many parts it has."""

    offer: HaveBundle
    parts: int


class Participant:
    """One conversation's part in a swarm: decides what its caller is shown.

    Args:
        swarm: it belongs to.
        address: where the caller calls from.
    """

    def __init__(self, swarm: Swarm, address: str) -> None:
        self._swarm = swarm
        self._address = address
        self._key = ParticipantKey(next(_KEYS))
        self._say: Callable[[Message], None] | None = None
        self._packs: dict[ManifestId, _Offered] = {}
        self._since: float | None = None
        self._introduced = False
        self._listens = False

    def begin(self, say: Callable[[Message], None]) -> None:
        """Take part from now on; ``say`` sends a message."""
        self._say = say
        self._swarm.participants[self._key] = self

    def leave(self) -> None:
        """Take part no more."""
        self._swarm.participants.pop(self._key, None)
        self._swarm.peer_exchange.left(self._key)
        for manifest in self._packs:
            super_seeder = self._swarm.super_seeders.get(manifest)
            if super_seeder is not None:
                super_seeder.left(self._key)
                if not len(super_seeder):
                    del self._swarm.super_seeders[manifest]
        if self._packs and self._swarm.participants:
            self._swarm.stir()

    def say(self, message: Message) -> None:
        """Send a message; lost if the conversation is over."""
        if self._say is not None:
            try:
                self._say(message)
            except GitTorrentError as error:
                _log.debug(
                    "not-said", "not said to {peer}: {reason}", peer=self._address, reason=error
                )

    def on_message(self, event: MessageReceived) -> None:
        """Take in what the caller says of itself."""
        message = event.message
        if isinstance(message, Try):
            self._take_address(message.entry)
        elif isinstance(message, HaveBundle):
            self._take_claim(message)

    def on_request(self, message: Question | CancelParts) -> None:
        """Note what the caller asks for, or no longer does."""
        if isinstance(message, FetchManifest):
            if (super_seeder := self._swarm.super_seeders.get(message.manifest)) is not None:
                super_seeder.wants(self._key, asyncio.get_running_loop().time())
            return
        if not isinstance(message, FetchParts | CancelParts):
            return
        super_seeder = self._swarm.super_seeders.get(message.manifest)
        if super_seeder is not None:
            note = super_seeder.asked if isinstance(message, FetchParts) else super_seeder.cancelled
            note(self._key, message.first, message.last)

    def on_sent(self, message: ReceivePart) -> None:
        """Note that a part was sent to the caller."""
        super_seeder = self._swarm.super_seeders.get(message.manifest)
        if super_seeder is not None:
            super_seeder.sent(self._key, message.part)

    def _take_address(self, entry: MirrorEntry) -> None:
        try:
            endpoint = parse_learned_url(entry.url)
        except GitTorrentError:
            return
        if endpoint.host == self._address and entry.state is not MirrorState.STALE:
            self._introduced = self._listens = True
            for manifest in self._packs:
                if (super_seeder := self._swarm.super_seeders.get(manifest)) is not None:
                    super_seeder.listens(self._key)
            _log.info(
                "swarm-joined",
                "{peer} downloads {repository} and listens at {url}",
                peer=self._address,
                repository=self._swarm.name,
                url=endpoint.url,
            )
            self._swarm.introduce(self._key, endpoint.url)

    def _take_claim(self, message: HaveBundle) -> None:
        super_seeder = self._swarm.super_seeders.get(message.manifest)
        own = self._packs.get(message.manifest)
        if super_seeder is None or own is None:
            return
        try:
            claim = claimed_parts(message, own.parts)
        except GitTorrentError:
            return
        now = asyncio.get_running_loop().time()
        whole = PartSet.full(own.parts)
        super_seeder.has(self._key, whole if claim is None else claim, now)
        self._swarm.stir()

    def show(self, offer: HaveBundle, parts: int) -> HaveBundle:
        """Return what the node has, as far as this caller is to be shown it now.

        Args:
            offer: of a whole pack.
            parts: of the pack; 0 if it is not here any more.
        """
        least = SMALLEST_PACK if offer.shape == WHOLE else SMALLEST_SHAPED_PACK
        if parts < least or self._say is None:
            return offer
        now = asyncio.get_running_loop().time()
        is_whole = offer.shape == WHOLE
        super_seeder = self._swarm.super_seeders.get(offer.manifest)
        if super_seeder is None:
            crowd = CROWD if is_whole else SHAPED_CROWD
            counts = not is_whole and self._swarm.introduces
            super_seeder = SuperSeeder(parts, crowd, counts_seeds=counts)
            self._swarm.super_seeders[offer.manifest] = super_seeder
        super_seeder.joined(self._key, now)
        if self._listens:
            super_seeder.listens(self._key)
        self._packs[offer.manifest] = _Offered(offer, parts)
        if self._since is None:
            self._since = now
        self._swarm.stir()
        changed = super_seeder.changed(self._key, now)
        if isinstance(changed, PartSet):
            return _cut(offer, changed)
        shown = super_seeder.reveal(self._key, now)
        return offer if shown is None else _cut(offer, shown)

    def look(self, now: float) -> bool:
        """Tell the caller what it may ask for by now; returns whether that may become more soon."""
        if not self._introduced and self._since is not None and now - self._since > DEAF_SECONDS:
            self._introduced = True
            self._swarm.introduce(self._key, None)
        is_busy = not self._introduced and self._since is not None
        for manifest, own in list(self._packs.items()):
            super_seeder = self._swarm.super_seeders.get(manifest)
            if super_seeder is None:
                continue
            is_busy = is_busy or len(super_seeder) > 1
            changed = super_seeder.changed(self._key, now)
            if changed is None:
                self.say(own.offer)
            elif isinstance(changed, PartSet):
                self.say(_cut(own.offer, changed))
        return is_busy


def _cut(offer: HaveBundle, shown: PartSet) -> HaveBundle:
    """Return an offer that speaks of some parts only."""
    raw = shown.to_bytes()
    return HaveBundle(offer.reel, offer.manifest, offer.pack_size, raw, offer.shape)
