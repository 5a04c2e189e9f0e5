"""Tells how the owner's refs differ from what the log shows.

Pushing into a published repository publishes nothing, and nobody but its owner can tell. A ref that
is what it was when it was compared last is not the owner's doing: it has not followed yet what
others changed, as where that is not final.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.log import changes_between
from gittorrent.repository.carried import ORIGIN
from gittorrent.repository.last_published import RememberedPast
from gittorrent.repository.origin_refs import select_shown
from gittorrent.trust.refpattern import is_reserved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.ids import RefName
    from gittorrent.repository.carried import Carried

ADDED, MOVED, DELETED, BEHIND = "added", "moved", "deleted", "behind"

_KINDS = ((b"refs/heads/", "branch", "branches"), (b"refs/tags/", "tag", "tags"))


class Unpublished(Struct, frozen=True):
    """A ref that is not what was published.

    Args:
        name: its name.
        change: `ADDED`, `MOVED` or `DELETED` since; `BEHIND` where only others changed it.
    """

    name: RefName
    change: str

    @property
    def shown(self) -> str:
        """The name as text."""
        return self.name.decode(errors="backslashreplace")


def unpublished_refs(carried: Carried) -> list[Unpublished]:
    """Return the refs of an owner's repository that differ from what was published, by name.

    Raises:
        GitTorrentError: the log is damaged.
    """
    if carried.info.role != ORIGIN:
        return []
    log = carried.log()
    refs = {name: oid for name, oid in log.refs.items() if not is_reserved(name)}
    shown = select_shown(refs, carried.info.patterns)
    past = RememberedPast(carried, log)
    found = []
    for name, old, new in changes_between(shown, carried.published_refs()):
        change = ADDED if old is None else DELETED if new is None else MOVED
        if past.knows(name) and past.value(name) == new:
            change = BEHIND
        found.append(Unpublished(name, change))
    return sorted(found, key=lambda each: each.name)


def describe_unpublished(refs: Sequence[Unpublished]) -> str:
    """Return such as ``2 branches and 1 tag not published``; nothing for no refs."""
    own = _counted([ref for ref in refs if ref.change != BEHIND])
    behind = _counted([ref for ref in refs if ref.change == BEHIND])
    words = [f"{own} not published"] if own else []
    words += [f"{behind} behind what others pushed"] if behind else []
    return ", ".join(words)


def _counted(refs: Sequence[Unpublished]) -> str:
    kinds: Counter[tuple[str, str]] = Counter()
    for ref in refs:
        forms = ((one, many) for below, one, many in _KINDS if ref.name.startswith(below))
        kinds[next(forms, ("other ref", "other refs"))] += 1
    return " and ".join(
        f"{n} {one if n == 1 else many}" for (one, many), n in sorted(kinds.items())
    )
