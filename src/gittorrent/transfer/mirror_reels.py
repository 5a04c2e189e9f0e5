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
from gittorrent.transfer.index_manifests import IndexManifests
from gittorrent.transfer.offered_reels import OfferedReels
from gittorrent.transfer.reel_offers import lacking_reels
from gittorrent.transfer.updating import Update, Updater
from gittorrent.transfer.working import stoppable

if TYPE_CHECKING:
    from collections.abc import Collection

    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
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
        self._builder = OfferedReels(acquisition, carried, log, context)

    async def follow(self, *, is_changed: bool) -> None:
        """Make or bring the reels that newcomers take, where something is new or none ends here.

        Args:
            is_changed: whether the log has just come to stand elsewhere; reels of that are not
                downloaded, since who made it may make others soon.

        Raises:
            LocalError: this machine let it down.
        """
        await self._follow_reels(is_changed=is_changed)
        await self.follow_indexes(is_changed=is_changed)

    async def follow_indexes(self, *, is_changed: bool) -> None:
        """Bring the signed manifests of the indexes that are here.

        Args:
            is_changed: as for `follow`.

        Raises:
            LocalError: this machine let it down.
        """
        indexes = IndexManifests(self._acquisition, self._carried, self._log, self._context)
        await indexes.follow(is_changed=is_changed)

    async def _follow_reels(self, *, is_changed: bool) -> None:
        await self._builder.follow_shapes(is_changed=is_changed)
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

    async def _build(self) -> None:
        """Build the reels that newcomers take there, of what is here."""
        offers = await self._acquisition.offers(self._log)
        await self._builder.build(await stoppable(lacking_reels, self._carried, self._log, offers))
        if await stoppable(self._drop_superseded):
            housekeeping.start_if_due(self._carried)

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
