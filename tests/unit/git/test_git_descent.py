"""Which commits descend from which, against git's own answer for each pair."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from gittorrent.errors import LocalError
from gittorrent.git.descent import Ancestry, descends
from gittorrent.git.runner import Git, GitError
from gittorrent.ids import Oid
from support import gitcmd
from support.programs import GITS
from support.publishing import builder, grow

MISSING = Oid("12" * 20)


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A history with a merge, two sides, a root of its own, and tags of several kinds."""
    b = builder(tmp_path / "project.git")
    grow(b, 3)
    main = gitcmd.text(b.git_dir, "rev-parse", "main")
    b.set_ref("refs/heads/side", gitcmd.text(b.git_dir, "rev-parse", "main~1"))
    grow(b, 2, branch="side", name="side")
    grow(b, 1, branch="alone", name="alone")
    tree = gitcmd.text(b.git_dir, "rev-parse", "main^{tree}")
    words = ["commit-tree", tree, "-m", "merge", "-p", main, "-p", "refs/heads/side"]
    words[-1] = gitcmd.text(b.git_dir, "rev-parse", "side")
    b.set_ref("refs/heads/merged", gitcmd.text(b.git_dir, *words))
    gitcmd.git(b.git_dir, "tag", "-m", "one", "v1", "main")
    gitcmd.git(b.git_dir, "tag", "blob", "main:f")
    return Git(b.git_dir)


def every_object(git: Git) -> list[Oid]:
    refs = gitcmd.refs(git.directory)
    older = [Oid(gitcmd.text(git.directory, "rev-parse", f"main~{n}")) for n in (1, 2)]
    return [*map(Oid, refs.values()), *older, MISSING]


@pytest.mark.parametrize("program", GITS)
def test_all_pairs_at_once_and_one_by_one(
    git: Git, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITTORRENT_GIT", program)
    every = every_object(git)
    pairs = [(old, new) for old in every for new in every]
    expected = [
        git.attempt("merge-base", "--is-ancestor", old, new).returncode == 0 for old, new in pairs
    ]
    assert any(expected)
    assert descends(git, pairs) == expected
    assert [descends(git, [pair])[0] for pair in pairs] == expected


def test_a_chain_of_pushes_is_one_walk(git: Git, tmp_path: Path) -> None:
    chain = git.run("rev-list", "--reverse", "main").decode().split()
    moves = [(Oid(old), Oid(new)) for old, new in itertools.pairwise(chain)]
    # A git that cannot compare two commits shows that none was asked for.
    (tmp_path / "git").write_text(
        '#!/bin/sh\ncase " $* " in *" merge-base "*) exit 128 ;; esac\nexec git "$@"\n'
    )
    (tmp_path / "git").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITTORRENT_GIT", str(tmp_path / "git"))
        assert descends(git, moves) == [True, True]
        with pytest.raises(GitError):
            descends(git, [(moves[0][1], moves[0][0])])


def test_no_pairs(git: Git) -> None:
    assert descends(git, []) == []


def in_past(git: Git, outer: Oid, inner: Oid) -> bool:
    return git.attempt("merge-base", "--is-ancestor", inner, outer).returncode == 0


@pytest.mark.parametrize("program", GITS)
def test_ancestry_of_all_pairs_at_once_and_one_by_one(
    git: Git, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITTORRENT_GIT", program)
    every = every_object(git)
    kinds = {oid: gitcmd.text(git.directory, "cat-file", "-t", oid) for oid in every[:-1]}
    pairs = [(outer, inner) for outer in every for inner in every]
    expected: list[bool | None] = []
    for outer, inner in pairs:
        if outer == inner:
            expected.append(True)
        elif {kinds.get(outer, "commit"), kinds.get(inner, "commit")} != {"commit"}:
            expected.append(False)  # a tag is not what it leads to
        else:
            known = in_past(git, outer, inner) if MISSING not in (outer, inner) else False
            expected.append(None if outer == MISSING else known)
    assert {True, False, None} == set(expected)
    ancestry = Ancestry(git)
    ancestry.prepare(pairs)
    assert [ancestry.contains(*pair) for pair in pairs] == expected
    assert [Ancestry(git).contains(*pair) for pair in pairs] == expected


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("program", GITS)
def test_ancestry_where_a_parent_is_missing(
    git: Git, program: str, graph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITTORRENT_GIT", program)
    newest, middle, first = (
        Oid(gitcmd.text(git.directory, "rev-parse", f"main~{n}")) for n in range(3)
    )
    alone = Oid(gitcmd.text(git.directory, "rev-parse", "alone"))
    if graph:
        gitcmd.git(git.directory, "commit-graph", "write", "--reachable")
    (git.directory / "objects" / middle[:2] / middle[2:]).unlink()
    pairs = [(newest, middle), (alone, first), (alone, middle)]
    expected = [None, False, False]
    if not graph:
        pairs += [(newest, first), (newest, alone)]
        expected += [None, None]
    ancestry, at_once = Ancestry(git), Ancestry(git)
    assert [ancestry.contains(*pair) for pair in pairs] == expected
    at_once.prepare(pairs[1:])
    assert [at_once.contains(*pair) for pair in pairs] == expected


def test_ancestry_in_a_shallow_repository_is_never_denied(git: Git, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow.git"
    gitcmd.git(
        tmp_path,
        "clone",
        "-q",
        "--bare",
        "--depth=2",
        "--no-single-branch",
        f"file://{git.directory}",
        str(shallow),
    )
    newest, middle, first = (
        Oid(gitcmd.text(git.directory, "rev-parse", f"main~{n}")) for n in range(3)
    )
    alone = Oid(gitcmd.text(git.directory, "rev-parse", "alone"))
    ancestry = Ancestry(Git(shallow))
    assert ancestry.contains(newest, middle) is True
    assert ancestry.contains(newest, alone) is None
    assert ancestry.contains(newest, first) is None


def test_what_is_asked_again_is_remembered(git: Git, tmp_path: Path) -> None:
    chain = [Oid(oid) for oid in git.run("rev-list", "--reverse", "main").decode().split()]
    pairs = [(new, old) for old, new in itertools.pairwise(chain)]
    ancestry = Ancestry(git)
    ancestry.prepare(pairs)
    shutil.rmtree(git.directory)
    assert [ancestry.contains(*pair) for pair in pairs] == [True] * len(pairs)
    with pytest.raises(LocalError):
        ancestry.contains(chain[0], chain[-1])
