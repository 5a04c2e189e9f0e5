"""Acquires a repository from its mirrors: identity, log, reels.

`Acquisition` begins at one mirror, verifies who the repository is and what its refs are
(`gittorrent.transfer.log_follower`), gathers the other mirrors, and downloads the reels that lead
from what is here to the newest push any reel reaches. What no reel covers is left to an ordinary
fetch, which the caller does.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError, TrustError
from gittorrent.git.proved_tags import proved_tags
from gittorrent.ids import PushId
from gittorrent.reel.manifest import longest_file
from gittorrent.reel.path import ReelOffer
from gittorrent.shapes import WHOLE, Shape
from gittorrent.sizes import show_bytes
from gittorrent.store.withheld import forgive, note_withheld, withheld_lately
from gittorrent.swarm.events import PeerKind
from gittorrent.transfer.log_follower import LogFollower
from gittorrent.transfer.manifests import FalseOfferError, verify_manifest
from gittorrent.transfer.mirror import NotThereError
from gittorrent.transfer.pack_download import NoSourceError, WithheldError
from gittorrent.transfer.peer_manager import PeerManager
from gittorrent.transfer.planning import Planner
from gittorrent.transfer.reaching import Source, learned
from gittorrent.transfer.reel_fetcher import ReelFetcher
from gittorrent.transfer.working import stoppable
from gittorrent.wire.limits import MAX_TAG_BYTES, MAX_TAGS_BYTES
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.reelname import ReelName

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from gittorrent.ids import ObjectFormat, Oid, RepositoryId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.logstore import LogStore
    from gittorrent.repository.receive import LyingReelError, Receiver, SignedManifest
    from gittorrent.transfer.client_timeouts import ClientTimeouts
    from gittorrent.transfer.context import Context
    from gittorrent.transfer.location import Location
    from gittorrent.transfer.log_extent import LogExtent
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.wire.messages import HaveBundle

MAX_MIRRORS = 16
"""Mirrors one download talks to; more add little speed and much chatter."""

MAX_WITHHELD = 2
"""Reels that may be withheld before only the first mirror is asked which there are."""

TAGS_SECONDS = 10.0
"""Time for tag objects: a listing is complete without them."""

TAGS_AT_ONCE = 32
"""Tag objects asked for at once: half of the questions that one end may have open."""


class Acquisition:
    """Gets one repository; use it as an asynchronous context manager.

    Args:
        location: the mirror to begin with.
        context: of the world around it.
    """

    def __init__(self, location: Location, context: Context) -> None:
        self._context = context
        self._peer_manager = PeerManager(
            context.reporter.note,
            context.sharing,
            context.limits,
            context.client_timeouts,
            context.reporter.detail,
        )
        self._log_follower = LogFollower(location, context, self._peer_manager)
        self._reel_fetcher = ReelFetcher(self._peer_manager, context)
        self._planners: dict[ReelOffer, Planner] = {}
        self._withheld = 0
        self._repository: RepositoryId | None = None
        self._withheld_before: set[str] = set()

    async def __aenter__(self) -> Acquisition:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._log_follower.close()
        finally:
            await self._peer_manager.close()
            self._reel_fetcher.close()
        self._remember_who_withheld()

    def _remember_who_withheld(self) -> None:
        """Write down who is asked last from now on, and who is not any more.

        What the first mirror was, whoever names it asks anew.
        """
        if self._repository is None:
            return
        bans, database = self._peer_manager.offer_bans, self._context.database
        with self._context.remembering():
            if urls := bans.to_remember - {self.url}:
                note_withheld(database, self._repository, urls, int(self._context.clock()))
            if urls := bans.to_forgive & self._withheld_before:
                forgive(database, self._repository, urls)

    @property
    def first_contact(self) -> bool:
        """Whether nothing on this machine said who the repository is."""
        return self._log_follower.first_contact

    @property
    def claimed(self) -> RepositoryId:
        """The repository that the first mirror says it carries, and the only one it may prove."""
        return self._log_follower.claimed

    @property
    def object_format(self) -> ObjectFormat:
        """Of the repository, by the newest push of the first mirror's list."""
        return self._log_follower.object_format

    @property
    def first(self) -> Source:
        """The mirror it goes by."""
        return self._log_follower.first

    @property
    def url(self) -> str:
        """URL of the first mirror."""
        return self._log_follower.url

    def source_url(self) -> str:
        """Return the URL to come back to: of the mirror the user named, or else of the first."""
        return self._log_follower.source_url()

    def sources(self, log: VerifiedLog) -> list[Source]:
        """Return the mirrors for an ordinary fetch, the first one first.

        Those that ssh leads to come last, and after them those whose offers did not hold.
        """
        is_silent = self._peer_manager.offer_bans.is_silent
        return sorted(self._log_follower.sources(log), key=lambda source: is_silent(source.url))

    @property
    def was_withheld(self) -> bool:
        """Whether a reel was offered and not given."""
        return self._withheld > 0

    @property
    def _mirrors(self) -> list[Mirror]:
        return self._peer_manager.mirrors

    async def open(self) -> RepositoryId:
        """Reach the first mirror and return who it says it carries; see `LogFollower.open`."""
        return await self._log_follower.open()

    async def fetch_log(
        self, store: LogStore, object_format: ObjectFormat, extent: LogExtent
    ) -> VerifiedLog:
        """Bring the log up to date, verified; see `LogFollower.fetch_log`."""
        log = await self._log_follower.fetch_log(store, object_format, extent)
        self._peer_manager.content.know(log, store)
        self._repository = log.repository
        now = int(self._context.clock())
        self._withheld_before = withheld_lately(self._context.database, log.repository, now)
        self._peer_manager.offer_bans.withheld_before(self._withheld_before - {self.url})
        if log.policy.policy.private:
            self._peer_manager.keep_to_mirrors()
        return log

    def gather(self, log: VerifiedLog) -> None:
        """Begin to connect to the other mirrors; they join downloads as they answer."""
        trusted = self._peer_manager.trusted
        partial = [
            learned(entry.url, trusted)
            for entry in self._log_follower.mirror_list.mirrors
            if entry.state is MirrorState.PARTIAL and not log.policy.policy.private
        ]
        whole = self.sources(log)
        wanted = [*whole, *(source for source in partial if source is not None)]
        stale = {
            e.url for e in self._log_follower.mirror_list.mirrors if e.state is MirrorState.STALE
        }
        known = [s for s in wanted if s.url not in stale][:MAX_MIRRORS]
        self._peer_manager.gather(known, [source.url for source in whole])

    def served(self, log: VerifiedLog, source: Source) -> None:
        """Remember that a mirror gave what an ordinary fetch wanted."""
        now = int(self._context.clock())
        with self._context.remembering():
            self._context.database.mirror_served(log.repository, source.url, now)

    async def plan(
        self, log: VerifiedLog, have: Collection[PushId], shape: Shape = WHOLE
    ) -> list[tuple[ReelOffer, SignedManifest]]:
        """Find the reels of a shape that lead from ``have`` towards the log's head.

        Returns:
            The reels to take in order, each with its verified manifest; empty when none helps.
        """
        planner = self._planner(log, shape)
        planned = await planner.plan(have)
        self.require_allowed([signed for _, signed in planned])
        self._note(planner, planned)
        return planned

    async def plan_with_index(
        self, log: VerifiedLog
    ) -> tuple[list[tuple[ReelOffer, SignedManifest]], SignedManifest | None]:
        """Find the reels that lead from the beginning of history towards the log's head.

        Returns:
            The reels to take in order, and the verified manifest of the first one's pack's index;
            None where nobody has one that is signed.
        """
        planner = self._planner(log, WHOLE)
        planned, index = await planner.plan(()), None
        if planned and planned[0][0].start is None:
            index = await planner.index_of(planned[0][1])
        reels = [signed for _, signed in planned]
        self.require_allowed(reels if index is None else [*reels, index])
        self._note(planner, planned)
        return planned, index

    async def find_tip(
        self,
        log: VerifiedLog,
        choose: Callable[[Sequence[ReelOffer]], Awaitable[ReelOffer | None]],
    ) -> tuple[ReelOffer, SignedManifest] | None:
        """Find a reel of a single commit; see `Planner.find`.

        Args:
            log: the verified log.
            choose: returns which of the offers to prove next.

        Returns:
            The reel, with its verified manifest; None when there is none of use.
        """
        if log.head is None:
            return None
        planner = self._planner(log, None)
        found = await planner.find(choose, lambda: self.gather(log))
        if found is not None:
            self.require_allowed([found[1]])
            self._note(planner, [found])
        return found

    def _note(self, planner: Planner, planned: Iterable[tuple[ReelOffer, SignedManifest]]) -> None:
        """Remember who knows by whom reels are offered."""
        self._planners |= {offer: planner for offer, _ in planned}

    def _planner(self, log: VerifiedLog, shape: Shape | None) -> Planner:
        reporter = self._context.reporter

        def tell(text: str, is_first: bool) -> None:
            """Report on the first mirror as a note, on others as a detail."""
            (reporter.note if is_first else reporter.detail)(text)

        return Planner(self._peer_manager, log, lambda d, o: self._accept(log, d, o), tell, shape)

    def require_allowed(self, reels: Sequence[SignedManifest]) -> None:
        """Refuse reels that come to more than the user allows.

        Raises:
            LocalError: they do.
        """
        total = sum(signed.manifest.pack_size for signed in reels)
        if total > self._context.max_bytes:
            raise LocalError(
                f"the repository's packs come to {show_bytes(total)}, more than the"
                f" {show_bytes(self._context.max_bytes)} allowed",
                hint="raise gittorrent.maxSize if that is right",
            )

    async def offers(self, log: VerifiedLog) -> list[ReelOffer]:
        """Return the reels that the first mirror says it has, wherever they lead.

        Raises:
            MirrorLostError: it stopped answering.
        """
        offers = await self._first_offers(log, shapes=False)
        made = [offer for offer in offers if offer.shape == WHOLE]
        known = set(log.ids)
        return [o for o in made if o.end in known and (o.start is None or o.start in known)]

    @property
    def first_makes_no_packs(self) -> bool:
        """Tell whether the first mirror holds files only, so that reels are all it can give."""
        return self._mirrors[0].kind is PeerKind.HTTP

    async def shaped_offers(self, log: VerifiedLog) -> list[ReelOffer]:
        """Return the reels of other shapes than the whole that the first mirror says it has.

        Raises:
            MirrorLostError: it stopped answering.
        """
        offers = await self._first_offers(log, shapes=True)
        return [offer for offer in offers if offer.shape.is_asked_for]

    async def index_offers(self, log: VerifiedLog) -> list[ReelOffer]:
        """Return the indexes of packs that the first mirror says it has, with a signed manifest.

        Raises:
            MirrorLostError: it stopped answering.
        """
        offers = await self._first_offers(log, shapes=False)
        return [offer for offer in offers if offer.shape.manifest is not None]

    async def _first_offers(self, log: VerifiedLog, *, shapes: bool) -> list[ReelOffer]:
        if log.head is None:
            return []
        found: list[HaveBundle] = []
        await self._mirrors[0].offers(ReelName(None, log.head), found.append, shapes=shapes)
        return [
            ReelOffer(o.manifest, o.reel.start, o.reel.end, o.pack_size, o.shape) for o in found
        ]

    async def tags(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        """Return those tag objects that the first mirror gives, unverified.

        What would come after `MAX_TAGS_BYTES` or `TAGS_SECONDS` is left out.

        Raises:
            MirrorLostError: it stopped answering.
        """
        found: dict[Oid, bytes] = {}
        size = 0
        slots, mirror = asyncio.Semaphore(TAGS_AT_ONCE), self._mirrors[0]

        async def take(oid: Oid) -> None:
            nonlocal size
            async with slots:
                if size > MAX_TAGS_BYTES:
                    return
                with contextlib.suppress(NotThereError):  # a tag that is no object of its own
                    found[oid] = await mirror.fetch_push(PushId(oid), MAX_TAG_BYTES)
                    size += len(found[oid])

        try:
            async with asyncio.timeout(TAGS_SECONDS), asyncio.TaskGroup() as group:
                for oid in oids:
                    group.create_task(take(oid))
        except TimeoutError:
            pass
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return found

    async def read_tag(self, log: VerifiedLog, oid: Oid) -> tuple[Oid, str] | None:
        """Return what a tag names and of which kind that is, by a mirror that proves it.

        None where the first mirror has no such tag, as of one that is no object of its own, or
        nobody proves it.
        """

        async def ask(mirror: Mirror) -> tuple[Oid, str]:
            content = await mirror.fetch_push(PushId(oid), MAX_TAG_BYTES)
            named = await stoppable(proved_tags, {oid: content})
            if oid not in named:
                raise FalseOfferError(f"another object is sent as tag {oid}")
            return named[oid]

        return await self._planner(log, None).ask_around(ask, lambda: self.gather(log))

    async def manifest(self, log: VerifiedLog, offer: ReelOffer) -> SignedManifest:
        """Return the verified manifest of a reel that the first mirror offers.

        Raises:
            TrustError: it does not hold.
            NotThereError, MirrorLostError: the mirror does not have it, or stopped answering.
        """
        most = longest_file(offer.pack_size)
        data = await self._mirrors[0].fetch_manifest(offer.manifest, most)
        return self._accept(log, data, offer)

    def _accept(self, log: VerifiedLog, data: bytes, offer: ReelOffer) -> SignedManifest:
        """Verify a manifest, and that its signer is still believed here."""
        signed = verify_manifest(data, log, offer)
        reason_not = self._context.database.distrusted(log.repository, str(signed.key))
        if reason_not is not None:
            raise TrustError(f"{signed.key} is not believed here: {reason_not}")
        return signed

    async def download(
        self, offer: ReelOffer, signed: SignedManifest, receiver: Receiver, tips: Sequence[Oid]
    ) -> None:
        """Bring one reel, as planned, to the receiver; see `gittorrent.transfer.reel_fetcher`.

        Raises:
            WithheldError: those who offered it do not give it; there may be another way.
            NoSourceError: nobody has what is missing, and another way is not to be looked for.
        """
        with self._watching(offer) as client_timeouts:
            await self._reel_fetcher.take(signed, receiver, tips, client_timeouts)

    async def download_with_index(
        self,
        offer: ReelOffer,
        signed: SignedManifest,
        index: SignedManifest,
        receiver: Receiver,
        tips: Sequence[Oid],
    ) -> None:
        """Bring one reel and its signed index to the receiver; errors as those of `download`."""
        fetcher = self._reel_fetcher
        with self._watching(offer) as client_timeouts:
            await fetcher.take_with_index(signed, index, receiver, tips, client_timeouts)

    @contextlib.contextmanager
    def _watching(self, offer: ReelOffer) -> Iterator[ClientTimeouts]:
        """Have a reel downloaded, and leave those who offered it if they do not give it.

        Yields:
            How long its parts are waited for: less where the first mirror does not offer it.
        """
        planner, peer_manager = self._planners[offer], self._peer_manager
        is_of_first = planner.is_of_first(offer)
        try:
            yield peer_manager.client_timeouts if is_of_first else peer_manager.impatient
        except NoSourceError as error:
            if not planner.withheld(offer):
                raise
            self._withheld += 1
            if self._withheld >= MAX_WITHHELD:
                peer_manager.offer_bans.keep_to_first()
            raise WithheldError(str(error), hint=error.hint) from error

    def look_in(self, nearby: Sequence[Path]) -> None:
        """Look for reels in these repositories of this machine before they are downloaded."""
        self._reel_fetcher.nearby = nearby

    def distrust(self, log: VerifiedLog, error: LyingReelError) -> None:
        """Believe a key no more that is proved to lie in a manifest, and drop the pack."""
        self._context.reporter.note(str(error))
        self._context.database.distrust(
            log.repository, str(error.key), str(error), int(self._context.clock())
        )
        self.discard_partial()

    def discard_partial(self) -> None:
        """Remove the downloads of this acquisition: what they held is in the repository."""
        self._reel_fetcher.discard()
