"""Which reels a mirror builds that others tell of, and whom it stops to listen to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import pytest

from gittorrent.disk_space import DEFAULT_RESERVE, UNBOUNDED, Space, Watermarks
from gittorrent.ids import ManifestId, PushId
from gittorrent.node.reel_follower import ReelFollower
from gittorrent.push.spreading import Item, PeerKey
from gittorrent.repository.carried import Carried
from gittorrent.repository.kept_log import KeptLog
from gittorrent.repository.rebuilding import Job, RebuildOutcome, Result
from gittorrent.signing.keys import Signer
from gittorrent.transfer.mirror import Admit, NotThereError
from gittorrent.transfer.off_loop import at_once
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.wire.messages import FetchLog, HaveBundle, News
from gittorrent.wire.reelname import ReelName
from support import nodes, publishing
from support.disks import FakeDisk
from support.programs import PATIENCE
from support.signing import TestSigner

FIRST, SECOND = PeerKey(1), PeerKey(2)


class Peer:
    """A `LivePeer` that gives the reels of a repository."""

    name = "a peer"
    is_behind = False

    def __init__(self, origin: Carried, forged: bytes | None = None) -> None:
        self.content = RepositoryContent(origin)
        self.forged = forged
        self.asked = 0
        self.sent: list[ManifestId] = []

    def tell(self, message: News | HaveBundle, payload: bytes = b"") -> None:
        raise AssertionError("others are told by the repository")

    async def offers(self, reel: ReelName, take: Callable[[HaveBundle], None]) -> None:
        self.asked += 1
        for offer in self.content.offers(reel):
            take(offer)

    async def fetch_manifest(self, manifest: ManifestId, most: int) -> bytes:
        self.sent.append(manifest)
        found = self.content.manifest(manifest) if self.forged is None else self.forged
        if found is None:
            raise NotThereError("not there")
        assert len(found) <= most
        return found

    async def fetch_push(self, push: str, most: int) -> bytes:
        raise NotThereError("not there")

    async def fetch_pack(self, push: str) -> bytes | None:
        return None

    async def fetch_log(
        self, question: FetchLog, is_held: Callable[..., bool], admit: Admit
    ) -> None:
        raise NotThereError("not there")

    def make_room(self, reason: str) -> None:
        raise AssertionError(reason)


class Around:
    """The repository's part in live conversations."""

    def __init__(self, carried: Carried, space: Space = UNBOUNDED) -> None:
        self.carried = carried
        self.kept = KeptLog(carried)
        self.executor = at_once
        self.space = space
        self.before = {reel.id for reel in carried.reels.all() if reel.is_available}

    @property
    def built(self) -> list[ManifestId]:
        """Return the reels that came."""
        reels = self.carried.reels.all()
        return [reel.id for reel in reels if reel.is_available and reel.id not in self.before]

    def head(self) -> Item:
        with self.kept.reading() as log:
            assert log.head is not None
            return Item(log.head, log.number)

    def holds(self, entry: PushId) -> bool:
        with self.kept.reading() as log:
            return entry in log


Build = Callable[[Carried, Sequence[Job]], Coroutine[None, None, list[Result]]]
Looks = Callable[[ReelFollower], None]


def follow(
    carried: Carried, *looks: Looks, build: Build | None = None, space: Space = UNBOUNDED
) -> Around:
    """Let a follower look, one look after another is settled."""
    around = Around(carried, space)

    async def run() -> None:
        tasks: list[asyncio.Task[None]] = []

        def start(work: Coroutine[None, None, None]) -> None:
            tasks.append(asyncio.get_running_loop().create_task(work))

        follower = ReelFollower(around, start, build)
        async with asyncio.timeout(PATIENCE):
            for look in looks:
                look(follower)
                while tasks:
                    await tasks.pop()

    asyncio.run(run())
    return around


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, key: Signer) -> Carried:
    """A repository with a chain that was spliced."""
    made = publishing.builder(tmp_path_factory.mktemp("origin") / "project.git")
    publishing.grow(made, 60)
    carried = nodes.publish(made.git_dir, key, "project")
    for _ in range(4):
        publishing.grow(made, 1)
        carried = nodes.publish(made.git_dir, key, None)
    return carried


@pytest.fixture
def mirror(origin: Carried, tmp_path: Path) -> Carried:
    """A mirror with all objects and the first reel only."""
    copy = nodes.copy_as_mirror(origin, tmp_path / "mirror.git", "")
    for reel in copy.reels.all():
        if reel.manifest.start is not None:
            copy.reels.drop(reel)
    return Carried(copy.layout.git_dir, copy.object_format)


