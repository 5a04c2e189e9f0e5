"""Pushes that no checkpoint has taken: who shows them, what is said of them, whom they hold up.

The keeper is away: an origin with a push on top is served, as a depot would have left it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.ids import Oid, RefName
from gittorrent.repository.carried import Carried
from gittorrent.repository.signed_entries import EntrySigner
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes
from support.nodes import Served
from support.programs import Person
from support.publishing import note_entries

MAIN = RefName(b"refs/heads/main")
TAG = RefName(b"refs/tags/v9")


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    git_dir = gitcmd.init(tmp_path / "project.git")
    for number in range(3):
        nodes.add_commit(git_dir, "refs/heads/main", f"file{number}", b"x\n")
    return nodes.publish(git_dir, owner_key, "project")


@pytest.fixture
def served(origin: Carried, tmp_path: Path) -> Iterator[Served]:
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served:
        yield served


@pytest.fixture(params=["git", "http"])
def url(served: Served, request: pytest.FixtureRequest) -> str:
    base = served.git if request.param == "git" else served.http
    return f"gittorrent::{base}/project.git"


def push_one(origin: Carried, key: Signer) -> Oid:
    """Let a push move main that nobody has confirmed; the origin's own refs stay."""
    git_dir = origin.layout.git_dir
    gitcmd.git(git_dir, "update-ref", "refs/private/pushed", "refs/heads/main")
    new = Oid(nodes.add_commit(git_dir, "refs/private/pushed", "new", b"new\n"))
    nodes.push_on(origin, key, {MAIN: new})
    return new


def main_at(person: Person, url: str) -> str:
    return person.git("ls-remote", url, "refs/heads/main").ok().out.split()[0]


def test_clones_see_it_and_say_so_once(
    origin: Carried, owner_key: Signer, person: Person, url: str
) -> None:
    new = push_one(origin, owner_key)
    done = person.git("clone", url, "clone").ok()
    said = re.findall(r"^.*not final.*$", done.err, re.MULTILINE)
    assert len(said) == 1, done.err
    assert "refs/heads/main is not final: 1 push of " + str(owner_key.key) in said[0]
    assert gitcmd.text(person.root / "clone", "rev-parse", "HEAD") == new
    gitcmd.git(person.root / "clone", "fsck", "--strict")
    assert main_at(person, url) == new
    assert "not final" not in person.git("-C", "clone", "fetch").ok().err, "nothing new"
    assert "not final" in person.git("-C", "clone", "fetch", "-v").ok().err
    gitcmd.git(origin.layout.git_dir, "update-ref", "refs/private/pushed", new)
    newer = Oid(nodes.add_commit(origin.layout.git_dir, "refs/private/pushed", "newer", b"x\n"))
    nodes.push_on(origin, owner_key, {MAIN: newer})
    assert "2 pushes of" in person.git("-C", "clone", "fetch").ok().err


@pytest.mark.parametrize("option", ["--depth=1", "--filter=blob:none", "--single-branch"])
def test_clones_of_less_than_everything_see_it(
    origin: Carried, owner_key: Signer, person: Person, url: str, option: str
) -> None:
    first = push_one(origin, owner_key)
    person.git("clone", option, url, "clone").ok()
    assert gitcmd.text(person.root / "clone", "rev-parse", "HEAD") == first
    gitcmd.git(origin.layout.git_dir, "update-ref", "refs/private/pushed", first)
    new = Oid(nodes.add_commit(origin.layout.git_dir, "refs/private/pushed", "newer", b"x\n"))
    nodes.push_on(origin, owner_key, {MAIN: new})
    done = person.git("-C", "clone", "fetch").ok()
    assert "2 pushes of" in done.err
    assert gitcmd.text(person.root / "clone", "rev-parse", "origin/main") == new


def test_objects_of_another_format(tmp_path: Path, owner_key: Signer, person: Person) -> None:
    git_dir = gitcmd.init(tmp_path / "other.git", "sha256")
    nodes.add_commit(git_dir, "refs/heads/main", "file", b"x\n")
    origin = nodes.publish(git_dir, owner_key, "other")
    new = push_one(origin, owner_key)
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "second")) as served:
        url = f"gittorrent::{served.git}/other.git"
        assert main_at(person, url) == new
        person.git("clone", url, "clone").ok()
        person.gittorrent("mirror", url, "--once", "--quiet").ok()
    assert gitcmd.text(person.root / "clone", "rev-parse", "HEAD") == new
    assert gitcmd.refs(person.node / "repositories" / "other.git")[MAIN] == new


