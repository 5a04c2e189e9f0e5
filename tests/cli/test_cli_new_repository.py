"""`publish` makes a new repository id only where it is meant."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support import bulk, gitcmd
from support.programs import Person, serve, somebody


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.fixture
def people(tmp_path: Path) -> Callable[[str], Person]:
    return lambda name: somebody(tmp_path / name)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return bulk.make_small(tmp_path / "project.git")


def publish(owner: Person, path: Path, *options: str) -> str:
    words: list[str | Path] = ["publish", path, "--new-key", "--wait", "--json", *options]
    return str(json.loads(owner.gittorrent(*words).ok().out)["repository_id"])


def refused(person: Person, path: Path, repository: str, *fragments: str) -> None:
    """Publishing must end before anything is made, and say what the user may mean."""
    before, copies = tree(path), copies_of(person)
    done = person.gittorrent("publish", path, "--new-key")
    done.failed(2, repository, "a new id", "--new-repository", *fragments)
    assert tree(path) == before
    assert copies_of(person) == copies


def copies_of(person: Person) -> list[Path]:
    return sorted((person.node / "repositories").glob("*"))


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("database_is_lost", [False, True])
def test_a_published_repository_that_lost_its_log(
    owner: Person, origin: Path, database_is_lost: bool
) -> None:
    first = publish(owner, origin)
    shutil.rmtree(origin / "gittorrent")
    if database_is_lost:
        (owner.node / "node.sqlite").unlink()
    refused(owner, origin, first)
    second = publish(owner, origin, "--new-repository")
    assert second != first
    assert publish(owner, origin) == second
    assert second in owner.gittorrent("status", "--json").ok().out


def test_a_database_row_alone_is_enough(owner: Person, origin: Path) -> None:
    first = publish(owner, origin)
    shutil.rmtree(origin / "gittorrent")
    gitcmd.git(origin, "update-ref", "-d", "refs/gittorrent/log")
    refused(owner, origin, first, "published before", f"{origin / 'gittorrent'} is gone")


def test_a_clone_whose_bare_copy_is_gone(owner: Person, origin: Path) -> None:
    work = owner.root / "work"
    owner.git("clone", "-q", origin, work).ok()
    first = publish(owner, work)
    copy = owner.node / "repositories" / "work.git"
    moved = copy.rename(owner.root / "moved.git")
    refused(owner, work, first, f"the bare copy {copy} is gone", "gittorrent.copy")
    assert not copy.exists()
    owner.git("config", "gittorrent.copy", moved, cwd=work).ok()
    assert publish(owner, work) == first
    # One that this node finds again needs nothing.
    for place in (owner.root / "renamed.git", owner.node / "elsewhere.git"):
        moved = moved.rename(place)
        if moved.parent != owner.root:
            owner.gittorrent("log", moved).ok()
        assert publish(owner, work) == first
        found = owner.git("config", "gittorrent.copy", cwd=work).ok().out.strip()
        url = owner.git("config", "remote.gittorrent.url", cwd=work).ok().out.strip()
        assert (found, url) == (str(moved), str(moved))
    shutil.rmtree(moved)
    assert publish(owner, work, "--new-repository") != first
    # What the lost one had was noted as copied, and is not in the new one for that.
    assert gitcmd.refs(moved)[b"refs/heads/main"] == gitcmd.text(work, "rev-parse", "main")


def test_a_clone_knows_what_it_was_published_as_elsewhere(owner: Person, origin: Path) -> None:
    """As on a new machine, which has no home of before."""
    work = owner.root / "work"
    owner.git("clone", "-q", origin, work).ok()
    first = publish(owner, work)
    owner.node.rename(owner.root / "gone")
    refused(owner, work, first, "adopt URL_OF_A_MIRROR")


def test_a_clone_whose_bare_copy_lost_its_log(owner: Person, origin: Path) -> None:
    """Neither the node's record nor the clone knows the id then; the copy's log branch does."""
    work = owner.root / "work"
    owner.git("clone", "-q", origin, work).ok()
    first = publish(owner, work)
    copy = owner.node / "repositories" / "work.git"
    shutil.rmtree(copy / "gittorrent")
    owner.gittorrent("remove", "work", "--yes").ok()
    refused(owner, work, first, f"refs/gittorrent/log in {copy}", "adopt URL_OF_A_MIRROR")


def test_a_clone_whose_bare_copy_has_no_info(owner: Person, origin: Path) -> None:
    work = owner.root / "work"
    owner.git("clone", "-q", origin, work).ok()
    first = publish(owner, work)
    copy = owner.node / "repositories" / "work.git"
    (copy / "gittorrent" / "repository.json").unlink()
    refused(owner, work, first, f"that one's log is in {copy}", f"adopt {copy}")
    adopted = json.loads(owner.gittorrent("adopt", copy, "--json").ok().out)
    place = adopted["path"]
    assert (adopted["repository_id"], place) == (
        first,
        str(copy.with_name(f"work-{first[:8]}.git")),
    )
    refused(owner, work, first, f"push to {place}", f"gittorrent.copy {place}")
    owner.git("config", "gittorrent.copy", place, cwd=work).ok()
    assert publish(owner, work) == first


def test_clones_of_every_kind(owner: Person, origin: Path, people: Callable[[str], Person]) -> None:
    first = publish(owner, origin)
    someone = people("someone")
    with serve(owner, origin) as daemon:
        someone.git("clone", "-q", daemon.url(), "by-helper").ok()
        refused(someone, someone.root / "by-helper", first, "log is in")
        shutil.rmtree(someone.root / "by-helper" / ".git" / "gittorrent")
        refused(someone, someone.root / "by-helper", first, "remote origin leads there")
        for base in (daemon.git, daemon.http):
            someone.git("clone", "-q", f"{base}/project.git", "stock").ok()
            refused(someone, someone.root / "stock", first, "remote origin leads there")
            shutil.rmtree(someone.root / "stock")
    someone.git("clone", "-q", origin, "by-path").ok()
    refused(someone, someone.root / "by-path", first, f"push to {origin}")


def test_commits_of_a_repository_that_is_mirrored_here(
    owner: Person, origin: Path, people: Callable[[str], Person], tmp_path: Path
) -> None:
    first = publish(owner, origin)
    someone = people("someone")
    with serve(owner, origin) as daemon:
        someone.gittorrent("mirror", daemon.url(), "--once").ok()
    for name in ("behind", "ahead"):
        someone.git("clone", "-q", origin, name).ok()
        someone.git("remote", "remove", "origin", cwd=someone.root / name).ok()
    someone.git("reset", "-q", "--hard", "HEAD~1", cwd=someone.root / "behind").ok()
    commit = ["commit", "-q", "--allow-empty", "-m", "more"]
    someone.git(*commit, cwd=someone.root / "ahead").ok()
    refused(someone, someone.root / "behind", first, "commits of its branches are in project")
    refused(someone, someone.root / "ahead", first, "commits of its branches are in project")
    someone.git("init", "-q", "apart").ok()
    someone.git(*commit, cwd=someone.root / "apart").ok()
    assert publish(someone, someone.root / "apart") != first


def test_what_is_gone_or_damaged_hides_no_other(owner: Person, origin: Path) -> None:
    """All that is carried is looked into at once."""
    commit = ["commit", "-q", "--allow-empty", "-m"]
    for name in ("one", "two", "three", "four"):
        owner.git("init", "-q", name).ok()
        owner.git(*commit, name, cwd=owner.root / name).ok()
        owner.git("clone", "-q", "--bare", name, f"{name}.git").ok()
        publish(owner, owner.root / f"{name}.git")
    shutil.rmtree(owner.root / "one.git")
    (owner.root / "two.git" / "HEAD").unlink()
    first = publish(owner, origin)
    owner.git("clone", "-q", origin, "ahead").ok()
    owner.git("remote", "remove", "origin", cwd=owner.root / "ahead").ok()
    owner.git(*commit, "more", cwd=owner.root / "ahead").ok()
    refused(owner, owner.root / "ahead", first, "commits of its branches are in project")
    owner.git("reset", "-q", "--hard", "HEAD~2", cwd=owner.root / "ahead").ok()
    refused(owner, owner.root / "ahead", first, "commits of its branches are in project")


def test_a_clone_is_published_as_another_repository_beside(owner: Person, origin: Path) -> None:
    """A fork, or what is to be private from now on: nothing becomes of the former one."""
    work = owner.root / "work"
    owner.git("clone", "-q", origin, work).ok()
    first = publish(owner, work)
    former = owner.node / "repositories" / "work.git"
    before = gitcmd.refs(former)
    for words in ([], ["--private"]):
        done = owner.gittorrent("publish", work, "--new-repository", *words)
        done.failed(2, "is published already", "--name NAME")
    owner.gittorrent("publish", work, "--private").failed(2, "is public", "--name NAME")
    words = ["--new-repository", "--private", "--name", "apart"]
    second = publish(owner, work, *words)
    assert second != first
    said = json.loads(owner.gittorrent("status", "--json").ok().out)["repositories"]
    assert {row["name"]: row["repository_id"] for row in said} == {"apart": second, "work": first}
    apart = owner.node / "repositories" / "apart.git"
    assert gitcmd.refs(apart)[b"refs/heads/main"] == gitcmd.text(work, "rev-parse", "main")
    owner.git("branch", "topic", cwd=work).ok()
    assert publish(owner, work) == second
    shown = owner.git("remote", "get-url", "gittorrent", cwd=work).ok()
    assert shown.out == f"{apart}\n"
    assert gitcmd.refs(former) == before
    assert b"refs/heads/topic" in gitcmd.refs(apart)


def test_what_is_published_in_place_is_cloned_for_another(owner: Person, origin: Path) -> None:
    first = publish(owner, origin)
    done = owner.gittorrent("publish", origin, "--new-repository", "--name", "fork")
    done.failed(2, "is published already", f"git clone --bare {origin}")
    assert publish(owner, origin) == first
    copy = owner.root / "fork.git"
    owner.git("clone", "-q", "--bare", origin, copy).ok()
    assert publish(owner, copy, "--new-repository", "--name", "fork") != first
    said = json.loads(owner.gittorrent("status", "--json").ok().out)["repositories"]
    assert [row["name"] for row in said] == ["fork", "project"]


def test_what_is_private_is_published_for_everybody_only_where_that_is_meant(
    owner: Person, origin: Path
) -> None:
    """By its own clone, by git's clones of what is here, and whatever directory they are in."""
    publish(owner, origin, "--private")
    owner.git("clone", origin, "work").ok()
    owner.git("clone", "--bare", origin, "bare.git").ok()
    for place in ("work", "bare.git"):
        path, before = owner.root / place, copies_of(owner)
        words = ("publish", path, "--new-repository", "--name", f"of-{path.stem}", "--new-key")
        refused = owner.gittorrent(*words).failed(2, "project", "private", "everybody")
        assert "--even-if-private" in refused.err
        assert copies_of(owner) == before
    work = owner.root / "work"
    first = ("publish", work, "--new-repository", "--new-key", "--name", "own")
    owner.gittorrent(*first, "--private").ok()
    # Now it has a private copy of its own.
    again = ("publish", work, "--new-repository", "--name", "public")
    owner.gittorrent(*again).failed(2, "own", "is private")
    made = json.loads(owner.gittorrent(*again, "--even-if-private", "--json").ok().out)
    assert made["private"] is False
