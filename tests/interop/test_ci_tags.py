"""Annotated tags that come along with clones through a CI node are those of that moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import gitcmd
from support.ci_sites import GOING, Site, a_site
from support.programs import GITS, wait_until

SHAPES = [
    (["--depth=1"], False),
    (["--depth=3"], False),
    (["--single-branch"], False),
    (["--single-branch", "--no-checkout", "--filter=blob:none"], False),
    (["--depth=1"], True),
    (["--single-branch"], True),
]
"""What is cloned, and whether the server wants to know who asks."""


@pytest.fixture(params=GITS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with a_site(tmp_path, str(request.param)) as made:
        yield made


def tag(site: Site, name: str, what: str) -> None:
    gitcmd.git(site.upstream, "tag", "-f", "-a", "-m", f"{name} on {what}", name, what)


def changed_tags(site: Site) -> Iterator[str]:
    """Change tags again and again; yields what was done."""
    yield "as they were"
    tag(site, "new", "HEAD")
    yield "put on what is kept"
    tag(site, "also", "HEAD")
    tag(site, "older", "HEAD~1")
    tag(site, "oldest", "HEAD~2")
    tag(site, "of-a-tag", "new")
    tag(site, "of-a-tree", "HEAD^{tree}")
    tag(site, "of-a-file", "HEAD:src/d0/f0.c")
    yield "a second one, on older commits, and on other objects"
    tag(site, "new", "HEAD~1")
    yield "moved"
    gitcmd.git(site.upstream, "tag", "-d", "new", "also", "older")
    yield "deleted"
    site.commit("news")
    tag(site, "news", "HEAD")
    yield "on a new commit"


@pytest.mark.parametrize(("words", "is_private"), SHAPES)
def test_tags_are_those_of_the_moment(site: Site, words: list[str], is_private: bool) -> None:
    if is_private:
        site.server.password = "secret"
    site.begin()
    for step, what in enumerate(changed_tags(site)):
        done = site.private_git("clone", "-q", *words, site.url, f"clone{step}").ok()
        assert GOING not in done.err
        assert site.has_as_by_git(f"clone{step}", *words), what
        wait_until(site.has_copy, "the node has a copy")


def test_who_wants_no_tags_and_who_has_some(site: Site) -> None:
    """Without tags nothing comes; git asks for what an ordinary fetch did not bring."""
    site.begin()
    words = ("--depth=2", "--no-tags")
    clones: list[tuple[str, tuple[str, ...]]] = [("none", words), ("some", ("--single-branch",))]
    for name, more in clones:
        site.clone(name, "-q", *more).ok()
        site.runner.git("-c", site.itself, "clone", "-q", *more, site.url, f"{name}-by-git").ok()
    tag(site, "later", "HEAD")
    site.commit("news")
    tag(site, "on-news", "HEAD")
    fetches: list[tuple[str, tuple[str, ...]]] = [("none", ()), ("some", ()), ("some", ("--tags",))]
    for name, more in fetches:
        folder = site.runner.root / name
        done = site.runner.git("fetch", "-q", *more, cwd=folder).ok()
        assert GOING not in done.err
        other = site.runner.root / f"{name}-by-git"
        site.runner.git("-c", site.itself, "fetch", "-q", *more, cwd=other).ok()
        assert site.has(name) == site.has(f"{name}-by-git")
    site.clone("later", "-q", *words).ok()
    assert site.has_as_by_git("later", *words)
