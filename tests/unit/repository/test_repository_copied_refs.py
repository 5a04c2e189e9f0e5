"""What a bare copy keeps of its own, and what goes with the clone it is made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git.repository import create_bare, find_repository
from gittorrent.ids import SHA1, RefName
from gittorrent.repository.copied_refs import Copied, PartedCopyError, copy_refs
from support import gitcmd
from support.publishing import builder, grow
from support.repositories import Builder

PATTERNS = ("refs/heads/*", "refs/tags/*")
A, MAIN = RefName(b"refs/heads/a"), RefName(b"refs/heads/main")


def test_only_what_came_from_the_clone_goes_with_it(tmp_path: Path) -> None:
    clone = builder(tmp_path / "clone.git")
    grow(clone, 2)
    tip = gitcmd.text(clone.git_dir, "rev-parse", "main")
    clone.set_ref("refs/heads/a", tip)
    clone.set_ref("refs/private/x", tip)
    copy = create_bare(tmp_path / "copy.git", SHA1)
    found = find_repository(clone.git_dir)
    assert copy_refs(found, copy, PATTERNS) == Copied((), ())
    assert gitcmd.refs(copy.directory) == {b"refs/heads/main": tip, b"refs/heads/a": tip}
    gitcmd.git(copy.directory, "update-ref", "refs/heads/pushed", tip)
    clone.delete_ref("refs/heads/a")
    clone.set_ref("refs/heads/a/b", tip)
    assert copy_refs(found, copy, PATTERNS) == Copied((), ())
    expected = {b"refs/heads/main", b"refs/heads/a/b", b"refs/heads/pushed"}
    assert gitcmd.refs(copy.directory).keys() == expected


def test_what_a_clone_hides_is_not_copied_unless_it_was(tmp_path: Path) -> None:
    clone = builder(tmp_path / "clone.git")
    grow(clone, 1)
    tip = gitcmd.text(clone.git_dir, "rev-parse", "main")
    copy = create_bare(tmp_path / "copy.git", SHA1)
    found = find_repository(clone.git_dir)
    copy_refs(found, copy, PATTERNS)
    clone.set_ref("refs/heads/a", tip)
    gitcmd.git(clone.git_dir, "config", "transfer.hideRefs", "refs/heads")
    assert copy_refs(found, copy, PATTERNS) == Copied((), (), (A,))
    assert gitcmd.refs(copy.directory) == {b"refs/heads/main": tip}
    gitcmd.git(clone.git_dir, "config", "--unset", "transfer.hideRefs")
    assert copy_refs(found, copy, PATTERNS) == Copied((), ())
    assert gitcmd.refs(copy.directory) == {b"refs/heads/main": tip, b"refs/heads/a": tip}


def test_where_nothing_tells_what_was_copied_nothing_is_deleted(tmp_path: Path) -> None:
    """As after an older version, or where `gittorrent.copy` was set by hand."""
    clone = builder(tmp_path / "clone.git")
    grow(clone, 1)
    tip = gitcmd.text(clone.git_dir, "rev-parse", "main")
    clone.set_ref("refs/heads/a", tip)
    copy = create_bare(tmp_path / "copy.git", SHA1)
    found = find_repository(clone.git_dir)
    copy_refs(found, copy, PATTERNS)
    (clone.git_dir / "gittorrent" / "copied-refs").unlink()
    clone.delete_ref("refs/heads/a")
    assert copy_refs(found, copy, PATTERNS) == Copied((A,), ())
    assert copy_refs(found, copy, PATTERNS) == Copied((), ())
    assert b"refs/heads/a" in gitcmd.refs(copy.directory)


def test_what_others_pushed_stays_until_the_clone_has_it(tmp_path: Path) -> None:
    clone = builder(tmp_path / "clone.git")
    grow(clone, 1)
    clone.set_ref("refs/heads/a", gitcmd.text(clone.git_dir, "rev-parse", "main"))
    copy = create_bare(tmp_path / "copy.git", SHA1)
    found = find_repository(clone.git_dir)
    copy_refs(found, copy, PATTERNS)
    other = gitcmd.git(tmp_path, "clone", "-q", "--bare", str(copy.directory), "other.git")
    assert other == b""
    elsewhere = Builder(tmp_path / "other.git", "sha1")
    grow(elsewhere, 2)
    gitcmd.git(elsewhere.git_dir, "push", "-q", str(copy.directory), "main", ":a")
    before = gitcmd.refs(copy.directory)
    for _ in range(2):
        assert copy_refs(found, copy, PATTERNS) == Copied((), (A, MAIN))
        assert gitcmd.refs(copy.directory) == before
    # Fetched and not merged, it counts as little as before.
    gitcmd.git(clone.git_dir, "fetch", "-q", str(copy.directory), "main")
    assert copy_refs(found, copy, PATTERNS) == Copied((), (A, MAIN))
    gitcmd.git(clone.git_dir, "update-ref", "refs/heads/main", "FETCH_HEAD")
    grow(clone, 1)
    assert copy_refs(found, copy, PATTERNS) == Copied((), (A,))
    assert gitcmd.refs(copy.directory) == {MAIN: gitcmd.text(clone.git_dir, "rev-parse", "main")}


def test_what_changed_in_both_is_refused(tmp_path: Path) -> None:
    clone = builder(tmp_path / "clone.git")
    grow(clone, 1)
    for name in ("other", "gone"):
        clone.set_ref(f"refs/heads/{name}", gitcmd.text(clone.git_dir, "rev-parse", "main"))
    copy = create_bare(tmp_path / "copy.git", SHA1)
    found = find_repository(clone.git_dir)
    copy_refs(found, copy, PATTERNS)
    elsewhere = builder(tmp_path / "elsewhere.git")
    grow(elsewhere, 3)
    for name in ("main", "gone"):
        gitcmd.git(elsewhere.git_dir, "push", "-qf", str(copy.directory), f"main:{name}")
    clone.delete_ref("refs/heads/gone")
    grow(clone, 1)
    before = gitcmd.refs(copy.directory)
    with pytest.raises(PartedCopyError, match=r"refs/heads/gone refs/heads/main$") as caught:
        copy_refs(found, copy, PATTERNS)
    assert gitcmd.refs(copy.directory) == before
    wanted = f"fetch {copy.directory} refs/heads/gone refs/heads/main'"
    assert wanted in caught.value.hint
    gitcmd.git(clone.git_dir, "fetch", "-q", str(copy.directory), "main", "gone")
    with pytest.raises(PartedCopyError):
        copy_refs(found, copy, PATTERNS)
    theirs = gitcmd.text(elsewhere.git_dir, "rev-parse", "main")
    tree = gitcmd.text(clone.git_dir, "rev-parse", "main^{tree}")
    words = ["commit-tree", tree, "-m", "merge", "-p", "main", "-p", theirs]
    clone.set_ref("refs/heads/main", gitcmd.text(clone.git_dir, *words))
    clone.set_ref("refs/heads/gone", theirs)
    copy_refs(found, copy, PATTERNS)
    assert gitcmd.refs(copy.directory) == gitcmd.refs(clone.git_dir)


def test_what_the_clone_pushed_itself_may_be_rewritten(tmp_path: Path) -> None:
    """Its reflog tells that it had what the copy has; what it only fetched is others'."""
    clone = builder(tmp_path / "clone.git")
    gitcmd.git(clone.git_dir, "config", "core.logAllRefUpdates", "true")
    grow(clone, 1)
    copy = create_bare(tmp_path / "copy.git", SHA1)
    found = find_repository(clone.git_dir)
    copy_refs(found, copy, PATTERNS)
    gitcmd.git(clone.git_dir, "branch", "a")
    grow(clone, 1)
    for name in ("main", "a"):
        gitcmd.git(clone.git_dir, "push", "-q", str(copy.directory), name)
    amended = gitcmd.text(clone.git_dir, "commit-tree", "main^{tree}", "-m", "amended", "-p", "a")
    for name in ("main", "a"):
        gitcmd.git(clone.git_dir, "update-ref", f"refs/heads/{name}", amended)
    assert copy_refs(found, copy, PATTERNS) == Copied((), ())
    assert gitcmd.refs(copy.directory) == {MAIN: amended, A: amended}
    elsewhere = Builder(tmp_path / "other.git", "sha1")
    gitcmd.git(tmp_path, "clone", "-q", "--bare", str(copy.directory), "other.git")
    grow(elsewhere, 1)
    gitcmd.git(elsewhere.git_dir, "push", "-q", str(copy.directory), "main")
    gitcmd.git(clone.git_dir, "fetch", "-q", str(copy.directory), "main:refs/remotes/copy/main")
    gitcmd.git(clone.git_dir, "update-ref", "refs/heads/main", "main~1")
    with pytest.raises(PartedCopyError, match=r"refs/heads/main$"):
        copy_refs(found, copy, PATTERNS)


