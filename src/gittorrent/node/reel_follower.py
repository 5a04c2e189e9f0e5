"""Builds the reels of one repository that other mirrors tell of, out of what is here.

The objects came by live conversations, or by other reels; of a reel only the manifest travels.
Tracks the peers that have something to be looked at, those that lied, and the reels that this
machine cannot build. Rules: one peer is looked at at a time, and they take turns, so whoever tells
of thousands is looked at as slowly as who tells of one; a peer that shows a manifest that does not
hold is not looked at any more.
Source: docs/protocol/reels.md, "Splicing".
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

from gittorrent.durable import locked
from gittorrent.errors import GitTorrentError, NoRoomError, TrustError
from gittorrent.event_log import EventLog
from gittorrent.reel.manifest import longest_file
from gittorrent.reel.path import ReelOffer
from gittorrent.repository import housekeeping
from gittorrent.repository.leaving_reels import drop_superseded
from gittorrent.repository.rebuilding import RebuildOutcome, jobs_of, rebuild_reels
from gittorrent.shapes import WHOLE
from gittorrent.transfer.manifests import verify_manifest
from gittorrent.transfer.reel_offers import lacking_reels
from gittorrent.wire.reelname import ReelName

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from gittorrent.disk_space import Space
    from gittorrent.ids import ManifestId, PushId
    from gittorrent.push.spreading import Item, PeerKey
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.kept_log import KeptLog
    from gittorrent.repository.rebuilding import Job, Result
    from gittorrent.transfer.live_peer import LivePeer
    from gittorrent.transfer.off_loop import Reading
    from gittorrent.wire.messages import HaveBundle

_log = EventLog(__name__)


class Surroundings(Protocol):
    """What a follower needs of the repository's part in live conversations."""

    @property
    def carried(self) -> Carried:
        """The repository."""
        ...

    @property
    def kept(self) -> KeptLog:
        """Its log."""
        ...

    @property
    def space(self) -> Space:
        """Tells whether there is room."""
        ...

    @property
    def executor(self) -> Reading:
        """In which files are read."""
        ...

    def head(self) -> Item:
        """Return the checkpoint adopted."""
        ...

    def holds(self, entry: PushId) -> bool:
        """Tell whether an entry of the log is here."""
        ...


