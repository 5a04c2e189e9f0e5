"""Homes that were copied, or restored from a backup, beside the one that lives on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support import bulk, gitcmd, nodes
from support.copying import copy_tree
from support.programs import GITS, Daemon, Person, serve, somebody

MAIN = "refs/heads/main"


@pytest.fixture(params=GITS)
def owner(tmp_path: Path, request: pytest.FixtureRequest) -> Person:
    return somebody(tmp_path / "owner", request.param)


@pytest.fixture
def source(owner: Person, tmp_path: Path) -> Iterator[Daemon]:
    """A node that publishes the project."""
    publish(owner, bulk.make_small(tmp_path / "project.git"))
    with serve(owner) as daemon:
        yield daemon


@pytest.fixture
def first(owner: Person, source: Daemon, tmp_path: Path) -> Person:
    """Somebody whose home has a mirror of the project."""
    person = somebody(tmp_path / "first", owner.git_program)
    person.gittorrent("mirror", source.url(), "--once").ok()
    return person


def publish(owner: Person, path: Path) -> None:
    owner.gittorrent("publish", path, "--new-key", "--wait").ok()


def copied(person: Person) -> Person:
    """Return somebody with a copy of a home."""
    other = somebody(person.root.with_name("second"), person.git_program)
    copy_tree(person.node, other.node, symlinks=True)
    return other


def restored(person: Person) -> Person:
    """Return somebody with a home that was restored from a backup of another one."""
    other = somebody(person.root.with_name("second"), person.git_program)
    person.gittorrent("backup", other.root / "backup.tar").ok()
    other.gittorrent("restore", other.root / "backup.tar").ok()
    return other


def row(person: Person) -> dict[str, str]:
    found = json.loads(person.gittorrent("status", "--json").ok().out)["repositories"]
    assert isinstance(found[0], dict)
    return found[0]


def place(person: Person) -> Path:
    return person.node / "repositories" / "project.git"


def head(mirror: Path) -> str:
    return gitcmd.text(mirror, "rev-parse", MAIN)


def follow(person: Person, source: Daemon) -> None:
    person.gittorrent("mirror", source.url(), "--once").ok()


def push(owner: Person, origin: Path) -> str:
    """Publish one more commit."""
    nodes.add_commit(origin, MAIN, "more", head(origin).encode())
    publish(owner, origin)
    return head(origin)


@pytest.mark.parametrize("make", [copied, restored])
def test_a_mirror_outside_of_the_home_belongs_to_one(
    first: Person, owner: Person, source: Daemon, tmp_path: Path, make: Callable[[Person], Person]
) -> None:
    chosen = tmp_path / "disk" / "chosen.git"
    chosen.parent.mkdir()
    place(first).rename(chosen)
    first.gittorrent("log", chosen).ok()
    second = make(first)
    before = head(chosen)
    now = push(owner, tmp_path / "project.git")
    follow(second, source)
    own = Path(row(second)["path"])
    assert own.parent == second.node / "repositories"
    assert head(own) == now
    assert head(chosen) == before
    second.gittorrent("remove", "project", "--yes").ok()
    assert not own.exists()
    follow(first, source)
    assert head(chosen) == now
    first.gittorrent("remove", "project", "--yes").ok()
    assert not chosen.exists()


def test_a_mirror_outside_of_the_home_goes_on_with_the_home_that_is_left(
    first: Person, owner: Person, source: Daemon, tmp_path: Path
) -> None:
    """Whether the home was moved, or is lost and was restored somewhere else."""
    chosen = tmp_path / "disk" / "chosen.git"
    chosen.parent.mkdir()
    place(first).rename(chosen)
    first.gittorrent("log", chosen).ok()
    first.gittorrent("backup", tmp_path / "backup.tar").ok()
    moved = replace(first, root=first.root.rename(first.root.with_name("moved")))
    now = push(owner, tmp_path / "project.git")
    follow(moved, source)
    assert head(chosen) == now
    shutil.rmtree(moved.node)
    third = somebody(tmp_path / "third", owner.git_program)
    third.gittorrent("restore", tmp_path / "backup.tar").ok()
    assert row(third)["path"] == str(chosen)
    now = push(owner, tmp_path / "project.git")
    follow(third, source)
    assert head(chosen) == now
    third.gittorrent("remove", "project", "--yes").ok()
    assert not chosen.exists()


def test_links_in_a_home_lead_to_what_belongs_to_the_first(
    first: Person, owner: Person, source: Daemon, tmp_path: Path
) -> None:
    """A directory that was moved to another disk may have left a link in its place."""
    disk = tmp_path / "disk"
    (first.node / "repositories").rename(disk)
    (first.node / "repositories").symlink_to(disk)
    second = copied(first)
    before = head(place(first))
    push(owner, tmp_path / "project.git")
    done = json.loads(second.gittorrent("mirror", source.url(), "--once", "--json").ok().out)
    assert not Path(done["path"]).samefile(place(first))
    assert head(place(first)) == before
    second.gittorrent("remove", "project", "--yes").ok()
    assert not Path(done["path"]).exists()
    first.gittorrent("verify", "project").ok()
    first.gittorrent("remove", "project", "--yes").ok()
    assert not (disk / "project.git").exists()


def test_a_copy_is_no_keeper(first: Person, tmp_path: Path) -> None:
    gitcmd.git(place(first), "config", "gittorrent.keeperKey", str(tmp_path / "keeper"))
    second = copied(first)
    assert row(second)["path"] == str(place(second))
    second.git("config", "gittorrent.keeperKey", cwd=place(second)).failed(1)
    first.git("config", "gittorrent.keeperKey", cwd=place(first)).ok()


def test_the_mirror_of_another_home_is_not_adopted(first: Person, owner: Person) -> None:
    key = next((owner.node / "keys").glob("publish"))
    owner.gittorrent("adopt", place(first), "--key", key).failed(2, "belongs to the node in")
    assert row(first)["role"] == "mirror"


def test_a_link_to_a_mirror_is_not_followed_into_the_first_home(
    first: Person, tmp_path: Path
) -> None:
    moved = place(first).rename(tmp_path / "project.moved")
    place(first).symlink_to(moved)
    second = copied(first)
    second.gittorrent("remove", "project", "--yes").ok()
    assert moved.is_dir()
    first.gittorrent("verify", "project").ok()


def test_a_copy_that_is_published_through_stays_behind_a_link(
    owner: Person, tmp_path: Path
) -> None:
    gitcmd.git(tmp_path, "clone", "-q", bulk.make_small(tmp_path / "other.git"), "tool")
    publish(owner, tmp_path / "tool")
    disk = tmp_path / "disk"
    (owner.node / "repositories").rename(disk)
    (owner.node / "repositories").symlink_to(disk)
    second = copied(owner)
    second.gittorrent("remove", "tool", "--delete", "--yes").ok()
    assert (disk / "tool.git").is_dir()
    owner.gittorrent("remove", "tool", "--delete", "--yes").ok()
    assert not (disk / "tool.git").exists()
