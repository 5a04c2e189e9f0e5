"""Which commits descend from which: asked of many pairs at once, as after a push of many refs.

One walk over what is new answers most of them; git is asked one by one only for the rest, which
are moves backwards, moves within what others had before, and moves over very many commits.

`descends` takes the objects to be here, and tags for what they lead to. `Ancestry` does neither,
and remembers its answers: it is for pushes, which are judged again and again, perhaps long after.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gittorrent.git import loose
from gittorrent.git.history import commits_between, describe, peel
from gittorrent.git.runner import GitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import Oid

_COMMITS_LOOKED_AT = 1000
"""Commits to pass in the walk for one pair; asking git costs about as much as so many."""

_ASKED_SINGLY = 2
"""Pairs at most that are not worth a walk, which lists commits where a question lists none."""


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


class Ancestry:
    """Tells of objects what is in the past of which, and is a commit, as far as a repository can.

    For one look at a repository: that an object is not here is remembered as well.

    Args:
        git: the repository.
        is_whole: whether all that its own loose objects reach was found to be here, so that what
            they say can be told without git.
    """

    def __init__(self, git: Git, *, is_whole: bool = False) -> None:
        self._git = git
        self._objects = git.directory / "objects" if is_whole else None
        self._kinds: dict[Oid, str | None] = {}
        self._answers: dict[tuple[Oid, Oid], bool | None] = {}
        self._may_lack_parents = (git.directory / "shallow").exists()

    def prepare(self, pairs: Iterable[tuple[Oid, Oid]], others: Iterable[Oid] = ()) -> None:
        """Find out about many pairs (outer, inner) at once, as `contains` tells of one.

        Args:
            pairs: them.
            others: objects that `is_commit` will be asked of besides.

        Raises:
            GitError: this machine let git down.
        """
        asked = {pair for pair in pairs if pair[0] != pair[1]} - self._answers.keys()
        if self._objects is not None and len(asked) <= _ASKED_SINGLY:
            asked -= self._found_loose(self._objects, asked)
        self._describe({*others, *(oid for pair in asked for oid in pair)})
        self._note_lost(pair for pair in asked if self._kinds[pair[1]] is None)
        asked = {pair for pair in asked - self._answers.keys() if self._is_open(pair)}
        parents = self._walked(asked) if len(asked) > _ASKED_SINGLY else {}
        for outer, inner in asked:
            known = _reaches(parents, inner, outer)
            self._answers[(outer, inner)] = known or self._single(outer, inner)

    def contains(self, outer: Oid, inner: Oid) -> bool | None:
        """Tell whether ``inner`` is ``outer``, or both are commits and it is an ancestor.

        None where that cannot be told: ``outer`` is not here, or neither ``inner`` nor all of the
        past of ``outer``.

        Raises:
            GitError: this machine let git down.
        """
        if outer == inner:
            return True
        if (outer, inner) not in self._answers:
            self.prepare([(outer, inner)])
        return self._answers[(outer, inner)]

    def is_commit(self, value: Oid) -> bool | None:
        """Tell whether an object is a commit; None where it is not here.

        Raises:
            GitError: git failed, which says nothing about the object.
        """
        self._describe({value})
        kind = self._kinds[value]
        return None if kind is None else kind == "commit"

    def _found_loose(self, objects: Path, pairs: set[tuple[Oid, Oid]]) -> set[tuple[Oid, Oid]]:
        """Answer what loose commits tell, as after an ordinary push, without starting git."""
        most = _COMMITS_LOOKED_AT
        found = {pair for pair in pairs if loose.descends(objects, *pair, most)}
        self._answers.update(dict.fromkeys(found, True))
        return found

    def _describe(self, oids: set[Oid]) -> None:
        if self._objects is not None:
            for oid in oids - self._kinds.keys():
                if (kind := loose.object_kind(self._objects, oid)) is not None:
                    self._kinds[oid] = kind
        unknown = sorted(oids - self._kinds.keys())
        for oid, info in zip(unknown, describe(self._git, unknown), strict=True):
            self._kinds[oid] = None if info is None else info.kind

    def _note_lost(self, pairs: Iterable[tuple[Oid, Oid]]) -> None:
        """Note that what is not here is in nobody's past of whom all of that is here.

        As after a rewind, when git has removed what nothing leads to any more.
        """
        found = {pair for pair in pairs if self._kinds[pair[0]] == "commit"}
        outers = sorted({outer for outer, _ in found})
        if not outers or self._may_lack_parents:
            return
        # A commit-graph would tell of commits that are not here.
        git = self._git.with_config("core.commitGraph=false")
        words = ("rev-list", "--quiet", "--stdin")
        done = git.attempt(*words, stdin="".join(f"{oid}\n" for oid in outers).encode("ascii"))
        error = GitError(words, done.returncode, done.stderr, str(self._git.directory))
        if done.returncode and error.is_own_trouble:
            raise error
        if done.returncode == 0:
            self._answers.update(dict.fromkeys(found, False))

    def _is_open(self, pair: tuple[Oid, Oid]) -> bool:
        """Tell whether both are commits; what else they are is the answer already."""
        kinds = [self._kinds[oid] for oid in pair]
        if kinds == ["commit", "commit"]:
            return True
        self._answers[pair] = None if set(kinds) <= {"commit", None} else False
        return False

    def _walked(self, pairs: Iterable[tuple[Oid, Oid]]) -> dict[Oid, tuple[Oid, ...]]:
        """Return the parents of what is new, nothing where a part of the past is not here."""
        outers, inners = {outer for outer, _ in pairs}, {inner for _, inner in pairs}
        try:
            walked = commits_between(self._git, inners - outers, outers)
        except GitError as error:
            if error.is_own_trouble:
                raise
            return {}
        return {commit.oid: commit.parents for commit in walked}

    def _single(self, outer: Oid, inner: Oid) -> bool | None:
        done = self._git.attempt("merge-base", "--is-ancestor", inner, outer)
        if done.returncode == 0:
            return True
        if done.returncode == 1:
            # Gits before 2.44 say no where a parent is missing, and that they could not read it.
            return None if self._may_lack_parents or done.stderr else False
        error = GitError(("merge-base",), done.returncode, done.stderr, str(self._git.directory))
        if error.is_own_trouble:
            raise error
        return None


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
