"""Work trees that are linked to a bare repository, and what somebody does in them.

Git keeps what is under way in a work tree in files of its own git directory, and tells nobody of
them by a command; they are read as git itself reads them before it moves a branch. Sources:
gitrepository-layout(5), ``worktrees/<id>``; git-rebase(1), ``--update-refs``; git-bisect(1).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gittorrent.event_log import EventLog
from gittorrent.git.runner import Git
from gittorrent.ids import Oid, RefName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_BRANCHES = b"refs/heads/"
_SYMBOLIC = b"ref: "

_log = EventLog(__name__)


def branches_in_use(git_dir: Path) -> frozenset[RefName]:
    """Return the branches that somebody works on in linked work trees of a bare repository.

    These are the branches that are checked out, or will be moved when a rebase ends or checked out
    when a search does. Git lets nobody push to one of them. What is checked out with a detached
    HEAD otherwise, as for a web site, follows no branch.
    """
    trees = git_dir / "worktrees"
    if not trees.is_dir():  # as nearly always, and git need not be asked
        return frozenset()
    listed = Git(git_dir).attempt("worktree", "list", "--porcelain").stdout
    lines = (line.partition(b" ") for line in listed.splitlines())
    found = {RefName(name) for key, _, name in lines if key == b"branch"}
    for tree in trees.iterdir():
        found.update(RefName(name) for name in _under_way(tree) if name.startswith(_BRANCHES))
    return frozenset(found)


def detach(git_dir: Path, changes: Iterable[tuple[RefName, Oid | None, Oid | None]]) -> None:
    """Let work trees stay where they are whose branches are about to move, as in a mirror.

    Their HEADs name the commit then that the branch was at, and not the branch: what is new would
    look there as if somebody had taken it back.

    Args:
        git_dir: of the bare repository that they are linked to.
        changes: (name, old value, new value) of refs.

    Raises:
        GitError: somebody is at work there just now.
    """
    trees = git_dir / "worktrees"
    if not trees.is_dir():
        return
    values = {name: old for name, old, _ in changes if old is not None}
    for tree in sorted(trees.iterdir()):
        line = next(iter(_lines(tree / "HEAD")), b"")
        branch = RefName(line.removeprefix(_SYMBOLIC).strip())
        if not line.startswith(_SYMBOLIC) or branch not in values:
            continue
        why = "gittorrent: the branch moves on"
        Git(tree).run("update-ref", "--no-deref", "-m", why, "HEAD", values[branch])
        name = branch.removeprefix(_BRANCHES).decode(errors="backslashreplace")
        _log.warning(
            "work-tree-detached",
            "{tree} is a work tree of a mirror, whose branch {branch} moves on: its HEAD is"
            " detached at what the branch was, and 'git checkout {branch}' there takes what is new;"
            " a clone of the mirror is better to work in",
            tree=_place(tree),
            branch=name,
        )


def _place(tree: Path) -> str:
    """Return where a work tree is, by its git directory."""
    lines = b"\n".join(_lines(tree / "gitdir"))  # a path may have line feeds
    return os.fsdecode(lines.removesuffix(b"/.git")) or str(tree)


def _under_way(tree: Path) -> Iterator[bytes]:
    """Yield what a work tree's files name where git names branches, among other things."""
    for rebase in ("rebase-merge", "rebase-apply"):
        yield from _lines(tree / rebase / "head-name")
    # Three lines for each: its name, and what it was and will be.
    yield from _lines(tree / "rebase-merge" / "update-refs")
    for started in _lines(tree / "BISECT_START"):
        yield started if started.startswith(_BRANCHES) else _BRANCHES + started


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []  # nothing of the kind is under way, or it has just ended
