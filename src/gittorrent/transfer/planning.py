"""Decides which reels to take, by what mirrors offer and can show a signed manifest for.

A reel counts once a mirror that offers it has sent a manifest that verifies and says the same.
The manifests of rival ways (`gittorrent.transfer.offers`) are fetched side by side; once one way is
proved, the others have a moment to prove better, and then it is taken. Mirrors that do not keep
their word, in what they send or in how fast, are left alone. So inventing reels costs the
inventor's credit and the user a moment. Must not know how manifests are verified, nor disks.
Source: docs/protocol/mirrorsync.md, Offers.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from gittorrent.errors import GitTorrentError, LocalError, TrustError
from gittorrent.reel.index_manifest import require_index_of
from gittorrent.reel.manifest import longest_file
from gittorrent.reel.path import ReelOffer, best_path, cost_of
from gittorrent.shapes import WHOLE, Shape
from gittorrent.swarm.events import PeerKind
from gittorrent.transfer.manifest_room import ManifestRoom
from gittorrent.transfer.manifests import FalseOfferError
from gittorrent.transfer.mirror import NotThereError
from gittorrent.transfer.offered_indexes import OfferedIndexes
from gittorrent.transfer.offers import FAULTS, Offers
from gittorrent.transfer.racing import first_success, keep
from gittorrent.wire.reelname import ReelName

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
    from typing import Any

    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.receive import SignedManifest
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.transfer.peer_manager import PeerManager
    from gittorrent.wire.messages import HaveBundle

T = TypeVar("T")

MORE_SECONDS = 3.0
"""Time to wait for further mirrors when those that answered offer nothing of use."""

HELD_BYTES = 96 << 20
"""Bytes of unverified manifests that may be under way at one time; one may be in any case."""

ABOUT = 1.25
"""How much more than the best way one by the first mirror may cost, and is taken all the same."""

MAX_ASKED = 32
"""Manifests under way at one time."""

Planned = tuple[ReelOffer, "SignedManifest"]


class Planner:
    """Plans one way from what is here towards a log's head.

    Args:
        peer_manager: whom to ask.
        log: the verified log.
        accept: verifies a manifest for an offer; raises a `GitTorrentError` when it does not hold.
        tell: tells the user what is wrong with a mirror, and whether it is the first one, which
            the user named or which stands in for that.
        shape: of the reels to take; None for one of a single commit.
    """

    def __init__(
        self,
        peer_manager: PeerManager,
        log: VerifiedLog,
        accept: Callable[[bytes, ReelOffer], SignedManifest],
        tell: Callable[[str, bool], None],
        shape: Shape | None = WHOLE,
    ) -> None:
        self._peer_manager = peer_manager
        self._client_timeouts = peer_manager.client_timeouts
        self._log = log
        self._accept = accept
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._first = next(iter(peer_manager.mirrors), None)
        self._asked: list[Mirror] = []
        self._begins_late = log.begins_late
        self._shape = shape
        self._offers = Offers(log.ids, self._first, begins_late=self._begins_late, shape=shape)
        self._indexes = OfferedIndexes(self._first)
        self._room = ManifestRoom(HELD_BYTES)
        self._signed: dict[ReelOffer, SignedManifest] = {}
        self._asking: dict[asyncio.Task[None], Mirror] = {}
        self._late: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._heard: list[Mirror] = []
        self._failure: GitTorrentError | None = None

    async def plan(self, have: Collection[PushId]) -> list[Planned]:
        """Return the reels to take in order, each with its verified manifest.

        Args:
            have: pushes whose objects are here.

        Raises:
            GitTorrentError: nobody answered at all.
        """
        begun = self._loop.time()
        name = self._wanted(have)
        newcomers = self._loop.create_task(self._ask_newcomers(name))
        try:
            while True:
                await self._hear(name)
                planned = await self._prove(have)
                if planned:
                    break
                if not await self._have_more_come(begun) and not self._listens_to_all():
                    break
        finally:
            await _cancel([newcomers, *self._asking])
        if not planned and not self._heard and self._failure is not None:
            raise self._failure
        return planned

    async def find(
        self,
        choose: Callable[[Sequence[ReelOffer]], Awaitable[ReelOffer | None]],
        gather: Callable[[], None],
    ) -> Planned | None:
        """Return one reel, with its verified manifest; None if nobody has one that is of use.

        The first mirror is asked alone, and all others if it takes long, does not show what it
        offers, or has none and makes no packs either; one that makes packs gives what is wanted
        sooner than others can be found.

        Args:
            choose: returns the offer to prove next; given those that did not fail, the best first.
            gather: begins to connect to further mirrors.
        """
        name = self._wanted(())
        begun, lacking_since = self._loop.time(), 0.0
        is_shown = True
        others = self._loop.create_task(self._ask_others(name, gather))
        try:
            while True:
                await self._hear(name)
                while (offer := await choose(self._offers.best_backed())) is not None:
                    signed = await self._manifest_in_time(offer, begun)
                    if signed is not None:
                        return offer, signed
                    self._offers.drop(offer)
                    is_shown = False
                if is_shown and self._first_makes_packs():
                    return None
                gather()
                lacking_since = lacking_since or self._loop.time()
                if not await self._have_more_come(lacking_since) and not self._listens_to_all():
                    return None
        finally:
            await _cancel([others, *self._asking])

    def _listens_to_all(self) -> bool:
        """Listen to those, too, that withheld something before, where nothing else is left."""
        return not self._first_makes_packs() and self._peer_manager.offer_bans.listen_to_all()

    def _first_makes_packs(self) -> bool:
        """Tell whether the first mirror has offered all that it has, and packs what it is asked."""
        first = self._first
        return first is not None and first in self._heard and first.kind is not PeerKind.HTTP

    async def _have_more_come(self, since: float) -> bool:
        """Wait for further mirrors; longer where the first one gave nothing or lied.

        Args:
            since: when it began that they are waited for.
        """
        is_first_out = self._first is not None and self._is_out(self._first)
        is_alone = is_first_out or not self._heard
        seconds = self._client_timeouts.strangers if is_alone else MORE_SECONDS
        left = since + seconds - self._loop.time()
        # Who came while others were heard, or is asked and silent, is no growth any more.
        return self._has_unheard() or await self._peer_manager.grown(left) or self._has_unheard()

    def _has_unheard(self) -> bool:
        """Tell whether somebody is to be asked, or to be waited for, who was not yet."""
        new = [m for m in self._peer_manager.mirrors if m not in self._asked]
        pending = [t for t in self._asking if not t.done() and t not in self._late]
        return bool(pending) or not all(self._is_out(mirror) for mirror in new)

    async def ask_around(
        self, ask: Callable[[Mirror], Awaitable[T]], gather: Callable[[], None]
    ) -> T | None:
        """Return an answer that holds: the first mirror's, or another one's where that fails.

        Args:
            ask: asks a mirror and proves what it answers.
            gather: begins to connect to further mirrors.

        Returns:
            The answer; None where the first mirror says that there is none, or nobody has one.
        """

        def those_left() -> list[Mirror]:
            return [mirror for mirror in self._peer_manager.mirrors if not self._is_out(mirror)]

        async def more() -> Sequence[Mirror]:
            gather()
            seconds = self._client_timeouts.strangers
            return those_left() if await self._peer_manager.grown(seconds) else ()

        def failed(mirror: Mirror, error: BaseException) -> None:
            if not isinstance(error, NotThereError):
                self._blame(mirror, error)
            elif mirror is self._first:
                raise error

        second = self._client_timeouts.second
        try:
            found = await first_success(those_left(), ask, second, failed, keep, more=more)
        except NotThereError:
            return None
        return None if found is None else found[1]

    async def _ask_others(self, name: ReelName, gather: Callable[[], None]) -> None:
        """Ask others as well when it takes the first mirror long."""
        await asyncio.sleep(self._client_timeouts.second)
        gather()
        await self._ask_newcomers(name)

    async def _manifest_in_time(self, offer: ReelOffer, begun: float) -> SignedManifest | None:
        """Get a manifest; those of others than the first mirror have only so long in all."""
        if self._offers.is_of_first(offer):
            return await self._manifest(offer)
        try:
            async with asyncio.timeout_at(begun + self._client_timeouts.strangers):
                return await self._manifest(offer)
        except TimeoutError:
            self._leave([offer])
            return None

    def _wanted(self, have: Collection[PushId]) -> ReelName:
        head = self._log.head
        assert head is not None
        here = [push for push in self._log.ids if push in have]
        return ReelName(here[-1] if here and here[-1] != head else None, head)

    def _ask(self, name: ReelName) -> None:
        """Ask those who were not asked yet, all at once."""
        new = [
            m for m in self._peer_manager.mirrors if m not in self._asked and not self._is_out(m)
        ]
        self._asked += new
        for mirror in new:
            task = self._loop.create_task(self._ask_one(mirror, name))
            task.add_done_callback(lambda _task: self._news.set())
            self._asking[task] = mirror
        self._news.set()

    async def _ask_newcomers(self, name: ReelName) -> None:
        """Ask everybody who comes while others are waited for, whatever for."""
        while await self._peer_manager.grown(math.inf):
            self._ask(name)

    async def _hear(self, name: ReelName) -> None:
        """Ask, and wait for offers: for all of them, but not much longer once there are some.

        The first mirror may go on after that; others who take so long are not listened to.
        """
        self._ask(name)
        until = self._loop.time() + self._client_timeouts.offers
        while pending := [task for task in self._asking if not task.done()]:
            left = until - self._loop.time()
            if self._heard and (left <= 0 or all(task in self._late for task in pending)):
                break
            await self._wait(pending, left if left > 0 else None)
        for task in pending:
            if task in self._late:
                continue
            self._late.add(task)
            mirror = self._asking[task]
            self._say_of(mirror, "takes long to answer")
            if mirror is not self._first:
                self._peer_manager.offer_bans.silence(mirror)
                task.cancel()

    async def _wait(self, tasks: Collection[asyncio.Task[Any]], seconds: float | None) -> None:
        """Wait until a task is done, or another mirror was asked or has answered."""
        self._news.clear()
        news = self._loop.create_task(self._news.wait())
        try:
            await asyncio.wait([*tasks, news], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel([news])

    async def _ask_one(self, mirror: Mirror, name: ReelName) -> None:
        try:
            shaped = self._shape != WHOLE
            take = partial(self._take_offer, mirror)
            await mirror.offers(name, take, shapes=shaped)
            self._heard.append(mirror)
        except GitTorrentError as error:
            self._failure = self._failure or error
            self._say_of(mirror, f"is left out: {error}")

    def _take_offer(self, mirror: Mirror, message: HaveBundle) -> None:
        """Note an offer, of a reel or of a pack's index."""
        if message.shape.manifest is None:
            self._offers.take(mirror, message)
            return
        self._indexes.take(mirror, message)

    def is_of_first(self, offer: ReelOffer) -> bool:
        """Tell whether the first mirror offers a reel."""
        return self._offers.is_of_first(offer)

    def withheld(self, offer: ReelOffer) -> bool:
        """Listen no more to those who offer a reel and did not give it.

        Returns:
            Whether another way may be looked for; not where the line to the first mirror broke,
            which gives the rest when it is there again.
        """
        makers, first = self._offers.makers(offer), self._first
        if first is not None and first in makers and self._peer_manager.is_lost(first):
            return False
        for mirror in makers:
            if not self._is_out(mirror):
                self._give_up(mirror, "it does not give what it offers")
        return True

    async def index_of(self, signed: SignedManifest) -> SignedManifest | None:
        """Return the verified manifest of the index of a reel's pack; None if nobody shows one.

        All who offer one have as long together as strangers have for a way: it can be made here.

        Args:
            signed: the reel's manifest.
        """

        async def ask(candidate: tuple[Mirror, ReelOffer]) -> SignedManifest:
            found = await self._ask_for(*candidate)
            require_index_of(found.manifest, signed.manifest)
            return found

        def failed(candidate: tuple[Mirror, ReelOffer], error: BaseException) -> None:
            self._blame(candidate[0], error)

        offered = self._indexes.of(signed.manifest)
        left = [(mirror, index) for mirror, index in offered if not self._is_out(mirror)]
        second = self._client_timeouts.second
        try:
            async with asyncio.timeout(self._client_timeouts.strangers):
                found = await first_success(left, ask, second, failed, keep)
        except TimeoutError:
            return None
        return None if found is None else found[1]

    async def _ask_for(self, mirror: Mirror, offer: ReelOffer) -> SignedManifest:
        """Get the manifest of an offer from one mirror, and verify it."""
        most = longest_file(offer.pack_size)
        async with self._room.of(most):
            return self._accept(await mirror.fetch_manifest(offer.manifest, most), offer)

    async def _prove(self, have: Collection[PushId]) -> list[Planned]:
        """Return the best way whose manifests all verify, out of those that can be had in time."""
        tasks: dict[asyncio.Task[SignedManifest | None], ReelOffer] = {}
        begun, whole_since = self._loop.time(), None
        try:
            while True:
                ways = self._offers.ways(have, self._signed)
                best = ways[1] if len(ways) > 1 else []
                chosen = self._preferred(best, have)
                if self._is_proved(best) and self._is_proved(chosen):
                    return [(offer, self._signed[offer]) for offer in chosen]
                self._fetch_for([chosen, *ways], tasks)
                if any(way and self._is_proved(way) for way in (ways[:1] if ways[0] else ways)):
                    whole_since = whole_since or self._loop.time()
                until = self._until(ways, begun, whole_since)
                left = None if until is None else until - self._loop.time()
                if left is not None and left <= 0:
                    self._leave(tasks.values())
                    way = best_path(
                        list(self._signed), have, self._log.ids, begins_late=self._begins_late
                    )
                    chosen = self._preferred(way, have)
                    way = list(chosen) if self._is_proved(chosen) else way
                    return [(offer, self._signed[offer]) for offer in way]
                await self._wait(tasks, left)
                self._take(tasks)
        finally:
            await _cancel(tasks)

    def _preferred(
        self, best: Sequence[ReelOffer], have: Collection[PushId]
    ) -> Sequence[ReelOffer]:
        """Return the first mirror's way where it is about as good as the best one of all.

        A few bytes less are not worth it to depend on whoever may be the only one to have them.
        """
        own = self._offers.way_of_first(have)
        if not (own and best) or own[-1].end != best[-1].end:
            return best
        return own if cost_of(own) <= ABOUT * cost_of(best) else best

    def _is_proved(self, way: Sequence[ReelOffer]) -> bool:
        return all(offer in self._signed for offer in way)

    def _until(
        self, ways: Sequence[Sequence[ReelOffer]], begun: float, whole_since: float | None
    ) -> float | None:
        """Return when to go on with what is proved; None to wait for the first mirror's manifests.

        Those are bounded as all answers are, and nothing better is at hand.
        """
        if whole_since is not None:
            return whole_since + self._client_timeouts.rivals
        lacks_first = any(o not in self._signed and self._offers.is_of_first(o) for o in ways[0])
        if lacks_first and not any(way and self._is_proved(way) for way in ways):
            return None
        return begun + self._client_timeouts.strangers

    def _fetch_for(
        self,
        ways: Iterable[Sequence[ReelOffer]],
        tasks: dict[asyncio.Task[SignedManifest | None], ReelOffer],
    ) -> None:
        """Begin to fetch the manifests that ways lack, as far as memory allows."""
        coming = set(tasks.values())
        held = sum(longest_file(offer.pack_size) for offer in coming)
        for offer in dict.fromkeys(offer for way in ways for offer in way):
            if offer in self._signed or offer in coming:
                continue
            size = longest_file(offer.pack_size)
            if coming and (len(coming) >= MAX_ASKED or held + size > HELD_BYTES):
                return
            coming.add(offer)
            held += size
            tasks[self._loop.create_task(self._manifest(offer))] = offer

    def _take(self, tasks: dict[asyncio.Task[SignedManifest | None], ReelOffer]) -> None:
        for task in [task for task in tasks if task.done()]:
            offer = tasks.pop(task)
            signed = task.result()
            if signed is None:
                self._offers.drop(offer)
            else:
                self._signed[offer] = signed
        for task, offer in list(tasks.items()):
            if offer not in self._offers:
                task.cancel()
                del tasks[task]

    async def _manifest(self, offer: ReelOffer) -> SignedManifest | None:
        """Get the manifest of an offer from those who made it; None when none of them has it."""

        async def ask(mirror: Mirror) -> SignedManifest:
            return await self._ask_for(mirror, offer)

        def makers() -> list[Mirror]:
            return self._offers.makers(offer)

        second = self._client_timeouts.second
        found = await first_success(makers(), ask, second, self._blame, keep, joining=makers)
        return None if found is None else found[1]

    def _leave(self, offers: Iterable[ReelOffer]) -> None:
        """Listen no more to those whose manifests were waited for in vain."""
        for offer in offers:
            if not self._offers.has_backing(offer):
                for mirror in self._offers.makers(offer):
                    self._give_up(mirror, "it does not show what it offers in time")

    def _is_out(self, mirror: Mirror) -> bool:
        return self._peer_manager.offer_bans.is_out(mirror, self._first)

    def _blame(self, mirror: Mirror, error: BaseException) -> None:
        """Note an offer that came to nothing; one too many, and its others are dropped too.

        What this machine could not do is nobody else's fault, and goes to whoever plans.
        """
        if isinstance(error, LocalError) or not isinstance(error, GitTorrentError):
            raise error
        if self._is_out(mirror):
            return
        offer_bans = self._peer_manager.offer_bans
        if isinstance(error, FalseOfferError):
            offer_bans.suspect(mirror)
            self._peer_manager.banned(mirror)
        elif isinstance(error, NotThereError) and mirror is not self._first:
            offer_bans.suspect(mirror)
        elif isinstance(error, (NotThereError, TrustError)):
            faults = offer_bans.fault(mirror)
            if faults == 1:
                self._say_of(mirror, f"offers a reel that cannot be used: {error}")
            if faults < FAULTS:
                return
        self._give_up(mirror, str(error))

    def _say_of(self, mirror: Mirror, what: str) -> None:
        self._tell(f"{mirror.name} {what}", mirror is self._first)

    def _give_up(self, mirror: Mirror, why: str) -> None:
        is_lost = self._peer_manager.is_lost(mirror)
        self._peer_manager.offer_bans.silence(mirror, is_fleeting=is_lost)
        self._say_of(mirror, f"is excluded from this download: {why}")
        for each in [m for m in self._asked if self._is_out(m)]:
            self._offers.forget(each, self._signed)


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    given_up = list(tasks)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
