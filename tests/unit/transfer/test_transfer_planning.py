"""Plans among honest and false offers: strangers cost a moment, and themselves their say."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from gittorrent.errors import LocalError
from gittorrent.ids import ManifestId, PushId
from gittorrent.push.log import VerifiedLog
from gittorrent.reel.index_manifest import index_manifest
from gittorrent.reel.manifest import Manifest, Segment, longest_file, parse_manifest
from gittorrent.reel.pack_index import least_size
from gittorrent.reel.path import ReelOffer
from gittorrent.repository.receive import SignedManifest
from gittorrent.shapes import WHOLE, Shape, index_of, tip_of
from gittorrent.swarm.events import PeerKind
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.manifests import verify_manifest
from gittorrent.transfer.mirror import Admit, MirrorLostError, NotThereError, PartSink, WantedPack
from gittorrent.transfer.offered_indexes import MAX_INDEXES, OfferedIndexes
from gittorrent.transfer.offers import MAX_UNBACKED, OfferBans, Offers
from gittorrent.transfer.peer_manager import PeerManager, Sharing
from gittorrent.transfer.planning import HELD_BYTES, Planned, Planner
from gittorrent.trust.signature import split_signed
from gittorrent.wire.messages import ALL, FetchLog, HaveBundle, Try, WrongParts
from gittorrent.wire.reelname import ReelName
from support.logs import MAIN, Writer, oid

PATIENCE = ClientTimeouts()
"""For plans that nobody holds up."""

SHORT = ClientTimeouts(offers=0.3, second=0.05, rivals=0.2, strangers=0.4)
"""For plans that somebody does."""

ENOUGH = 120.0


@dataclass
class Reels:
    """A log of four pushes and signed manifests for it."""

    writer: Writer
    log: VerifiedLog
    files: dict[ManifestId, bytes] = field(default_factory=dict)

    def make(
        self, start: int | None, end: int, parts: int, seed: str = "", shape: Shape = WHOLE
    ) -> ReelOffer:
        """Sign a manifest of a reel between two pushes, given by number."""
        size = 1 << 12
        pushes = self.log.ids
        manifest = Manifest(
            repository=self.log.repository,
            object_format=self.log.object_format,
            start=None if start is None else pushes[start],
            end=pushes[end],
            encoder=1,
            target=1 << 30,
            part_size=size,
            objects=3,
            pack_size=parts * size,
            pack_checksum="cd" * 20,
            segments=(Segment(12, 3, 100, () if shape.commit is None else (shape.commit,)),),
            parts=tuple(
                hashlib.sha256(b"%d" % n + seed.encode()).hexdigest() for n in range(parts)
            ),
            shape=shape,
        )
        self.files[manifest.id] = manifest.text() + self.writer.signer.sign(manifest.text()).data
        return ReelOffer(manifest.id, manifest.start, manifest.end, manifest.pack_size, shape)

    def tip(self, number: int, end: int) -> ReelOffer:
        """Sign a manifest of a reel of one commit, at a push given by number."""
        return self.make(None, end, 2, f"tip {number} {end}", tip_of(oid(number)))

    def false(self, number: int, size: int = 100) -> ReelOffer:
        """Make an offer up that would lead to the newest push for next to nothing."""
        return ReelOffer(ManifestId(f"{number:064x}"), None, self.log.ids[-1], size)

    def index(self, reel: ReelOffer) -> ReelOffer:
        """Sign the manifest of the index of a reel's pack."""
        pack = parse_manifest(split_signed(self.files[reel.manifest])[0])
        size = least_size(pack.objects, pack.object_format)
        manifest = index_manifest(pack, io.BytesIO(bytes(size)), size)
        self.files[manifest.id] = manifest.text() + self.writer.signer.sign(manifest.text()).data
        return ReelOffer(manifest.id, None, manifest.end, size, manifest.shape)

    def false_index(self, reel: ReelOffer, true: ReelOffer, number: int) -> ReelOffer:
        """Make an index of a reel's pack up that is as good as the true one."""
        return replace(true, manifest=ManifestId(f"{number:064x}"))

    def answer_or_never(self, manifest: ManifestId) -> bytes | None:
        """Give the true manifest, and say nothing of others."""
        return self.files.get(manifest)


