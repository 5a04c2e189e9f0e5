"""Branches that somebody works on in linked work trees of a bare repository."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from gittorrent.git.repository import find_repository
from gittorrent.git.work_trees import branches_in_use, detach
from gittorrent.ids import Oid, RefName
from support import gitcmd
from support.programs import GITS

BRANCHES = {b"refs/heads/lower", b"refs/heads/topic"}


@pytest.fixture(params=GITS)
def git(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A bare repository whose branches conflict with its main branch."""
    source = tmp_path / "source"
    gitcmd.git(tmp_path, "init", "-q", "-b", "main", str(source))
    for number, branch in enumerate(["main", "lower", "topic"]):
        gitcmd.git(source, "checkout", "-q", "-B", branch)
        (source / "file").write_text(f"{number}\n")
        gitcmd.git(source, "add", "file")
        gitcmd.git(source, "commit", "-q", "-m", branch)
    gitcmd.git(source, "checkout", "-q", "main")
    (source / "file").write_text("another\n")
    gitcmd.git(source, "commit", "-q", "-a", "-m", "another")
    gitcmd.git(tmp_path, "clone", "-q", "--bare", str(source), "bare.git")
    return tmp_path / "bare.git"


def run(git: str, place: Path, *words: str) -> int:
    """Run a git of this machine, which stops in the middle, and return its exit status."""
    known = {"GIT_EDITOR": "true", "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@b"}
    command = [git, "-C", str(place), *words]
    return subprocess.run(command, env=os.environ | known, capture_output=True).returncode


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("rebase", "--merge", "main"), {b"refs/heads/topic"}),
        (("rebase", "--apply", "main"), {b"refs/heads/topic"}),
        (("rebase", "--update-refs", "main"), BRANCHES),
    ],
)
def test_branches_that_are_rebased(
    bare: Path, tmp_path: Path, git: str, words: Sequence[str], expected: set[bytes]
) -> None:
    place = tmp_path / "place"
    gitcmd.git(bare, "worktree", "add", "-q", str(place), "topic")
    assert run(git, place, *words) != 0, "there is a conflict"
    assert branches_in_use(bare) == expected
    assert not find_repository(bare).is_bare
    assert run(git, place, "rebase", "--abort") == 0
    assert branches_in_use(bare) == {b"refs/heads/topic"}
    gitcmd.git(place, "checkout", "-q", "--detach")
    assert branches_in_use(bare) == set()


def test_a_branch_from_which_somebody_searches(bare: Path, tmp_path: Path, git: str) -> None:
    place = tmp_path / "place"
    gitcmd.git(bare, "worktree", "add", "-q", str(place), "topic")
    for words in (("start",), ("bad",), ("good", "topic~2")):
        assert run(git, place, "bisect", *words) == 0
    assert run(git, place, "symbolic-ref", "-q", "HEAD") != 0, "it is detached"
    assert branches_in_use(bare) == {b"refs/heads/topic"}
    assert run(git, place, "bisect", "reset") == 0
    assert branches_in_use(bare) == {b"refs/heads/topic"}


def test_a_search_from_a_commit_follows_no_branch(bare: Path, tmp_path: Path, git: str) -> None:
    place = tmp_path / "place"
    gitcmd.git(bare, "worktree", "add", "-q", "--detach", str(place), "topic")
    assert run(git, place, "bisect", "start", "topic", "topic~2") == 0
    assert branches_in_use(bare).isdisjoint(BRANCHES)


def test_who_is_on_a_branch_that_moves_stays(bare: Path, tmp_path: Path, git: str) -> None:
    for name in ("topic", "lower"):
        gitcmd.git(bare, "worktree", "add", "-q", str(tmp_path / name), name)
    (bare / "worktrees" / "broken").mkdir()
    (bare / "worktrees" / "broken" / "HEAD").write_bytes(b"no\nHEAD\n")
    (tmp_path / "lower" / "file").write_text("work in progress\n")
    was, new = (Oid(gitcmd.text(bare, "rev-parse", f"{rev}^0")) for rev in ("topic", "main"))
    detach(bare, [(RefName(b"refs/heads/topic"), was, new), (RefName(b"refs/heads/x"), None, new)])
    gitcmd.git(bare, "update-ref", "refs/heads/topic", new)
    assert gitcmd.text(tmp_path / "topic", "rev-parse", "HEAD") == was
    assert gitcmd.text(tmp_path / "topic", "status", "--porcelain") == ""
    assert branches_in_use(bare) == {b"refs/heads/lower"}
    assert run(git, tmp_path / "topic", "checkout", "topic") == 0
    assert gitcmd.text(tmp_path / "topic", "rev-parse", "HEAD") == new
    assert gitcmd.text(tmp_path / "lower", "status", "--porcelain") == " M file"
