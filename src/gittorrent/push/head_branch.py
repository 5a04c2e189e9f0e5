"""Which branch an origin's HEAD names, and which one its log's HEAD shall name.

Pure. HEAD is compared as refs are (`gittorrent.push.origin_refs`). A branch that HEAD names can be
deleted only by a push that gives HEAD another one; an origin where it was deleted all the same,
as in a bare repository, says nothing about which, so the likeliest is taken.

Rules: a HEAD that names no branch that exists, or no branch at all, says nothing, and is shown to
nobody where there is any branch (docs/protocol/trust.md, "Provisional view"). The successor of
a branch is one of the same value, or the only new one, or one of the names that git gives to
default branches, or the first by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.ids import RefName
from gittorrent.push.origin_refs import Side

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gittorrent.ids import Oid, Refs
    from gittorrent.push.listing import Listing

BRANCHES = b"refs/heads/"

_USUAL = tuple(RefName(BRANCHES + name) for name in (b"main", b"master", b"trunk", b"develop"))
"""Names of default branches, the commonest first; for want of anything better."""


def compare_head(
    here: RefName | None, elsewhere: RefName, was: RefName | None, refs: Collection[RefName]
) -> Side | None:
    """Tell whose HEAD counts.

    Args:
        here: the branch that the origin's HEAD names; None where it is detached.
        elsewhere: the branch that the log's HEAD names.
        was: what both named when they were compared last; None if that is not remembered.
        refs: names of the origin's refs as they will be.

    Returns:
        None if HEAD stays what it is on both sides: they agree, or both were changed.
    """
    if here is None or here == elsewhere:
        return None
    if here not in refs or here == was:
        return Side.ELSEWHERE if elsewhere in refs and elsewhere != was else None
    return Side.HERE if was == elsewhere else None


def successor(former: RefName, before: Refs, after: Refs) -> RefName | None:
    """Return the branch that takes the place of one that was deleted.

    Args:
        former: the branch.
        before: all refs with it.
        after: all refs without it.

    Returns:
        A branch in ``after``; None if there is none.
    """
    branches = sorted(name for name in after if name.startswith(BRANCHES))
    made = [name for name in branches if name not in before]
    lost: Oid | None = before.get(former)
    if lost is not None:
        for among in (made, branches):
            if same := [name for name in among if after[name] == lost]:
                return _preferred(same)
        if len(made) == 1:
            return made[0]
    return _preferred(branches) if branches else None


def first_head(here: RefName | None, refs: Refs) -> RefName:
    """Return the branch that HEAD names at a first publication.

    Args:
        here: the branch that the origin's HEAD names; None where that is no branch.
        refs: what is published.
    """
    if here is not None and here in refs:
        return here
    chosen = successor(RefName(b""), {}, refs)
    return chosen or here or _USUAL[0]


def default_branch(listing: Listing) -> RefName | None:
    """Return the branch that clones check out; None if there is no branch.

    It is the one that HEAD names. That one may not be there, as in a repository that was published
    empty: the branch is the likeliest then.

    Args:
        listing: what is shown.
    """
    for name in (listing.head, *_USUAL):
        if listing.value(name) is not None:
            return name
    return min((name for name in listing.shown_refs() if name.startswith(BRANCHES)), default=None)


def _preferred(names: Sequence[RefName]) -> RefName:
    """Return the most usual name, or the first; ``names`` are sorted."""
    return next((name for name in _USUAL if name in names), names[0])
