"""What a node brings for collections side by side, and what waits for its turn.

Pure. Tracks for each collection how many bytes those under way may take, and what waits. Rules: all
that is under way fits into what the collection may bring in all, so something begins beside others
only if as much is left as it may have at most; with less than that left it begins alone, with all
that is left, so that nothing is taken for too large because others come at the same time. What came
is counted until sizes are measured again. Some places are left to what no collection brings. Those
that wait cost nothing until something ends.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gittorrent.ids import RepositoryId
    from gittorrent.node.collection_plan import Brought

LEFT_TO_OTHERS = 1
"""Of the repositories that are brought or looked at at once, how many no collection brings."""


class CollectionTurns:
    """The turns of all collections.

    Args:
        at_once: repositories that are brought or looked at at once.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taking: dict[RepositoryId, dict[RepositoryId, int]] = {}
        self._ended: dict[RepositoryId, RepositoryId] = {}  # came; and its collection
        self._waiting: dict[str, None] = {}  # the longest waiting first
        self._is_freed = False

    def set_at_once(self, at_once: int) -> None:
        """Bring as many side by side from now on; what is under way goes on."""
        self._at_once = at_once
        self._is_freed = True

    def room(self, brought: Brought) -> int | None:
        """Return how many bytes something may take if it begins now; None if it has to wait.

        Args:
            brought: it, as it was planned last.
        """
        if self._places <= 0:
            return None
        others = self._taking.get(brought.collection, {})
        if brought.row.repository in others:
            return None  # it came just now, and is planned as it was before
        left = brought.left - sum(others.values())
        if others and left < brought.most:
            return None
        return max(0, min(brought.most, left))

    def begin(self, brought: Brought, room: int) -> None:
        """Take note that something is brought, and may take so many bytes."""
        self._taking.setdefault(brought.collection, {})[brought.row.repository] = room

    def end(self, brought: Brought, *, came: bool) -> None:
        """Take note that something is brought no more.

        Args:
            brought: it.
            came: whether it, or something new of it, is here: it counts until sizes are measured.
        """
        repository = brought.row.repository
        self._is_freed = True
        if came:
            self._ended[repository] = brought.collection
        else:
            self._forget(repository, brought.collection)

    def ended(self) -> frozenset[RepositoryId]:
        """Return what came, before sizes are measured."""
        return frozenset(self._ended)

    def measured(self, came: frozenset[RepositoryId]) -> None:
        """Take note that sizes were measured after some had come."""
        for repository in came:
            self._is_freed = True
            self._forget(repository, self._ended.pop(repository))

    def _forget(self, repository: RepositoryId, collection: RepositoryId) -> None:
        others = self._taking[collection]
        del others[repository]
        if not others:
            del self._taking[collection]

    def wait(self, key: str) -> None:
        """Have something that has to wait tried again when something ended."""
        self._waiting[key] = None

    def leave(self, key: str) -> bool:
        """Have something wait no more, as when it is not followed; tells whether it did."""
        if key not in self._waiting:
            return False
        del self._waiting[key]
        self._is_freed = True
        return True

    def next(self) -> list[str]:
        """Return what may be tried again now, the longest waiting first: as many as have places.

        None while nothing has ended since.
        """
        if not self._is_freed:
            return []
        self._is_freed = False
        found = list(islice(self._waiting, max(0, self._places)))
        for key in found:
            del self._waiting[key]
        return found

    @property
    def _places(self) -> int:
        """How many more may begin."""
        under_way = sum(map(len, self._taking.values())) - len(self._ended)
        return max(1, self._at_once - LEFT_TO_OTHERS) - under_way
