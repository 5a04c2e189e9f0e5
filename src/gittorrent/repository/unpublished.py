"""Tells how the owner's refs differ from what the log shows.

Pushing into a published repository publishes nothing, and nobody but its owner can tell.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.log import changes_between
from gittorrent.repository.carried import ORIGIN
from gittorrent.repository.origin_refs import select_shown
from gittorrent.trust.refpattern import is_reserved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.ids import RefName
    from gittorrent.repository.carried import Carried

ADDED, MOVED, DELETED = "added", "moved", "deleted"

_KINDS = ((b"refs/heads/", "branch", "branches"), (b"refs/tags/", "tag", "tags"))


class Unpublished(Struct, frozen=True):
    """A ref that is not what was published.

    Args:
        name: its name.
        change: `ADDED`, `MOVED` or `DELETED` since.
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
    refs = {name: oid for name, oid in carried.log().refs.items() if not is_reserved(name)}
    shown = select_shown(refs, carried.info.patterns)
    found = []
    for name, old, new in changes_between(shown, carried.published_refs()):
        change = ADDED if old is None else DELETED if new is None else MOVED
        found.append(Unpublished(name, change))
    return sorted(found, key=lambda each: each.name)


def describe_unpublished(refs: Sequence[Unpublished]) -> str:
    """Return such as ``2 branches and 1 tag not published``; nothing for no refs."""
    kinds: Counter[tuple[str, str]] = Counter()
    for ref in refs:
        forms = ((one, many) for below, one, many in _KINDS if ref.name.startswith(below))
        kinds[next(forms, ("other ref", "other refs"))] += 1
    words = [f"{n} {one if n == 1 else many}" for (one, many), n in sorted(kinds.items())]
    return f"{' and '.join(words)} not published" if words else ""
