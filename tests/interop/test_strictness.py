"""Who holds objects to fsck's rules gets none that breaks them, whichever way it comes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.store.database import Database
from support import gitcmd, nodes, web_files
from support.copying import copy_tree
from support.nodes import Served
from support.programs import GITS, Done, Person, somebody

RULE = "badTimezone"
PARANOID = ("-c", "gittorrent.paranoid=true")
STRICT = ("-c", "transfer.fsckObjects=true")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, owner_key: Signer) -> Carried:
    """A repository with a commit whose time zone breaks a rule, as some old histories have."""
    git_dir = gitcmd.init(tmp_path_factory.mktemp("odd") / "project.git")
    first = nodes.add_commit(git_dir, "refs/heads/main", "file", b"content\n")
    tree = gitcmd.text(git_dir, "rev-parse", f"{first}^{{tree}}")
    person = "A <a@example.org> 1312735823 +051800"
    words = f"tree {tree}\nparent {first}\nauthor {person}\ncommitter {person}\n\nodd\n".encode()
    commit = gitcmd.text(
        git_dir, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=words
    )
    gitcmd.git(git_dir, "update-ref", "refs/heads/main", commit)
    return nodes.publish(git_dir, owner_key, "project")


@pytest.fixture
def node(odd: Carried, tmp_path: Path) -> Iterator[Served]:
    with nodes.serving(odd, home=nodes.make_home(tmp_path / "home")) as served:
        yield served


def url(served: Served, by: str = "git") -> str:
    prefix = "gittorrent://" if by == "git" else "gittorrent::http://"
    place = (served.git if by == "git" else served.http).partition("://")[2]
    return f"{prefix}{place}/project.git"


@contextmanager
def nobody_accused(person: Person, odd: Carried, key: Signer) -> Iterator[None]:
    yield
    with closing(Database(person.node / "node.sqlite")) as database:
        assert database.distrusted(odd.info.repository_id, str(key.key)) is None


@pytest.mark.parametrize("settings", [PARANOID, STRICT])
@pytest.mark.parametrize("by", ["git", "http"])
@pytest.mark.parametrize("depth", [(), ("--depth", "1")])
def test_a_clone_takes_no_such_object(
    odd: Carried,
    node: Served,
    person: Person,
    owner_key: Signer,
    settings: tuple[str, ...],
    by: str,
    depth: tuple[str, ...],
) -> None:
    with nobody_accused(person, odd, owner_key):
        done = person.git(*settings, "clone", *depth, url(node, by), "c")
        assert done.status
        assert RULE in done.err
    assert not (person.root / "c").exists()
    done = person.git("clone", "--progress", *depth, url(node, by), "c").ok()
    assert depth or "Receiving parts" in done.err


def test_nor_does_a_mirror_or_a_clone_of_what_this_machine_has(
    odd: Carried, node: Served, person: Person, owner_key: Signer
) -> None:
    person.gittorrent("mirror", "--once", url(node)).ok()
    with nobody_accused(person, odd, owner_key):
        done = person.git(*PARANOID, "clone", url(node), "c")
        assert done.status
        assert RULE in done.err
    said = person.git("clone", url(node), "c").ok().err
    assert "without a download" in said


def test_nor_does_a_mirror(odd: Carried, node: Served, person: Person, owner_key: Signer) -> None:
    person.git("config", "--global", "gittorrent.paranoid", "true").ok()
    with nobody_accused(person, odd, owner_key):
        done = person.gittorrent("mirror", "--once", url(node))
        assert done.status
        assert RULE in done.err


EXCEPT = ("-c", f"fetch.fsck.{RULE}=ignore")
INDEXERS = [{}, {"GITTORRENT_NATIVE": "0"}]


@pytest.fixture(params=GITS)
def picky(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    """Somebody with one of this machine's gits."""
    return somebody(tmp_path / "picky", request.param)


def said_of_rules(done: Done) -> None:
    assert done.status
    assert f"breaks fsck's rules: {RULE}: " in done.err, done.err
    assert f"'git config --global fetch.fsck.{RULE} ignore' makes an exception" in done.err
    assert "broken" not in done.err
    assert "believed" not in done.err


@pytest.mark.parametrize("indexer", INDEXERS)
@pytest.mark.parametrize("settings", [PARANOID, STRICT])
def test_what_breaks_rules_was_downloaded_for_later(
    node: Served, picky: Person, settings: tuple[str, ...], indexer: dict[str, str]
) -> None:
    strict = replace(picky, variables=indexer)
    said_of_rules(strict.git(*settings, "clone", "--progress", url(node), "c"))
    assert strict.partial
    done = strict.git(*settings, *EXCEPT, "clone", "--progress", url(node), "c").ok()
    assert "fetching instead" not in done.err
    assert not strict.partial


