"""Keeps the reels of a mirror as good as those of the mirror that it follows.

What an update brought may have come by other reels than newcomers take, or by none: the node's live
conversations and ordinary fetches bring objects only. Reels are made of what is here then; what
cannot be made is downloaded. Nothing that a mirror shows depends on them.
Source: docs/protocol/reels.md, "Splicing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import NoRoomError, TrustError, UnreachableError
from gittorrent.repository import housekeeping
from gittorrent.repository.leaving_reels import drop_superseded
from gittorrent.repository.rebuilding import jobs_of, rebuild_reels
from gittorrent.repository.shapestore import ShapesDue
from gittorrent.transfer.reel_offers import lacking_reels
from gittorrent.transfer.updating import Update, Updater
from gittorrent.transfer.working import stoppable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.reel.path import ReelOffer
    from gittorrent.repository.carried import Carried
    from gittorrent.transfer.acquire import Acquisition
    from gittorrent.transfer.context import Context


class MirrorReels:
    """The reels of one mirror, whose lock the caller does not hold.

    Args:
        acquisition: knows the mirror that is followed, which alone is asked.
        carried: the mirror here.
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

    async def follow(self, *, is_changed: bool) -> None:
        """Make or bring the reels that newcomers take, where something is new or none ends here.

        Args:
            is_changed: whether the log has just come to stand elsewhere; reels of that are not
                downloaded, since who made it may make others soon.

        Raises:
            LocalError: this machine let it down.
        """
        await self._follow_shapes(is_changed=is_changed)
        ends = await stoppable(self._carried.reel_ends)
        if not is_changed and self._log.head in ends:
            return
        try:
            await self._build()
            ends = await stoppable(self._carried.reel_ends)
            if not is_changed and self._log.head not in ends:
                await self._download(ends)
        except (UnreachableError, TrustError, NoRoomError) as error:
            self._context.reporter.detail(f"no reel for what is new: {error}")

    async def _follow_shapes(self, *, is_changed: bool) -> None:
        """Build the reels of other shapes that there are, as long as somebody asks for them."""
        shapes = self._carried.shapes
        due = await stoppable(shapes.due, self._context.clock(), is_changed)
        if due is ShapesDue.NONE:
            return
        try:
            offers = [] if due is ShapesDue.DROP else await self._shaped_offers()
            held = {reel.id for reel in await stoppable(shapes.all)}
            await self._build_all([offer for offer in offers if offer.manifest not in held])
            keep = frozenset(offer.manifest for offer in offers)
            await stoppable(shapes.followed, keep, self._context.clock())
        except (UnreachableError, TrustError, NoRoomError) as error:
            self._context.reporter.detail(f"no reels of other shapes: {error}")

    async def _shaped_offers(self) -> list[ReelOffer]:
        offers = await self._acquisition.shaped_offers(self._log)
        known = {None, *self._log.ids}
        return [offer for offer in offers if offer.end in known and offer.start in known]

    async def _build(self) -> None:
        """Build the reels that newcomers take there, of what is here."""
        offers = await self._acquisition.offers(self._log)
        await self._build_all(await stoppable(lacking_reels, self._carried, self._log, offers))
        if await stoppable(self._drop_superseded):
            housekeeping.start_if_due(self._carried)

    async def _build_all(self, lacking: Sequence[ReelOffer]) -> None:
        acquisition, log = self._acquisition, self._log
        manifests = [await acquisition.manifest(log, offer) for offer in lacking]
        if manifests:
            jobs = await stoppable(jobs_of, log, manifests)
            size = sum(signed.manifest.pack_size for signed in manifests)
            place = self._carried.layout.git_dir
            await stoppable(lambda: self._context.space.require(place, size=size))
            await rebuild_reels(self._carried, jobs, _untold, yielding=True)

    def _drop_superseded(self) -> bool:
        with self._carried.writing():
            return drop_superseded(self._carried, self._log, self._context.clock())

    async def _download(self, ends: Collection[PushId]) -> None:
        """Download reels of what came otherwise and could not be built."""
        carried, log = self._carried, self._log
        have = [checkpoint for checkpoint in log.ids if checkpoint in ends][-1:]
        updater = Updater(self._acquisition, carried.layout, log, carried.log_store, self._context)
        with carried.writing():
            await updater.bring(Update(None, have, keep=True))


def _untold(phase: str, done: int, total: int) -> None:
    """Show nothing: it takes a moment, and nobody waits for it."""
    del phase, done, total
