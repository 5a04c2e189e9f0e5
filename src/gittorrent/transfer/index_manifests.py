"""Brings the signed manifests of pack indexes to who has the packs, and so the indexes.

Mirrors and seeds have made the index of each pack by themselves; what they lack is a manifest to
serve it by. It is kept if it describes the index that is here, byte for byte. One that describes
another is not, and said: the pack has one index only.
Source: docs/protocol/reels.md, "Signed indexes".
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.errors import TrustError, UnreachableError
from gittorrent.reel.shape_timing import LEAST_BYTES
from gittorrent.repository.index_maker import manifest_of_index
from gittorrent.transfer.manifests import FalseOfferError
from gittorrent.transfer.mirror import NotThereError
from gittorrent.transfer.offered_indexes import indexes_among
from gittorrent.transfer.working import stoppable

if TYPE_CHECKING:
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.receive import SignedManifest
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.transfer.acquire import Acquisition
    from gittorrent.transfer.context import Context

AWAITED_SECONDS = 24 * 3600.0
"""Age of a reel up to which a manifest of its index is asked for though nothing has changed: who
signs it does that after the reel, and this may have come in between."""


class IndexManifests:
    """Those of one repository here.

    Args:
        acquisition: knows the mirror that is asked.
        carried: the repository; its lock is not needed.
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
        """Ask for those that are lacking; nothing that is shown here depends on them.

        Args:
            is_changed: whether the log has just come to stand elsewhere.

        Raises:
            LocalError: this machine let it down.
        """
        try:
            async with asyncio.timeout(self._context.client_timeouts.unhurried):
                await self._follow(is_changed=is_changed)
        except (UnreachableError, TimeoutError) as error:
            why = str(error) or "their manifests take too long to come"
            self._context.reporter.detail(f"no signed index: {why}")

    async def _follow(self, *, is_changed: bool) -> None:
        lacking = {reel.id: reel for reel in await stoppable(self._lacking, is_changed)}
        if not lacking:
            return
        offers = await self._acquisition.index_offers(self._log)
        for reel in lacking.values():
            for offer in indexes_among(offers, reel.manifest):
                try:
                    signed = await self._acquisition.manifest(self._log, offer)
                except FalseOfferError as error:
                    raise UnreachableError(f"index {offer.manifest}: {error}") from error
                except (TrustError, NotThereError) as error:
                    self._context.reporter.detail(f"index {offer.manifest} is left out: {error}")
                    continue
                await stoppable(self._take, signed, reel)

    def _lacking(self, is_changed: bool) -> list[StoredReel]:
        now = self._context.clock()
        return [
            reel
            for reel in self._carried.indexes.lacking()
            if reel.manifest.repository == self._log.repository
            and (is_changed or self._is_awaited(reel, now))
        ]

    def _is_awaited(self, reel: StoredReel, now: float) -> bool:
        since = self._carried.layout.manifest(reel.id).stat().st_mtime
        return reel.manifest.pack_size >= LEAST_BYTES and now - since < AWAITED_SECONDS

    def _take(self, signed: SignedManifest, reel: StoredReel) -> None:
        if manifest_of_index(reel).id == signed.manifest.id:
            self._carried.indexes.store(signed.manifest, signed.signature)
            return
        self._context.reporter.note(
            f"warning: {signed.key} signed another index of reel {reel.id} than its pack has here;"
            " 'gittorrent verify' tells whether ours is right"
        )
