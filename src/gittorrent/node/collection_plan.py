"""What collections bring here: which of the repositories that they name are carried, and why not.

Pure. Rules: what the operator asked for is never brought, changed or removed by a collection; of
several collections that name a repository the one that is followed longest brings it, and it stays
until the last one lets go. Limits are the operator's, for each collection: what is carried already
comes first, then what has a higher priority, then what stands first. Names and priorities of
collections give way to those of the operator. A collection that names itself, or another one, has
no further effect by that.
Source: docs/protocol/collections.md, Following.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from gittorrent.repository.carried import ORIGIN
from gittorrent.sizes import show_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gittorrent.ids import RepositoryId
    from gittorrent.push.carry_limits import CollectionLimits
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.collected import CollectedRow

AFTER_OPERATOR = -10_000
"""Added to the priorities of collections: nothing of theirs comes before what the operator wants,
whose priorities begin at -1000."""


class State(StrEnum):
    """What becomes of a repository that a collection names."""

    CARRIED = "carried"
    """It is carried because of this collection."""
    COMING = "coming"
    """It is to be, and is not here yet."""
    ELSEWHERE = "elsewhere"
    """It is carried already for another reason."""
    HELD = "held"
    """The collection does not name it any more; it is carried on until that is confirmed."""
    NOT_FOLLOWED = "not followed"
    """It is here because of this collection, and left as it is."""
    LEFT_OUT = "left out"
    """It is not carried because of this collection."""


class Outcome(Struct, frozen=True):
    """What becomes of one entry, and why.

    Args:
        row: the entry.
        state: what becomes of it.
        reason: why it is not carried, or for what other reason, or why it did not come when it was
            tried last; else empty.
        is_named: whether the collection names it still.
    """

    row: CollectedRow
    state: State
    reason: str = ""
    is_named: bool = True


class Brought(Struct, frozen=True):
    """A repository that is followed because of a collection.

    Args:
        row: what the collection says of it.
        collection: id of the collection's repository.
        source: URL of the collection.
        limits: of the collection.
        is_here: whether it is carried.
        name: to carry it under; None for the one that it has, or the policy's.
        room: bytes of packs that may be taken of it now, if nothing else comes meanwhile.
        most: bytes that it may have yet, if the collection brings nothing else.
        left: bytes that the collection may bring yet, of all.
    """

    row: CollectedRow
    collection: RepositoryId
    source: str
    limits: CollectionLimits
    is_here: bool
    name: str | None
    room: int
    most: int
    left: int


class Named(Struct, frozen=True):
    """A collection, its limits and what it names.

    Args:
        collection: id of its repository.
        url: of it, as the operator named it.
        limits: of the operator for it.
        rows: what it names.
        held: what of that it does not name any more.
    """

    collection: RepositoryId
    url: str
    limits: CollectionLimits
    rows: Sequence[CollectedRow]
    held: frozenset[RepositoryId] = frozenset()


class World(Struct, frozen=True):
    """What else there is.

    Args:
        carried: repositories of the node, by id.
        by_collection: of those, the ones that nobody but a collection asked for.
        asked: what the operator asks for that is not here yet.
        names: that the operator gave to what is not here yet.
        sizes: bytes of packs of what collections brought.
        refused: why some were not taken when their logs were looked at.
        excluded: that the operator removed.
        failing: why the last look for each of some repositories failed.
    """

    carried: Mapping[RepositoryId, CarriedRow]
    by_collection: Collection[RepositoryId] = frozenset()
    asked: Collection[RepositoryId] = frozenset()
    names: Collection[str] = frozenset()
    sizes: Mapping[RepositoryId, int] = field(default_factory=dict)
    refused: Mapping[RepositoryId, str] = field(default_factory=dict)
    excluded: Collection[RepositoryId] = frozenset()
    failing: Mapping[RepositoryId, str] = field(default_factory=dict)


class CollectionPlan(Struct, frozen=True):
    """What collections come to.

    Args:
        brought: what is followed because of them, by id.
        barred: what they brought and is left as it is.
        outcomes: of each entry, by the collection's id.
    """

    brought: Mapping[RepositoryId, Brought]
    barred: frozenset[RepositoryId]
    outcomes: Mapping[RepositoryId, Sequence[Outcome]]


def plan_collections(followed: Sequence[Named], world: World) -> CollectionPlan:
    """Return what collections come to.

    Args:
        followed: collections, the longest followed first.
        world: what else there is.
    """
    brought: dict[RepositoryId, Brought] = {}
    barred: set[RepositoryId] = set()
    outcomes: dict[RepositoryId, Sequence[Outcome]] = {}
    for each in followed:
        if each.collection not in outcomes:
            outcomes[each.collection] = _Planning(each, world, brought, barred).outcomes()
    return CollectionPlan(brought, frozenset(barred), outcomes)


class _Planning:
    """The planning of one collection, after those that are followed longer."""

    def __init__(
        self,
        named: Named,
        world: World,
        brought: dict[RepositoryId, Brought],
        barred: set[RepositoryId],
    ) -> None:
        self._named = named
        self._world = world
        self._brought = brought
        self._barred = barred
        self._names = {row.name: id_ for id_, row in world.carried.items()}
        self._names.update((each.name, id_) for id_, each in brought.items() if each.name)
        self._count = 0
        self._total = sum(world.sizes.get(row.repository, 0) for row in named.rows)

    def outcomes(self) -> list[Outcome]:
        """Decide on each entry, and note what is brought and barred."""
        found = {
            row.repository: self._outcome(row) for row in sorted(self._named.rows, key=self._rank)
        }
        held = self._named.held
        return [
            replace(found[row.repository], is_named=row.repository not in held)
            for row in self._named.rows
        ]

    def _rank(self, row: CollectedRow) -> tuple[bool, int, int]:
        return not self._is_ours(row.repository), -row.priority, row.place

    def _is_ours(self, repository: RepositoryId) -> bool:
        return repository in self._world.by_collection and repository in self._world.carried

    def _outcome(self, row: CollectedRow) -> Outcome:
        world, repository = self._world, row.repository
        if repository == self._named.collection:
            return Outcome(row, State.ELSEWHERE, "it is the collection itself")
        here = world.carried.get(repository)
        if here is not None and here.role == ORIGIN:
            return Outcome(row, State.ELSEWHERE, "it is published from here")
        if (here is not None and not self._is_ours(repository)) or repository in world.asked:
            return Outcome(row, State.ELSEWHERE, "you asked for it yourself")
        if repository in self._brought:
            return Outcome(row, State.ELSEWHERE, "another collection brings it")
        if repository in world.excluded:
            why = f"you removed it; 'gittorrent mirror gittorrent://{repository}' brings it again"
            return Outcome(row, State.LEFT_OUT, why)
        if why := self._limit(row, is_here=here is not None):
            if here is None:
                return Outcome(row, State.LEFT_OUT, why)
            self._barred.add(repository)
            return Outcome(row, State.NOT_FOLLOWED, why)
        self._count += 1
        return self._bring(row, is_here=here is not None)

    def _limit(self, row: CollectedRow, *, is_here: bool) -> str:
        """Return which limit keeps a repository from being followed; empty if none does."""
        limits, size = self._named.limits, self._world.sizes.get(row.repository, 0)
        if self._count >= limits.repositories:
            noun = "repository" if limits.repositories == 1 else "repositories"
            return f"the limit of {limits.repositories} {noun} is reached"
        if size > limits.each:
            return f"it has {show_bytes(size)}, more than the {show_bytes(limits.each)} allowed"
        if self._total > limits.total or (not is_here and self._total == limits.total):
            return f"the limit of {show_bytes(limits.total)} in all is reached"
        if not is_here and (taken := self._taken(row)):
            return taken
        return ""

    def _taken(self, row: CollectedRow) -> str:
        """Return who has the name that a repository is to be carried under; empty if nobody."""
        if row.name and self._names.get(row.name, row.repository) != row.repository:
            return f"the name {row.name} is taken by {self._names[row.name]}"
        if row.name in self._world.names:
            return f"the name {row.name} is what you call another one"
        return ""

    def _bring(self, row: CollectedRow, *, is_here: bool) -> Outcome:
        limits, size = self._named.limits, self._world.sizes.get(row.repository, 0)
        name = row.name if row.name and not self._taken(row) else None
        if name is not None:
            self._names[name] = row.repository
        most, left = max(0, limits.each - size), max(0, limits.total - self._total)
        self._brought[row.repository] = Brought(
            row,
            self._named.collection,
            self._named.url,
            limits,
            is_here,
            name,
            min(most, left),
            most,
            left,
        )
        refused = self._world.refused.get(row.repository, "")
        if refused:
            if is_here:
                self._barred.add(row.repository)
            return Outcome(row, State.NOT_FOLLOWED if is_here else State.LEFT_OUT, refused)
        self._barred.discard(row.repository)  # a collection that is followed longer has no room
        if row.repository in self._named.held:
            return Outcome(
                row, State.HELD, "it is named no more; 'gittorrent confirm' says what lets it go"
            )
        if is_here:
            return Outcome(row, State.CARRIED)
        return Outcome(row, State.COMING, self._world.failing.get(row.repository, ""))
