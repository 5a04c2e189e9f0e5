"""What a node follows: made of what it carries, what is wanted, what is paused, and node.toml.

Pure. Rules: a mirror is followed unless somebody paused it; one that the configuration brought ends
to be followed when that does not name it any more, and stays as it is; nothing is followed that
nobody named. What the configuration says of a repository comes before what is recorded of it. What
a collection brings (`gittorrent.node.collection_plan`) is followed by its id, within limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError
from gittorrent.node.collection_plan import AFTER_OPERATOR, CollectionPlan
from gittorrent.repository.carried import MIRROR, ORIGIN
from gittorrent.store.following import FollowRow
from gittorrent.transfer.location import Location, parse_location

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gittorrent.ids import RepositoryId
    from gittorrent.node.collection_plan import Brought
    from gittorrent.node.config import RepositoryConfig
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.following import WantedRow

NO_COLLECTIONS = CollectionPlan({}, frozenset(), {})


class Target(Struct, frozen=True):
    """A repository that is followed, or is to be brought first.

    Args:
        key: of it among all: its id once it is carried, where it comes from before.
        location: where it comes from.
        repository: its id, as far as this machine knows it.
        is_here: whether it is carried.
        name: to carry it under; None for the name that it has, or the policy's.
        priority: those with a higher one are brought first.
        max_size: bytes of packs to take of it; None for what holds for all.
        by_config: whether the configuration names it.
        wanted: URL of the row that wants it; empty if none does.
        brought: what a collection says, if nobody but a collection asks for it.
    """

    key: str
    location: Location
    repository: RepositoryId | None
    is_here: bool
    name: str | None = None
    priority: int = 0
    max_size: int | None = None
    by_config: bool = False
    wanted: str = ""
    brought: Brought | None = None

    def is_same(self, other: Target) -> bool:
        """Tell whether another one stands for the same repository, as far as that is known."""
        if self.repository is not None and self.repository == other.repository:
            return True
        return self.location.url == other.location.url


class Records(Struct, frozen=True):
    """What the node's database says.

    Args:
        carried: repositories.
        followed: how mirrors are followed, where that is not as usual.
        wanted: what is to be brought.
        known: ids that were found at URLs of what is to be brought.
    """

    carried: Sequence[CarriedRow]
    followed: Mapping[RepositoryId, FollowRow]
    wanted: Sequence[WantedRow]
    known: Mapping[str, RepositoryId]


class Plan(Struct, frozen=True):
    """What is followed, and what is not.

    Args:
        targets: that are followed, by key.
        paused: mirrors that somebody paused.
        dropped: mirrors that the configuration or a collection brought and names no more, and that
            stay: id and name.
        barred: mirrors that a collection brought and that are left as they are.
    """

    targets: Mapping[str, Target]
    paused: frozenset[RepositoryId]
    dropped: Mapping[RepositoryId, str]
    barred: frozenset[RepositoryId] = frozenset()


class Asked(Struct, frozen=True):
    """What the operator asks for that is not here yet.

    Args:
        repositories: as far as their ids are known.
        names: that were given to them.
    """

    repositories: frozenset[RepositoryId]
    names: frozenset[str]


def asked_for(records: Records, named: Iterable[RepositoryConfig]) -> Asked:
    """Return what the operator asks for that is not here yet, as far as it can be told."""
    rows = [(parse_location(row.url), row.name) for row in records.wanted]
    rows += [(each.location, each.name or "") for each in named]
    ids = {found for location, _ in rows if (found := _id_of(location, records)) is not None}
    here = {row.name for row in records.carried}
    return Asked(frozenset(ids), frozenset(name for _, name in rows if name and name not in here))


def plan(
    records: Records,
    named: Iterable[RepositoryConfig],
    collections: CollectionPlan = NO_COLLECTIONS,
) -> Plan:
    """Return what is followed.

    Args:
        records: of the database.
        named: repositories of the configuration.
        collections: what they come to.
    """
    by_id: dict[RepositoryId, RepositoryConfig] = {}
    asked: dict[RepositoryId, WantedRow] = {}
    to_bring: dict[str, Target] = {}
    origins = {row.repository_id for row in records.carried if row.role == ORIGIN}
    mirrors = {row.repository_id: row for row in records.carried if row.role == MIRROR}
    for each in named:
        repository = _id_of(each.location, records)
        if repository in mirrors:
            by_id[repository] = each
        elif repository not in origins:
            target = Target(
                each.location.url,
                each.location,
                repository,
                is_here=False,
                name=each.name,
                priority=each.priority,
                max_size=each.max_size,
                by_config=True,
            )
            to_bring[target.key] = target
    for row in records.wanted:
        location = parse_location(row.url)
        repository = _id_of(location, records)
        if repository in mirrors:
            asked[repository] = row
        elif repository not in origins:
            name = row.name or None
            target = Target(location.url, location, repository, False, name, wanted=row.url)
            to_bring.setdefault(target.key, target)
    targets = dict(to_bring)
    for brought in collections.brought.values():
        if not brought.is_here:
            targets[brought.row.repository] = _brought(brought)
    paused: set[RepositoryId] = set()
    dropped: dict[RepositoryId, str] = {}
    for mirror, carried in mirrors.items():
        how = records.followed.get(mirror, FollowRow())
        config = by_id.get(mirror)
        is_asked = config is not None or mirror in asked
        if how.paused:
            paused.add(mirror)
        elif mirror in collections.brought and not is_asked:
            targets[mirror] = _brought(collections.brought[mirror])
        elif (how.by_config or how.by_collection) and not is_asked:
            is_deleted = how.leaving and how.by_collection and not how.by_config
            if mirror not in collections.barred and not is_deleted:
                dropped[mirror] = carried.name
        elif (found := _mirror(carried, config, asked.get(mirror))) is not None:
            targets[mirror] = found
    return Plan(targets, frozenset(paused), dropped, collections.barred - paused)


def _brought(brought: Brought) -> Target:
    """Return how something is followed that a collection brings: by its id alone."""
    repository = brought.row.repository
    return Target(
        repository,
        Location(None, repository),
        repository,
        brought.is_here,
        brought.name,
        AFTER_OPERATOR + brought.row.priority,
        brought.room,
        brought=brought,
    )


def _mirror(
    row: CarriedRow, config: RepositoryConfig | None, asked: WantedRow | None
) -> Target | None:
    """Return how a mirror is followed; None where it is not known any more where it comes from.

    What somebody asks for now comes before the configuration, until that is done.
    """
    urls = [row.source] if asked is None else [asked.url, row.source]
    try:
        locations = [parse_location(url) for url in urls]
    except GitTorrentError:
        return None  # its record is of a program that wrote another form, or damaged
    if config is not None:
        locations.insert(len(locations) - 1, config.location)
    location = next((each for each in locations if each.endpoint is not None), locations[0])
    name = None if config is None else config.name
    if asked is not None and asked.name:
        name = asked.name
    return Target(
        row.repository_id,
        location,
        row.repository_id,
        is_here=True,
        name=name,
        max_size=None if config is None else config.max_size,
        by_config=config is not None,
        wanted="" if asked is None else asked.url,
    )


def _id_of(location: Location, records: Records) -> RepositoryId | None:
    return location.expected or records.known.get(location.url)