class ReelFollower:
    """Follows the reels of one repository.

    Args:
        around: the repository.
        start: has a coroutine run.
        build: builds reels; the worker, but for tests.
    """

    def __init__(
        self,
        around: Surroundings,
        start: Callable[[Coroutine[None, None, None]], object],
        build: Callable[[Carried, Sequence[Job]], Coroutine[None, None, list[Result]]]
        | None = None,
    ) -> None:
        self._around = around
        self._start = start
        self._build = _build if build is None else build
        self._due: dict[PeerKey, tuple[LivePeer, PushId]] = {}
        self._waiting: dict[PeerKey, LivePeer] = {}
        self._asking: PeerKey | None = None
        self._is_looking = False
        self._liars: set[PeerKey] = set()
        self._hopeless: set[ManifestId] = set()

    def greeted(self, key: PeerKey, peer: LivePeer, checkpoint: PushId) -> None:
        """Take note of a new peer and its newest checkpoint: it is looked at when that is here."""
        self._due[key] = (peer, checkpoint)
        self.look()

    def told(self, key: PeerKey, peer: LivePeer, message: HaveBundle) -> None:
        """Take note that a peer has a reel; what it says when asked is no news."""
        if key != self._asking and message.manifest not in self._hopeless:
            self._due[key] = (peer, message.reel.end)
            self.look()

    def look(self) -> None:
        """Look at those who have what ends at a checkpoint that is here by now."""
        for key, (peer, checkpoint) in list(self._due.items()):
            if self._around.holds(checkpoint):
                del self._due[key]
                self.look_at(key, peer)

    def look_at(self, key: PeerKey, peer: LivePeer) -> None:
        """Look soon which reels a peer has."""
        if key in self._liars:
            return
        self._waiting[key] = peer
        if not self._is_looking:
            self._is_looking = True
            self._start(self._look_at_all())

    def left(self, key: PeerKey) -> None:
        """Forget a peer that is gone."""
        self._due.pop(key, None)
        self._waiting.pop(key, None)
        self._liars.discard(key)

    async def _look_at_all(self) -> None:
        try:
            while self._waiting:
                key = next(iter(self._waiting))
                peer = self._waiting.pop(key)
                try:
                    await self._look(key, peer)
                except GitTorrentError as error:
                    if isinstance(error, NoRoomError):  # looked at with the next checkpoint
                        self._due.setdefault(key, (peer, self._around.head().id))
                    if isinstance(error, TrustError):
                        self._liars.add(key)
                    self._note(peer, error)
        finally:
            self._is_looking = False

    async def _look(self, key: PeerKey, peer: LivePeer) -> None:
        around = self._around
        offers = await self._ask(key, peer, ReelName(None, around.head().id))
        lacking = await around.executor(partial(self._lacking, offers))
        jobs: list[Job] = []
        size = sum(offer.pack_size for offer in lacking)
        place = around.carried.layout.git_dir
        await around.executor(partial(around.space.require, place, size=size))
        for offer in lacking:
            data = await peer.fetch_manifest(offer.manifest, longest_file(offer.pack_size))
            jobs += await around.executor(partial(self._jobs, data, offer))
        if jobs:
            await self._build_all(jobs)

    async def _ask(self, key: PeerKey, peer: LivePeer, name: ReelName) -> list[ReelOffer]:
        found: list[ReelOffer] = []

        def take(said: HaveBundle) -> None:
            reel = said.reel
            if said.shape == WHOLE:
                found.append(ReelOffer(said.manifest, reel.start, reel.end, said.pack_size))

        self._asking = key
        try:
            await peer.offers(name, take)
        finally:
            self._asking = None
        return found

    def _lacking(self, offers: Sequence[ReelOffer]) -> list[ReelOffer]:
        with self._around.kept.reading() as log:
            found = lacking_reels(self._around.carried, log, offers)
        return [offer for offer in found if offer.manifest not in self._hopeless]

    def _jobs(self, data: bytes, offer: ReelOffer) -> list[Job]:
        """Return what building a reel takes, once its manifest is verified.

        Raises:
            TrustError: it does not hold.
        """
        with self._around.kept.reading() as log:
            return jobs_of(log, [verify_manifest(data, log, offer)])

    async def _build_all(self, jobs: Sequence[Job]) -> None:
        around = self._around
        carried = around.carried
        for result in await self._build(carried, jobs):
            reel = carried.reels.get(result.manifest)
            if result.outcome is not RebuildOutcome.BUILT or reel is None:
                # Mirrors that look now and then download what they cannot build.
                self._hopeless.add(result.manifest)
                continue
            _log.info(
                "built",
                "{repository}: built reel {manifest} out of what is here",
                repository=carried.info.name,
                manifest=reel.id,
            )
        await around.executor(self._drop_superseded)

    def _drop_superseded(self) -> None:
        carried = self._around.carried
        with self._around.kept.reading() as log, locked(carried.layout.lock):
            has_packs = drop_superseded(carried, log, time.time())
        if has_packs:
            housekeeping.start_if_due(carried)

    def _note(self, peer: LivePeer, error: GitTorrentError) -> None:
        _log.info(
            "no-reels",
            "{repository}: the reels of {peer} are left out: {reason}",
            repository=self._around.carried.info.name,
            peer=peer.name,
            reason=error,
        )


async def _build(carried: Carried, jobs: Sequence[Job]) -> list[Result]:
    return await rebuild_reels(carried, jobs, lambda _phase, _done, _total: None, yielding=True)
