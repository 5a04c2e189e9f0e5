"""Builds reels that another mirror offers out of what is here: only manifests travel.

For mirrors and seeds. Those of other shapes than the whole they give only while clones ask them for
such reels (`ShapeStore.note_asked`); what nobody asks for any more is dropped.
Source: docs/protocol/mirrorsync.md, "Shapes".
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.errors import NoRoomError, TrustError, UnreachableError
from gittorrent.repository.rebuilding import RebuildOutcome, jobs_of, rebuild_reels
from gittorrent.repository.shapestore import ShapesDue
from gittorrent.transfer.working import stoppable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.ids import ManifestId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.reel.path import ReelOffer
    from gittorrent.repository.carried import Carried
    from gittorrent.transfer.acquire import Acquisition
    from gittorrent.transfer.context import Context


class OfferedReels:
    """Builds reels that a mirror offers, of the objects here.

    Args:
        acquisition: knows the mirror that is followed, which alone is asked.
        carried: the repository here, whose lock the caller does not hold.
        log: its log, as it counts by now.
        context: of the world around it.
    """

    def __init__(
        self, acquisition: Acquisition, carried: Carried, log: VerifiedLog, context: Context
    ) -> None:
        self._acquisition = acquisition
        self._carried = carried
        self._log = log
        self._context = context

    async def build(self, offers: Sequence[ReelOffer]) -> list[ManifestId]:
        """Build reels, as far as their objects are here; returns those that came out.

        Raises:
            UnreachableError, TrustError: their manifests cannot be had, or do not hold.
            NoRoomError: there is no room for them.
        """
        log = self._log
        try:
            async with asyncio.timeout(self._context.client_timeouts.unhurried):
                manifests = [await self._acquisition.manifest(log, offer) for offer in offers]
        except TimeoutError as error:
            raise UnreachableError("manifests of reels take too long to come") from error
        if not manifests:
            return []
        jobs = await stoppable(jobs_of, log, manifests)
        size = sum(signed.manifest.pack_size for signed in manifests)
        place = self._carried.layout.git_dir
        await stoppable(lambda: self._context.space.require(place, size=size))
        results = await rebuild_reels(self._carried, jobs, _untold, yielding=True)
        return [each.manifest for each in results if each.outcome is RebuildOutcome.BUILT]

    async def follow_shapes(self, *, is_changed: bool) -> list[ManifestId]:
        """Build the reels of other shapes that there are, as long as somebody asks for them.

        Args:
            is_changed: whether the log, or what is here of the repository, has changed.

        Returns:
            Those that were built.

        Raises:
            LocalError: this machine let it down.
        """
        shapes = self._carried.shapes
        due = await stoppable(shapes.due, self._context.clock(), is_changed)
        if due is ShapesDue.NONE:
            return []
        try:
            offers = [] if due is ShapesDue.DROP else await self._shaped_offers()
            held = {reel.id for reel in await stoppable(shapes.all)}
            built = await self.build([offer for offer in offers if offer.manifest not in held])
            keep = frozenset(offer.manifest for offer in offers)
            await stoppable(shapes.followed, keep, self._context.clock())
        except (UnreachableError, TrustError, NoRoomError) as error:
            self._context.reporter.detail(f"no reels of other shapes: {error}")
            return []
        return built

    async def _shaped_offers(self) -> list[ReelOffer]:
        offers = await self._acquisition.shaped_offers(self._log)
        known = {None, *self._log.ids}
        return [offer for offer in offers if offer.end in known and offer.start in known]


def _untold(phase: str, done: int, total: int) -> None:
    """Show nothing: it takes a moment, and nobody waits for it."""
    del phase, done, total