def test_names_that_cannot_be_together_are_told_apart(tmp_path: Path) -> None:
    """As after a push of a branch that was renamed since: there is nothing to merge."""
    clone = builder(tmp_path / "clone.git")
    grow(clone, 1)
    copy = create_bare(tmp_path / "copy.git", SHA1)
    found = find_repository(clone.git_dir)
    copy_refs(found, copy, PATTERNS)
    gitcmd.git(clone.git_dir, "branch", "a")
    gitcmd.git(clone.git_dir, "push", "-q", str(copy.directory), "a")
    gitcmd.git(clone.git_dir, "branch", "-m", "a", "a/b")
    with pytest.raises(PartedCopyError, match=r"refs/heads/a/b cannot be beside") as caught:
        copy_refs(found, copy, PATTERNS)
    assert f"push {copy.directory} --delete refs/heads/a'" in caught.value.hint
    gitcmd.git(clone.git_dir, "push", "-q", str(copy.directory), "--delete", "refs/heads/a")
    copy_refs(found, copy, PATTERNS)
    assert gitcmd.refs(copy.directory) == gitcmd.refs(clone.git_dir)


def test_a_ref_that_is_selected_by_its_name_may_go(tmp_path: Path) -> None:
    clone = builder(tmp_path / "clone.git")
    grow(clone, 1)
    tip = gitcmd.text(clone.git_dir, "rev-parse", "main")
    notes, patterns = RefName(b"refs/notes/commits"), (*PATTERNS, "refs/notes/commits", "refs/*")
    for name in ("refs/notes/commits", f"refs/replace/{'1' * 40}", "refs/gittorrent/x"):
        clone.set_ref(name, tip)
    copy = create_bare(tmp_path / "copy.git", SHA1)
    found = find_repository(clone.git_dir)
    copy_refs(found, copy, patterns)
    assert gitcmd.refs(copy.directory) == {MAIN: tip, notes: tip}
    clone.delete_ref("refs/notes/commits")
    for _ in range(2):
        copy_refs(found, copy, patterns)
        assert gitcmd.refs(copy.directory) == {MAIN: tip}


def test_what_was_copied_may_have_been_pruned_since(tmp_path: Path) -> None:
    clone = builder(tmp_path / "clone.git")
    grow(clone, 2)
    copy = create_bare(tmp_path / "copy.git", SHA1)
    found = find_repository(clone.git_dir)
    copy_refs(found, copy, PATTERNS)
    gitcmd.git(clone.git_dir, "update-ref", "refs/heads/main", "main~1")
    gitcmd.git(clone.git_dir, "reflog", "expire", "--expire=now", "--all")
    gitcmd.git(clone.git_dir, "gc", "-q", "--prune=now")
    copy_refs(found, copy, PATTERNS)
    assert gitcmd.refs(copy.directory) == gitcmd.refs(clone.git_dir)
