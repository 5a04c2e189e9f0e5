"""Loose objects that are read without git: kinds, parents, and what leads down to what."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git import loose
from gittorrent.ids import Oid
from support import gitcmd


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with three commits on top of each other, and one without parents."""
    git_dir = tmp_path / "r.git"
    gitcmd.git(tmp_path, "init", "-q", "--bare", str(git_dir))
    tree = gitcmd.text(git_dir, "mktree", stdin=b"")
    parent: list[str] = []
    for number in range(3):
        made = gitcmd.text(git_dir, "commit-tree", tree, *parent, "-m", f"parent {number}\n\nx")
        gitcmd.git(git_dir, "update-ref", f"refs/heads/{number}", made)
        parent = ["-p", made]
    alone = gitcmd.text(git_dir, "commit-tree", tree, "-m", "alone")
    gitcmd.git(git_dir, "update-ref", "refs/heads/alone", alone)
    return git_dir


def oid(repository: Path, name: str) -> Oid:
    return Oid(gitcmd.text(repository, "rev-parse", name))


def test_all_that_is_loose_is_named(repository: Path) -> None:
    objects = repository / "objects"
    listed = gitcmd.text(
        repository, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)"
    )
    some = oid(repository, "0")
    (objects / some[:2] / f"{some[2:]}.temp").write_bytes(b"a download that broke")
    assert loose.names(objects) == listed.split()
    gitcmd.git(repository, "repack", "-q", "-a", "-d")
    (objects / some[:2]).mkdir(exist_ok=True)
    (objects / some[:2] / "tmp_obj_Zx81kA").write_bytes(b"half")
    assert loose.names(objects) == []


def test_what_is_there(repository: Path) -> None:
    objects = repository / "objects"
    first, second = oid(repository, "0"), oid(repository, "1")
    assert loose.object_kind(objects, second) == "commit"
    assert loose.object_kind(objects, oid(repository, "1^{tree}")) == "tree"
    assert loose.commit_parents(objects, second) == (first,)
    assert loose.commit_parents(objects, first) == ()
    assert loose.commit_parents(objects, oid(repository, "1^{tree}")) is None


def test_what_is_not_there_or_damaged(repository: Path) -> None:
    objects, first = repository / "objects", oid(repository, "0")
    file = objects / first[:2] / first[2:]
    file.chmod(0o644)
    file.write_bytes(b"nothing that inflates")
    for missing in (first, Oid("1" * 40)):
        assert loose.object_kind(objects, missing) is None
        assert loose.commit_parents(objects, missing) is None


def test_descends(repository: Path) -> None:
    objects = repository / "objects"
    first, second, third, alone = (oid(repository, name) for name in ("0", "1", "2", "alone"))
    assert loose.descends(objects, third, first, 10)
    assert loose.descends(objects, third, second, 10)
    assert not loose.descends(objects, third, first, 1)
    assert not loose.descends(objects, first, third, 10)
    assert not loose.descends(objects, third, alone, 10)
