"""A repository is named by path, by name or by id, at every command that takes one."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gittorrent.cli.repositories import resolve_carried
from gittorrent.errors import UsageError
from gittorrent.ids import RepositoryId
from gittorrent.repository.carried import ORIGIN
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database
from gittorrent.store.held import HeldKind, HeldRow, HeldTable
from support import bulk, nodes
from support.programs import GITS, Person, serve, somebody, wait_until

ID = RepositoryId("a" * 51 + "q")
OTHER = RepositoryId("b" * 51 + "q")


def row(name: str, repository: RepositoryId, path: Path) -> CarriedRow:
    return CarriedRow(name, repository, str(path), ORIGIN)


def test_names_and_ids(tmp_path: Path) -> None:
    one, two = row("one", ID, tmp_path / "1"), row("two", OTHER, tmp_path / "2")
    known = [one, two]
    assert resolve_carried("one", known) == one
    assert resolve_carried("two.git", known) == two
    assert resolve_carried(OTHER, known) == two
    assert resolve_carried(OTHER.upper(), known) == two
    assert resolve_carried("three", known) is None
    assert resolve_carried("c" * 51 + "q", known) is None


def test_an_id_that_is_carried_twice(tmp_path: Path) -> None:
    gone, here, too = (row(n, ID, tmp_path / n) for n in ("gone", "here", "too"))
    (tmp_path / "here").mkdir()
    assert resolve_carried(ID, [gone, here]) == here
    (tmp_path / "too").mkdir()
    with pytest.raises(UsageError, match="more than once"):
        resolve_carried(ID, [gone, here, too])


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.fixture
def published(owner: Person, tmp_path: Path) -> str:
    origin = bulk.make_small(tmp_path / "project.git")
    done = owner.gittorrent("publish", origin, "--new-key", "--json").ok()
    return str(json.loads(done.out)["repository_id"])


@pytest.mark.parametrize(
    "command",
    [["log"], ["verify"], ["reel", "show"], ["tidy"], ["mirrors"], ["publish"]],
    ids=" ".join,
)
def test_every_command_takes_all_three(owner: Person, published: str, command: list[str]) -> None:
    folder = owner.root.parent
    places: list[str | Path] = ["project", published, folder / "project.git", folder / "project"]
    said = {owner.gittorrent(*command, place).ok().out for place in places}
    assert len(said) == 1
    owner.gittorrent(*command, "projekt").failed(2, "projekt")


def test_a_mirror_is_followed_again_by_its_name_or_id(
    owner: Person, published: str, tmp_path: Path
) -> None:
    operator = somebody(tmp_path / "operator")
    with serve(owner) as node:
        operator.gittorrent("mirror", "--once", node.url()).ok()
        for place in ("project", published):
            done = operator.gittorrent("mirror", "--once", place).ok()
            assert "project is up to date" in done.out
            assert "from now on" not in done.err
        owner.gittorrent("mirror", "--once", "project").failed(2, "it follows no mirror")
    operator.gittorrent("mirror", "--once", "projekt").failed(2, "is no gittorrent URL")
    done = operator.gittorrent("seed", node.url())
    done.failed(2, "is a URL", "'gittorrent seed . URL'")
    operator.gittorrent("seed", "project").failed(2, "'gittorrent serve' gives its reels")


def test_a_clone_stands_for_the_copy_it_is_published_through(owner: Person, tmp_path: Path) -> None:
    clone = tmp_path / "work"
    owner.git("clone", "-q", bulk.make_small(tmp_path / "other.git"), clone).ok()
    owner.gittorrent("verify", ".", cwd=clone).failed(2, "is not published or mirrored here")
    owner.gittorrent("publish", ".", "--new-key", cwd=clone).ok()
    for command in (["verify"], ["reel", "show"], ["tidy"], ["mirrors"], ["policy", "show"]):
        owner.gittorrent(*command, ".", cwd=clone).ok()
    owner.gittorrent("export", ".", tmp_path / "files", cwd=clone).ok()
    owner.gittorrent("verify", cwd=clone / "src").ok()
    owner.gittorrent("verify", "work", cwd=tmp_path).ok()
    copy = Path(owner.git("config", "gittorrent.copy", cwd=clone).ok().out.strip())
    moved = copy.rename(tmp_path / "moved.git")
    owner.gittorrent("verify", ".", cwd=clone).failed(2, "work is missing")
    owner.gittorrent("log", moved).ok()
    owner.gittorrent("publish", ".", cwd=clone).ok()  # it learns where its copy is now
    owner.gittorrent("verify", ".", cwd=clone).ok()


def test_what_else_takes_a_clone_that_is_published(owner: Person, tmp_path: Path) -> None:
    clone = tmp_path / "work"
    owner.git("clone", "-q", bulk.make_small(tmp_path / "other.git"), clone).ok()
    done = owner.gittorrent("publish", ".", "--new-key", "--json", cwd=clone).ok()
    owner.gittorrent("seed", ".", cwd=clone).failed(2, "is published from here, through")
    repository = str(json.loads(done.out)["repository_id"])
    with contextlib.closing(Database(owner.node / "node.sqlite")) as database:
        held = HeldRow(HeldKind.REPOSITORIES, repository, "list", {"b" * 52: "one"}, 3, 7)
        HeldTable(database).hold(held)
    assert "1: list" in owner.gittorrent("confirm", "--refuse", ".", cwd=clone).ok().out
    owner.gittorrent("confirm", tmp_path, cwd=clone).failed(2, "nor a repository that is carried")


def test_a_directory_comes_before_a_name_where_it_can_be_meant(
    owner: Person, published: str
) -> None:
    other = bulk.make_small(owner.root / "project")
    # Not carried, so the commands for carried repositories mean the name; a path is a path.
    assert owner.gittorrent("log", "project").ok().out
    owner.gittorrent("log", "./project").failed(2, "is not published or mirrored here")
    words = ["publish", "project", "--name", "other", "--new-repository", "--json"]
    done = owner.gittorrent(*words).ok()
    assert json.loads(done.out)["path"] == str(other)
    assert json.loads(done.out)["repository_id"] != published


@pytest.mark.parametrize("git", GITS)
def test_where_none_is_named_git_dir_counts_as_for_git(
    tmp_path: Path, owner: Person, published: str, git: str
) -> None:
    person = replace(owner, git_program=git)
    other = bulk.make_small(tmp_path / "other.git")
    git_dir = f"--git-dir={tmp_path / 'project.git'}"
    for command in (["log"], ["verify"], ["tidy"], ["reel", "show"], ["policy", "show"]):
        person.git(git_dir, "torrent", *command, cwd=other).ok()
        person.gittorrent(*command, cwd=other).failed(2, "not published")
    done = person.git(git_dir, "torrent", "publish", "--json", cwd=other).ok()
    assert json.loads(done.out)["repository_id"] == published
    # A repository that is named counts before that.
    done = person.git(git_dir, "torrent", "publish", other, "--new-repository", "--json").ok()
    assert json.loads(done.out)["path"] == str(other)


@pytest.mark.parametrize("command", [["publish"], ["log"], ["seed"], ["verify"]], ids=" ".join)
def test_what_names_no_repository_here(owner: Person, command: list[str]) -> None:
    work = bulk.make_small(owner.root / "here.git")
    owner.gittorrent(*command, "", cwd=work).failed(2, "name is empty")
    owner.gittorrent(*command, "http://host/p.git").failed(2, "http://host/p.git is a URL")


def test_a_directory_that_is_gone(owner: Person) -> None:
    script = 'mkdir gone && cd gone && rmdir ../gone && gittorrent "$@"'
    for words in (["publish"], ["log"], ["publish", "sub"]):
        done = owner.run("/bin/sh", "-c", script, "sh", *words)
        done.failed(7, "the current directory is not there any more")


def test_a_result_that_cannot_be_written(owner: Person) -> None:
    for words in ("status", "status --json", "--help"):
        done = owner.run("/bin/sh", "-c", f"gittorrent {words} >/dev/full")
        done.failed(7, "cannot write to standard output: No space left on device")
        assert "hint" not in done.err


def test_a_mirror_that_is_damaged_can_be_had_anew(
    owner: Person, published: str, tmp_path: Path
) -> None:
    operator = somebody(tmp_path / "operator")
    with serve(owner) as node:
        operator.gittorrent("mirror", node.url(repository=published), "--once").ok()
    pack = max(
        (operator.node / "repositories/project.git/objects/pack").glob("*.pack"),
        key=lambda path: path.stat().st_size,
    )
    pack.chmod(0o600)
    pack.write_bytes(pack.read_bytes()[:-30] + bytes(30))
    said = operator.gittorrent("verify", "project").failed(1, "gittorrent remove project").err
    assert "gittorrent mirror gittorrent://" in said


def test_serving_by_name(owner: Person, published: str) -> None:
    with serve(owner, "project") as daemon:
        assert daemon.repositories == {"/project.git": published}
        known = owner.gittorrent("mirrors", f"gittorrent://{published}", "--json").ok().out
        asked = owner.gittorrent("mirrors", daemon.url(), "--json").ok().out
        assert json.loads(known)["latest"] == json.loads(asked)["latest"]
        assert json.loads(known)["auth"] == json.loads(asked)["auth"]


def test_tidy_removes_what_killed_processes_left(tmp_path: Path) -> None:
    owner = somebody(tmp_path / "owner")
    path = nodes.make_repository(tmp_path / "project.git")
    owner.gittorrent("publish", path, "--new-key", "--wait").ok()
    stale, fresh = (owner.node / "run" / f"download-{pid}-1.json" for pid in (1, 2))
    stale.parent.mkdir(exist_ok=True)
    for each in (stale, fresh):
        each.write_text("{}")
    long_ago = time.time() - 60
    os.utime(stale, (long_ago, long_ago))
    future = time.time() + 3600
    os.utime(fresh, (future, future))
    owner.gittorrent("tidy", path).ok()
    assert (stale.exists(), fresh.exists()) == (False, True)


def test_a_clone_that_seeds_is_no_mirror(owner: Person, published: str, tmp_path: Path) -> None:
    """Seeding records in a clone what it is; whoever publishes it as his own means the copy."""
    clone = tmp_path / "work"
    with serve(owner) as node:
        url = node.url(repository=published)
        owner.git("clone", "-q", url, clone).ok()
        seeding = owner.start("gittorrent", "seed", clone, url)
        wait_until((clone / ".git" / "gittorrent" / "repository.json").exists, "it seeds")
        seeding.stop()
    owner.gittorrent("publish", ".", cwd=clone).failed(2, f"belongs to repository {published}")
    words = ["publish", ".", "--new-repository", "--name", "fork", "--json"]
    fork = json.loads(owner.gittorrent(*words, cwd=clone).ok().out)
    for command in (["log"], ["verify"], ["reel", "show"], ["policy", "show"]):
        of_clone = owner.gittorrent(*command, ".", "--json", cwd=clone).ok().out
        assert of_clone == owner.gittorrent(*command, fork["path"], "--json").ok().out
