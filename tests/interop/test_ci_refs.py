"""What jobs see of a server's refs by way of the node is what the server says just then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import gitcmd
from support.ci_sites import GOING, Site, a_site
from support.programs import GITS

pytestmark = pytest.mark.git_in_turn

PULLS = 2000
"""Pull requests of a repository that has many of them."""


@pytest.fixture(params=GITS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with a_site(tmp_path, str(request.param)) as made:
        yield made


def open_pulls(site: Site) -> None:
    oid = gitcmd.text(site.upstream, "rev-parse", "HEAD~2")
    lines = [f"create refs/pull/{number}/head {oid}\n" for number in range(1, PULLS)]
    gitcmd.git(site.upstream, "update-ref", "--stdin", stdin="".join(lines).encode())
    gitcmd.git(site.upstream, "pack-refs", "--all")


def change(site: Site, step: int) -> None:
    """Change the server's refs: what a list says is never the same afterwards."""
    git = [
        ("tag", "-a", "-m", "two", "v2", "HEAD"),
        ("tag", "-f", "-a", "-m", "again", "v1", "HEAD~1"),
        ("tag", "-d", "v2"),
        ("branch", "-D", "old"),
        ("update-ref", "refs/heads/main", "HEAD~1"),
        ("symbolic-ref", "HEAD", "refs/heads/topic/one"),
        ("update-ref", "refs/pull/9/head", "HEAD"),
        ("update-ref", "refs/heads/r", "HEAD"),
        ("symbolic-ref", "HEAD", "refs/heads/not-yet"),
        ("tag", "-f", "light", "refs/heads/main"),
    ]
    gitcmd.git(site.upstream, *git[step])


STEPS = 10


def test_lists_are_the_servers_after_each_change(site: Site) -> None:
    site.begin()
    wanted = [
        ("ls-remote", "--symref"), ("ls-remote", "--heads", "--symref"), ("ls-remote", "--tags"),
    ]  # fmt: skip
    for step in range(STEPS):
        change(site, step)
        for words in wanted:
            said = site.runner.git(*words, site.url).ok()
            itself = site.runner.git(*words, str(site.upstream)).ok()
            assert said.out == itself.out, (step, words)
            assert GOING not in said.err


def refs_of(site: Site, name: str) -> str:
    return site.runner.git("for-each-ref", cwd=site.runner.root / name).ok().out


@pytest.mark.parametrize(
    "words",
    [("--depth=1",), ("--depth=1", "--branch", "v1"), ("--branch", "r", "--single-branch"), ()],
)
def test_clones_have_the_refs_that_the_server_would_give(
    site: Site, words: tuple[str, ...]
) -> None:
    gitcmd.git(site.upstream, "update-ref", "refs/heads/r", "HEAD~3")
    site.begin()
    for step in (0, 1, 4, 5):
        change(site, step)
        done = site.clone(f"led{step}", *words).ok()
        assert GOING not in done.err
        itself = (f"file://{site.upstream}", f"itself{step}")
        site.runner.git("clone", *words, *itself).ok()
        assert refs_of(site, f"led{step}") == refs_of(site, f"itself{step}")


def test_jobs_cost_the_server_no_refs_that_they_do_not_need(site: Site) -> None:
    open_pulls(site)
    site.begin()
    site.clone("cold", "--depth=1").ok()
    site.server.begin_again()
    fetched = list(site.server.fetched)
    site.clone("warm", "--depth=1").ok()
    for branch in ("main", "refs/pull/7/head"):
        site.runner.git("fetch", "--depth=1", "origin", branch, cwd=site.runner.root / "warm").ok()
    assert site.server.sent - sum(site.server.fetched[len(fetched) :]) < 40 * PULLS / 4


def test_new_refs_cost_the_server_a_line(site: Site) -> None:
    """It is asked what they name, and not for all of its refs once more."""
    open_pulls(site)
    site.begin()
    words = ("ls-remote", site.url)
    site.runner.git(*words).ok()
    site.server.begin_again()
    site.runner.git(*words).ok()
    once = site.server.sent
    for pull in ("3", "30"):
        gitcmd.git(site.upstream, "update-ref", f"refs/pull/{pull}/head", "HEAD")
    gitcmd.git(site.upstream, "tag", "-a", "-m", "two", "v2", "HEAD~1")
    site.server.begin_again()
    said = site.runner.git(*words).ok()
    assert site.server.sent < 1.1 * once
    assert said.out == site.runner.git("ls-remote", str(site.upstream)).ok().out


# -- private upstreams


def test_private_pull_requests_are_listed_for_those_who_build_them(site: Site) -> None:
    open_pulls(site)
    site.server.password = "secret"
    site.begin()
    site.private_clone("first").ok()
    site.server.begin_again()
    done = site.private_clone("second").ok()
    assert GOING not in done.err
    fetched = site.server.fetched
    assert len(fetched) == 1
    assert site.server.sent < 40 * PULLS / 4
    made = site.commit("somebody's", "refs/pull/5/head")
    words = ("fetch", "--depth=1", "origin", "refs/pull/5/head")
    done = site.private_git("-C", "second", *words).ok()
    assert gitcmd.text(site.runner.root / "second", "rev-parse", "FETCH_HEAD") == made
    # By its id, as from nothing: the node has to know that the server lists it.
    site.runner.git("init", "-q", "third").ok()
    site.runner.git("-C", "third", "remote", "add", "origin", site.url).ok()
    done = site.private_git("-C", "third", "fetch", "--depth=1", "origin", made).ok()
    assert GOING not in done.err
    assert gitcmd.text(site.runner.root / "third", "rev-parse", "FETCH_HEAD") == made
