"""Users without a home, as in containers: clones work as git's do, and what needs one says so."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import gitcmd, nodes
from support.nodes import Served
from support.programs import GITS, NO_AUTHORITIES, PATIENCE, Done, Person, somebody
from support.users import as_root, installed_for_all, readable_folder

NOWHERE = {"GITTORRENT_HOME": "", "HOME": "/dev/null/nowhere"}
KEPT_NOWHERE = "an interruption loses what was downloaded, unless GITTORRENT_HOME"

NUMBER = 12345
"""Of a user that no password file knows."""


@pytest.fixture(params=GITS)
def homeless(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    return somebody(tmp_path / "homeless", str(request.param), NOWHERE)


def left(person: Person) -> list[Path]:
    """Return what is left of homes that were made for want of one."""
    return sorted(person.root.rglob("gittorrent-home-*"))


@pytest.mark.parametrize("way", ["git", "http"])
def test_clones_work(homeless: Person, project_node: Served, way: str) -> None:
    url = {
        "git": f"gittorrent://{project_node.git.removeprefix('git://')}/project.git",
        "http": f"gittorrent::{project_node.http}/project.git",
    }[way]
    done = homeless.gittorrent("clone", url, "copy").ok()
    assert done.err.count(KEPT_NOWHERE) == 1
    assert "remembered" not in done.err
    assert homeless.git("clone", "-q", url, "quiet").ok().err == ""
    listed = homeless.git("ls-remote", url).ok()
    assert KEPT_NOWHERE not in listed.err
    copy = homeless.root / "copy"
    assert gitcmd.text(copy, "rev-parse", "HEAD") in listed.out
    homeless.git("fetch", cwd=copy).ok()
    for words in (["log"], ["policy", "show"], ["mirrors", url], ["seed", ".", "--for", "1"]):
        homeless.gittorrent(*words, cwd=copy).ok()
    assert left(homeless) == []


def test_shallow_and_partial_clones_work(homeless: Person, project_node: Served) -> None:
    url = f"gittorrent://{project_node.git.removeprefix('git://')}/project.git"
    homeless.git("clone", "-q", "--depth", "1", url, "shallow").ok()
    homeless.git("clone", "-q", "--filter=blob:none", url, "partial").ok()
    assert left(homeless) == []


def test_what_needs_a_home_says_so(tmp_path: Path, project_node: Served) -> None:
    person = somebody(tmp_path / "homeless", variables=NOWHERE)
    url = f"gittorrent://{project_node.git.removeprefix('git://')}/project.git"
    path = nodes.make_repository(person.root / "mine.git")
    for words in (["publish", path], ["serve"], ["status"], ["mirror", url], ["track", path]):
        person.gittorrent(*words).failed(7, "/dev/null/nowhere", "set GITTORRENT_HOME")
    said = person.gittorrent("doctor")
    assert said.status == 1
    assert "set GITTORRENT_HOME" in said.out


def test_a_home_that_was_named_is_used_or_nothing(tmp_path: Path, project_node: Served) -> None:
    person = somebody(tmp_path / "person", variables={"GITTORRENT_HOME": "/dev/null/nowhere"})
    url = f"gittorrent://{project_node.git.removeprefix('git://')}/project.git"
    said = person.gittorrent("clone", url, "copy").failed(7, "set GITTORRENT_HOME").err
    assert "core.sharedRepository" not in said


def test_who_pushes_into_a_published_repository_needs_none(tmp_path: Path) -> None:
    owner = somebody(tmp_path / "owner")
    work = owner.root / "tool"
    owner.git("init", "-q", work).ok()
    owner.git("commit", "-q", "--allow-empty", "-m", "first", cwd=work).ok()
    owner.gittorrent("publish", work, "--new-key", "--wait").ok()
    pusher = Person(owner.root, variables=NOWHERE)
    said = pusher.git("push", "gittorrent", "HEAD:refs/heads/pushed", cwd=work).ok().err
    assert "remote: published tool: 1 ref created" in said
    assert left(pusher) == []


@pytest.fixture
def place() -> Iterator[Path]:
    with readable_folder() as folder:
        yield folder


@as_root
@pytest.mark.parametrize("git", GITS)
def test_a_user_that_no_password_file_knows(place: Path, project_node: Served, git: str) -> None:
    python = installed_for_all(place)
    helper = python.parent / "git-remote-gittorrent"
    start = "from gittorrent.helper.start import main; main()"
    helper.write_text(f"#!/bin/sh\nexec {python} -P -c '{start}' \"$@\"\n")
    helper.chmod(0o755)
    path = f"{python.parent}:{Path(git).parent}:{os.defpath}"
    environ = {"PATH": path, "TMPDIR": str(place), "LC_ALL": "C", "GITTORRENT_DHT_BOOTSTRAP": ""}
    url = f"gittorrent://{project_node.git.removeprefix('git://')}/project.git"

    def run(*words: str | Path) -> Done:
        shown = tuple(map(str, words))
        done = subprocess.run(
            shown,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=place,
            user=NUMBER,
            group=NUMBER,
            extra_groups=[],
            env=environ | NO_AUTHORITIES,
            timeout=PATIENCE,
            check=False,
        )
        return Done(shown, done.returncode, done.stdout, done.stderr)

    assert f"user {NUMBER} has no home directory" in run("git", "clone", url, "copy").ok().err
    run("git", "-C", "copy", "pull").ok()
    run(python, "-P", "-m", "gittorrent", "log", "copy").ok()
    run(python, "-P", "-m", "gittorrent", "serve").failed(7, "set GITTORRENT_HOME")
    assert not list(place.rglob("gittorrent-home-*"))
