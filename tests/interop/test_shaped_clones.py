"""Clones of less than everything by reels of their shape: as with git, and without upload-pack."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent import native
from gittorrent.git.packs import count_objects
from gittorrent.ids import Oid
from gittorrent.reel.manifest import Segment
from gittorrent.repository.carried import Carried
from gittorrent.repository.reelstore import StoredReel
from gittorrent.shapes import HISTORY
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.nodes import LOOPBACK, Served
from support.programs import GITS, Person, somebody, wait_until

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org")
Serve = Callable[[bool], AbstractContextManager[Served]]
NO_GIT = replace(LOOPBACK, git_memory=1)
"""A node whose upload-pack gets no memory, so that nothing can be fetched but reels."""


def add_files(git_dir: Path, count: int) -> None:
    """Commit so many files in place of all that were there, with a few trees."""
    main = gitcmd.refs(git_dir)[b"refs/heads/main"]
    stream = [b"commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\n"]
    stream.append(b"data 4\nmany\nfrom %s\n" % main.encode())
    for number in range(count):
        content = b"file %d\n" % number * 9
        stream.append(b"M 100644 inline n%d/f%d\n" % (number % 7, number))
        stream.append(b"data %d\n%s\n" % (len(content), content))
    gitcmd.git(git_dir, "fast-import", "--quiet", stdin=b"".join(stream))


def change_one_file(git_dir: Path) -> None:
    main = gitcmd.refs(git_dir)[b"refs/heads/main"]
    stream = b"commit refs/heads/main\ncommitter A <a@example.org> 1700000001 +0000\n"
    stream += b"data 3\none\nfrom %s\n" % main.encode()
    stream += b"M 100644 inline n1/f1\ndata 8\nchanged\n\n"
    gitcmd.git(git_dir, "fast-import", "--quiet", stdin=stream)


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    git_dir = bulk.make_small(tmp_path / "r.git")
    add_files(git_dir, 80)
    gitcmd.git(git_dir, *IDENTITY, "tag", "-a", "-m", "tip", "newest", "refs/heads/main")
    gitcmd.git(git_dir, *IDENTITY, "tag", "-a", "-m", "of it", "outer", "newest")
    gitcmd.git(git_dir, "config", "gittorrent.shapes", "always")
    return nodes.publish(git_dir, owner_key, "project")


@pytest.fixture
def serve(origin: Carried, tmp_path: Path) -> Serve:
    @contextmanager
    def run(with_git: bool) -> Iterator[Served]:
        options = LOOPBACK if with_git else NO_GIT
        with nodes.serving(origin, home=nodes.make_home(tmp_path / "h"), options=options) as served:
            yield served

    return run


def url_of(served: Served, way: str) -> str:
    if way == "http":
        return f"gittorrent::{served.http}/project.git"
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def missing(clone: Path) -> list[str]:
    listed = gitcmd.text(clone, "rev-list", "--all", "--objects", "--missing=print")
    return [line for line in listed.splitlines() if line.startswith("?")]


def stock_clone(origin: Carried, user: Person, *options: str) -> Path:
    """Clone as git does by itself, from a daemon-like place: over file:// with all it allows."""
    source = origin.layout.git_dir
    for name in ("allowFilter", "allowAnySHA1InWant"):
        gitcmd.git(source, "config", f"uploadpack.{name}", "true")
    user.git("clone", "-q", *options, f"file://{source}", "stock").ok()
    return user.root / "stock"


