"""Which branch HEAD names, from the log alone, so that every mirror gives the same answer.

Pure. The policy names the default branch, and its owner may have renamed that since. HEAD must not
name a branch that is gone: clones would have an empty work tree. So what took its place is told
from the push that took it away. There `git branch -m` shows as a deleted branch and a new one.

Rules: the policy's branch as long as it exists; otherwise the branch that HEAD named last, as long
as that exists; otherwise its successor: a branch of the same value, or the only new one, or one of
the names that git gives to default branches, or the first by name. A branch that is made later
under the policy's name counts again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.ids import RefName

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.ids import Refs

_BRANCHES = b"refs/heads/"

_USUAL = tuple(RefName(_BRANCHES + name) for name in (b"main", b"master", b"trunk", b"develop"))
"""Names of default branches, the commonest first; for want of anything better."""


def next_default(policy: RefName, current: RefName | None, old: Refs, new: Refs) -> RefName | None:
    """Return the default branch after a push.

    Args:
        policy: the branch that the policy in force names.
        current: the default branch before the push; None where there was no branch.
        old: all refs before it.
        new: all refs after it.

    Returns:
        A branch in ``new``; None if there is none.
    """
    for known in (policy, current):
        if known is not None and known in new:
            return known
    branches = sorted(name for name in new if name.startswith(_BRANCHES))
    made = [name for name in branches if name not in old]
    lost = old.get(policy if current is None else current)
    if lost is not None:
        for among in (made, branches):
            if same := [name for name in among if new[name] == lost]:
                return _preferred(same)
        if len(made) == 1:
            return made[0]
    return _preferred(branches) if branches else None


def default_after(
    policy: RefName,
    states: Iterable[Refs],
    current: RefName | None = None,
    before: Refs | None = None,
) -> RefName | None:
    """Return the default branch after a series of pushes.

    Args:
        policy: the branch that the policy in force names.
        states: all refs after each push, oldest first; it suffices to begin with the last that
            has the policy's branch, or after the push that ``current`` is known of.
        current: the default branch before the series; None where there was no branch.
        before: all refs before it; none by default.
    """
    before = before or {}
    for refs in states:
        current = next_default(policy, current, before, refs)
        before = refs
    return current


def _preferred(names: Sequence[RefName]) -> RefName:
    """Return the most usual name, or the first; ``names`` are sorted."""
    return next((name for name in _USUAL if name in names), names[0])