@pytest.fixture
def reels() -> Reels:
    writer = Writer()
    for number in range(1, 4):
        writer.publish({MAIN: oid(number)})
    return Reels(writer, writer.log())


@dataclass(eq=False)
class Fake:
    """A mirror of a test: what it offers, and what it does when asked for a manifest."""

    url: str
    offered: Sequence[ReelOffer]
    answer: Callable[[ManifestId], bytes | None]
    address: str = ""
    kind = PeerKind.SESSION
    heads: Sequence[PushId] = ()
    may_return = False
    is_busy = False
    has_ended = False
    has_given = False
    called_us = False
    asked: list[ManifestId] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.url

    async def offers(
        self, reel: ReelName, take: Callable[[HaveBundle], None], *, shapes: bool = False
    ) -> None:
        del reel
        for offer in self.offered:
            name = ReelName(offer.start, offer.end)
            take(HaveBundle(name, offer.manifest, offer.pack_size, ALL, shape=offer.shape))

    async def fetch_manifest(self, manifest: ManifestId, most: int) -> bytes:
        self.asked.append(manifest)
        self.sizes.append(most)
        found = self.answer(manifest)
        if found is None:
            await asyncio.get_running_loop().create_future()
        assert found is not None
        return found

    async def fetch_push(self, push: PushId, most: int) -> bytes:
        raise AssertionError("no planner asks for pushes")

    async def fetch_log(
        self, question: FetchLog, is_held: Callable[[PushId], bool], admit: Admit
    ) -> None:
        raise AssertionError

    def begin(self, pack: WantedPack, sink: PartSink) -> None:
        raise AssertionError

    def ask(self, first: int, last: int) -> None:
        raise AssertionError

    def cancel(self, first: int, last: int) -> None:
        raise AssertionError

    def tell(self, message: HaveBundle | Try | WrongParts) -> None:
        raise AssertionError

    def flowing(self) -> tuple[int, int] | None:
        return None

    async def wait_closed(self) -> None:
        raise AssertionError

    async def close(self) -> None:
        """Hold nothing."""


def honest(reels: Reels, *offers: ReelOffer, url: str = "git://first/x", at: str = "") -> Fake:
    return Fake(url, offers, lambda manifest: reels.files[manifest], at)


def silent(*offers: ReelOffer, url: str = "git://mute/x", at: str = "") -> Fake:
    return Fake(url, offers, lambda _: None, at)


def files(reels: Reels) -> Fake:
    """Return a web server that has no reels of use."""
    server = honest(reels, url="http://first/x")
    server.kind = PeerKind.HTTP
    return server


def _missing(manifest: ManifestId) -> bytes:
    raise NotThereError(f"no manifest {manifest}")


def _lost(manifest: ManifestId) -> bytes:
    raise MirrorLostError(f"cut off at {manifest}")


def _full(manifest: ManifestId) -> bytes:
    raise LocalError(f"no room to verify {manifest}")


class Arriving(PeerManager):
    """Further mirrors answer one by one, when others are waited for already."""

    later: Sequence[Fake] = ()

    async def grown(self, seconds: float) -> bool:
        del seconds
        for _ in range(50):
            await asyncio.sleep(0)
        if not self.later:
            return False
        self.mirrors.append(self.later[0])
        self.later = self.later[1:]
        return True


