"""Which commits descend from which: asked of many pairs at once, as after a push of many refs.

One walk over what is new answers most of them; git is asked one by one only for the rest, which
are moves backwards, moves within what others had before, and moves over very many commits.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gittorrent.git.history import commits_between, describe, peel
from gittorrent.git.runner import GitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gittorrent.git.runner import Git
    from gittorrent.ids import Oid

_COMMITS_LOOKED_AT = 1000
"""Commits to pass in the walk for one pair; asking git costs about as much as so many."""


def descends(git: Git, pairs: Iterable[tuple[Oid, Oid]]) -> list[bool]:
    """Tell of each pair (old, new) whether new is old or descends from it; tags are peeled.

    False where either is no commit, or not present.

    Raises:
        GitError: git failed, which says nothing about the pairs.
    """
    asked = list(pairs)
    commits = _commits(git, {oid for pair in asked for oid in pair})
    peeled = [(commits.get(old), commits.get(new)) for old, new in asked]
    wanted = {(old, new) for old, new in peeled if old is not None and new is not None}
    olds, news = {old for old, _ in wanted}, {new for _, new in wanted}
    # What moved more than once is new all the way, or the walk would end at its last step.
    walked = commits_between(git, olds - news, news) if wanted else []
    parents = {commit.oid: commit.parents for commit in walked}
    answers: dict[tuple[Oid | None, Oid | None], bool] = {
        pair: _reaches(parents, *pair) or _is_ancestor(git, *pair) for pair in wanted
    }
    return [answers.get((old, new), False) for old, new in peeled]


def _commits(git: Git, oids: set[Oid]) -> dict[Oid, Oid]:
    """Return the commits that objects lead to, of those that lead to one."""
    ordered = sorted(oids)
    targets = peel(git, ordered)
    present = sorted({target for target in targets if target is not None})
    kinds = dict(zip(present, describe(git, present), strict=True))
    found = {}
    for oid, target in zip(ordered, targets, strict=True):
        if target is not None and (info := kinds[target]) is not None and info.kind == "commit":
            found[oid] = target
    return found


def _reaches(parents: Mapping[Oid, tuple[Oid, ...]], old: Oid, new: Oid) -> bool:
    """Tell whether ``old`` was met on the way down from ``new``; false does not mean no."""
    if old == new:
        return True
    ahead, seen = deque([new]), {new}
    while ahead and len(seen) < _COMMITS_LOOKED_AT:
        for parent in parents.get(ahead.popleft(), ()):
            if parent == old:
                return True
            if parent not in seen:
                seen.add(parent)
                ahead.append(parent)
    return False


def _is_ancestor(git: Git, old: Oid, new: Oid) -> bool:
    words = ("merge-base", "--is-ancestor", old, new)
    done = git.attempt(*words)
    if done.returncode not in (0, 1):
        raise GitError(words, done.returncode, done.stderr, str(git.directory))
    return done.returncode == 0
