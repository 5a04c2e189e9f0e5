"""Clones and fetches of parts of the past through a CI node have what git by itself gets."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import gitcmd
from support.ci_sites import Site, a_site
from support.programs import GITS, wait_until
from support.seeds import seeds

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


def moves(site: Site, draw: random.Random, number: int) -> None:
    """Let one of the things happen upstream that happen to branches."""
    branch = "refs/heads/main"
    back = draw.randrange(1, 8)
    kind = draw.choice(["commit", "commits", "merge", "rewind", "tag", "branch"])
    if kind == "commits":
        for n in range(back):
            site.commit(f"{number} {n}", branch)
    elif kind == "merge":
        side = site.commit(f"{number} side", "refs/heads/side", f"HEAD~{back}")
        tree = ("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-p", side, "-m", str(number))
        gitcmd.git(site.upstream, "update-ref", branch, gitcmd.text(site.upstream, *tree))
    elif kind == "rewind":
        gitcmd.git(site.upstream, "update-ref", branch, f"HEAD~{back}")
        site.commit(f"{number} anew", branch)
    elif kind == "tag":
        gitcmd.git(site.upstream, "tag", "-a", "-m", "x", f"t{number}", f"HEAD~{back}")
    elif kind == "branch":
        site.commit(str(number), f"refs/heads/b{number}", f"HEAD~{back}")
    else:
        site.commit(str(number), branch)


@pytest.mark.parametrize("seed", seeds("GITTORRENT_CI_SEED", usual=1, exhaustive=100))
def test_work_trees_from_before_have_what_git_by_itself_gets(site: Site, seed: int) -> None:
    """Jobs fetch at a depth on top of what they have, and sometimes otherwise."""
    draw = random.Random(seed)
    site.begin()
    depth = draw.choice(["--depth=1", "--depth=2", "--depth=3", "--depth=20", "--filter=blob:none"])
    site.clone("first", "-q", depth).ok()
    wait_until(site.has_copy, "the node has a copy")
    before = draw.randrange(4)
    clones: list[tuple[str, list[str]]] = [("by-node", []), ("by-git", ["-c", site.itself])]
    for name, itself in clones:
        site.runner.git(*itself, "clone", "-q", depth, site.url, name).ok()
    said = []
    for number in range(8):
        for n in range(draw.randrange(1, 3)):
            moves(site, draw, 10 * number + n)
        usual = ["origin", *([depth] if "depth" in depth else [])]
        odd: list[list[str]] = [["origin"], ["--depth=4", "origin"], ["--deepen=1", "origin"]]
        odd = odd if "depth" in depth else [["origin"]]
        words = draw.choice([*([usual] * 5), [*usual, "--no-tags"], *odd])
        if draw.randrange(2):
            words = [*words, "+refs/heads/main:refs/remotes/origin/main"]
        if number == before:  # another job had it before, in a tree of its own
            site.runner.git("clone", "-q", depth, site.url, f"new{number}").ok()
        for name, itself in clones:
            folder = site.runner.root / name
            said.append(site.runner.git(*itself, "fetch", "-q", *words, cwd=folder).ok().err)
        assert site.has("by-node") == site.has("by-git"), (number, words)
    assert any(not line for line in said[::2])