def spliced(origin: Carried) -> ManifestId:
    """Return the reel that covers all but the first."""
    ids = origin.log().ids
    found = [(ids.index(r.manifest.start), r.id) for r in origin.reels.all()
             if r.manifest.start is not None and r.manifest.end == ids[-1]]  # fmt: skip
    return min(found)[1]


def test_the_spliced_reel_is_built(origin: Carried, mirror: Carried) -> None:
    peer = Peer(origin)
    around = follow(mirror, lambda f: f.look_at(FIRST, peer), lambda f: f.look_at(FIRST, peer))
    wanted = spliced(origin)
    assert around.built == peer.sent == [wanted]
    built, theirs = mirror.reels.get(wanted), origin.reels.get(wanted)
    assert built is not None
    assert theirs is not None
    assert built.pack.read_bytes() == theirs.pack.read_bytes()


def test_what_there_is_no_room_for_is_built_later(origin: Carried, mirror: Carried) -> None:
    peer, disk = Peer(origin), FakeDisk(total=1 << 40)
    place = mirror.layout.git_dir
    disk.free[place] = (1 << 30) + 1000

    def make_room(follower: ReelFollower) -> None:
        assert not peer.sent
        disk.free[place] = 1 << 31
        follower.look()  # as when the log has gone on

    around = follow(
        mirror,
        lambda f: f.look_at(FIRST, peer),
        make_room,
        space=Watermarks(DEFAULT_RESERVE, (), disk),
    )
    assert around.built == [spliced(origin)]


def test_being_told_is_a_reason_to_look_and_answers_are_not(
    origin: Carried, mirror: Carried
) -> None:
    peer = Peer(origin)
    (offer, *_) = peer.content.all_offers()

    async def offers(reel: ReelName, take: Callable[[HaveBundle], None]) -> None:
        peer.asked += 1
        follower[0].told(FIRST, peer, offer)  # as the conversation passes on all that is said
        take(offer)

    follower: list[ReelFollower] = []
    peer.offers = offers  # type: ignore[method-assign]

    def look(made: ReelFollower) -> None:
        follower.append(made)
        made.told(FIRST, peer, offer)

    follow(mirror, look)
    assert peer.asked == 1


def test_who_shows_what_does_not_hold_is_not_looked_at_again(
    origin: Carried, mirror: Carried
) -> None:
    reel = origin.reels.get(spliced(origin))
    assert reel is not None
    text = reel.manifest.text()
    liar = Peer(origin, text + TestSigner(7).sign(text).data)
    honest = Peer(origin)
    around = follow(
        mirror,
        lambda f: f.look_at(FIRST, liar),
        lambda f: f.look_at(FIRST, liar),
        lambda f: f.look_at(SECOND, honest),
    )
    assert liar.asked == 1
    assert around.built == [reel.id]


def test_what_cannot_be_built_is_not_tried_again(origin: Carried, mirror: Carried) -> None:
    tried = 0

    async def build(_carried: Carried, jobs: Sequence[Job]) -> list[Result]:
        nonlocal tried
        tried += len(jobs)
        return [Result(spliced(origin), RebuildOutcome.MISSING)]

    peer = Peer(origin)
    looks = [lambda f: f.look_at(FIRST, peer)] * 2
    around = follow(mirror, *looks, build=build)
    assert tried == 1
    assert around.built == []


def test_a_mirror_that_has_them_all_asks_for_no_manifest(origin: Carried, tmp_path: Path) -> None:
    copy = nodes.copy_as_mirror(origin, tmp_path / "mirror.git", "")
    peer = Peer(origin)
    follow(copy, lambda f: f.look_at(FIRST, peer))
    assert (peer.asked, peer.sent) == (1, [])


def test_who_has_lost_a_pack_builds_it_again(origin: Carried, mirror: Carried) -> None:
    wanted = spliced(origin)
    peer = Peer(origin)
    follow(mirror, lambda f: f.look_at(FIRST, peer))
    stored = mirror.reels.get(wanted)
    assert stored is not None
    stored.pack.unlink()
    around = follow(mirror, lambda f: f.look_at(FIRST, peer))
    assert around.built == [wanted]


def test_a_peer_that_is_ahead_is_looked_at_when_its_checkpoint_is_here(
    origin: Carried, tmp_path: Path
) -> None:
    copy = nodes.copy_as_mirror(origin, tmp_path / "mirror.git", "")
    peer = Peer(origin)
    ahead = PushId("ab" * 20)
    follow(copy, lambda f: f.greeted(FIRST, peer, ahead), lambda f: f.look())
    assert peer.asked == 0
    head = origin.log().head
    assert head is not None
    follow(copy, lambda f: f.greeted(FIRST, peer, head), lambda f: f.look())
    assert peer.asked == 1