@dataclass
class Scene:
    """Several plans among the same mirrors."""

    reels: Reels
    mirrors: list[Fake]
    client_timeouts: ClientTimeouts = PATIENCE
    later: Sequence[Fake] = ()
    notes: list[str] = field(default_factory=list)
    out: set[str] = field(default_factory=set)
    gathered: int = 0

    def plan(self, times: int = 1) -> list[ReelOffer]:
        async def work() -> list[Planned]:
            sharing = Sharing(None)
            peer_manager = Arriving(
                self.notes.append, sharing, client_timeouts=self.client_timeouts
            )
            peer_manager.later = self.later
            peer_manager.mirrors = list(self.mirrors)
            planned: list[Planned] = []
            async with asyncio.timeout(ENOUGH):
                for _ in range(times):
                    planned = await self.planner(peer_manager).plan(())
            first = self.mirrors[0]
            self.out = {m.url for m in self.mirrors if peer_manager.offer_bans.is_out(m, first)}
            return planned

        return [offer for offer, _ in asyncio.run(work())]

    def find(self, *wanted: ReelOffer) -> ReelOffer | None:
        """Look for the first of these tips that somebody proves; others answer when called."""

        async def choose(offers: Sequence[ReelOffer]) -> ReelOffer | None:
            return next((offer for offer in offers if offer in wanted), None)

        async def work() -> Planned | None:
            peer_manager = Arriving(
                self.notes.append, Sharing(None), client_timeouts=self.client_timeouts
            )
            peer_manager.later = self.later
            peer_manager.mirrors = list(self.mirrors)

            def gather() -> None:
                self.gathered += 1

            async with asyncio.timeout(ENOUGH):
                found = await self.planner(peer_manager, None).find(choose, gather)
            first = self.mirrors[0]
            self.out = {m.url for m in self.mirrors if peer_manager.offer_bans.is_out(m, first)}
            return found

        found = asyncio.run(work())
        return None if found is None else found[0]

    def planner(self, peer_manager: PeerManager, shape: Shape | None = WHOLE) -> Planner:
        def accept(data: bytes, offer: ReelOffer) -> SignedManifest:
            return verify_manifest(data, self.reels.log, offer)

        def tell(text: str, _is_first: bool) -> None:
            self.notes.append(text)

        return Planner(peer_manager, self.reels.log, accept, tell, shape)


def test_a_manifest_that_never_comes_costs_a_moment(reels: Reels) -> None:
    true = reels.make(None, 3, 2)
    stranger = silent(reels.false(1))
    scene = Scene(reels, [honest(reels, true), stranger], SHORT)
    assert scene.plan(times=3) == [true]
    assert scene.out == {stranger.url}
    assert len(stranger.asked) == 1, "remembered from plan to plan"


@pytest.mark.parametrize("answer", [_missing, _lost, lambda _: b"rubbish"])
def test_an_offer_that_does_not_hold_costs_its_maker(
    reels: Reels, answer: Callable[[ManifestId], bytes]
) -> None:
    true = reels.make(None, 3, 2)
    stranger = Fake("git://liar/x", [reels.false(n) for n in range(20)], answer)
    scene = Scene(reels, [honest(reels, true), stranger])
    assert scene.plan() == [true]
    assert scene.out == {stranger.url}
    assert len(stranger.asked) == 1
    assert len([note for note in scene.notes if "liar" in note]) == 1


def test_a_true_manifest_under_a_false_size_is_a_lie(reels: Reels) -> None:
    true = reels.make(None, 3, 2)
    false = ReelOffer(true.manifest, true.start, true.end, 50)
    stranger = honest(reels, false, url="git://liar/x")
    scene = Scene(reels, [honest(reels, true), stranger])
    assert scene.plan() == [true]
    assert scene.out == {stranger.url}


def test_who_is_caught_is_out_at_all_its_addresses(reels: Reels) -> None:
    true = reels.make(None, 3, 2)
    liars = [
        Fake(f"git://liar{n}/x", [reels.false(n)], _missing, f"2001:db8::{n}") for n in range(8)
    ]
    scene = Scene(reels, [honest(reels, true, at="2001:db8::99"), *liars])
    assert scene.plan() == [true]
    assert scene.out == {liar.url for liar in liars}, "the first mirror is judged by itself alone"
    asked = sum(len(liar.asked) for liar in liars)
    assert scene.plan() == [true]
    assert asked <= len(liars)


def test_nobody_need_be_the_first_mirror_to_be_believed(reels: Reels) -> None:
    """The named mirror has no reels; strangers offer, most of them falsely and in silence."""
    true = reels.make(None, 3, 2)
    liars = [silent(reels.false(n), url=f"git://liar{n}/x") for n in range(5)]
    scene = Scene(reels, [honest(reels), *liars, honest(reels, true, url="git://seed/x")], SHORT)
    assert scene.plan() == [true]
    assert scene.out == {liar.url for liar in liars}


def test_offers_that_nobody_proves_leave_the_ordinary_fetch(reels: Reels) -> None:
    scene = Scene(reels, [honest(reels), silent(reels.false(1))], SHORT)
    assert scene.plan() == []


