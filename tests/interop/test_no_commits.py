"""Branches that would be no commits: every road by which such a push could reach a node's refs.

The log of the origin has one that no depot let in, as somebody with a key and a node of their own
can make it; or its keeper took one, against the rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gittorrent.ids import Oid, RefName
from gittorrent.push.refnames import shown_name
from gittorrent.repository.carried import Carried
from gittorrent.repository.evidence import GitEvidence
from gittorrent.repository.logstore import LogStore
from gittorrent.repository.signed_entries import EntrySigner
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes
from support.nodes import AUTHOR, Served
from support.programs import Person

MAIN = RefName(b"refs/heads/main")
BLOB = RefName(b"refs/heads/blob")
TREE = RefName(b"refs/heads/tree")
TAG = RefName(b"refs/heads/tag")
NEW = RefName(b"refs/heads/new")


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    git_dir = gitcmd.init(tmp_path / "project.git")
    nodes.add_commit(git_dir, "refs/heads/main", "file", b"x\n")
    gitcmd.git(git_dir, "tag", "-a", "-m", "one", "v1", "main")
    return nodes.publish(git_dir, owner_key, "project")


@pytest.fixture
def served(origin: Carried, tmp_path: Path) -> Iterator[Served]:
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served:
        yield served


def values(origin: Carried) -> dict[RefName, Oid]:
    """Return what is to be pushed: three things that are no commits, and one that is."""
    git_dir = origin.layout.git_dir
    blob = gitcmd.text(git_dir, "hash-object", "-w", "--stdin", stdin=b"no commit\n")
    tree = gitcmd.text(git_dir, "mktree", stdin=f"100644 blob {blob}\tfile\n".encode())
    made = {BLOB: blob, TREE: tree, TAG: gitcmd.text(git_dir, "rev-parse", "refs/tags/v1")}
    made[NEW] = nodes.add_commit(git_dir, "refs/private/new", "new", b"new\n")
    return {ref: Oid(value) for ref, value in made.items()}


def listed(person: Person, url: str) -> dict[bytes, str]:
    lines = person.git("ls-remote", url, "refs/*").ok().out.splitlines()
    refs = (line.split("\t") for line in lines)
    return {ref.encode(): value for value, ref in refs if not ref.endswith("^{}")}


def wrong(refs: Mapping[bytes, str] | Mapping[RefName, Oid]) -> list[str]:
    return [shown_name(RefName(ref)) for ref in refs if ref in (BLOB, TREE, TAG)]


@pytest.mark.parametrize("final", [False, True])
def test_nobody_shows_them(
    origin: Carried, served: Served, owner_key: Signer, person: Person, final: bool, tmp_path: Path
) -> None:
    """Lists and clones of both kinds, a first copy, and one that is brought up to date."""
    roads = [f"{served.git}/project.git", f"{served.http}/project.git"]
    roads += [f"gittorrent::{url}" for url in roads]
    early = Person(tmp_path / "early")
    early.root.mkdir()
    early.gittorrent("mirror", roads[2], "--once", "--quiet").ok()
    new = values(origin)
    for ref, value in new.items():
        nodes.push_on(origin, owner_key, {ref: value})
    if final:
        nodes.publish(origin.layout.git_dir, owner_key, None)
        assert not origin.log().unfinal
    for number, url in enumerate(roads):
        refs = listed(person, url)
        assert (wrong(refs), refs[NEW]) == ([], new[NEW])
        person.git("clone", "--mirror", url, f"clone{number}").ok()
        assert not wrong(gitcmd.refs(person.root / f"clone{number}"))
    for mirroring, road in ((early, roads[2]), (person, roads[2]), (person, roads[3])):
        mirroring.gittorrent("mirror", road, "--once", "--quiet").ok()
        copy = mirroring.node / "repositories" / "project.git"
        assert (wrong(gitcmd.refs(copy)), gitcmd.refs(copy)[NEW]) == ([], new[NEW])
        gitcmd.git(copy, "fsck", "--strict")


class Careless(GitEvidence):
    """What a keeper goes by that takes every object for a commit."""

    def is_commit(self, value: Oid) -> bool:
        return True


@pytest.fixture
def false(origin: Carried, owner_key: Signer) -> Carried:
    """The origin, whose keeper took a branch that is a blob."""
    store: LogStore = origin.log_store
    blob = values(origin)[BLOB]
    nodes.push_on(origin, owner_key, {BLOB: blob})
    with origin.writing():
        log = store.open(Careless(origin.git))
        EntrySigner(origin, log, owner_key, AUTHOR).checkpoint()
        assert log.final_refs[BLOB] == blob
        store.commit(log)
    return origin


def test_a_keeper_that_takes_one_is_found_out(
    false: Carried, served: Served, person: Person
) -> None:
    """Mirrors that got the object refuse what the keeper signed."""
    for url in (served.git, served.http):
        done = person.gittorrent("mirror", f"{url}/project.git", "--once")
        assert done.status != 0
        assert "by the rule it is refused" in done.err
    copy = person.node / "repositories" / "project.git"
    assert not copy.exists() or not wrong(gitcmd.refs(copy))


def test_stock_git_is_not_shown_one_that_a_keeper_took(
    false: Carried, served: Served, person: Person
) -> None:
    refs = listed(person, f"{served.git}/project.git")
    assert (wrong(refs), set(refs)) == ([], {MAIN, b"refs/tags/v1"})