def test_a_clone_from_before_fetches_it(
    origin: Carried, owner_key: Signer, person: Person, url: str
) -> None:
    person.git("clone", url, "clone").ok()
    new = push_one(origin, owner_key)
    done = person.git("-C", "clone", "fetch").ok()
    assert "refs/heads/main is not final" in done.err
    assert gitcmd.text(person.root / "clone", "rev-parse", "origin/main") == new
    nodes.publish(origin.layout.git_dir, owner_key, None)
    done = person.git("-C", "clone", "fetch").ok()
    assert "not final" not in done.err
    assert gitcmd.text(person.root / "clone", "rev-parse", "origin/main") == new


def test_a_mirror_shows_it_to_everybody_and_then_that_it_is_final(
    origin: Carried, owner_key: Signer, person: Person, url: str, tmp_path: Path
) -> None:
    person.gittorrent("mirror", url, "--once", "--quiet").ok()
    new = push_one(origin, owner_key)
    person.gittorrent("mirror", url, "--once", "--quiet").ok()
    mirror = Carried(person.node / "repositories" / "project.git", origin.object_format)
    assert gitcmd.refs(mirror.layout.git_dir)[MAIN] == new
    assert [push.certificate.lines[0].new for push in mirror.log().unfinal] == [new]
    with nodes.serving(mirror, home=nodes.make_home(tmp_path / "second")) as second:
        for asked in (f"gittorrent::{second.git}/project.git", f"{second.git}/project.git"):
            assert main_at(person, asked) == new
    nodes.publish(origin.layout.git_dir, owner_key, None)
    person.gittorrent("mirror", url, "--once", "--quiet").ok()
    assert not mirror.log().unfinal
    assert gitcmd.refs(mirror.layout.git_dir)[MAIN] == new


def test_nothing_new_is_asked_for_once(
    origin: Carried, owner_key: Signer, person: Person, url: str
) -> None:
    push_one(origin, owner_key)
    person.gittorrent("mirror", url, "--once", "--quiet").ok()
    done = person.gittorrent("mirror", url, "--once").ok()
    assert "up to date" in (done.out + done.err).lower()


def test_a_mirror_has_a_tag_that_is_not_final(
    origin: Carried, owner_key: Signer, person: Person, url: str
) -> None:
    """Nothing that the tag leads to decides whether it counts."""
    person.gittorrent("mirror", url, "--once", "--quiet").ok()
    git_dir = origin.layout.git_dir
    new = Oid(nodes.add_commit(git_dir, "refs/private/pushed", "new", b"new\n"))
    nodes.push_on(origin, owner_key, {TAG: new})
    for _ in range(2):
        person.gittorrent("mirror", url, "--once", "--quiet").ok()
        mirror = person.node / "repositories" / "project.git"
        assert gitcmd.refs(mirror)[TAG] == new
        gitcmd.git(mirror, "fsck", "--no-dangling")
        shutil.rmtree(person.node)  # the next one begins with it


@pytest.mark.parametrize("ref", [MAIN, TAG])
def test_a_mirror_that_adopted_what_it_lacks_gets_it(
    origin: Carried, owner_key: Signer, person: Person, url: str, ref: RefName
) -> None:
    """Its refs cannot follow its log, which keeps nothing from writing to it."""
    person.gittorrent("mirror", url, "--once", "--quiet").ok()
    git_dir = origin.layout.git_dir
    new = Oid(nodes.add_commit(git_dir, "refs/private/pushed", "new", b"new\n"))
    nodes.push_on(origin, owner_key, {ref: new})
    with origin.writing():
        log = origin.log()
        EntrySigner(origin, log, owner_key, nodes.AUTHOR).checkpoint()
        origin.commit(log)
    mirror = Carried(person.node / "repositories" / "project.git", origin.object_format)
    new_entries = [entry for entry in log.entries if entry not in mirror.log().entries]
    read = origin.log_store.push_file
    note_entries(mirror, {entry: read(entry) or b"" for entry in new_entries})
    assert mirror.log().final_refs[ref] == new
    assert person.gittorrent("verify", "project").status
    person.gittorrent("mirror", url, "--once", "--quiet").ok()
    assert gitcmd.refs(mirror.layout.git_dir)[ref] == new
    gitcmd.git(mirror.layout.git_dir, "fsck", "--no-dangling")