def test_the_first_mirrors_manifests_may_take_their_time(reels: Reels) -> None:
    """They are bounded as any answer is, and nothing else is at hand."""
    true = reels.make(None, 3, 2)

    class Late(Fake):
        async def fetch_manifest(self, manifest: ManifestId, most: int) -> bytes:
            for _ in range(100):
                await asyncio.sleep(0)
            return await super().fetch_manifest(manifest, most)

    first = Late("git://first/x", [true], lambda manifest: reels.files[manifest])
    assert Scene(reels, [first], ClientTimeouts(strangers=0.0)).plan() == [true]


def test_a_better_way_of_a_stranger_is_taken(reels: Reels) -> None:
    short = reels.make(None, 2, 2)
    whole = reels.make(None, 3, 3)
    mirrors = [honest(reels, short), honest(reels, whole, url="git://seed/x")]
    assert Scene(reels, mirrors).plan() == [whole]


def test_a_chain_is_fetched_side_by_side(reels: Reels) -> None:
    chain = [reels.make(None, 1, 2), reels.make(1, 2, 2), reels.make(2, 3, 2)]
    first = honest(reels, *chain)
    assert Scene(reels, [first]).plan() == chain
    assert first.sizes == [longest_file(offer.pack_size) for offer in chain]


def test_the_next_who_offers_a_manifest_is_asked_soon(reels: Reels) -> None:
    true = reels.make(None, 3, 2)
    client_timeouts = ClientTimeouts(second=0.05)
    mirrors = [silent(true, url="git://first/x"), honest(reels, true, url="git://seed/x")]
    assert Scene(reels, mirrors, client_timeouts).plan() == [true]


def test_who_is_slow_to_offer_is_waited_for_once(reels: Reels) -> None:
    true = reels.make(None, 3, 2)

    class Slow(Fake):
        times = 0

        async def offers(
            self, reel: ReelName, take: Callable[[HaveBundle], None], *, shapes: bool = False
        ) -> None:
            self.times += 1
            await asyncio.get_running_loop().create_future()

    slow = Slow("git://slow/x", [], _missing)
    scene = Scene(reels, [honest(reels, true), slow], SHORT)
    assert scene.plan(times=3) == [true]
    assert slow.times == 1


def test_who_comes_later_is_asked_while_the_first_is_silent(reels: Reels) -> None:
    """Whatever the first mirror does not answer: its offers, or a manifest that it offered."""
    true = reels.make(None, 3, 2)

    class Mute(Fake):
        async def offers(
            self, reel: ReelName, take: Callable[[HaveBundle], None], *, shapes: bool = False
        ) -> None:
            await asyncio.get_running_loop().create_future()

    later = [honest(reels, url="git://bare/x"), honest(reels, true, url="git://seed/x")]
    for first in (Mute("git://first/x", [], _missing), silent(true, url="git://first/x")):
        assert Scene(reels, [first], SHORT, later=later).plan() == [true]


def test_the_first_mirror_may_offer_late(reels: Reels) -> None:
    """Others have offered in time, and are being asked for a manifest that does not come."""
    whole = reels.make(None, 3, 3)
    is_asked = asyncio.Event()

    class Late(Fake):
        async def offers(
            self, reel: ReelName, take: Callable[[HaveBundle], None], *, shapes: bool = False
        ) -> None:
            await is_asked.wait()
            await super().offers(reel, take)

    def ask(manifest: ManifestId) -> None:
        del manifest
        is_asked.set()

    first = Late("git://first/x", [whole], lambda manifest: reels.files[manifest])
    stranger = Fake("git://seed/x", [reels.false(1, whole.pack_size + 1)], ask)
    client_timeouts = ClientTimeouts(offers=0.0, strangers=ENOUGH)
    assert Scene(reels, [first, stranger], client_timeouts).plan() == [whole]


def test_what_is_proved_counts_although_the_offers_break_off(reels: Reels) -> None:
    true = reels.make(None, 3, 2)

    class Breaking(Fake):
        async def offers(
            self, reel: ReelName, take: Callable[[HaveBundle], None], *, shapes: bool = False
        ) -> None:
            await super().offers(reel, take)
            raise MirrorLostError("a line that does not end")

    first = Breaking("git://first/x", [true], lambda manifest: reels.files[manifest])
    assert Scene(reels, [first]).plan() == [true]


def test_a_flood_of_false_offers(reels: Reels) -> None:
    true = reels.make(None, 3, 2)
    liars = [
        Fake(f"git://liar{n}/x", [reels.false(n * 10000 + k) for k in range(4000)], _missing)
        for n in range(12)
    ]
    scene = Scene(reels, [honest(reels, true), *liars])
    assert scene.plan() == [true]
    assert scene.out == {liar.url for liar in liars}
    assert all(len(liar.asked) == 1 for liar in liars)


