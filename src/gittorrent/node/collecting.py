"""Follows collections: reads what they name, says what is to be carried, and lets go of the rest.

For the node, and for ``gittorrent mirror --collection`` where none runs. Everything that is known
is in the node's database, so that whoever is killed goes on where it was: newer content counts in
one transaction with what follows from it, what a collection brings is marked as such before it
comes, and what its owners took out is marked before it is deleted.

Rules: only final content counts. A collection that is not there, or says what is not understood,
changes nothing. Must not know how repositories are brought.
Source: docs/protocol/collections.md, Following.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.discovery.ports import Way
from gittorrent.disk_space import bytes_below
from gittorrent.durable import FileState, file_state
from gittorrent.errors import GitTorrentError, LocalError
from gittorrent.event_log import EventLog
from gittorrent.ids import RepositoryId
from gittorrent.node.collection_file import (
    FILE_NAME,
    MAX_BYTES,
    CollectionError,
    CollectionFile,
    parse_collection,
)
from gittorrent.node.collection_intake import Before, Intake, let_go, take_in
from gittorrent.node.collection_plan import CollectionPlan, Named, World, plan_collections
from gittorrent.node.dial_back import addresses_of
from gittorrent.node.removing import BusyError, stop_carrying
from gittorrent.printable import decoded, printable
from gittorrent.repository.carried import MIRROR, Carried, object_format_of
from gittorrent.store.collected import CollectionRow, CollectionTable
from gittorrent.store.database import RememberedMirror
from gittorrent.store.following import FollowTable, following
from gittorrent.store.held import HeldKind, HeldTable, departing, holding, releasing
from gittorrent.store.signing_time import SigningTime
from gittorrent.transfer.location import parse_location
from gittorrent.wire.urls import AddressClass, address_class, less_trusted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from gittorrent.node.collection_plan import Brought
    from gittorrent.node.config import CollectionConfig
    from gittorrent.push.log import VerifiedLog
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.collected import CollectionRow
    from gittorrent.store.database import Database
    from gittorrent.store.following import FollowRow
    from gittorrent.store.held import Statements
    from gittorrent.store.home import Home

SIZE_SECONDS = 300.0
"""How long sizes that were measured count: a repository may grow by pushes meanwhile, each of which
is bounded."""

RETRY_SECONDS = 60.0
"""Until a collection is read again that could not be read, as where its objects are not here."""

_REGULAR = (b"100644", b"100755")

_log = EventLog(__name__)


class Collecting:
    """The collections of a node.

    Args:
        database: of the node.
        home: of the node.
        logs: whether it is logged what cannot be read; otherwise it is recorded alone.
    """

    def __init__(self, database: Database, home: Home, *, logs: bool = True) -> None:
        self._logs = logs
        self._database = database
        self._home = home
        self._table = CollectionTable(database)
        self._held = HeldTable(database)
        self._believed = SigningTime(home.clock)
        self._failed: dict[RepositoryId, float] = {}
        self._seen: dict[RepositoryId, FileState | None] = {}
        self._files: dict[Path, RepositoryId] = {}
        self._sizes: dict[RepositoryId, tuple[float, int]] = {}

    def configure(self, collections: Sequence[CollectionConfig]) -> None:
        """Follow what a configuration names, and what it named before no more."""
        wanted = {each.location.full_url: each.limits for each in collections}
        known = {row.url: row for row in self._table.all()}
        for url, limits in wanted.items():
            row = known.get(url)
            if row is None or (row.limits, row.by_config) != (limits, True):
                self._table.follow(CollectionRow(url, limits, True, int(time.time())))
        gone = [url for url, row in known.items() if row.by_config and url not in wanted]
        if gone:
            self._table.unfollow(gone)

    # -- what they name

    def has_news(self) -> bool:
        """Tell whether a log of a collection changed since it was read; costs one look for each."""
        return any(
            self._seen.get(each) != file_state(path) and not self._failed_lately(each)
            for path, each in self._files.items()
        )

    def _failed_lately(self, repository: RepositoryId) -> bool:
        failed = self._failed.get(repository)
        return failed is not None and time.monotonic() - failed < RETRY_SECONDS

    def take_in_news(self) -> None:
        """Take in what collections name now; what is wrong with one is recorded, and logged."""
        self._files.clear()
        carried = {row.repository_id: row for row in self._database.carried()}
        for row in self._table.all():
            repository = row.repository_id or self._identified(row)
            if repository is None or (place := carried.get(repository)) is None:
                continue
            try:
                self._take_in(replace(row, repository_id=repository), repository, place)
            except (GitTorrentError, OSError) as error:
                self._failed[repository] = time.monotonic()
                self._complain(row, repository, row.checkpoint, str(error))

    def _identified(self, row: CollectionRow) -> RepositoryId | None:
        """Return which repository a collection is, as far as this machine knows it by now."""
        location = parse_location(row.url)
        found = location.expected or self._database.known_url(location.url)
        if found is not None:
            self._table.identify(row.url, found)
        return found

    def _take_in(self, row: CollectionRow, repository: RepositoryId, place: CarriedRow) -> None:
        git_dir = Path(place.path)
        carried = Carried(git_dir, object_format_of(git_dir), repository)
        path = carried.log_store.path
        self._files[path] = repository
        identity = file_state(path)
        now = int(self._believed.now())  # a clock that leapt ahead lets nothing go
        before = self._before(repository, place.name, now)
        waits = let_go(before, now)
        if identity == self._seen.get(repository) and waits is None:
            return
        log = carried.log()
        checkpoint = log.head or ""
        if checkpoint and (checkpoint != row.checkpoint or waits is not None):
            try:
                found = read_collection(carried, log)
            except CollectionError as error:
                self._complain(row, repository, checkpoint, str(error))
                if waits is not None:
                    self._apply(repository, row.checkpoint, waits, row.faults, now)
            else:
                done = take_in(found, before, now)
                self._apply(repository, checkpoint, done, faults_of(found), now)
                self._tell(place.name, before, done, found)
        self._seen[repository] = identity
        self._failed.pop(repository, None)

    def _before(self, repository: RepositoryId, title: str, now: int) -> Before:
        kind = HeldKind.REPOSITORIES
        named = {row.repository: row for row in self._table.named(repository)}
        return Before(
            repository,
            title,
            named,
            self._held.of(kind, repository),
            self._held.recently_departed(kind, repository, now),
            self._here_for(named.keys() - self._named_by_others(repository)),
        )

    def _here_for(self, named: AbstractSet[RepositoryId]) -> dict[RepositoryId, str]:
        """Return which are here for nothing but collections, and what they are called."""
        followed = FollowTable(self._database).all_followed()
        return {
            row.repository_id: row.name
            for row in self._database.carried()
            if row.repository_id in named and _goes(row, followed.get(row.repository_id))
        }

    def _named_by_others(self, collection: RepositoryId | None = None) -> set[RepositoryId]:
        """Return what is named by collections, but for one."""
        return {
            row.repository
            for each in self._table.all()
            if each.repository_id is not None and each.repository_id != collection
            for row in self._table.named(each.repository_id)
        }

    def _apply(
        self,
        repository: RepositoryId,
        checkpoint: str,
        done: Intake,
        faults: Sequence[str],
        now: int,
    ) -> None:
        """Record what follows from content, all in one transaction."""
        kind = HeldKind.REPOSITORIES
        more: Statements = [*self._marks(repository, done)]
        if done.departed:
            more += departing(kind, repository, done.departed, now)
        if done.released:
            more += releasing(kind, repository, done.released)
        if done.hold is not None:
            more += holding(done.hold)
        self._table.take(repository, checkpoint, done.rows, faults, now, more)

    def _marks(self, collection: RepositoryId, done: Intake) -> Statements:
        """Mark what leaves with the last collection that names it; unmark what is named again."""
        others = self._named_by_others(collection)
        named = {row.repository for row in done.rows}
        found: Statements = []
        for repository, how in FollowTable(self._database).all_followed().items():
            if how.leaving and repository in named:
                found.append(following(repository, replace(how, leaving=False)))
            elif how.by_collection and repository in done.gone - others:
                found.append(following(repository, replace(how, leaving=True)))
        return found

    def _complain(
        self, row: CollectionRow, repository: RepositoryId, checkpoint: str, problem: str
    ) -> None:
        if (row.checkpoint, row.problem) != (checkpoint, problem):
            self._table.note_problem(repository, checkpoint, problem)
            if not self._logs:
                return
            _log.warning(
                "collection-not-read",
                "what {url} names cannot be read, so that nothing changes: {reason}",
                url=row.url,
                reason=problem,
            )

    @staticmethod
    def _tell(title: str, before: Before, done: Intake, found: CollectionFile) -> None:
        _log.info(
            "collection-read",
            "{repository} names {entries} repositories, {wrong} more are wrong; {gone} went",
            repository=title,
            entries=len(found.entries),
            wrong=found.wrong,
            gone=len(done.gone),
        )
        if done.hold is not None:
            _log.warning(
                "held-back",
                "{repository} lost {gone} of {total} repositories that are here for it at once:"
                " they are carried on until 'gittorrent confirm {repository}'",
                repository=title,
                gone=len(done.hold.names),
                total=done.hold.total,
            )

    # -- what is to be carried

    def plan(
        self,
        carried: Iterable[CarriedRow],
        followed: Mapping[RepositoryId, FollowRow],
        asked: Iterable[RepositoryId] = (),
        names: Iterable[str] = (),
    ) -> CollectionPlan:
        """Return what collections come to.

        Args:
            carried: repositories of the node.
            followed: how its mirrors are followed.
            asked: what the operator asks for that is not here yet.
            names: that the operator gave to that.
        """
        collections = [row for row in self._table.all() if row.repository_id is not None]
        if not collections:
            return CollectionPlan({}, frozenset(), {})
        by_id = {row.repository_id: row for row in carried}
        by_collection = frozenset(
            each for each, how in followed.items() if how.by_collection and not how.by_config
        )
        world = World(
            by_id,
            by_collection,
            frozenset(asked),
            frozenset(names),
            {each: self._size(by_id[each]) for each in by_collection & by_id.keys()},
            self._table.refused(),
            self._table.excluded(),
            self._database.failing(),
        )
        named = []
        for row in collections:
            repository = RepositoryId(row.repository_id or "")
            held = self._held.of(HeldKind.REPOSITORIES, repository)
            names_held = frozenset(RepositoryId(name) for each in held for name in each.names)
            named.append(
                Named(repository, row.url, row.limits, self._table.named(repository), names_held)
            )
        return plan_collections(named, world)

    def _size(self, row: CarriedRow) -> int:
        """Return the bytes that a repository takes, measured a while ago at most."""
        now = time.monotonic()
        measured = self._sizes.get(row.repository_id)
        if measured is None or now - measured[0] > SIZE_SECONDS:
            measured = self._sizes[row.repository_id] = (now, bytes_below(Path(row.path)))
        return measured[1]

    def measured(self, repository: RepositoryId) -> int:
        """Return the size of a repository that `plan` measured; 0 for others."""
        return self._sizes.get(repository, (0.0, 0))[1]

    def has_grown(self, repository: RepositoryId) -> None:
        """Have the size of a repository measured anew."""
        self._sizes.pop(repository, None)

    def mark(self, brought: Brought, trusted: AddressClass) -> None:
        """Record, before it comes, that nobody but a collection asked for a repository.

        Where it may be had is remembered as learned from there.

        Args:
            brought: it.
            trusted: kind of address that the collection comes from.
        """
        repository = brought.row.repository
        table = FollowTable(self._database)
        how = table.followed(repository)
        if not brought.is_here and not how.by_collection:
            table.follow(repository, replace(how, by_collection=True, leaving=False))
        known = [
            RememberedMirror(url, trusted, Way.COLLECTION.value, brought.collection)
            for url in brought.row.urls
        ]
        self._database.remember_mirrors(repository, known, int(time.time()))

    # -- what goes

    def sizes_changed(self) -> bool:
        """Tell whether something that is followed for a collection has another size by now."""
        before = {each: size for each, (_, size) in self._sizes.items()}
        carried = {row.repository_id: row for row in self._database.carried()}
        return any(
            each in carried and self._size(carried[each]) != size for each, size in before.items()
        )

    def remove_gone(self) -> None:
        """Delete what the owners of the last collection that named it took out.

        What another process changes just now is left for the next time.
        """
        followed = FollowTable(self._database).all_followed()
        if not any(how.leaving for how in followed.values()):
            return
        named = self._named_by_others()
        for row in self._database.carried():
            how = followed.get(row.repository_id)
            if how is None or not (how.leaving and _goes(row, how)) or row.repository_id in named:
                continue
            with contextlib.suppress(BusyError):
                try:
                    stop_carrying(row, self._home, self._database, doomed=Path(row.path).is_dir())
                except GitTorrentError as error:
                    _log.warning(
                        "not-removed",
                        "{repository} was taken out of its collection and cannot be removed:"
                        " {reason}",
                        repository=row.name,
                        reason=error,
                    )
                else:
                    _log.warning(
                        "removed",
                        "{repository} was taken out of its collection, and removed",
                        repository=row.name,
                        repository_id=row.repository_id,
                    )


def _goes(row: CarriedRow, how: FollowRow | None) -> bool:
    """Tell whether something that is carried goes once no collection names it."""
    is_brought = how is not None and how.by_collection and not how.by_config
    return is_brought and row.role == MIRROR


def read_collection(carried: Carried, log: VerifiedLog) -> CollectionFile:
    """Return what a collection names at its newest checkpoint.

    Args:
        carried: its repository.
        log: of it.

    Raises:
        CollectionError: there is no such file, or it is not understood.
        LocalError, GitError: it cannot be read.
    """
    branch = log.final_default_branch
    value = None if branch is None else log.final_refs.get(branch)
    if branch is None or value is None:
        raise CollectionError("the collection has no default branch")
    where = printable(decoded(branch.removeprefix(b"refs/heads/")))
    listed = carried.git.run("ls-tree", "-z", "-l", value, "--", FILE_NAME)
    if not listed:
        raise CollectionError(f"there is no {FILE_NAME} on {where}")
    mode, kind, oid, size = listed.split(b"\t")[0].split()
    if kind != b"blob" or mode not in _REGULAR:
        raise CollectionError(f"{FILE_NAME} on {where} is no regular file")
    if not size.isdigit():  # git says BAD
        raise LocalError(f"{FILE_NAME} on {where} is not here: its object is missing or damaged")
    if int(size) > MAX_BYTES:
        raise CollectionError(f"{FILE_NAME}: longer than {MAX_BYTES} bytes")
    return parse_collection(carried.git.run("cat-file", "blob", oid.decode("ascii")))


def faults_of(found: CollectionFile) -> list[str]:
    """Return what is wrong in content, in lines for people."""
    faults = [str(each) for each in found.faults]
    if found.wrong > len(faults):
        faults.append(f"{found.wrong - len(faults)} more are wrong")
    return faults


async def trust_in(url: str) -> AddressClass:
    """Return the kind of address that a collection comes from, by the URL the operator named.

    Where that is not known it is that of a stranger: it leads to public addresses only.
    """
    endpoint = parse_location(url).endpoint
    found: AddressClass | None = None
    for address in await addresses_of(endpoint) if endpoint is not None else ():
        kind = address_class(address)
        found = kind if found is None else less_trusted(kind, found)
    return found or AddressClass.PUBLIC
