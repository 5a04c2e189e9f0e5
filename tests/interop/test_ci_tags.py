"""Annotated tags that come along with clones through a CI node are those of that moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import gitcmd
from support.ci_sites import GOING, Site, a_site
from support.programs import GITS, wait_until

pytestmark = pytest.mark.git_in_turn

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


def deleted_when_asked_for(site: Site, name: str) -> list[bytes]:
    """Have a tag deleted once it is listed, when somebody asks for it; returns what asked."""
    oid = gitcmd.text(site.upstream, "rev-parse", name).encode()
    asked: list[bytes] = []

    def asking(request: bytes) -> None:
        if b"want " + oid in request and not asked:
            asked.append(request)
            gitcmd.git(site.upstream, "tag", "-d", name)
            gitcmd.git(site.upstream, "prune", "--expire=now")  # git gives what it has

    site.server.asking = asking
    return asked


@pytest.mark.parametrize(("words", "is_private"), SHAPES)
def test_a_tag_that_goes_while_it_is_fetched(
    site: Site, words: list[str], is_private: bool
) -> None:
    """The server lists it, refuses it, and is asked for an answer of its own."""
    if is_private:
        site.server.password = "secret"
    site.begin()
    site.private_git("clone", "-q", *words, site.url, "before").ok()
    wait_until(site.has_copy, "the node has a copy")
    tag(site, "short-lived", "HEAD")
    asked = deleted_when_asked_for(site, "short-lived")
    done = site.private_git("clone", "-q", *words, site.url, "meanwhile").ok()
    assert len(asked) == 1
    assert GOING not in done.err
    assert site.has_as_by_git("meanwhile", *words)
    assert site.node is not None
    assert "ci-dropped" not in site.node.running.err, "the copy is as good as before"
    site.private_git("clone", "-q", *words, site.url, "after").ok()
    assert site.has_as_by_git("after", *words)


def test_a_tag_that_goes_while_news_are_fetched(site: Site) -> None:
    """Git wants the tag itself and ends as it would at the server; the next fetch is right."""
    site.begin()
    site.clone("copy", "-q").ok()
    wait_until(site.has_copy, "the node has a copy")
    new = site.commit("news")
    tag(site, "short-lived", "HEAD")
    asked = deleted_when_asked_for(site, "short-lived")
    folder = site.runner.root / "copy"
    site.runner.git("fetch", cwd=folder).failed(128, "not our ref")
    assert len(asked) == 1
    done = site.runner.git("fetch", "-q", cwd=folder).ok()
    assert GOING not in done.err
    assert gitcmd.text(folder, "rev-parse", "origin/main") == new
    assert "short-lived" not in gitcmd.text(folder, "tag")
    site.runner.git("fsck", "--strict", cwd=folder).ok()


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
