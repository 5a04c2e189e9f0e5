"""GTP daemons over TCP: the demonstration of 2008, with seeds that leave and peers that lie."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gittorrent.gtp.messages import BEGINNING, PeerAddress
from gittorrent.gtp.node.addresses import Teller
from gittorrent.gtp.node.tracker_server import TrackerServer
from gittorrent.gtp.node.tracker_store import TrackerStore
from gittorrent.gtp.profile import Profile
from gittorrent.signing.gpg import OpenPgpSigner
from gittorrent.wire.urls import AddressClass
from support import gitcmd, gtp
from support.copying import copy_tree
from support.gtp import PERL_2008, RFC, Running, finished, leech, seed, until, without_references
from support.repositories import Made

pytestmark = [
    pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg missing"),
    pytest.mark.slow,
]
ODD = ("one", "linear", "merges", "times", "tags", "names", "pushes")


@pytest.fixture(scope="module")
def signer() -> Iterator[OpenPgpSigner]:
    with gtp.gnupg_home() as made:
        yield made


def published(path: Path) -> dict[bytes, str]:
    """Return what a repository publishes."""
    kinds = (b"refs/heads/", b"refs/tags/")
    return {name: oid for name, oid in gitcmd.refs(path).items() if name.startswith(kinds)}


def assert_same(copy: Path, original: Path) -> None:
    assert gitcmd.refs(copy) == published(original)
    gitcmd.git(copy, "fsck", "--full", "--no-dangling")


@pytest.mark.parametrize("recipe", ODD)
@pytest.mark.parametrize("profile", [RFC, PERL_2008], ids=lambda p: p.name)
def test_odd_repositories_arrive_whole(
    recipe: str,
    profile: Profile,
    signer: OpenPgpSigner,
    copied: Callable[[str], Made],
    tmp_path: Path,
) -> None:
    source = copied(recipe).git_dir

    async def scenario() -> None:
        info = gtp.metainfo_for(source, profile, signer)
        giver = await seed(info, source)
        size = 4096 if profile is RFC else 0
        leecher = await leech(info, tmp_path / "clone.git", giver.address, block_size=size)
        await finished(leecher)
        assert_same(tmp_path / "clone.git", source)
        await leecher.stop()
        await giver.stop()

    gtp.run(scenario())


@pytest.mark.parametrize("bare", [True, False], ids=["bare", "with a work tree"])
@pytest.mark.parametrize("profile", [RFC, PERL_2008], ids=lambda p: p.name)
def test_a_complete_clone_needs_nobody_and_can_be_given_on(
    profile: Profile,
    bare: bool,
    signer: OpenPgpSigner,
    copied: Callable[[str], Made],
    tmp_path: Path,
) -> None:
    source = copied("tags").git_dir

    async def scenario() -> None:
        info = gtp.metainfo_for(source, profile, signer)
        giver = await seed(info, source)
        first = await leech(info, tmp_path / "clone", giver.address, bare=bare)
        await finished(first)
        await first.stop()
        before = gitcmd.refs(tmp_path / "clone")
        again = await leech(info, tmp_path / "clone", giver.address, bare=bare)
        await finished(again)
        assert again.swarm.received < 2000  # two handshakes and lists, no pack
        await again.stop()
        await giver.stop()
        alone = await leech(info, tmp_path / "clone", bare=bare)
        await finished(alone)
        assert gitcmd.refs(tmp_path / "clone") == before
        other = await leech(info, tmp_path / "other", alone.address)
        await finished(other)
        assert_same(tmp_path / "other", source)
        await other.stop()
        await alone.stop()

    gtp.run(scenario())


def test_refs_that_an_interruption_left_unset_are_set_without_a_download(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source, clone = copied("linear").git_dir, tmp_path / "clone.git"

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        giver = await seed(info, source)
        first = await leech(info, clone, giver.address)
        await finished(first)
        await first.stop()
        await giver.stop()
        gitcmd.git(clone, "update-ref", "-d", "refs/heads/main")
        again = await leech(info, clone)
        await finished(again)
        await again.stop()
        assert_same(clone, source)

    gtp.run(scenario())


def test_an_empty_repository_is_a_clone_too(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source = copied("empty").git_dir

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        giver = await seed(info, source)
        leecher = await leech(info, tmp_path / "clone", giver.address, bare=False)
        await finished(leecher)
        assert gitcmd.refs(tmp_path / "clone") == {}
        await leecher.stop()
        await giver.stop()

    gtp.run(scenario())


def test_five_daemons_and_a_tracker_while_a_seed_leaves(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    """Two seeds and three cloners; one seed leaves half-way; peers are found by the tracker."""
    source = copied("linear").git_dir
    second = tmp_path / "second.git"

    async def scenario() -> None:
        store = TrackerStore(tmp_path / "tracker.sqlite")
        tracker = TrackerServer(store)
        await tracker.start([("127.0.0.1", 0)])
        info = gtp.metainfo_for(source, RFC, signer, trackers=tuple(tracker.addresses))
        copy_tree(source, second)
        givers = [await seed(info, source), await seed(info, second)]
        places = [giver.address for giver in givers]
        learned = without_references(info)
        assert learned.repo_hash == info.repo_hash
        leechers: list[Running] = []
        for number in range(3):
            clone = tmp_path / f"clone{number}.git"
            # The third knows nobody: it has the tracker alone.
            known = places if number < 2 else []
            leecher = await leech(learned, clone, *known, block_size=4096)
            leechers.append(leecher)
        half = leechers[0].swarm.exchange
        await until(lambda: bool(half.path) and 2 * half.progress()[0] >= half.progress()[1])
        await givers[0].stop()
        await asyncio.gather(*(finished(leecher) for leecher in leechers))
        for number in range(3):
            assert_same(tmp_path / f"clone{number}.git", source)
        assert tracker.table.counts(info.repo_hash)[0] >= 1
        for running in [*leechers, givers[1]]:
            await running.stop()
        assert tracker.table.counts(info.repo_hash) == (0, 0)
        await tracker.stop()
        store.close()

    gtp.run(scenario())


def test_cloners_help_each_other_before_they_are_complete(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    """The second cloner knows only the first, and has all from it."""
    source = copied("linear").git_dir

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        giver = await seed(info, source)
        first = await leech(info, tmp_path / "first.git", giver.address, block_size=4096)
        second = await leech(info, tmp_path / "second.git", first.address, block_size=4096)
        await asyncio.gather(finished(first), finished(second))
        assert_same(tmp_path / "second.git", source)
        for running in (second, first, giver):
            await running.stop()

    gtp.run(scenario())


def test_an_interrupted_clone_goes_on_with_what_it_has(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source, target = copied("linear").git_dir, tmp_path / "clone.git"

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        giver = await seed(info, source)
        leecher = await leech(info, target, giver.address, block_size=4096)
        exchange = leecher.swarm.exchange
        await until(lambda: exchange.progress()[0] >= 20)
        await leecher.stop()
        assert gitcmd.refs(target) == {}
        again = await leech(info, target, giver.address, block_size=4096)
        await until(lambda: bool(again.swarm.exchange.path) or again.swarm.installed.is_set())
        assert again.swarm.installed.is_set() or again.swarm.exchange.progress()[0] >= 20
        await finished(again)
        assert_same(target, source)
        await again.stop()
        await giver.stop()

    gtp.run(scenario())


def test_a_newer_reference_leads_over_two_reels(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source = copied("pushes").git_dir

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        old = gitcmd.refs(source)
        gitcmd.git(source, "update-ref", "refs/heads/new", old[b"refs/heads/main"])
        tip = gitcmd.text(
            source, "commit-tree", "-p", "refs/heads/main", "-m", "x", "refs/heads/main^{tree}"
        )
        gitcmd.git(source, "update-ref", "refs/heads/new", tip)
        assert gtp.list_again(source, info, signer, gtp.TIME + 60)
        assert gtp.list_again(source, info, signer, gtp.TIME + 90) is None
        giver = await seed(info, source)
        holding = giver.swarm.holding
        assert holding is not None
        starts = [offer.reel.start == BEGINNING for offer in holding.offers()]
        assert starts == [True, True, False]
        leecher = await leech(info, tmp_path / "clone.git", giver.address)
        await finished(leecher)
        assert_same(tmp_path / "clone.git", source)
        await leecher.stop()
        await giver.stop()

    gtp.run(scenario())


def test_two_profiles_in_one_process_and_a_clone_served_onward(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    """One listener serves both swarms; what was cloned in one dialect is given on in the other."""
    from gittorrent.gtp.node.daemon import GtpNode
    from gittorrent.gtp.node.session import open_seed

    source = copied("merges").git_dir

    async def scenario() -> None:
        rfc = gtp.metainfo_for(source, RFC, signer)
        perl = gtp.metainfo_for(source, PERL_2008)
        node = GtpNode(("127.0.0.1", 0))
        swarms = [open_seed(node, info, source) for info in (rfc, perl)]
        for swarm in swarms:
            node.add(swarm)
        await node.start()
        place = (node.address, node.port)
        taken = [
            await leech(info, tmp_path / f"{info.profile.name}.git", place) for info in (rfc, perl)
        ]
        await asyncio.gather(*map(finished, taken))
        onward = gtp.metainfo_for(tmp_path / "rfc.git", PERL_2008)
        giver = await seed(onward, tmp_path / "rfc.git")
        third = await leech(onward, tmp_path / "third.git", giver.address)
        await finished(third)
        for name in ("rfc.git", "perl-2008.git", "third.git"):
            assert_same(tmp_path / name, source)
        for running in [third, giver, *taken]:
            await running.stop()
        await node.stop()
        for swarm in swarms:
            assert swarm.holding is not None
            swarm.holding.close()

    gtp.run(scenario())


def test_a_work_tree_is_checked_out(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source, target = copied("one").git_dir, tmp_path / "clone"

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        giver = await seed(info, source)
        leecher = await leech(info, target, giver.address, bare=False)
        await finished(leecher)
        assert (target / "README").read_bytes() == b"hello\n"
        assert gitcmd.text(target, "status", "--porcelain") == ""
        assert gitcmd.text(target, "symbolic-ref", "HEAD") == "refs/heads/main"
        assert set(gitcmd.refs(target)) == {b"refs/heads/main", b"refs/remotes/origin/main"}
        await leecher.stop()
        await giver.stop()

    gtp.run(scenario())


def test_a_clone_that_goes_on_giving_follows_new_references(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    """The owner comes back with more; who has the old state takes only the step."""
    source, target = copied("linear").git_dir, tmp_path / "clone.git"

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        giver = await seed(info, source)
        leecher = await leech(info, target, giver.address)
        await finished(leecher)
        await giver.stop()
        before = leecher.swarm.received
        main = gitcmd.text(source, "rev-parse", "refs/heads/main")
        tip = gitcmd.text(source, "commit-tree", "-p", main, "-m", "new", f"{main}^{{tree}}")
        gitcmd.git(source, "update-ref", "refs/heads/main", tip)
        gitcmd.git(source, "update-ref", "-d", "refs/tags/v0")
        assert gtp.list_again(source, info, signer, gtp.TIME + 60)
        again = await seed(info, source)
        leecher.node.meet(
            info.repo_hash, (peer_address(again),), Teller("test", AddressClass.LOOPBACK)
        )
        known = leecher.swarm.exchange
        await until(lambda: len(known.book) == 2 and known.has_newest)
        assert gitcmd.refs(target) == published(source)
        assert leecher.swarm.received - before < 10_000
        await again.stop()
        third = await leech(info, tmp_path / "third.git", leecher.address)
        await finished(third)
        assert_same(tmp_path / "third.git", source)
        await third.stop()
        await leecher.stop()

    gtp.run(scenario())


def peer_address(running: Running) -> PeerAddress:
    return PeerAddress(running.node.peer_id, *running.address)


@pytest.mark.parametrize("profile", [RFC, PERL_2008], ids=lambda p: p.name)
def test_ipv6(
    profile: Profile, signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    from gittorrent.gtp.node.daemon import GtpNode
    from gittorrent.gtp.node.session import open_seed
    from gittorrent.node.connections import CannotListenError

    source = copied("one").git_dir

    async def scenario() -> None:
        info = gtp.metainfo_for(source, profile, signer)
        node = GtpNode(("::1", 0))
        swarm = open_seed(node, info, source)
        node.add(swarm)
        try:
            await node.start()
        except CannotListenError:
            pytest.skip("no IPv6 here")
        leecher = await leech(info, tmp_path / "clone.git", (node.address, node.port))
        await finished(leecher)
        assert_same(tmp_path / "clone.git", source)
        await leecher.stop()
        await node.stop()
        assert swarm.holding is not None
        swarm.holding.close()

    gtp.run(scenario())


def test_a_peer_of_2008_sees_whole_messages_and_a_clean_end(
    copied: Callable[[str], Made],
) -> None:
    """It asks for all commits at once; the node stops meanwhile, in the middle of a message."""
    from gittorrent.gtp.framing import FrameReader, encode_frame
    from gittorrent.gtp.handshake import Handshake
    from gittorrent.gtp.messages import BlockName, PlayAnswer, PlayRequest, ReelName
    from gittorrent.gtp.node.daemon import GtpNode
    from gittorrent.gtp.node.session import open_seed
    from gittorrent.transfer.limiter import Limiter

    source = copied("big").git_dir

    async def scenario() -> None:
        info = gtp.metainfo_for(source, PERL_2008)
        node = GtpNode(("127.0.0.1", 0), Limiter(1 << 20))
        swarm = open_seed(node, info, source)
        node.add(swarm)
        await node.start()
        reader, writer = await asyncio.open_connection(node.address, node.port)
        writer.write(Handshake(info.repo_hash, b"the-peer-of-2008-000").encode())
        assert swarm.holding is not None
        reel = swarm.holding.offers()[0].reel
        assert reel == ReelName(BEGINNING, reel.end)
        for index in range(swarm.holding.count(reel, 0)):
            request = PlayRequest(BlockName(reel, index, 0))
            writer.write(encode_frame(PERL_2008.codec, request))
        await reader.readexactly(56)
        beginning = await reader.readexactly(100_000)
        stopping = asyncio.create_task(node.stop())
        rest = await reader.read()
        frames = FrameReader(PERL_2008.codec)
        messages = list(frames.feed(beginning + rest))
        assert list(frames.feed(encode_frame(PERL_2008.codec, request))) == [request]
        assert any(isinstance(message, PlayAnswer) for message in messages)
        writer.close()
        await writer.wait_closed()
        await stopping
        swarm.holding.close()

    gtp.run(scenario())
