"""Clones that help others: seeds without a download, reels taken from the same machine."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gittorrent.git.repository import find_repository
from gittorrent.git.runner import Git
from gittorrent.ids import ManifestId
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.store.database import Database, MirrorRow
from gittorrent.store.home import Home
from gittorrent.store.processes import DownloadFigures
from gittorrent.transfer.content_source import EmptyContentSource
from gittorrent.transfer.context import Context
from gittorrent.transfer.git_mirror import ConversationContext, open_git_mirror
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.preparing import Preparer
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.transfer.seedable import SeedableReels
from gittorrent.wire.messages import HaveBundle
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.reelname import ReelName
from gittorrent.wire.urls import Endpoint
from support import bulk, gitcmd, killing, nodes, publishing, web_files
from support.nodes import Served
from support.ports import free_port
from support.programs import GITS, PATIENCE, Person, Running, processes, somebody, wait_until
from support.repositories import Builder


def url_of(served: Served) -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def seeds(person: Person) -> list[int]:
    """Return the processes that seed a person's clones."""
    root = f"{person.root}/"
    return [pid for pid, _, line in processes() if "gittorrent seed" in line and root in line]


def test_any_clone_becomes_a_seed(large: Carried, tmp_path: Path, person: Person) -> None:
    """The clone comes by stock git, so its packs are others; the reel is built from objects."""
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "--mirror", f"{served.git}/project.git", "c").ok()
        done = person.gittorrent("seed", "c", url_of(served), "--for", "0").ok()
    assert "0 reels held, 1 built, 0 not possible" in done.out
    (reel,) = large.reels.all()
    seeded = person.root / "c" / "objects" / "pack" / reel.pack.name
    assert seeded.read_bytes() == reel.pack.read_bytes()
    assert not person.partial


def test_a_seed_listens_where_the_configuration_says(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    """Nowhere at all with ``off``, unless the command says otherwise this time."""
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "--mirror", f"{served.git}/project.git", "c").ok()
        seed = ("seed", "c", url_of(served))
        person.git("-C", "c", "config", "gittorrent.listen", "off").ok()
        done = person.gittorrent(*seed)
        assert done.status == 2
        assert "gittorrent.listen is off" in done.err
        person.gittorrent(*seed, "--port", "0", "--for", "0").ok()
        port = free_port()
        person.git("-C", "c", "config", "gittorrent.listen", str(port)).ok()
        running = person.start("gittorrent", *seed)
        try:

            def listens() -> bool:
                with socket.socket() as sock:
                    return sock.connect_ex(("127.0.0.1", port)) == 0

            wait_until(listens, "the seed listens there")
            done = person.gittorrent(*seed, "--for", "30")
            assert done.status == 7
            assert f"cannot listen at port {port}" in done.err
        finally:
            running.stop()