def test_of_a_long_manifest_no_more_is_under_way_whoever_offers_it(reels: Reels) -> None:
    """Mirrors of one liar agree on an offer, and each begins to send what has no end."""
    true = reels.make(None, 3, 2)
    long = reels.false(1, 1 << 40)
    for first in (honest(reels, true), silent(true, url="git://first/x")):
        liars = [silent(long, url=f"git://liar{n}/x") for n in range(12)]
        scene = Scene(reels, [first, *liars], SHORT, later=[honest(reels, true, url="git://b/x")])
        assert scene.plan() == [true]
        assert sum(size for liar in liars for size in liar.sizes) <= HELD_BYTES


# --- what is offered and not given ---------------------------------------------------------------


def test_who_withholds_a_reel_is_left_unless_its_line_broke(reels: Reels) -> None:
    reel, other = reels.make(None, 3, 2), reels.make(None, 3, 20)

    async def work() -> None:
        first, stranger = honest(reels, other), honest(reels, reel, url="git://stranger/x")
        peer_manager = PeerManager(lambda _text: None, Sharing(None), client_timeouts=SHORT)
        peer_manager.mirrors = [first, stranger]
        scene = Scene(reels, [first, stranger])
        planner = scene.planner(peer_manager)
        assert [offer for offer, _ in await planner.plan(())] == [reel]
        assert not planner.is_of_first(reel)
        assert planner.withheld(reel)
        again = scene.planner(peer_manager)
        assert [offer for offer, _ in await again.plan(())] == [other]
        first.has_ended = first.may_return = True
        assert not again.withheld(other)
        assert not peer_manager.offer_bans.is_out(first, first)
        first.may_return = False  # it was banned
        assert again.withheld(other)
        assert await scene.planner(peer_manager).plan(()) == []

    asyncio.run(work())


def test_who_withheld_a_reel_before_is_asked_last(reels: Reels) -> None:
    """Where the first mirror makes packs there is another way to what it has no reels of."""
    reel = reels.make(None, 3, 2)

    async def plan(kind: PeerKind) -> list[ReelOffer]:
        first, stranger = silent(url="git://first/x"), honest(reels, reel, url="git://stranger/x")
        first.kind = kind
        peer_manager = PeerManager(lambda _text: None, Sharing(None), client_timeouts=SHORT)
        peer_manager.mirrors = [first, stranger]
        peer_manager.offer_bans.withheld_before([stranger.url])
        scene = Scene(reels, [first, stranger])
        return [offer for offer, _ in await scene.planner(peer_manager).plan(())]

    assert asyncio.run(plan(PeerKind.SESSION)) == []
    assert asyncio.run(plan(PeerKind.HTTP)) == [reel]


def test_what_is_remembered_of_who_withheld_something() -> None:
    bans = OfferBans()
    strangers = [silent(url=f"git://{name}/x") for name in ("never", "sometimes", "lost")]
    never, sometimes, lost = strangers
    called = silent(url="127.0.0.1:4000")
    called.called_us = True
    bans.silence(never)
    bans.silence(sometimes)
    bans.silence(lost, is_fleeting=True)
    bans.silence(called)
    bans.gave([sometimes.url, "git://honest/x"])
    assert bans.to_remember == {never.url, sometimes.url}
    assert bans.to_forgive == {"git://honest/x"}


def test_a_few_bytes_less_are_not_worth_depending_on_a_stranger(reels: Reels) -> None:
    own, old = reels.make(None, 3, 10), reels.make(None, 3, 8)
    small, newer = reels.make(None, 3, 1), reels.make(None, 2, 1)
    stranger = honest(reels, old, url="git://old/x")
    assert Scene(reels, [honest(reels, own), stranger]).plan() == [own]
    assert Scene(reels, [silent(own, url="git://first/x"), stranger], SHORT).plan() == [old]
    assert Scene(reels, [honest(reels, own), honest(reels, small, url="git://b/x")]).plan() == [
        small
    ]
    assert Scene(reels, [honest(reels, newer), stranger]).plan() == [old], "it leads further"


