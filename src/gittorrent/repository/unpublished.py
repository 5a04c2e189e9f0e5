"""Tells how the owner's refs differ from the newest push.

Pushing into a published repository publishes nothing, and nobody but its owner can tell. Looking
has to be cheap even with a hundred thousand refs: git's list of them is compared with the text of
the newest references tag, byte for byte, and only what differs is taken apart.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.log import changes_between
from gittorrent.push.object import PushKind
from gittorrent.repository.carried import ORIGIN

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
    if carried.info.role != ORIGIN or _is_as_published(carried):
        return []
    found = []
    for name, old, new in changes_between(carried.log().refs, carried.published_refs()):
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


def _is_as_published(carried: Carried) -> bool:
    """Tell whether git lists the very lines of the newest references tag."""
    store = carried.log_store
    newest = next(
        (p for p in map(store.push, reversed(store.ids())) if p.kind is PushKind.REFERENCES), None
    )
    # An empty line ends what stands before the refs; there is no other one in the text's message.
    return newest is not None and newest.text.endswith(b"\n\n" + carried.published_listing())
