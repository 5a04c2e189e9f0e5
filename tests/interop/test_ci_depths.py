"""Clones and fetches of parts of the past through a CI node have what git by itself gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import gitcmd
from support.ci_sites import Site, a_site
from support.programs import GITS, wait_until

BEGIN = 1_800_000_000


@pytest.fixture(params=GITS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with a_site(tmp_path, str(request.param)) as made:
        yield made


def dated(site: Site, branch: str, parents: list[str], at: int) -> str:
    """Make a commit of a time; returns its id."""
    tree = gitcmd.text(site.upstream, "rev-parse", "HEAD^{tree}")
    words = [word for each in parents for word in ("-p", each)]
    when = f"{BEGIN + at} +0000"
    dates = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
    out = gitcmd.git(site.upstream, "commit-tree", tree, *words, "-m", str(at), extra=dates)
    made = out.decode().strip()
    gitcmd.git(site.upstream, "update-ref", f"refs/heads/{branch}", made)
    return made


def make_history(site: Site) -> None:
    """Make branches of commits whose clocks differ: one went back in the middle."""
    base = dated(site, "base", [], 0)
    early = dated(site, "early", [base], 500)
    late = dated(site, "late", [early], 50)  # made by a clock that was behind
    later = dated(site, "later", [late], 600)
    dated(site, "merged", [later, early], 700)


@pytest.mark.parametrize("is_kept", [False, True], ids=["cold", "beside a copy"])
def test_history_since_a_date_or_without_a_branch(site: Site, is_kept: bool) -> None:
    make_history(site)
    site.begin()
    if is_kept:
        site.clone("whole", "-q").ok()
        wait_until(site.has_copy, "the node has a copy")
    for number, words in enumerate((
        ["--branch=early", f"--shallow-since=@{BEGIN + 100}"],
        ["--branch=merged", f"--shallow-since=@{BEGIN + 100}"],
        ["--branch=early", f"--shallow-since=@{BEGIN + 100}", "--no-tags"],
        ["--branch=later", f"--shallow-since=@{BEGIN + 100}"],
        ["--branch=merged", "--shallow-exclude=early"],
        ["--branch=merged", "--shallow-exclude=base"],
    )):  # fmt: skip
        site.clone(f"clone{number}", "-q", *words).ok()
        assert site.has_as_by_git(f"clone{number}", *words), words
    # What was left out is another one when the branch moves.
    head = gitcmd.text(site.upstream, "rev-parse", "base")
    dated(site, "early", [head], 550)
    words = ["--branch=merged", "--shallow-exclude=early"]
    site.clone("moved", "-q", *words).ok()
    assert site.has_as_by_git("moved", *words)


def test_clones_become_deeper_as_by_git(site: Site) -> None:
    site.begin()
    site.clone("first", "-q", "--depth=3").ok()
    wait_until(site.has_copy, "the node has a copy")
    clones: list[tuple[str, list[str]]] = [("deeper", []), ("by-git", ["-c", site.itself])]
    for name, itself in clones:
        site.runner.git(*itself, "clone", "-q", "--depth=2", site.url, name).ok()
    date = gitcmd.text(site.upstream, "log", "-1", "--format=%ct", "HEAD~20")
    steps = (
        ["--deepen=2"],
        [f"--shallow-since=@{date}"],
        ["--shallow-exclude=v1"],
        ["--deepen=1000"],
        ["--depth=1"],
        ["--unshallow"],
    )
    for words in steps:
        for name, itself in clones:
            folder = site.runner.root / name
            site.runner.git(*itself, "fetch", "-q", *words, cwd=folder).ok()
        assert site.has("deeper") == site.has("by-git"), words