def test_in_the_end_only_the_first_mirror_is_asked(reels: Reels) -> None:
    reel, other = reels.make(None, 3, 2), reels.make(None, 3, 3)

    async def work() -> None:
        first, stranger = honest(reels, other), honest(reels, reel, url="git://stranger/x")
        peer_manager = PeerManager(lambda _text: None, Sharing(None), client_timeouts=SHORT)
        peer_manager.mirrors = [first, stranger]
        peer_manager.offer_bans.keep_to_first()
        planned = await Scene(reels, [first]).planner(peer_manager).plan(())
        assert [offer for offer, _ in planned] == [other]

    asyncio.run(work())


# --- indexes -------------------------------------------------------------------------------------


def test_silent_liars_hold_an_index_up_together_and_not_in_turn(reels: Reels) -> None:
    """Each offers another one, so that none of them is asked for the same."""
    reel = reels.make(None, 3, 2)
    true = reels.index(reel)

    async def plan(*mirrors: Fake, timeouts: ClientTimeouts = SHORT) -> ManifestId | None:
        peer_manager = PeerManager(lambda _text: None, Sharing(None), client_timeouts=timeouts)
        peer_manager.mirrors = list(mirrors)
        planner = Scene(reels, list(mirrors)).planner(peer_manager)
        async with asyncio.timeout(ENOUGH):
            ((_, signed),) = await planner.plan(())
            found = await planner.index_of(signed)
        return None if found is None else found.manifest.id

    def liar(number: int) -> Fake:
        made_up = [reels.false_index(reel, true, 100 * number + k) for k in range(5)]
        return Fake(f"git://liar{number}/x", [reel, *made_up], reels.answer_or_never)

    liars = [liar(number) for number in range(1, 4)]
    first = honest(reels, reel, true)
    # One liar after the other would take for ever.
    patient = replace(SHORT, strangers=2 * ENOUGH)
    assert asyncio.run(plan(first, *liars, timeouts=patient)) == true.manifest
    assert asyncio.run(plan(*liars, first, timeouts=patient)) == true.manifest
    assert asyncio.run(plan(*liars)) is None
    for each in liars:
        asked = [manifest for manifest in each.asked if manifest != reel.manifest]
        assert len(asked) <= 2 * 2, "two for each plan that asked it"


def test_indexes_that_a_pack_cannot_have_are_not_asked_for(reels: Reels) -> None:
    reel = reels.make(None, 3, 2)
    true = reels.index(reel)
    (manifest,) = [parse_manifest(split_signed(reels.files[reel.manifest])[0])]
    offers, first = OfferedIndexes(None), silent(url="git://first/x")
    for size in (1, true.pack_size - 1, 1 << 40):
        offers.take(first, claim(replace(true, pack_size=size)))
    offers.take(first, claim(replace(true, shape=index_of(ManifestId("ab" * 32)))))
    assert offers.of(manifest) == []
    for number in range(MAX_INDEXES):
        offers.take(first, claim(reels.false_index(reel, true, number)))
    offers.take(first, claim(true))
    assert true not in [index for _, index in offers.of(manifest)]
    other = silent(url="git://other/x")
    offers.take(other, claim(true))
    assert (other, true) in offers.of(manifest)


# --- the offers ----------------------------------------------------------------------------------


def claim(offer: ReelOffer) -> HaveBundle:
    name = ReelName(offer.start, offer.end)
    return HaveBundle(name, offer.manifest, offer.pack_size, ALL, offer.shape)


def test_what_backs_an_offer(reels: Reels) -> None:
    offer = reels.false(1)
    first, *others = [
        silent(url=f"git://m{n}/x", at=at)
        for n, at in enumerate(
            ["203.0.113.1", "198.51.100.1", "198.51.100.1", "127.0.0.1", "192.0.2.1"]
        )
    ]
    offers = Offers(reels.log.ids, first)
    for mirror in others[:3]:
        offers.take(mirror, claim(offer))
        assert not offers.has_backing(offer), "one address, however many ports, and loopback"
    offers.take(others[3], claim(offer))
    assert offers.has_backing(offer)
    offers.take(first, claim(offer))
    assert offers.makers(offer)[0] is first
    second = offers.makers(offer)[1:3]
    assert {mirror.address for mirror in second} == {"198.51.100.1", "127.0.0.1"}