@pytest.mark.parametrize("indexer", INDEXERS)
@pytest.mark.parametrize("by", ["git", "http"])
@pytest.mark.parametrize("depth", [(), ("--depth", "1")])
def test_exceptions_count_however_objects_come(
    odd: Carried,
    node: Served,
    picky: Person,
    indexer: dict[str, str],
    by: str,
    depth: tuple[str, ...],
) -> None:
    """A list beside the place where git was started, one in the user's home, and a rule."""
    user = replace(picky, variables=indexer)
    head = gitcmd.text(odd.layout.git_dir, "rev-parse", "refs/heads/main")
    for folder in (user.root, user.root / "home"):
        folder.mkdir(exist_ok=True)
        (folder / "known").write_text(f"{head}\n")
    exceptions = (
        EXCEPT,
        ("-c", "fetch.fsck.skipList=known"),
        ("-c", "fetch.fsck.skipList=~/known"),
        ("-c", "fetch.fsck.noSuchRule=ignore", *EXCEPT),
    )
    for number, exception in enumerate(exceptions):
        done = user.git(*STRICT, *exception, "clone", *depth, url(node, by), f"c{number}").ok()
        assert "fetching instead" not in done.err
    done = user.git(*STRICT, "-c", "fetch.fsck.badName=ignore", "clone", *depth, url(node, by), "d")
    said_of_rules(done)


@pytest.mark.parametrize("packed", [False, True])
def test_a_web_server_of_files_gives_no_such_object(
    odd: Carried, picky: Person, tmp_path: Path, packed: bool
) -> None:
    """Git's own walker fetches from it, which knows no rules; no reel is there."""
    folder = tmp_path / "www" / "project.git"
    with nodes.serving(odd, home=nodes.make_home(tmp_path / "home")) as served:
        web_files.save(odd, served.http_address, folder)
    shutil.rmtree(folder / "reels")
    copy_tree(odd.layout.git_dir, tmp_path / "copy.git")
    for each in sorted((tmp_path / "copy.git" / "objects" / "pack").iterdir()):
        each.unlink()  # reels, whose objects lie loose as well
    if packed:
        gitcmd.git(tmp_path / "copy.git", "repack", "-q", "-a", "-d")
    gitcmd.git(tmp_path / "copy.git", "update-server-info")
    for name in ("HEAD", "info", "objects"):
        (tmp_path / "copy.git" / name).rename(folder / name)
    with web_files.serving(folder.parent) as base:
        url = f"gittorrent::{base}/project.git"
        said_of_rules(picky.git(*STRICT, "clone", url, "c"))
        picky.git(*STRICT, *EXCEPT, "clone", url, "c").ok()
        picky.git("clone", url, "d").ok()
    for clone in ("c", "d"):
        picky.git("fsck", "--connectivity-only", cwd=picky.root / clone).ok()


def test_exceptions_count_for_mirrors(node: Served, picky: Person) -> None:
    picky.git("config", "--global", "gittorrent.paranoid", "true").ok()
    said_of_rules(picky.gittorrent("mirror", "--once", url(node)))
    picky.git("config", "--global", f"fetch.fsck.{RULE}", "warn").ok()
    picky.gittorrent("mirror", "--once", url(node)).ok()


def test_what_git_does_not_take_is_said_first(node: Served, picky: Person) -> None:
    for setting in (f"fetch.fsck.{RULE}=sometimes", "fetch.fsck.skipList=/nowhere"):
        done = picky.git(*STRICT, "-c", setting, "clone", url(node), "c")
        assert done.status
        assert "git does not take the settings fetch.fsck.*" in done.err, done.err
        assert not picky.partial


def test_a_branch_that_is_gone_breaks_no_rules(
    odd: Carried, owner_key: Signer, person: Person, tmp_path: Path
) -> None:
    """Reels have it, and a fetch brings what the refs need."""
    git_dir = tmp_path / "healed" / "project.git"
    copy_tree(odd.layout.git_dir, git_dir)
    gitcmd.git(git_dir, "update-ref", "refs/heads/main", "refs/heads/main~1")
    nodes.add_commit(git_dir, "refs/heads/main", "file", b"better\n")
    healed = nodes.publish(git_dir, owner_key, None)
    with nodes.serving(healed, home=nodes.make_home(tmp_path / "home")) as served:
        done = person.git(*STRICT, "clone", url(served), "c").ok()
        assert "fetching instead" in done.err
    assert not person.partial


def test_a_configuration_that_cannot_be_read_is_not_taken_for_none(
    node: Served, person: Person
) -> None:
    person.git("config", "--global", "gittorrent.paranoid", "perhaps").ok()
    person.git("clone", url(node), "c").failed(128, "gittorrent.paranoid is 'perhaps'")
    person.git("config", "--global", "gittorrent.paranoid", "2").ok()
    said_of_rules(person.git("clone", url(node), "c"))
    (person.root / "home" / ".gitconfig").write_text("[gittorrent\n\tparanoid\n")
    person.gittorrent("mirror", "--once", url(node)).failed(7, "bad config")