@pytest.mark.parametrize("ref", [MAIN, TAG])
def test_a_push_whose_objects_nobody_has_holds_up_nothing(
    origin: Carried, owner_key: Signer, person: Person, url: str, ref: RefName
) -> None:
    """It came into the log before the machine with its objects was lost."""
    before = gitcmd.text(origin.layout.git_dir, "rev-parse", "main")
    nodes.push_on(origin, owner_key, {ref: Oid("12" * 20)})
    done = person.git("clone", url, "clone").ok()
    assert "not final" not in done.err
    person.gittorrent("mirror", url, "--once", "--quiet").ok()
    mirror = person.node / "repositories" / "project.git"
    assert gitcmd.refs(mirror)[MAIN] == before == main_at(person, url)
    done = person.gittorrent("mirror", url, "--once").ok()
    assert "up to date" in done.out


@pytest.mark.parametrize("option", ["", "--no-tags", "--depth=1", "--filter=blob:none"])
def test_a_branch_that_was_amended_is_shown_at_its_last_value(
    origin: Carried, owner_key: Signer, person: Person, url: str, tmp_path: Path, option: str
) -> None:
    """What the earlier pushes set it to no ref has any more; it takes them to judge the last.

    For newcomers, and for clones of all kinds that saw some of the earlier values.
    """
    git_dir, topic, private = origin.layout.git_dir, RefName(b"refs/heads/topic"), "refs/private/t"
    every = "+refs/heads/*:refs/remotes/origin/*"
    if option:
        person.git("clone", option, url, "clone").ok()
    for number in range(3):
        gitcmd.git(git_dir, "update-ref", private, "refs/heads/main")
        new = Oid(nodes.add_commit(git_dir, private, "topic", b"%d\n" % number))
        nodes.push_on(origin, owner_key, {topic: new})
        if option and number < 2:
            person.git("-C", "clone", "fetch", "origin", every).ok()
    nodes.push_on(origin, owner_key, {TAG: new})
    nodes.push_on(origin, owner_key, {TAG: None})
    shown = person.git("ls-remote", url.removeprefix("gittorrent::")).ok().out
    assert f"{new}\trefs/heads/topic\n" in shown
    assert "refs/gittorrent" not in shown
    if not option:
        person.git("clone", url, "clone").ok()
    done = person.git("-C", "clone", "fetch", "-v", "origin", every).ok()
    assert gitcmd.text(person.root / "clone", "rev-parse", "origin/topic") == new
    for trouble in ("conflicts", "not shown", "not to be had"):
        assert trouble not in done.err
    person.gittorrent("mirror", url, "--once", "--quiet").ok()
    mirror = Carried(person.node / "repositories" / "project.git", origin.object_format)
    assert gitcmd.refs(mirror.layout.git_dir)[topic] == new
    with nodes.serving(mirror, home=nodes.make_home(tmp_path / "second")) as second:
        listed = person.git("ls-remote", f"gittorrent::{second.git}/project.git").ok().out
    assert listed == person.git("ls-remote", url).ok().out


def test_conflicts_are_listed_under_a_name_of_their_own(
    origin: Carried, owner_key: Signer, person: Person, url: str
) -> None:
    git_dir = origin.layout.git_dir
    first = push_one(origin, owner_key)
    gitcmd.git(git_dir, "update-ref", "refs/private/other", "refs/heads/main")
    second = Oid(nodes.add_commit(git_dir, "refs/private/other", "other", b"other\n"))
    old = Oid(gitcmd.text(git_dir, "rev-parse", "main"))
    push = nodes.push_on(origin, owner_key, {MAIN: second}, old={MAIN: old})
    listed = person.git("ls-remote", url).ok().out
    assert f"{first}\trefs/heads/main\n" in listed
    assert f"{second}\trefs/conflicts/{push}/heads/main\n" in listed
    person.gittorrent("mirror", url, "--once", "--quiet").ok()
    mirror = person.node / "repositories" / "project.git"
    assert gitcmd.refs(mirror)[f"refs/conflicts/{push}/heads/main".encode()] == second