def test_seed_time_starts_no_seed_that_may_not_listen(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    seeding = ("-c", "gittorrent.seedTime=30")
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        off = ("-c", "gittorrent.listen=off")
        done = person.git(*seeding, *off, "clone", "--mirror", url_of(served), "a").ok()
        assert "gittorrent.seedTime is left out, since gittorrent.listen is off" in done.err
        assert not seeds(person)
        # As many have it; the seed in the background is told where to go all the same.
        person.git("config", "--global", "url.https://.insteadOf", "git://").ok()
        done = person.git(*seeding, "clone", "--mirror", url_of(served), "b").ok()
        assert "gittorrent.seedTime" not in done.err
        home = nodes.make_home(tmp_path / "node")
        wait_until(lambda: bool(listed_at(home, large)), "the node lists the seed")
        (pid,) = seeds(person)
        os.kill(pid, signal.SIGTERM)
        killing.wait_for_background(person)


def test_clone_takes_what_its_node_carries(large: Carried, tmp_path: Path) -> None:
    user = somebody(tmp_path / "user")
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        user.gittorrent("mirror", url_of(served), "--once").ok()
        said = user.git("clone", "--mirror", url_of(served), "c").ok().err
    assert "without a download" in said
    (reel,) = large.reels.all()
    pack = user.root / "c" / "objects" / "pack" / reel.pack.name
    assert pack.stat().st_nlink == 2
    assert gitcmd.refs(user.root / "c") == bulk.published(gitcmd.refs(large.layout.git_dir))


def test_a_seed_is_listed_by_all_mirrors_and_gives(
    large: Carried, tmp_path: Path, people: Callable[[str], Person]
) -> None:
    """A seed that talks to the origin is told of by a mirror too."""
    user, other = people("user"), people("other")
    copy = nodes.copy_as_mirror(large, tmp_path / "copy.git", "git://192.0.2.1/project.git")
    # Slow enough that the seed's turn comes before everything is there.
    slow = replace(nodes.LOOPBACK, up_limit=1 << 20)
    with (
        nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin,
        nodes.serving(copy, home=nodes.make_home(tmp_path / "m"), options=slow) as mirror,
    ):
        now = int(time.time())
        database = Database(tmp_path / "o" / "node.sqlite")
        row = MirrorRow(f"{mirror.git}/project.git", MirrorState.CURRENT, "x", now, now + 500, 0)
        database.list_mirror(large.info.repository_id, row)
        database.close()
        user.git("clone", "--mirror", f"{origin.git}/project.git", "c").ok()
        seed = user.start("gittorrent", "seed", "c", url_of(origin))
        try:

            def listed(by: Served) -> list[str]:
                words = ("mirrors", f"{by.git}/project.git", "--json")
                found = json.loads(other.gittorrent(*words).ok().out)["mirrors"]
                return [each["url"] for each in found if each["state"] == "partial"]

            wait_until(lambda: bool(listed(origin) and listed(mirror)), "both list the seed")
            assert listed(origin) == listed(mirror)
            place = listed(mirror)[0]
            said = other.git("clone", "--progress", "--mirror", url_of(mirror), "d").ok().err
        finally:
            seed.stop()
    parts = [line for line in said.splitlines() if line.startswith("Parts: ")]
    assert place in parts[-1]


def lines_of(running: Running) -> list[dict[str, Any]]:
    """Return what a seed has said for programs, whole lines only."""
    return [json.loads(line) for line in running.out.splitlines(keepends=True) if "\n" in line]


async def offered_at(port: int, carried: Carried) -> set[ManifestId]:
    """Ask whoever listens at a port of this machine which reels it gives."""
    endpoint = Endpoint("git", "127.0.0.1", port, f"/{carried.info.repository_id}")
    mirror = await open_git_mirror(
        endpoint, ConversationContext("asker", EmptyContentSource(), Limits())
    )
    head = carried.log().head
    assert head is not None
    found: list[HaveBundle] = []
    try:
        await mirror.offers(ReelName(None, head), found.append)
        return {offer.manifest for offer in found}
    finally:
        await mirror.close()


@pytest.fixture
def growing(tmp_path: Path, owner_key: Signer) -> Carried:
    """A published repository that a test may publish again."""
    git_dir = tmp_path / "growing.git"
    publishing.grow(publishing.builder(git_dir), 3)
    return nodes.publish(git_dir, owner_key, "project")


def grow(carried: Carried, owner_key: Signer) -> None:
    git_dir = carried.layout.git_dir
    publishing.grow(Builder(git_dir, "sha1"), 2)
    nodes.publish(git_dir, owner_key, "project")


@pytest.mark.parametrize("git_program", GITS)
def test_a_clone_that_is_behind_gives_what_it_has_and_follows(
    growing: Carried, owner_key: Signer, tmp_path: Path, git_program: str
) -> None:
    person = somebody(tmp_path / "person", git_program)
    with nodes.serving(growing, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", url_of(served), "c").ok()
        grow(growing, owner_key)
        seed = person.start("gittorrent", "seed", "c", "--port", "0", "--json")
        try:
            wait_until(lambda: bool(lines_of(seed)), "it seeds")
            (first,) = lines_of(seed)
            assert (len(first["held"]), first["built"], len(first["missing"])) == (1, [], 1)
            assert first["behind"] == "refs/heads/main"
            assert (
                first["missing"][0]["object"]
                == gitcmd.refs(growing.layout.git_dir)[b"refs/heads/main"]
            )
            assert asyncio.run(offered_at(first["port"], growing)) == set(first["held"])
            person.git("-C", "c", "fetch", "--quiet").ok()
            wait_until(lambda: not lines_of(seed)[-1]["missing"], "it sees what was fetched")
            second = lines_of(seed)[-1]
            assert second["behind"] is None
            given = set(second["held"]) | set(second["built"])
            assert given == {reel.id for reel in growing.reels.all()}
            assert asyncio.run(offered_at(first["port"], growing)) == given
        finally:
            seed.stop()


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_a_seed_ends_with_its_clone(
    project: Carried, tmp_path: Path, person: Person, how: str
) -> None:
    """It makes nothing anew, writes into no other repository, and is listed no more."""
    clone, others = person.root / "c", person.root / "others"
    with nodes.serving(project, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "--quiet", url_of(served), clone).ok()
        seed = person.start("gittorrent", "seed", clone, "--port", "0", "--json")
        try:
            wait_until(lambda: bool(lines_of(seed)), "it seeds")
            if how == "deleted":
                shutil.rmtree(clone)
            else:
                clone.rename(others)
            if how == "replaced":
                person.git("init", "--quiet", clone).ok()
            assert seed.wait() == 1
            assert "is gone, or another repository is there now" in seed.err
        finally:
            seed.stop()
    assert clone.exists() == (how == "replaced")
    assert not (clone / ".git" / "gittorrent").exists()


def test_what_cannot_be_given_is_said_with_what_helps(
    growing: Carried, owner_key: Signer, tmp_path: Path, person: Person
) -> None:
    git_dir = growing.layout.git_dir
    b = Builder(git_dir, "sha1")
    publishing.grow(b, 1, "topic", "t")
    nodes.publish(git_dir, owner_key, "project")
    gitcmd.git(git_dir, "update-ref", "-d", "refs/heads/topic")
    grow(growing, owner_key)
    with nodes.serving(growing, home=nodes.make_home(tmp_path / "node")) as served:
        stock = f"{served.git}/project.git"
        seed = ("seed", "c", url_of(served), "--port", "0", "--for", "0")
        person.git("clone", "--mirror", stock, "c").ok()
        done = person.gittorrent(*seed).ok()
        assert "0 reels held, 2 built, 1 not possible" in done.out
        assert "no branch or tag leads there any more" in done.err
        grow(growing, owner_key)
        done = person.gittorrent(*seed).ok()
        assert "2 reels held, 0 built, 2 not possible" in done.out
        assert "given too after\n  git -C " in done.err
        person.git("clone", "--mirror", "--depth", "1", stock, "shallow").ok()
        person.git("clone", "--mirror", "--filter=blob:none", stock, "partial").ok()
        person.git("init", "--bare", "empty").ok()
        words = {
            "shallow": (2, "git fetch --unshallow"),
            "partial": (2, "seed that"),
            "empty": (1, "fetch --tags gittorrent://"),
        }
        for name, (status, help_) in words.items():
            done = person.gittorrent("seed", name, url_of(served), "--port", "0", "--for", "0")
            done.failed(status, help_)


@pytest.mark.parametrize("git_program", GITS)
@pytest.mark.parametrize("is_remote", [True, False])
def test_the_command_that_helps_is_named_and_helps(
    growing: Carried, owner_key: Signer, tmp_path: Path, git_program: str, is_remote: bool
) -> None:
    """The clone fetches one branch and no tags by itself, from a remote of any name."""
    person = somebody(tmp_path / "person", git_program)
    git_dir = growing.layout.git_dir
    publishing.grow(Builder(git_dir, "sha1"), 1, "topic", "t")
    topic = gitcmd.refs(git_dir)[b"refs/heads/topic"]
    gitcmd.git(git_dir, "tag", "-m", "v9", "v9", topic)
    nodes.publish(git_dir, owner_key, "project")
    with nodes.serving(growing, home=nodes.make_home(tmp_path / "node")) as served:
        stock = f"{served.git}/project.git"
        few = ("--single-branch", "--no-tags", "--branch", "main", "--origin", "upstream")
        person.git("clone", *few, stock, "a clone").ok()
        if not is_remote:
            person.git("-C", "a clone", "remote", "remove", "upstream").ok()
        seed = ("seed", "a clone", url_of(served), "--port", "0", "--for", "0")
        said = person.gittorrent(*seed).ok().err
        (command,) = [line.strip() for line in said.splitlines() if line.startswith("  git -C ")]
        assert ("fetch --tags upstream " in command) == is_remote
        person.run(*shlex.split(command)).ok()
        assert "0 not possible" in person.gittorrent(*seed).ok().out


class Notes:
    """Collects what users are told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def detail(self, text: str) -> None:
        """Pass over what explains."""

    def downloading(self, name: str, figures: DownloadFigures) -> None:
        raise AssertionError("a seed downloads nothing")

    def phase(self, text: str) -> None:
        """Pass over what is done meanwhile."""

    def git_says(self, said: bytes) -> None:
        raise AssertionError("no git fetches")

    def close(self) -> None:
        """Have nothing to end."""


def test_a_seed_follows_its_mirror(
    growing: Carried, owner_key: Signer, tmp_path: Path, person: Person
) -> None:
    """New pushes are noticed without a word; what the clone has of them already is built."""
    with nodes.serving(growing, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "--mirror", f"{served.git}/project.git", "c").ok()
        home = nodes.make_home(tmp_path / "seed")
        found = find_repository(person.root / "c")
        reporter = Notes()
        rounds: list[SeedableReels] = []

        async def scenario() -> None:
            database = Database(home.database)
            context = Context(database, home, Git(home.root), reporter)
            location = parse_location(url_of(served))
            carried = Carried(found.git_dir, found.object_format)
            preparer = Preparer(carried, location, context, lambda *_: None, every=0.05)
            rounds.append(await preparer.prepare())
            news = asyncio.Event()

            def show(prepared: SeedableReels) -> None:
                rounds.append(prepared)
                news.set()

            async def until(holds: Callable[[SeedableReels], bool]) -> None:
                while not holds(rounds[-1]):
                    news.clear()
                    await news.wait()

            following = asyncio.create_task(preparer.follow(show))
            await asyncio.to_thread(grow, growing, owner_key)
            await until(lambda found: found.behind == "refs/heads/main")
            words = ("fetch", "-q", str(growing.layout.git_dir), "refs/heads/main")
            await asyncio.to_thread(gitcmd.git, found.git_dir, *words)
            await until(lambda found: not found.missing)
            following.cancel()
            await asyncio.wait([following])
            database.close()

        asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
    assert len(rounds[0].built) == 1
    assert [len(each.missing) for each in rounds] == [0, 1, 0]
    assert not reporter.texts


def test_a_seed_gives_other_shapes_once_somebody_asks(
    growing: Carried, owner_key: Signer, tmp_path: Path, person: Person
) -> None:
    gitcmd.git(growing.layout.git_dir, "config", "gittorrent.shapes", "always")
    grow(growing, owner_key)
    with nodes.serving(growing, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "--mirror", f"{served.git}/project.git", "c").ok()
        home = nodes.make_home(tmp_path / "seed")
        found = find_repository(person.root / "c")

        async def scenario() -> list[ManifestId]:
            database = Database(home.database)
            context = Context(database, home, Git(home.root), Notes())
            carried = Carried(found.git_dir, found.object_format)
            location = parse_location(url_of(served))
            preparer = Preparer(carried, location, context, lambda *_: None, every=0.05)
            prepared = await preparer.prepare()
            content = RepositoryContent(preparer.carried)
            assert content.shapes() == []
            # As a caller does who wants other shapes than the whole.
            assert not content.shaped_offers(ReelName(None, prepared.latest))
            news: asyncio.Queue[SeedableReels] = asyncio.Queue()
            following = asyncio.create_task(preparer.follow(news.put_nowait))
            built = (await news.get()).built
            following.cancel()
            await asyncio.wait([following])
            database.close()
            return list(built)

        built = asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
    assert sorted(built) == sorted(reel.id for reel in growing.shapes.all())
    seed = Carried(found.git_dir, found.object_format, growing.info.repository_id)
    for reel in growing.shapes.all():
        same = seed.shapes.get(reel.id)
        assert same is not None
        assert same.pack.read_bytes() == reel.pack.read_bytes()


def test_the_remote_is_found_as_git_finds_it(
    growing: Carried, tmp_path: Path, person: Person
) -> None:
    """Whatever it is called, and however short its URL is written."""
    with nodes.serving(growing, home=nodes.make_home(tmp_path / "node")) as served:
        place = served.git.removeprefix("git://")
        short = ("config", "--global", f"url.gittorrent://{place}/.insteadOf", "gt:")
        person.git(*short).ok()
        person.git("clone", "gt:project.git", "c").ok()
        seed = ("seed", "c", "--port", "0", "--for", "0")
        said = "seeding project: 1 reel held"
        assert said in person.gittorrent(*seed).ok().out
        assert said in person.gittorrent("seed", "c", "gt:project.git", *seed[2:]).ok().out
        person.git("-C", "c", "remote", "rename", "origin", "upstream").ok()
        person.git("-C", "c", "remote", "add", "origin", "ssh://h.invalid/fork.git").ok()
        assert said in person.gittorrent(*seed).ok().out
        assert said in person.gittorrent("seed", "c", "upstream", *seed[2:]).ok().out
        person.git("-C", "c", "remote", "remove", "upstream").ok()
        done = person.gittorrent(*seed)
        done.failed(2, "origin is ssh://h.invalid/fork.git", "name the URL of a mirror")


def test_seeding_what_is_published_leaves_it_published(
    growing: Carried, owner_key: Signer, tmp_path: Path, person: Person
) -> None:
    info = growing.info
    with nodes.serving(growing, home=nodes.make_home(tmp_path / "node")) as served:
        words = ("--port", "0", "--for", "0")
        person.gittorrent("seed", growing.layout.git_dir, url_of(served), *words).ok()
        assert growing.info == info
        other = tmp_path / "other.git"
        publishing.grow(publishing.builder(other), 1)
        nodes.publish(other, owner_key, "other")
        done = person.gittorrent("seed", other, url_of(served), *words)
        done.failed(2, "is the origin of other", "gittorrent serve")


def test_a_seed_is_listed_over_http_too(large: Carried, tmp_path: Path, person: Person) -> None:
    """Over HTTP nobody is introduced in conversations, and notices do."""
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(large, home=home) as served:
        url = f"{served.http}/project.git"
        person.git("clone", "--mirror", f"{served.git}/project.git", "c").ok()
        seed = person.start("gittorrent", "seed", "c", url, "--port", "0")
        try:
            wait_until(lambda: bool(listed_at(home, large)), "the node lists the seed")
        finally:
            seed.stop()


def listed_at(home: Home, carried: Carried) -> list[str]:
    """Return the partial peers that a node lists."""
    database = Database(home.database)
    rows = database.mirrors(carried.info.repository_id, int(time.time()))
    database.close()
    return [row.url for row in rows if row.state is MirrorState.PARTIAL]


@pytest.mark.parametrize("as_bucket", [False, True])
def test_a_seed_that_nobody_tells_of_says_so(
    large: Carried, tmp_path: Path, person: Person, as_bucket: bool
) -> None:
    """A web server that holds the files of a mirror takes no notices; no more does a bucket."""
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        web_files.save(large, served.http_address, tmp_path / "www" / "project.git")
    with web_files.serving(tmp_path / "www", as_bucket=as_bucket) as base:
        url = f"{base}/project.git"
        person.git("clone", "--mirror", large.layout.git_dir.as_uri(), "c").ok()
        seed = person.start("gittorrent", "seed", "c", url, "--port", "0")
        try:
            wait_until(lambda: "no mirror tells others of this seed" in seed.err, "it says so")
            assert "takes no notices" in seed.err
        finally:
            seed.stop()


def test_seeds_that_are_gone_cost_no_line(project: Carried, tmp_path: Path, person: Person) -> None:
    """Lists are full of them for some minutes; where nothing else is to be had they are told of."""
    gone = [f"git://127.0.0.1:{number}/project.git" for number in (1, 2, 3)]
    home = nodes.make_home(tmp_path / "node")
    nodes.list_mirrors(home, project, *gone)
    with nodes.serving(project, home=home) as served:
        url = url_of(served)
        for words in (("clone",), ("clone", "--progress"), ("clone", "--quiet")):
            done = person.git(*words, url, f"c{len(words)}{words[-1][2:]}").ok()
            assert "left out" not in done.err
            assert not any(place in done.err for place in gone)
        said = person.git("clone", "-v", url, "verbose").ok().err
        assert all(f"{place} is left out: cannot connect" in said for place in gone)
        other = somebody(tmp_path / "other")
        assert not other.gittorrent("mirror", url, "--once").ok().err
        again = somebody(tmp_path / "again")
        said = again.gittorrent("mirror", url, "--once", "-v").ok().err
        assert all(place in said for place in gone)


@pytest.mark.parametrize("by", ["git", "http"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_seed_that_ends_is_listed_no_more(
    large: Carried, tmp_path: Path, person: Person, by: str, number: signal.Signals
) -> None:
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(large, home=home) as served:
        url = url_of(served) if by == "git" else f"{served.http}/project.git"
        person.git("clone", "--mirror", f"{served.git}/project.git", "c").ok()
        seed = person.start("gittorrent", "seed", "c", url, "--port", "0")
        try:
            wait_until(lambda: bool(listed_at(home, large)), "the node lists the seed")
            seed.process.send_signal(number)
            assert seed.wait() == 0
        finally:
            seed.stop()
        wait_until(lambda: not listed_at(home, large), "the node lists it no more")
