"""Repositories are moved and renamed while nodes serve them and others follow them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from support import bulk, gitcmd, nodes
from support.copying import copy_tree
from support.programs import Daemon, Person, serve, somebody, wait_until


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.fixture
def operator(tmp_path: Path) -> Person:
    return somebody(tmp_path / "operator")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return bulk.make_small(tmp_path / "project.git")


def publish(owner: Person, path: Path, *options: str) -> dict[str, str]:
    done = owner.gittorrent("publish", path, "--new-key", "--wait", "--json", *options).ok()
    found = json.loads(done.out)
    assert isinstance(found, dict)
    return found


def rows(person: Person) -> dict[str, dict[str, str]]:
    found = json.loads(person.gittorrent("status", "--json").ok().out)["repositories"]
    return {row["name"]: row for row in found}


def heads(person: Person, url: str) -> str:
    """Return what git is shown at a URL; empty where that is not served."""
    done = person.git("ls-remote", "--heads", url)
    return done.out if done.status == 0 else ""


def urls(daemon: Daemon, name: str) -> list[str]:
    return [f"{daemon.git}/{name}.git", f"{daemon.http}/{name}", daemon.url(name)]


# --- moving --------------------------------------------------------------------------------------


def test_an_origin_renamed_in_its_folder_is_found_by_itself(owner: Person, origin: Path) -> None:
    publish(owner, origin)
    with serve(owner) as node:
        before = [heads(owner, url) for url in urls(node, "project")]
        moved = origin.rename(origin.with_name("moved.git"))
        assert [heads(owner, url) for url in urls(node, "project")] == before, "at once"
        assert rows(owner)["project"]["path"] == str(moved)
        nodes.add_commit(moved, "refs/heads/main", "more", b"more\n")
        publish(owner, moved)
        after = gitcmd.text(moved, "rev-parse", "refs/heads/main")
        assert all(after in heads(owner, url) for url in urls(node, "project"))


def test_what_was_named_to_serve_is_followed(owner: Person, origin: Path, tmp_path: Path) -> None:
    publish(owner, origin)
    with serve(owner, "project") as node:
        before = heads(owner, node.url())
        moved = origin.rename(origin.with_name("moved.git"))
        assert heads(owner, node.url()) == before
        (tmp_path / "elsewhere").mkdir()
        last = moved.rename(tmp_path / "elsewhere" / "r.git")
        publish(owner, last)
        wait_until(lambda: heads(owner, node.url()) == before, "callers make the node look")


def test_status_finds_what_was_renamed(owner: Person, origin: Path) -> None:
    publish(owner, origin)
    moved = origin.rename(origin.with_name("moved.git"))
    assert rows(owner)["project"]["path"] == str(moved)
    assert rows(owner)["project"]["role"] == "origin"


def test_an_origin_moved_elsewhere_is_served_when_it_is_named(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    repository = publish(owner, origin)["repository_id"]
    with serve(owner) as node:
        before = heads(owner, node.url())
        (tmp_path / "elsewhere").mkdir()
        moved = origin.rename(tmp_path / "elsewhere" / "r.git")
        owner.git("ls-remote", f"{node.git}/project.git").failed(128, "no such repository here")
        assert "is missing: if it was moved" in owner.gittorrent("status").ok().out
        owner.gittorrent("log", moved).ok()
        wait_until(lambda: heads(owner, node.url()) == before, "it is served again")
        # A link at the old place is the same repository too.
        origin.symlink_to(moved)
        assert publish(owner, moved)["repository_id"] == repository
        assert rows(owner)["project"]["path"] == str(moved)


def test_a_copy_is_not_a_move(owner: Person, origin: Path, tmp_path: Path) -> None:
    publish(owner, origin)
    for name in ("one.git", "two.git"):
        copy_tree(origin, tmp_path / name)
    shutil.rmtree(origin)
    owner.gittorrent("log", "project").failed(2, "is missing")
    shutil.rmtree(tmp_path / "two.git")
    owner.gittorrent("log", "project").ok()
    assert rows(owner)["project"]["path"] == str(tmp_path / "one.git")


def test_a_mirror_that_is_moved_is_served_and_followed(
    owner: Person, operator: Person, origin: Path
) -> None:
    repository = publish(owner, origin)["repository_id"]
    with serve(owner) as source, serve(operator) as node:
        url = source.url(repository=repository)
        operator.gittorrent("mirror", url, "--once").ok()
        wait_until(lambda: heads(owner, node.url()) != "", "the mirror is served")
        place = Path(rows(operator)["project"]["path"])
        moved = place.rename(place.with_name("other.git"))
        for each in urls(node, "project"):
            assert heads(owner, each) == heads(owner, source.url())
        operator.git("clone", "--quiet", f"{node.git}/project.git", operator.root / "c").ok()
        nodes.add_commit(origin, "refs/heads/main", "more", b"more\n")
        publish(owner, origin)
        done = json.loads(operator.gittorrent("mirror", url, "--once", "--json").ok().out)
        # Whether this or the running node brought the commit is a race between them.
        assert done["path"] == str(moved)
        assert heads(owner, node.url()) == heads(owner, source.url())


def test_a_directory_that_is_served_is_looked_through_when_something_is_missing(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    publish(owner, origin)
    root = tmp_path / "srv"
    root.mkdir()
    place = origin.rename(root / "a.git")
    with serve(owner, root) as node:
        before = heads(owner, node.url())
        assert before
        place.rename(root / "b.git")
        assert heads(owner, node.url()) == before


# --- a home with all that is in it ----------------------------------------------------------------


def moved_home(person: Person) -> Person:
    """Return somebody whose home is at another place now."""
    return replace(person, root=person.root.rename(person.root.with_name("elsewhere")))


def test_a_home_that_was_moved_publishes_and_signs(owner: Person) -> None:
    """Where the copy is and the keys are was recorded when the home had another name."""
    gitcmd.git(owner.root, "clone", "-q", bulk.make_small(owner.root / "other.git"), "tool")
    repository = publish(owner, owner.root / "tool", "--offline")["repository_id"]
    owner.gittorrent("keeper", "here", "tool").ok()
    moved = moved_home(owner)
    work = moved.root / "tool"
    copy = moved.node / "repositories" / "tool.git"
    assert rows(moved)["tool"]["path"] == str(copy)
    assert "its key is on this machine" in moved.gittorrent("keeper", "show", "tool").ok().out
    said = moved.gittorrent("keeper", "here", "tool").ok()
    assert "this machine is the keeper already" in said.out
    with serve(moved) as node:
        moved.git("commit", "-q", "--allow-empty", "-m", "more", cwd=work).ok()
        assert publish(moved, work)["repository_id"] == repository
        assert moved.git("remote", "get-url", "gittorrent", cwd=work).ok().out == f"{copy}\n"
        head = gitcmd.text(work, "rev-parse", "HEAD")
        assert head in heads(moved, node.url("tool"))
        wait_until(lambda: waiting(moved, "tool") == 0, "the node signs with the key that moved")
    (moved.node / "keys" / "keeper").rename(moved.root / "keeper")
    said = moved.gittorrent("keeper", "here", "tool").failed(7, "there is no key file", "--key")
    assert "--new-key" not in said.err


def test_mirrors_move_with_their_home(owner: Person, operator: Person, origin: Path) -> None:
    repository = publish(owner, origin)["repository_id"]
    with serve(owner) as source:
        operator.gittorrent("mirror", source.url(repository=repository), "--once").ok()
        before = heads(owner, source.url())
    moved = moved_home(operator)
    with serve(moved) as node:  # nobody is there from whom it could come again
        assert heads(owner, node.url()) == before != ""
    assert rows(moved)["project"]["path"] == str(moved.node / "repositories" / "project.git")


def test_a_home_that_is_known_by_a_link_is_the_same(owner: Person) -> None:
    """What it made is still its own: closed to others, and deleted on request."""
    gitcmd.git(owner.root, "clone", "-q", bulk.make_small(owner.root / "other.git"), "tool")
    publish(owner, owner.root / "tool")
    copy = owner.node.rename(owner.root / "disk") / "repositories" / "tool.git"
    owner.node.symlink_to(owner.root / "disk")
    owner.gittorrent("policy", "add", "--private", "-r", owner.root / "tool").ok()
    assert copy.stat().st_mode & 0o077 == 0
    owner.gittorrent("remove", "tool", "--delete", "--yes").ok()
    assert not copy.exists()


def waiting(person: Person, name: str) -> int:
    """Return how many pushes wait for the keeper."""
    shown = json.loads(person.gittorrent("keeper", "show", name, "--json").ok().out)
    return int(shown["waiting"])


# --- renaming ------------------------------------------------------------------------------------


def test_a_renamed_repository_answers_at_both_names(
    owner: Person, operator: Person, origin: Path
) -> None:
    repository = publish(owner, origin)["repository_id"]
    with serve(owner) as source, serve(operator) as node:
        old = source.url(repository=repository)
        operator.gittorrent("mirror", old, "--once").ok()
        clone = operator.root / "clone"
        operator.git("clone", "--quiet", source.url(), clone).ok()
        done = owner.gittorrent("publish", origin, "--name", "renamed").ok()
        assert "renamed project to renamed; nodes answer at the old name too" in done.out
        assert re.search(rf"gittorrent://{repository}@\S+/renamed\.git\n", done.out)
        assert list(rows(owner)) == ["renamed"]
        log = json.loads(owner.gittorrent("log", "renamed", "--json").ok().out)
        kinds = [entry["kind"] for entry in log if entry["kind"] != "checkpoint"]
        assert kinds == ["policy", "certificate", "policy"]
        for name in ("project", "renamed"):
            assert all(heads(owner, url) for url in urls(source, name))
        # What was cloned before goes on, and so does the mirror, which follows the policy's name.
        nodes.add_commit(origin, "refs/heads/main", "more", b"more\n")
        publish(owner, origin)
        operator.git("pull", "--quiet", cwd=clone).ok()
        assert (clone / "more").exists()
        # The node that follows it may have been faster.
        operator.gittorrent("mirror", old, "--once").ok()
        assert list(rows(operator)) == ["renamed"]
        for name in ("project", "renamed"):
            for each in urls(node, name):
                wait_until(lambda url=each: heads(owner, url) != "", each)  # type: ignore[misc]
        # Whoever comes later learns of the old name too.
        later = somebody(operator.root / "later")
        later.gittorrent("mirror", source.url("renamed", repository), "--once").ok()
        with serve(later) as third:
            assert heads(owner, third.url("project")) == heads(owner, source.url("renamed"))
        owner.gittorrent("verify", "renamed").ok()
        operator.gittorrent("verify", "renamed").ok()


def test_a_former_name_gives_way_to_a_repository_that_has_it_now(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    repository = publish(owner, origin)["repository_id"]
    publish(owner, origin, "--name", "renamed")
    other = nodes.make_repository(tmp_path / "other.git")
    second = publish(owner, other, "--name", "project")["repository_id"]
    owner.gittorrent("publish", other, "--name", "renamed").failed(2, "renamed is taken")
    with serve(owner) as node:
        assert node.repositories == {"/project.git": second, "/renamed.git": repository}
        assert heads(owner, node.url("project", second)) != heads(owner, node.url("renamed"))
        assert heads(owner, f"{node.git}/{repository}/project.git") == heads(
            owner, f"{node.git}/renamed.git"
        )


def test_renaming_back(owner: Person, origin: Path) -> None:
    publish(owner, origin)
    assert publish(owner, origin, "--name", "renamed")["renamed_from"] == "project"
    assert publish(owner, origin, "--name", "project")["renamed_from"] == "renamed"
    assert publish(owner, origin, "--name", "project")["renamed_from"] is None
    with serve(owner) as node:
        assert node.repositories.keys() == {"/project.git"}
        assert heads(owner, node.url("renamed")) == heads(owner, node.url())


# --- a mirror's own name and source --------------------------------------------------------------


def test_a_mirror_gets_another_name(owner: Person, operator: Person, origin: Path) -> None:
    repository = publish(owner, origin)["repository_id"]
    with serve(owner) as source, serve(operator) as node:
        url = source.url(repository=repository)
        operator.gittorrent("mirror", url, "--once").ok()
        said = operator.gittorrent("mirror", url, "--once", "--name", "mine").ok()
        assert "project is called mine from now on" in said.err
        assert list(rows(operator)) == ["mine"]
        for name in ("project", "mine"):
            wait_until(lambda name=name: heads(owner, node.url(name)) != "", name)  # type: ignore[misc]
        # It stays when nothing is asked for, whatever its owner calls it.
        publish(owner, origin, "--name", "renamed")
        operator.gittorrent("mirror", url, "--once").ok()
        assert list(rows(operator)) == ["mine"]
        operator.gittorrent("mirror", url, "--once", "--name", "no/name").failed(2, "no/name")
        publish(operator, nodes.make_repository(operator.root / "taken.git"))
        operator.gittorrent("mirror", url, "--once", "--name", "taken").failed(2, "taken by")
        assert "mine" in rows(operator)


def test_a_mirror_gets_another_source(owner: Person, operator: Person, origin: Path) -> None:
    repository = publish(owner, origin)["repository_id"]
    third = somebody(operator.root / "third")
    with serve(owner) as source:
        url = source.url(repository=repository)
        for person in (operator, third):
            person.gittorrent("mirror", url, "--once").ok()
        with serve(third) as other:
            second = other.url(repository=repository)
            said = operator.gittorrent("mirror", second, "--once").ok()
            assert f"project follows {second} from now on, not {url}" in said.err
            assert rows(operator)["project"]["source"] == second
        # One that does not answer is not taken for the source because others stand in.
        gone = f"gittorrent://{repository}@127.0.0.1:1/project.git"
        operator.gittorrent("mirror", gone, "--once").ok()
        assert rows(operator)["project"]["source"] == second