def test_offers_of_other_logs_and_too_many_of_one_are_not_kept(reels: Reels) -> None:
    first, other = silent(url="git://first/x"), silent(url="git://other/x")
    offers = Offers(reels.log.ids, first)
    strange = ReelOffer(ManifestId("ef" * 32), None, PushId("12" * 20), 5)
    offers.take(other, claim(strange))
    assert not offers
    for number in range(MAX_UNBACKED + 10):
        offers.take(other, claim(reels.false(number)))
    assert reels.false(MAX_UNBACKED - 1) in offers
    assert reels.false(MAX_UNBACKED) not in offers
    offers.take(first, claim(reels.false(MAX_UNBACKED)))
    assert reels.false(MAX_UNBACKED) in offers


def test_what_a_log_that_begins_late_does_not_know_may_be_on_the_way(reels: Reels) -> None:
    first, older = silent(url="git://first/x"), PushId("12" * 20)
    way = [
        ReelOffer(ManifestId("ef" * 32), None, older, 5),
        ReelOffer(ManifestId("ab" * 32), older, reels.log.ids[-1], 5),
    ]
    offers = Offers(reels.log.ids, first, begins_late=True)
    for offer in way:
        offers.take(first, claim(offer))
    assert offers.ways((), ())[0] == way


def test_nobody_is_blamed_for_what_this_machine_cannot_do(reels: Reels) -> None:
    offer = reels.make(None, 3, 2)
    scene = Scene(reels, [Fake("git://first/x", [offer], _full)])
    with pytest.raises(LocalError, match="no room to verify"):
        scene.plan()
    assert scene.notes == []


# --- one reel of a single commit


def test_the_first_mirrors_tip_is_taken_without_the_others(reels: Reels) -> None:
    tip = reels.tip(1, 3)
    other = honest(reels, tip, url="git://other/x")
    scene = Scene(reels, [honest(reels, tip)], later=[other])
    assert scene.find(tip) == tip
    assert not scene.gathered
    assert not other.asked


@pytest.mark.parametrize("answer", [_missing, _lost, lambda _: b"nonsense", lambda _: None])
def test_others_are_asked_for_a_tip_that_the_first_does_not_show(
    reels: Reels, answer: Callable[[ManifestId], bytes | None]
) -> None:
    """Be it that it lacks it, breaks off, lies or is silent."""
    tip, made_up = reels.tip(1, 3), reels.tip(1, 2)
    first = Fake("git://first/x", [made_up], answer)
    later = [silent(url="git://bare/x"), honest(reels, made_up, tip, url="git://other/x")]
    scene = Scene(reels, [first], SHORT, later=later)
    assert scene.find(tip, made_up) in (tip, made_up)
    assert scene.gathered


def test_whoever_lied_about_a_tip_is_named_and_out(reels: Reels) -> None:
    tip = reels.tip(1, 3)
    first = Fake("git://first/x", [tip], lambda _: b"nonsense")
    scene = Scene(reels, [first], SHORT)
    assert scene.find(tip) is None
    assert scene.out == {first.url}
    assert any(note.startswith("git://first/x is excluded") for note in scene.notes)


def test_tips_that_strangers_make_up_end_with_none(reels: Reels) -> None:
    """Their manifests never come, and the ordinary fetch is left."""
    tips = [reels.tip(number, 3) for number in range(1, 6)]
    liars = [silent(tip, url=f"git://liar{n}/x") for n, tip in enumerate(tips)]
    scene = Scene(reels, [files(reels)], SHORT, later=liars)
    assert scene.find(*tips) is None
    assert scene.gathered


def test_a_first_mirror_without_tips_packs_what_is_wanted(reels: Reels) -> None:
    """Unless it is files alone."""
    tip = reels.tip(1, 3)
    later = [honest(reels, tip, url="git://other/x")]
    scene = Scene(reels, [honest(reels)], later=later)
    assert scene.find(tip) is None
    assert not scene.gathered
    assert Scene(reels, [files(reels)], later=later).find(tip) == tip


def test_what_the_first_mirror_offers_is_proved_before_what_strangers_do(reels: Reels) -> None:
    older, newer = reels.tip(1, 1), reels.tip(1, 3)
    stranger = Fake("git://other/x", [newer], _full)
    scene = Scene(reels, [honest(reels, older), stranger])
    assert scene.find(older, newer) == older
