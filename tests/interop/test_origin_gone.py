"""The named host is gone: whoever knows the repository goes on with another mirror."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.store.database import Database
from gittorrent.store.snapshot import read_snapshots
from support import bulk, gitcmd, liars, nodes
from support.liars import front
from support.nodes import Served
from support.programs import Person, serve, wait_until

WAYS = ["git", "http"]


def url_at(base: str, pin: str = "", name: str = "project") -> str:
    scheme, _, at = base.partition("://")
    front = "gittorrent" if scheme == "git" else "gittorrent::http"
    return f"{front}://{f'{pin}@' if pin else ''}{at}/{name}.git"


@pytest.fixture
def origin(project: Carried, tmp_path: Path) -> Carried:
    """The project where its owner publishes it."""
    copy = nodes.copy_as_mirror(project, tmp_path / "origin.git", "")
    copy.set_info(replace(copy.info, role="origin", source=""))
    return copy


@pytest.fixture
def mirror(origin: Carried, tmp_path: Path, owner_key: Signer) -> Iterator[tuple[Served, Carried]]:
    """A mirror that is listed at the origin, and has what was published last."""
    copy = nodes.copy_as_mirror(origin, tmp_path / "mirror.git", "")
    with nodes.serving(copy, home=nodes.make_home(tmp_path / "mirror-node")) as served:
        yield served, copy


def base_of(served: Served, way: str) -> str:
    return served.git if way == "git" else served.http


def news(origin: Carried, mirror: Carried, key: Signer) -> str:
    """Publish something that the mirror has too, and return the new tip of main."""
    copy = mirror.layout.git_dir
    tip = nodes.add_commit(origin.layout.git_dir, "refs/heads/main", "news", b"news")
    nodes.publish(origin.layout.git_dir, key, None)
    source = origin.layout.git_dir
    gitcmd.git(copy, "fetch", "-q", source, "+refs/*:refs/*")
    for part in ("logs", "pushes", "reels"):
        for path in (source / "gittorrent" / part).rglob("*"):
            if path.is_file():
                target = copy / path.relative_to(source)
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(path.read_bytes())
    return tip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pins", [True, False])
def test_fetch_clone_and_mirror_go_on(
    origin: Carried,
    mirror: tuple[Served, Carried],
    tmp_path: Path,
    person: Person,
    owner_key: Signer,
    way: str,
    pins: bool,
) -> None:
    """With an id in the URL, or one that was seen there before."""
    home = nodes.make_home(tmp_path / "origin-node")
    nodes.list_mirrors(home, origin, f"{base_of(mirror[0], way)}/project.git")
    with nodes.serving(origin, home=home) as served:
        url = url_at(base_of(served, way), origin.info.repository_id if pins else "")
        person.git("clone", "-q", url, "c").ok()
        person.gittorrent("mirror", url, "--once").ok()
    tip = news(origin, mirror[1], owner_key)
    clone = person.root / "c"
    done = person.git("fetch", cwd=clone).ok()
    assert "going on with" in done.err
    assert person.git("rev-parse", "origin/main", cwd=clone).out.strip() == tip
    # The URL that the user named stays.
    pinned = url_at(base_of(served, way), origin.info.repository_id)
    assert person.git("remote", "get-url", "origin", cwd=clone).out.strip() == pinned
    person.git("clone", "-q", url, "d").ok()
    assert person.git("rev-parse", "HEAD", cwd=person.root / "d").out.strip() == tip
    person.gittorrent("mirror", url, "--once").ok()
    (carried,) = person.node.glob("repositories/*.git")
    assert gitcmd.refs(carried)[b"refs/heads/main"] == tip
    assert "all is well" in person.gittorrent("verify", carried).ok().out
    # And with nothing but the id.
    person.git("clone", "-q", f"gittorrent://{origin.info.repository_id}", "e").ok()
    assert person.git("rev-parse", "HEAD", cwd=person.root / "e").out.strip() == tip


@pytest.mark.parametrize("way", WAYS)
def test_a_silent_host_gives_way(
    origin: Carried,
    mirror: tuple[Served, Carried],
    tmp_path: Path,
    person: Person,
    owner_key: Signer,
    way: str,
) -> None:
    """It accepts connections and says nothing."""
    home = nodes.make_home(tmp_path / "origin-node")
    nodes.list_mirrors(home, origin, f"{base_of(mirror[0], way)}/project.git")
    with nodes.serving(origin, home=home) as served:
        base = base_of(served, way)
        person.git("clone", "-q", url_at(base), "c").ok()
    tip = news(origin, mirror[1], owner_key)
    host, _, port = base.partition("://")[2].rpartition(":")
    with socket.create_server((host, int(port))):
        done = person.git("fetch", cwd=person.root / "c").ok()
        assert f"{base}/project.git takes long to answer; going on with" in done.err
    assert person.git("rev-parse", "origin/main", cwd=person.root / "c").out.strip() == tip


@pytest.mark.parametrize("question", ["want bundle", "fetch manifest"])
@pytest.mark.parametrize("command", ["clone", "mirror"])
def test_a_host_that_says_nothing_of_reels(
    origin: Carried,
    mirror: tuple[Served, Carried],
    person: Person,
    command: str,
    question: str,
) -> None:
    """It answers what it is asked at first; the other mirror has the reels all the same."""
    with front(mirror[0].git_address, liars.silent, f"{mirror[0].git}/project.git") as liar:
        liar.mute = question
        url = f"gittorrent://{liar.at}/project.git"
        if command == "clone":
            person.git("clone", url, "c").ok()
        else:
            person.gittorrent("mirror", "--once", url).ok()
    assert "git-upload-pack" not in liar.asked


def test_a_seed_whose_mirror_says_nothing_of_reels(
    mirror: tuple[Served, Carried], person: Person
) -> None:
    with front(mirror[0].git_address, liars.silent, f"{mirror[0].git}/project.git") as liar:
        url = f"gittorrent://{liar.at}/project.git"
        person.git("clone", "-q", url, "c").ok()
        liar.mute = "want bundle"
        done = person.gittorrent("seed", "--for", "1", "c", url).ok()
    assert "1 reel held" in done.out + done.err


def test_a_host_whose_log_does_not_hold(
    origin: Carried,
    mirror: tuple[Served, Carried],
    tmp_path: Path,
    person: Person,
    owner_key: Signer,
) -> None:
    """The named mirror answers, and what it says is wrong: that one is left out, and named."""
    home = nodes.make_home(tmp_path / "origin-node")
    nodes.list_mirrors(home, origin, f"{mirror[0].git}/project.git")
    with nodes.serving(origin, home=home) as served:
        person.git("clone", "-q", url_at(served.git), "c").ok()
        tip = news(origin, mirror[1], owner_key)
        push = origin.log_store.ids()[-1]
        path = origin.layout.push(push)
        path.write_bytes(path.read_bytes().replace(b"refs/heads/main", b"refs/heads/evil"))
        done = person.git("fetch", cwd=person.root / "c").ok()
    assert f"left out: {served.git}/project.git sent push" in done.err
    assert person.git("rev-parse", "origin/main", cwd=person.root / "c").out.strip() == tip


@pytest.mark.parametrize("first", ["stale", "current"])
@pytest.mark.parametrize("command", ["fetch", "clone", "mirror"])
def test_who_stands_in_may_be_behind(
    origin: Carried,
    mirror: tuple[Served, Carried],
    tmp_path: Path,
    person: Person,
    owner_key: Signer,
    command: str,
    first: str,
) -> None:
    """Of several that are known, it is not enough that one answers: some may have more."""
    stale = nodes.copy_as_mirror(origin, tmp_path / "stale.git", "")
    home = nodes.make_home(tmp_path / "origin-node")
    with nodes.serving(stale, home=nodes.make_home(tmp_path / "stale-node")) as behind:
        urls = {"stale": f"{behind.git}/project.git", "current": f"{mirror[0].git}/project.git"}
        nodes.list_mirrors(home, origin, *urls.values())
        with nodes.serving(origin, home=home) as served:
            url = url_at(served.git)
            person.git("clone", "-q", "--mirror", url, "c").ok()
            person.gittorrent("mirror", url, "--once").ok()
        with contextlib.closing(Database(person.node / "node.sqlite")) as database:
            database.mirror_served(origin.info.repository_id, urls[first], 1 << 40)
        news(origin, mirror[1], owner_key)
        tip = news(origin, mirror[1], owner_key)
        if command == "fetch":
            done = person.git("fetch", cwd=person.root / "c").ok()
            git_dir = person.root / "c"
        elif command == "clone":
            done = person.git("clone", "--mirror", url, "d").ok()
            git_dir = person.root / "d"
        else:
            done = person.gittorrent("mirror", url, "--once").ok()
            (git_dir,) = person.node.glob("repositories/*.git")
    assert gitcmd.refs(git_dir)[b"refs/heads/main"] == tip
    assert "left out" not in done.err


def test_an_id_that_nobody_here_knows(person: Person) -> None:
    url = f"gittorrent://{'a' * 52}"
    for words in (("clone", url, "c"), ("ls-remote", url)):
        done = person.git(*words).failed(128, "no mirror of", "is known on this machine")
        assert "name one that carries it" in done.err
    person.gittorrent("mirror", url, "--once").failed(3, "is known on this machine")
    person.gittorrent("mirrors", url).failed(
        3, "no mirror of", "is known on this machine, and none"
    )


def test_an_id_that_the_node_here_carries(origin: Carried, tmp_path: Path, person: Person) -> None:
    """What a node of this user's serves on this machine needs no address."""
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "origin-node")) as served:
        person.gittorrent("mirror", url_at(served.git), "--once").ok()
    with contextlib.closing(Database(person.node / "node.sqlite")) as database:
        # As if the origin had never been heard of.
        database.forget_url(f"{served.git}/project.git")

    with serve(person):
        wait_until(lambda: bool(read_snapshots(person.node / "run")), "the node says where it is")
        person.git("clone", "-q", "--mirror", f"gittorrent://{origin.info.repository_id}", "c").ok()
    assert gitcmd.refs(person.root / "c") == bulk.published(gitcmd.refs(origin.layout.git_dir))


def test_a_mirror_by_its_id_alone_has_a_source(
    origin: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "origin-node")) as served:
        person.git("ls-remote", url_at(served.git)).ok()
        person.gittorrent("mirror", f"gittorrent://{origin.info.repository_id}", "--once").ok()
    (git_dir,) = person.node.glob("repositories/*.git")
    source = Carried(git_dir, origin.object_format).info.source
    assert source == url_at(served.git, origin.info.repository_id)
