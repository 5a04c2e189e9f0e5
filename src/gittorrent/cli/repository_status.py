"""What ``gittorrent status`` says of each repository that this node carries.

A mirror is behind by the checkpoints that were verified on this machine and are not in the mirror
yet. Those that nobody has shown to this machine are not counted.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from gittorrent.cli.output import UnpublishedRef, count, list_unpublished
from gittorrent.cli.repositories import advice_on_broken, advice_on_damage, way_out
from gittorrent.errors import GitTorrentError
from gittorrent.git.broken_files import broken_files
from gittorrent.push.history import awaited
from gittorrent.push.object import PushKind
from gittorrent.repository.carried import MIRROR, Carried, object_format_of
from gittorrent.repository.damaged_reels import damaged_reels, part_in_words
from gittorrent.repository.readers_file import is_private_here
from gittorrent.repository.unpublished import describe_unpublished, unpublished_refs
from gittorrent.store.following import FollowTable
from gittorrent.terminal import show_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.ids import ManifestId, PushId, RepositoryId
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.database import Database

_MISSING = " (missing)"


class CheckStatus(Struct, frozen=True):
    """How a mirror keeps up with where it comes from; times are seconds since 1970.

    Args:
        checked: when news was looked for last; None if never.
        succeeded: when that last brought the mirror up to date; None if never.
        source: URL of the mirror that the last success came from.
        failed: when it last failed; None if never.
        error: why it last failed; empty if never.
        failures: how often it failed since the last success.
        behind: verified checkpoints that the mirror does not have.
        next: when the node looks for news again; None where no node follows it.
        live: whether a conversation tells the node of news meanwhile.
        paused: whether somebody paused it, so that no node follows it.
        left_out: whether the node's configuration named it and does so no more, likewise.
    """

    checked: int | None
    succeeded: int | None
    source: str
    failed: int | None
    error: str
    failures: int
    behind: int
    next: int | None = None
    live: bool = False
    paused: bool = False
    left_out: bool = False


class DamagedReelStatus(Struct, frozen=True):
    """A reel of which a part is damaged.

    Args:
        manifest: its id.
        part: the part that was found damaged, counted from 1; 0 for what lies around the parts.
        path: the file.
        found: when, in seconds since 1970.
    """

    manifest: ManifestId
    part: int
    path: str
    found: int


class RepositoryStatus(Struct, frozen=True):
    """One repository that this node carries, as ``--json`` shows it.

    Args:
        name: it is served at ``/<name>.git``.
        repository_id: its id.
        role: ``origin`` or ``mirror``, with a word where it is missing or damaged.
        path: its git directory.
        source: of a mirror, the URL it was made from.
        mirrors: how many mirrors of it announced themselves here.
        pushes: in its log, whatever became of them.
        not_final: how many of them the keeper has not taken yet.
        reels: that can be given to others.
        latest: the newest checkpoint of its log.
        unpublished: refs of an origin that are not as they were published.
        not_published: the same in words.
        way_out: what to do where it is missing or damaged; else empty.
        problem: why it cannot be looked at; else empty.
        check: how a mirror keeps up; None for an origin.
        private: whether it is for those alone whom its policy names.
        damaged: reels of which a part is known to be damaged, which are given to nobody.
    """

    name: str
    repository_id: RepositoryId
    role: str
    path: str
    source: str
    mirrors: int
    pushes: int = 0
    not_final: int = 0
    reels: int = 0
    latest: PushId | None = None
    unpublished: list[UnpublishedRef] = field(default_factory=list)
    not_published: str = ""
    way_out: str = ""
    problem: str = ""
    check: CheckStatus | None = None
    private: bool = False
    damaged: list[DamagedReelStatus] = field(default_factory=list)

    @property
    def is_missing(self) -> bool:
        """Whether its directory is not there any more."""
        return self.role.endswith(_MISSING)


def look_at(
    row: CarriedRow, database: Database, named: frozenset[RepositoryId] = frozenset()
) -> RepositoryStatus:
    """Return what there is to say of a carried repository, whatever state it is in.

    Args:
        row: what the database says.
        database: of the node.
        named: repositories that the node's configuration names.
    """
    status = RepositoryStatus(
        name=row.name,
        repository_id=row.repository_id,
        role=row.role,
        path=row.path,
        source=row.source,
        mirrors=len(database.mirrors(row.repository_id, int(time.time()))),
        check=_check_status(row, database, (), named) if row.role == MIRROR else None,
    )
    if not Path(row.path).is_dir():
        role, problem = row.role + _MISSING, f"{row.path} is not there any more"
        return replace(status, role=role, problem=problem, way_out=way_out(row))
    try:
        for broken in broken_files(Path(row.path)):
            role, advice = f"{row.role} (damaged)", advice_on_broken(row.role, row.name, broken)
            return replace(status, role=role, problem=str(broken), way_out=advice)
        return _look_inside(row, database, status, named)
    except (GitTorrentError, OSError) as error:
        # One that cannot be read must not hide all the others.
        role = f"{row.role} (damaged)"
        return replace(
            status,
            role=role,
            problem=str(error),
            way_out=advice_on_damage(row.role, row.name, row.source),
        )


def _look_inside(
    row: CarriedRow, database: Database, status: RepositoryStatus, named: frozenset[RepositoryId]
) -> RepositoryStatus:
    """Add to what is known of a repository what its directory says.

    Raises:
        GitTorrentError, OSError: it cannot be read.
    """
    path = Path(row.path)
    carried = Carried(path, object_format_of(path), row.repository_id)
    records = carried.log_store.records()
    pushes = {record.id for record in records if record.kind is PushKind.CERTIFICATE}
    chain = [record for record in records if record.is_in_chain]
    untaken = pushes.difference(*(record.pushes for record in chain))
    ids = carried.log_store.ids()
    differing = unpublished_refs(carried)
    return replace(
        status,
        pushes=len(pushes),
        # The log itself is opened only where something may wait: many have to be looked at.
        not_final=len(awaited(carried.log())) if untaken else 0,
        reels=sum(1 for reel in carried.reels.all() if reel.is_available),
        latest=ids[-1] if ids else None,
        private=is_private_here(carried.layout, row.repository_id),
        unpublished=list_unpublished(differing),
        not_published=describe_unpublished(differing),
        check=_check_status(row, database, ids, named) if row.role == MIRROR else None,
        damaged=[
            DamagedReelStatus(each.manifest, each.part + 1, each.path, each.found)
            for each in damaged_reels(carried.layout)
        ],
    )


def _check_status(
    row: CarriedRow, database: Database, ids: Sequence[PushId], named: frozenset[RepositoryId]
) -> CheckStatus:
    how = FollowTable(database).followed(row.repository_id)
    check = database.check(row.repository_id)
    seen = database.seen_head(row.repository_id)
    behind = 0
    if seen is not None and seen[0] not in ids:
        # A log that forked may be no longer than ours, and has a push all the same.
        behind = max(1, seen[1] - len(ids))
    return CheckStatus(
        checked=max(check.succeeded, check.failed) or None,
        succeeded=check.succeeded or None,
        source=check.source,
        failed=check.failed or None,
        error=check.error,
        failures=check.failures,
        behind=behind,
        next=check.next or None,
        live=check.live,
        paused=how.paused,
        left_out=how.by_config and row.repository_id not in named,
    )


DAMAGE_HINT = (
    "a node that runs gets it anew where another mirror has it; if none does, bring the file back"
    " from a copy. 'gittorrent verify' tells what else is damaged"
)
"""What becomes of a damaged reel."""


def describe_damage(reel: DamagedReelStatus) -> str:
    """Return in words that a reel is damaged, and what to do."""
    what = part_in_words(reel.part - 1)
    given = ", and the reel is given to nobody" if reel.part else ""
    return f"{what} of reel {reel.manifest} is damaged in {reel.path}{given}: {DAMAGE_HINT}"


def describe_check(check: CheckStatus, now: float) -> str:
    """Return in words how a mirror keeps up.

    Args:
        check: what is known of it.
        now: seconds since 1970.
    """
    if check.checked is None:
        words = "no look for news is recorded; 'gittorrent serve' keeps it current"
    elif check.failures:
        times = "" if check.failures == 1 else f" ({check.failures} times in a row)"
        words = f"not updated {_ago(check.failed, now)}{times}: {check.error}; "
        words += (
            "it never was before"
            if check.succeeded is None
            else f"last updated {_ago(check.succeeded, now)} from {check.source}"
        )
    else:
        words = f"up to date {_ago(check.succeeded, now)} with {check.source}"
    words += f"; {count(check.behind, 'checkpoint')} behind" if check.behind else ""
    return words + _next_look(check, now)


def _next_look(check: CheckStatus, now: float) -> str:
    """Return in words what becomes of a mirror next; nothing where no node says."""
    if check.paused:
        return "; paused until 'gittorrent resume'"
    if check.left_out:
        return "; not followed, since the configuration does not name it any more"
    if check.next is None or check.next < now:
        return ""
    again = f"; looks again in {show_duration(check.next - now)}"
    return again + (", and is told of news before" if check.live else "")


def _ago(moment: int | None, now: float) -> str:
    return f"{show_duration(max(0.0, now - (moment or 0)))} ago"
