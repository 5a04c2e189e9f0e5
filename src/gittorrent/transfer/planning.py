"""Decides which reels to take, by what mirrors offer and can show a signed manifest for.

Offers are hearsay: a reel counts once a mirror that offers it has sent a manifest that verifies
and says the same. Tracks who offered what and how often somebody's word was good for nothing; a
mirror that is wrong several times is not listened to any more, so that inventing reels costs the
inventor's credit and the user a moment. Must not know how manifests are verified, nor disks.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError, TrustError
from gittorrent.reel.path import ReelOffer, best_path
from gittorrent.wire.limits import MAX_MANIFEST_BYTES
from gittorrent.wire.reelname import ReelName

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Any

    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.receive import SignedManifest
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.transfer.neighbours import Neighbours
    from gittorrent.wire.messages import HaveBundle

OFFER_SECONDS = 5.0
"""Time a mirror has to say what it offers while others have said it already."""

MANIFEST_SECONDS = 10.0
"""Time after which another mirror is asked for a manifest too."""

MORE_SECONDS = 3.0
"""Time to wait for further mirrors when those that answered offer nothing of use."""

FALSE_OFFERS = 3
"""Offers a mirror may be unable to back before none of its others is looked at."""

Planned = tuple[ReelOffer, "SignedManifest"]


class Planner:
    """Plans one way from what is here towards a log's head.

    Args:
        neighbours: whom to ask.
        log: the verified log.
        accept: verifies a manifest for an offer; raises a `GitTorrentError` when it does not hold.
        note: tells the user something worth a line.
    """

    def __init__(
        self,
        neighbours: Neighbours,
        log: VerifiedLog,
        accept: Callable[[bytes, ReelOffer], SignedManifest],
        note: Callable[[str], None],
    ) -> None:
        self._neighbours = neighbours
        self._log = log
        self._accept = accept
        self._note = note
        self._asked: list[Mirror] = []
        self._offers: dict[ReelOffer, list[Mirror]] = {}
        self._signed: dict[ReelOffer, SignedManifest] = {}
        self._false: Counter[int] = Counter()
        self._failure: GitTorrentError | None = None

    async def plan(self, have: Collection[PushId]) -> list[Planned]:
        """Return the reels to take in order, each with its verified manifest.

        Args:
            have: pushes whose objects are here.

        Raises:
            GitTorrentError: nobody answered at all.
        """
        loop = asyncio.get_running_loop()
        limit = loop.time() + MORE_SECONDS
        name = self._wanted(have)
        while True:
            await self._ask(name)
            planned = await self._back(have)
            if planned or not await self._neighbours.grown(limit - loop.time()):
                break
        if not planned and self._failure is not None and not self._offers:
            raise self._failure
        return planned

    def _wanted(self, have: Collection[PushId]) -> ReelName:
        head = self._log.head
        assert head is not None
        here = [push for push in self._log.ids if push in have]
        return ReelName(here[-1] if here and here[-1] != head else None, head)

    async def _ask(self, name: ReelName) -> None:
        """Ask those who were not asked yet, all at once."""
        new = [m for m in self._neighbours.mirrors if not any(m is known for known in self._asked)]
        self._asked += new
        tasks = {asyncio.ensure_future(_offers_of(mirror, name)): mirror for mirror in new}
        if not tasks:
            return
        try:
            done, _ = await asyncio.wait(tasks, timeout=OFFER_SECONDS)
            if not done:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task, mirror in tasks.items():
                self._take(mirror, task)
        finally:
            await _cancel(tasks)

    def _take(self, mirror: Mirror, task: asyncio.Future[list[HaveBundle]]) -> None:
        if not task.done():
            self._note(f"{mirror.url} takes long to answer")
        elif (error := task.exception()) is None:
            for found in task.result():
                start, end = found.reel.start, found.reel.end
                offer = ReelOffer(found.manifest, start, end, found.pack_size)
                self._offers.setdefault(offer, []).append(mirror)
        elif isinstance(error, GitTorrentError):
            self._failure = self._failure or error
            self._note(f"{mirror.url} is left out: {error}")
        else:
            raise error

    async def _back(self, have: Collection[PushId]) -> list[Planned]:
        """Return the best chain that can be backed by manifests."""
        while True:
            planned: list[Planned] = []
            for offer in best_path(list(self._offers), have, self._log.ids):
                signed = self._signed.get(offer) or await self._manifest(offer)
                if signed is None:
                    break
                self._signed[offer] = signed
                planned.append((offer, signed))
            else:
                return planned

    async def _manifest(self, offer: ReelOffer) -> SignedManifest | None:
        """Get the manifest of an offer from those who made it; None when the offer is dropped."""
        waiting = list(self._offers[offer])
        tasks: dict[asyncio.Future[bytes], Mirror] = {}
        try:
            while waiting or tasks:
                if waiting:
                    mirror = waiting.pop(0)
                    tasks[
                        asyncio.ensure_future(
                            mirror.fetch_manifest(offer.manifest, MAX_MANIFEST_BYTES)
                        )
                    ] = mirror
                done, _ = await asyncio.wait(
                    tasks,
                    timeout=MANIFEST_SECONDS if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    mirror = tasks.pop(task)
                    try:
                        return self._check(offer, task.result())
                    except GitTorrentError as error:
                        self._blame(mirror, error)
        finally:
            await _cancel(tasks)
        self._offers.pop(offer, None)
        return None

    def _check(self, offer: ReelOffer, data: bytes) -> SignedManifest:
        signed = self._accept(data, offer)
        if signed.manifest.pack_size != offer.pack_size:
            raise TrustError(f"reel {offer.manifest} is offered with another size than it has")
        return signed

    def _blame(self, mirror: Mirror, error: GitTorrentError) -> None:
        """Count an offer that came to nothing; enough of them, and its others are dropped too."""
        self._false[id(mirror)] += 1
        if self._false[id(mirror)] == 1:
            self._note(f"{mirror.url} offers a reel that cannot be used: {error}")
        if self._false[id(mirror)] != FALSE_OFFERS:
            return
        self._note(f"{mirror.url} is not asked for reels any more: its offers do not hold")
        for offer, offered_by in list(self._offers.items()):
            if offer in self._signed:
                continue
            offered_by[:] = [other for other in offered_by if other is not mirror]
            if not offered_by:
                del self._offers[offer]


async def _offers_of(mirror: Mirror, name: ReelName) -> list[HaveBundle]:
    found: list[HaveBundle] = []
    await mirror.offers(name, found.append)
    return found


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    given_up = list(tasks)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
