"""Remotes as people configure them: short forms of URLs, and several URLs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from support import gitcmd
from support.nodes import Served
from support.programs import GITS, Person, somebody

pytestmark = pytest.mark.git_in_turn

ELSEWHERE = "https://127.0.0.1:1/project.git"


@pytest.fixture(params=GITS)
def user(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    return somebody(tmp_path / "user", request.param)


def url_of(served: Served, repository: str = "") -> str:
    pin = f"{repository}@" if repository else ""
    return f"gittorrent://{pin}{served.git.removeprefix('git://')}/project.git"


@pytest.mark.parametrize("others", [(ELSEWHERE,), ("same",), ("same", ELSEWHERE)])
def test_of_several_urls_the_one_that_was_used_is_pinned(
    project: Carried, project_node: Served, user: Person, others: tuple[str, ...]
) -> None:
    url = url_of(project_node)
    clone = gitcmd.init(user.root / "c.git")
    user.git("remote", "add", "origin", url, cwd=clone).ok()
    for other in others:
        extra = url if other == "same" else other
        user.git("config", "--add", "remote.origin.url", extra, cwd=clone).ok()
    for _ in range(2):
        user.git("fetch", "origin", cwd=clone).ok()
    pinned = url_of(project_node, project.info.repository_id)
    found = user.git("config", "--get-all", "remote.origin.url", cwd=clone).out.split()
    # What was there twice is there once: git replaces all of it by one.
    assert found == [pinned, *(other for other in others if other != "same")]
    user.gittorrent("seed", clone, "--for", "0").ok()


def test_a_url_is_pinned_by_a_fetch_that_finds_nothing_new(
    project: Carried, project_node: Served, user: Person
) -> None:
    user.git("clone", url_of(project_node), "c").ok()
    short = url_of(project_node).removesuffix(".git")
    user.git("-C", "c", "remote", "set-url", "origin", short).ok()
    pinned = short.replace("://", f"://{project.info.repository_id}@")
    assert f"origin is now {pinned}\n" in user.git("-C", "c", "fetch").ok().err
    assert user.git("-C", "c", "config", "remote.origin.url").ok().out == f"{pinned}\n"
    assert user.git("-C", "c", "fetch").ok().err == ""


def test_a_seed_finds_the_mirror_among_several_urls(project_node: Served, user: Person) -> None:
    url = url_of(project_node)
    user.git("clone", "--mirror", url, "c.git").ok()
    clone = user.root / "c.git"
    user.git("config", "remote.origin.url", "git@127.0.0.1:project.git", cwd=clone).ok()
    user.git("config", "--add", "remote.origin.url", url, cwd=clone).ok()
    user.gittorrent("seed", clone, "--for", "0").ok()


def test_commands_take_the_short_forms_that_git_takes(
    project_node: Served, user: Person, people: Callable[[str], Person]
) -> None:
    base = url_of(project_node).removesuffix("project.git")
    for person in (user, people("other")):
        person.git("config", "--global", f"url.{base}.insteadOf", "gt:").ok()
        person.git("config", "--global", "url.ssh://nowhere/.pushInsteadOf", "gittorrent://").ok()
        person.gittorrent("clone", "gt:project.git", "c").ok()
        person.gittorrent("seed", "c", "--for", "0").ok()
        person.gittorrent("mirrors", "gt:project.git").ok()
        person.gittorrent("mirror", "gt:project.git", "--once").ok()
        person.gittorrent("forget", "gt:project.git").ok()
        person.gittorrent("mirror", "tg:project.git", "--once").failed(2, "over ssh")