def objects(clone: Path) -> list[str]:
    listed = gitcmd.text(clone, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    return sorted(listed.split())


def same_as_stock(clone: Path, stock: Path) -> None:
    assert objects(clone) == objects(stock)
    assert gitcmd.refs(clone) == gitcmd.refs(stock)
    for name in ("shallow", "HEAD"):
        mine, theirs = clone / ".git" / name, stock / ".git" / name
        assert mine.exists() == theirs.exists()
        assert not theirs.exists() or mine.read_text() == theirs.read_text()
    gitcmd.git(clone, "fsck", "--strict")


def test_shapes_are_made_of_the_default_branch(origin: Carried) -> None:
    found = {reel.manifest.shape.words for reel in origin.shapes.all()}
    head = gitcmd.refs(origin.layout.git_dir)[b"refs/heads/main"]
    assert found == {HISTORY.words, f"tip {head}"}


@pytest.mark.parametrize("options", ["--depth=1", "--filter=blob:none"])
def test_without_the_compiled_indexer(
    origin: Carried, serve: Serve, tmp_path: Path, options: str
) -> None:
    """Git's own gives up packs that are said to have everything and have not."""
    user = somebody(tmp_path / "user", variables={"GITTORRENT_NATIVE": "0"})
    with serve(False) as served:
        user.git("clone", "-q", options, url_of(served, "git"), "c").ok()
    head = gitcmd.refs(origin.layout.git_dir)[b"refs/heads/main"]
    assert gitcmd.text(user.root / "c", "rev-parse", "HEAD") == head


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", ["git", "http"])
@pytest.mark.parametrize(
    "options",
    [("--depth=1",), ("--depth=1", "--no-tags"), ("--depth=1", "--branch", "outer")],
    ids=" ".join,
)
def test_one_commit(
    origin: Carried,
    serve: Serve,
    tmp_path: Path,
    git: str,
    way: str,
    options: tuple[str, ...],
) -> None:
    user = somebody(tmp_path / "user", git)
    stock = stock_clone(origin, user, *options)
    with serve(False) as served:
        user.git("clone", "-q", *options, url_of(served, way), "c").ok()
    same_as_stock(user.root / "c", stock)


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", ["git", "http"])
def test_history_and_then_files(
    origin: Carried,
    serve: Serve,
    tmp_path: Path,
    git: str,
    way: str,
) -> None:
    user = somebody(tmp_path / "user", git)
    stock = stock_clone(origin, user, "--filter=blob:none")
    with serve(False) as served:
        user.git("clone", "-q", "--filter=blob:none", url_of(served, way), "c").ok()
        clone = user.root / "c"
        assert sorted(missing(clone)) == sorted(missing(stock))
        same_as_stock(clone, stock)


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", ["git", "http"])
@pytest.mark.parametrize("option", ["--depth=1", "--filter=blob:none"])
def test_what_is_newer_than_the_reels_is_fetched(
    origin: Carried,
    serve: Serve,
    owner_key: Signer,
    tmp_path: Path,
    git: str,
    way: str,
    option: str,
) -> None:
    source = origin.layout.git_dir
    gitcmd.git(source, "config", "gittorrent.shapes", "auto")
    nodes.add_commit(source, "refs/heads/main", "newer", b"newer\n")
    nodes.publish(source, owner_key, None)
    user = somebody(tmp_path / "user", git)
    stock = stock_clone(origin, user, option)
    with serve(True) as served:
        user.git("clone", "-q", option, url_of(served, way), "c").ok()
        same_as_stock(user.root / "c", stock)


@pytest.mark.parametrize("git", GITS)
def test_a_clone_of_one_commit_goes_on_as_with_git(
    origin: Carried, serve: Serve, owner_key: Signer, tmp_path: Path, git: str
) -> None:
    user = somebody(tmp_path / "user", git)
    source = origin.layout.git_dir
    with serve(True) as served:
        user.git("clone", "-q", "--depth=1", url_of(served, "git"), "c").ok()
        clone = user.root / "c"
        main = nodes.add_commit(source, "refs/heads/main", "newer", b"newer\n")
        nodes.publish(source, owner_key, None)
        user.git("pull", "-q", cwd=clone).ok()
        assert gitcmd.text(clone, "rev-parse", "HEAD") == main
        assert int(gitcmd.text(clone, "rev-list", "--count", "HEAD")) == 2
        user.git("fetch", "-q", "--deepen", "3", cwd=clone).ok()
        assert int(gitcmd.text(clone, "rev-list", "--count", "HEAD")) == 5
        user.git("fetch", "-q", "--unshallow", cwd=clone).ok()
    assert not (clone / ".git" / "shallow").exists()
    assert gitcmd.text(clone, "rev-list", "--count", "HEAD") == gitcmd.text(
        source, "rev-list", "--count", "main"
    )
    gitcmd.git(clone, "fsck", "--strict")


@pytest.mark.parametrize("way", ["git", "http"])
def test_a_later_fetch_brings_what_differs(
    origin: Carried, serve: Serve, owner_key: Signer, person: Person, way: str
) -> None:
    """Not the whole tree again, though nothing before the commit that is here is known here."""
    source = origin.layout.git_dir
    gitcmd.git(source, "config", "gittorrent.shapes", "never")
    nodes.publish(source, owner_key, None)
    with serve(True) as served:
        person.git("clone", "-q", "--depth=1", url_of(served, way), "c").ok()
        clone = person.root / "c"
        before = {pack.name for pack in clone.glob(".git/objects/pack/*.pack")}
        change_one_file(source)
        nodes.publish(source, owner_key, None)
        person.git("fetch", "-q", "--depth=1", cwd=clone).ok()
    (pack,) = (p for p in clone.glob(".git/objects/pack/*.pack") if p.name not in before)
    assert count_objects(pack) < 20
    gitcmd.git(clone, "fsck", "--strict")


def test_a_clone_without_files_goes_on_as_with_git(
    origin: Carried, serve: Serve, owner_key: Signer, person: Person
) -> None:
    source = origin.layout.git_dir
    with serve(True) as served:
        person.git("clone", "-q", "--filter=blob:none", url_of(served, "git"), "c").ok()
        clone = person.root / "c"
        main = nodes.add_commit(source, "refs/heads/main", "newer", b"newer\n")
        nodes.publish(source, owner_key, None)
        person.git("pull", "-q", cwd=clone).ok()
        assert gitcmd.text(clone, "rev-parse", "HEAD") == main
        lacking = len(missing(clone))
        person.git("log", "-p", "-8", "main", cwd=clone).ok()
        assert 0 < len(missing(clone)) < lacking


@pytest.mark.parametrize("git", GITS)
def test_a_clone_without_trees_is_none_of_them(
    origin: Carried, serve: Serve, owner_key: Signer, tmp_path: Path, git: str
) -> None:
    """It has the commit of the tip reel, and not the trees that tell what files that has."""
    source = origin.layout.git_dir
    gitcmd.git(source, "config", "gittorrent.shapes", "auto")
    change_one_file(source)
    nodes.publish(source, owner_key, None)
    user = somebody(tmp_path / "user", git)
    with serve(True) as served:
        url = url_of(served, "git")
        user.git("clone", "-q", "--filter=tree:0", "--single-branch", url, "c").ok()
        assert (user.root / "c" / "n1" / "f1").read_text() == "changed\n"


def put_in_place_of(
    origin: Carried, reel: StoredReel, owner_key: Signer, oids: Sequence[str]
) -> None:
    """Let the keeper have signed other objects for a shaped reel."""
    other = origin.layout.incoming / "other"
    other.parent.mkdir(exist_ok=True)
    listed = "".join(f"{oid}\n" for oid in oids).encode()
    pack = gitcmd.git(origin.layout.git_dir, "pack-objects", "--stdout", "-q", stdin=listed)
    other.write_bytes(pack)
    lie = replace(
        reel.manifest,
        objects=len(oids),
        pack_size=len(pack),
        pack_checksum=pack[-20:].hex(),
        segments=(Segment(12, len(oids), 1, (Oid(oids[0]),)),),
        parts=(hashlib.sha256(pack).hexdigest(),),
    )
    origin.shapes.drop(reel)
    origin.shapes.store(lie, owner_key.sign(lie.text()), other)


def test_a_tag_of_another_commit_is_left_out(
    origin: Carried, owner_key: Signer, serve: Serve, person: Person
) -> None:
    """What it leads to is not there, so the whole of the reel may not stay."""
    source = origin.layout.git_dir
    gitcmd.git(source, *IDENTITY, "tag", "-a", "-m", "old", "older", "refs/heads/main~1")
    nodes.publish(source, owner_key, None)
    (tip,) = (reel for reel in origin.shapes.all() if reel.manifest.shape != HISTORY)
    tag = gitcmd.text(source, "rev-parse", "older")
    words = ("rev-list", "--objects", "--no-object-names", "-1", "refs/heads/main")
    oids = [line.split()[0] for line in gitcmd.text(source, *words).splitlines()]
    put_in_place_of(origin, tip, owner_key, [*oids, tag])
    stock = stock_clone(origin, person, "--depth=1")
    with serve(True) as served:
        person.git("clone", "-q", "--depth=1", url_of(served, "git"), "c").ok()
    same_as_stock(person.root / "c", stock)


def test_a_chain_of_history_is_taken_whole(
    origin: Carried, owner_key: Signer, serve: Serve, person: Person
) -> None:
    """Of its second reel as well, though that is small: an upload-pack has nothing to add."""
    source = origin.layout.git_dir
    change_one_file(source)
    nodes.publish(source, owner_key, None)
    chain = [reel for reel in origin.shapes.all() if reel.manifest.shape == HISTORY]
    assert any(reel.manifest.start is not None for reel in chain)
    stock = stock_clone(origin, person, "--filter=blob:none")
    with serve(False) as served:
        person.git("clone", "-q", "--filter=blob:none", url_of(served, "git"), "c").ok()
    same_as_stock(person.root / "c", stock)


def logged_git(folder: Path) -> tuple[str, Path]:
    """Return a git that writes down how it is run, and where."""
    program, log = folder / "git-logged", folder / "git.log"
    git = shutil.which("git")
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {git} "$@"\n')
    program.chmod(0o755)
    log.touch()
    return str(program), log


def test_the_server_starts_no_git_for_what_reels_have(origin: Carried, tmp_path: Path) -> None:
    """Nor does the client look for what the indexer has found to be there."""
    keeper, user = tmp_path / "keeper", tmp_path / "user"
    keeper.mkdir()
    user.mkdir()
    program, served = logged_git(keeper)
    owner = somebody(keeper / "x", variables={"GITTORRENT_GIT": program})
    program, used = logged_git(user)
    person = somebody(user / "x", variables={"GITTORRENT_GIT": program})
    place = ("--git", "127.0.0.1:0", "--no-announce", "--json")
    node = owner.start("gittorrent", "serve", origin.layout.git_dir, *place)
    try:
        wait_until(lambda: "\n" in node.out, "the node listens")
        address = json.loads(node.out.splitlines()[0])["listening"][0].removeprefix("git://")
        url = f"gittorrent://{address.rstrip('/')}/project.git"
        for number, option in enumerate(("--depth=1", "--filter=blob:none")):
            person.git("clone", "-q", option, url, f"first{number}").ok()
            served.write_text("")
            used.write_text("")
            person.git("clone", "-q", option, url, f"c{number}").ok()
            assert served.read_text() == ""
            if native.is_available():
                assert "rev-list" not in used.read_text()
    finally:
        node.process.terminate()
        node.wait()


@pytest.mark.parametrize("option", ["--depth=1", "--filter=blob:none"])
def test_a_pack_that_lacks_something_is_given_up(
    origin: Carried, serve: Serve, owner_key: Signer, person: Person, option: str
) -> None:
    """The keeper signed shaped reels with too few objects: an ordinary fetch does the job."""
    commit = gitcmd.text(origin.layout.git_dir, "rev-parse", "refs/heads/main")
    for reel in origin.shapes.all():
        put_in_place_of(origin, reel, owner_key, [commit])
    stock = stock_clone(origin, person, option)
    with serve(True) as served:
        done = person.git("clone", option, url_of(served, "git"), "c").ok()
    assert "reels of that shape are no help" in done.err
    same_as_stock(person.root / "c", stock)


def test_objects_that_are_to_keep_to_the_rules_are_fetched(
    origin: Carried, serve: Serve, person: Person
) -> None:
    with serve(False) as served:
        url = url_of(served, "git")
        done = person.git("-c", "transfer.fsckObjects=true", "clone", "-q", "--depth=1", url, "c")
    assert done.status != 0
    assert "ordinary fetch" in done.err


def test_less_may_be_allowed_than_a_reel_has(origin: Carried, serve: Serve, person: Person) -> None:
    with serve(False) as served:
        url = url_of(served, "git")
        done = person.git("-c", "gittorrent.maxSize=1K", "clone", "-q", "--depth=1", url, "c")
    assert "raise gittorrent.maxSize" in done.err


def test_a_mirror_has_them_once_somebody_asked(
    origin: Carried, serve: Serve, person: Person, tmp_path: Path
) -> None:
    keeper = somebody(tmp_path / "keeper")
    place = keeper.node / "repositories" / "project.git"
    with serve(True) as served:
        keeper.gittorrent("mirror", url_of(served, "git"), "--once").ok()
        mirror = Carried(place, origin.object_format)
        keeper.gittorrent("mirror", url_of(served, "git"), "--once").ok()
        assert mirror.shapes.all() == []
        home = nodes.make_home(tmp_path / "m")
        with nodes.serving(mirror, home=home) as mirrored:
            person.git("clone", "-q", "--depth=1", url_of(mirrored, "git"), "first").ok()
        assert mirror.shapes.asked()
        keeper.gittorrent("mirror", url_of(served, "git"), "--once").ok()
    ours = [reel.manifest_file for reel in origin.shapes.all()]
    assert [reel.manifest_file for reel in mirror.shapes.all()] == ours
    with nodes.serving(mirror, home=home, options=NO_GIT) as mirrored:
        for option in ("--depth=1", "--filter=blob:none"):
            person.git("clone", "-q", option, url_of(mirrored, "git"), f"c{option}").ok()
            gitcmd.git(person.root / f"c{option}", "fsck", "--strict")


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", ["git", "http", "stock"])
def test_what_clones_of_one_commit_ask_for_is_counted(
    origin: Carried, serve: Serve, owner_key: Signer, tmp_path: Path, git: str, way: str
) -> None:
    """By the branch: of those that have a reel, and of those that git itself has to pack."""
    source = origin.layout.git_dir
    gitcmd.git(source, "branch", "other", "main~1")
    nodes.publish(source, owner_key, None)
    user = somebody(tmp_path / "user", git)
    branch = "main" if way != "stock" else "other"
    with serve(True) as served:
        url = f"{served.git}/project.git" if way == "stock" else url_of(served, way)
        words = ("-c", "protocol.version=2", "clone", "-q", "--depth=1")
        user.git(*words, "--branch", branch, url, "c").ok()
    counts = origin.shapes.demand().text.decode().splitlines()[1:]
    assert counts == [f"1.000 refs/heads/{branch}"]
