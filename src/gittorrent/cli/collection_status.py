"""What there is to say of the collections that a node follows, for all commands that say it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.cli.node_toml import read_config
from gittorrent.cli.output import count
from gittorrent.node.collection_plan import CollectionPlan, State
from gittorrent.node.follow_plan import Records, asked_for
from gittorrent.sizes import show_bytes
from gittorrent.store.collected import CollectionTable
from gittorrent.store.database import Database
from gittorrent.store.following import FollowTable
from gittorrent.transfer.location import parse_location

if TYPE_CHECKING:
    from gittorrent.ids import RepositoryId
    from gittorrent.node.collecting import Collecting
    from gittorrent.node.collection_plan import Outcome
    from gittorrent.push.carry_limits import CollectionLimits
    from gittorrent.store.collected import CollectionRow
    from gittorrent.store.home import Home


class EntryStatus(Struct, frozen=True):
    """A repository that a collection names, as ``--json`` shows it.

    Args:
        repository_id: its id.
        name: it is carried under, or the one that the collection wishes.
        state: what becomes of it (`gittorrent.node.collection_plan.State`).
        reason: why it is not carried, for what other reason, or why it could not be had when it was
            tried last; else empty.
        priority: that the collection wishes.
        urls: where it may be had.
        named: whether the collection names it still.
    """

    repository_id: RepositoryId
    name: str
    state: str
    reason: str
    priority: int
    urls: tuple[str, ...]
    named: bool = True


class CollectionStatus(Struct, frozen=True):
    """A collection that is followed, as ``--json`` shows it.

    Args:
        url: of it, as it was named.
        repository_id: its id; None until that is known.
        name: it is carried under; empty until it is.
        by_config: whether the node's configuration names it.
        limits: of what it brings.
        bytes: on disk, of what it brought.
        checkpoint: of the content that was looked at last; empty for none.
        taken: when content was taken last, in seconds since 1970; None for never.
        problem: why that is not the newest content; else empty.
        faults: what is wrong in it.
        repositories: that it names.
    """

    url: str
    repository_id: RepositoryId | None
    name: str
    by_config: bool
    limits: CollectionLimits
    bytes: int
    checkpoint: str
    taken: int | None
    problem: str
    faults: tuple[str, ...]
    repositories: list[EntryStatus]


def collection_statuses(home: Home) -> list[CollectionStatus]:
    """Return what there is to say of all collections that a node follows."""
    with contextlib.closing(Database(home.database)) as database:
        table = CollectionTable(database)
        rows = table.all()
        if not rows:
            return []
        # It brings half of the program with it, and most nodes follow no collection.
        from gittorrent.node.collecting import Collecting

        collecting = Collecting(database, home)
        carried, follows = database.carried(), FollowTable(database)
        named = read_config(home.config, is_named=False).carry.repositories
        urls = {parse_location(row.url).url for row in follows.wanted()}
        urls |= {each.location.url for each in named}
        known = {url: id_ for url in urls if (id_ := database.known_url(url)) is not None}
        records = Records(carried, follows.all_followed(), follows.wanted(), known)
        asked = asked_for(records, named)
        plan = collecting.plan(carried, records.followed, asked.repositories, asked.names)
        names = {row.repository_id: row.name for row in carried}
        return [_status(row, plan, names, collecting) for row in rows]


def _status(
    row: CollectionRow,
    plan: CollectionPlan,
    names: dict[RepositoryId, str],
    collecting: Collecting,
) -> CollectionStatus:
    repository = row.repository_id
    outcomes = [] if repository is None else plan.outcomes.get(repository, [])
    ours = (State.CARRIED, State.HELD, State.NOT_FOLLOWED)
    return CollectionStatus(
        row.url,
        repository,
        "" if repository is None else names.get(repository, ""),
        row.by_config,
        row.limits,
        sum(collecting.measured(each.row.repository) for each in outcomes if each.state in ours),
        row.checkpoint,
        row.taken or None,
        row.problem,
        row.faults,
        [_entry(each, names) for each in outcomes],
    )


def _entry(outcome: Outcome, names: dict[RepositoryId, str]) -> EntryStatus:
    row = outcome.row
    name = names.get(row.repository, row.name)
    return EntryStatus(
        row.repository,
        name,
        outcome.state.value,
        outcome.reason,
        row.priority,
        row.urls,
        outcome.is_named,
    )


def in_short(found: CollectionStatus) -> str:
    """Return what there is to say of a collection in one line."""
    carried = sum(each.state == State.CARRIED for each in found.repositories)
    named = sum(each.named for each in found.repositories)
    others = len(found.repositories) - named
    held = f" and {others} that it names no more" if others else ""
    limits = found.limits
    words = (
        f"brings {count(carried, 'repository')} of {named} named{held},"
        f" {show_bytes(found.bytes)}; at most {limits.repositories},"
        f" {show_bytes(limits.total)} in all and {show_bytes(limits.each)} each"
    )
    words += f", refs {' '.join(limits.refs)}" if limits.refs else ""
    words += f", keys {' '.join(limits.owners)}" if limits.owners else ""
    if found.repository_id is None or not found.name:
        words += "; it is not here yet"
    return words + (f"; nothing changes by it: {found.problem}" if found.problem else "")
