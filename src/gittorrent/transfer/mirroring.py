"""Makes and updates mirrors: the whole of a repository, verified, ready to be served.

A mirror's refs follow the log. Nothing of an update is visible before all of it is proved; an
update that is interrupted costs nothing but the parts that had not arrived.
"""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.disk_space import UNBOUNDED
from gittorrent.durable import locked_patiently, sync_directory
from gittorrent.errors import (
    GitTorrentError,
    UsageError,
)
from gittorrent.git.broken_files import broken_files
from gittorrent.git.repository import create_bare
from gittorrent.git.runner import Git
from gittorrent.ids import SHA1
from gittorrent.permissions import explain_local_error
from gittorrent.repository import housekeeping
from gittorrent.repository.carried import (
    MIRROR,
    ORIGIN,
    Carried,
    RepositoryInfo,
    object_format_of,
    require_name,
)
from gittorrent.repository.completeness import is_complete, record_complete, without_objects
from gittorrent.repository.mending import mend_settings
from gittorrent.repository.readers_file import close_to_others, hide
from gittorrent.repository.relocating import relocate, require_of_home
from gittorrent.repository.removal import sweep_removed
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.copied_home import mark_as_own, other_home_of_mirror
from gittorrent.store.processes import MirrorProcess
from gittorrent.transfer.acquire import Acquisition
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.context import MAX_REPOSITORY_BYTES, Context
from gittorrent.transfer.log_extent import LogExtent
from gittorrent.transfer.mirror_reels import MirrorReels
from gittorrent.transfer.ordinary import Wanted
from gittorrent.transfer.peer_manager import Sharing
from gittorrent.transfer.reaching import unique
from gittorrent.transfer.untaken import UntakenPushes
from gittorrent.transfer.updating import Update, Updater
from gittorrent.transfer.working import stoppable, unbroken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.discovery.ports import Lookup
    from gittorrent.disk_space import Space
    from gittorrent.ids import ObjectFormat, PushId, RepositoryId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.context import Reporter
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.location import Location


class PublishedHereError(UsageError):
    """The repository is published from this machine, so its refs do not follow others."""


class Mirrored(Struct, frozen=True):
    """What an update of a mirror came to.

    Args:
        repository_id: the repository.
        name: it is served at ``/<name>.git``.
        path: of the mirror.
        push_id: the newest checkpoint.
        source: URL of the mirror it came from.
        changed: whether anything was new.
    """

    repository_id: RepositoryId
    name: str
    path: Path
    push_id: PushId
    source: str
    changed: bool


def tidy_after(done: Mirrored, *, wait: bool) -> None:
    """Repack a mirror that got something new, if that pays by now.

    Args:
        done: what an update came to.
        wait: whether to do it here; otherwise a process in the background does.
    """
    carried = Carried(done.path, object_format_of(done.path))
    if done.changed and housekeeping.is_due(carried, first=False):
        if wait:
            housekeeping.tidy_up(carried)
        else:
            housekeeping.start_in_background(carried)


def open_mirror(path: Path, repository: RepositoryId | None = None) -> Carried:
    """Open a mirror, whose settings are written anew where a power cut broke them.

    Args:
        path: of a mirror, or of what is none and stays as it is.
        repository: as for `Carried`.
    """
    carried = Carried(path, SHA1)
    if carried.is_carried and carried.info.role == MIRROR:
        mend_settings(carried.layout)
    return Carried(path, object_format_of(path), repository)


class RemovedError(UsageError):
    """The repository that is followed is not carried any more."""


def update_lock(home: Home, repository: RepositoryId) -> Path:
    """Return the file that is locked while the mirror of a repository is updated."""
    return home.run / f"mirror-{repository}.lock"


class Mirroring:
    """Mirrors one repository.

    Args:
        location: the mirror it comes from.
        home: of the node.
        database: of the node.
        reporter: tells the user.
        sharing: how to share what arrives, and how fast to take it.
        max_bytes: of pack data to take.
        limits: of the process that all of this counts for, too; None for ``sharing`` alone.
        lookups: the ways to look for mirrors that nobody named.
        space: tells whether there is room for what comes.
        judge: is shown the log before anything else is downloaded, and may raise.
        client_timeouts: how long mirrors are waited for.
        by_id: whether the id alone says what is followed: then no mirror that it came from is
            recorded as one that somebody named.
        adopting: whether the mirror is about to become an origin: its source stays what it was,
            and it gets the whole log where a clone had less.
    """

    def __init__(
        self,
        location: Location,
        home: Home,
        database: Database,
        reporter: Reporter,
        sharing: Sharing | None = None,
        max_bytes: int = MAX_REPOSITORY_BYTES,
        limits: Limits | None = None,
        lookups: Sequence[Lookup] = (),
        space: Space = UNBOUNDED,
        judge: Callable[[VerifiedLog], None] = lambda _log: None,
        client_timeouts: ClientTimeouts | None = None,
        *,
        by_id: bool = False,
        adopting: bool = False,
    ) -> None:
        self._judge = judge
        self._by_id = by_id
        self._adopting = adopting
        self._location = location
        self._home = home
        self._database = database
        self._reporter = reporter
        self._context = Context(
            database,
            home,
            Git(home.root),
            reporter,
            sharing or Sharing(),
            max_bytes=max_bytes,
            limits=limits,
            ask_own_node=False,
            client_timeouts=client_timeouts or ClientTimeouts(),
            lookups=lookups,
            space=space,
        )
        # What this follows already: it ends when that is removed, and does not make it anew.
        self._follows = self._known_repository() if self.path is not None else None
        self._is_first = True

    @property
    def url(self) -> str:
        """The URL it was told to mirror."""
        return self._location.url

    @property
    def path(self) -> Path | None:
        """Where the repository is mirrored already, as far as its id is known; None if nowhere."""
        row = self._carried_row()
        return None if row is None else Path(row.path)

    def _carried_row(self) -> CarriedRow | None:
        known = self._known_repository()
        rows = self._database.carried()
        mirrors = (row for row in rows if row.role == MIRROR and row.repository_id == known)
        return next(mirrors, None)

    def describe(self, next_check: float | None) -> MirrorProcess:
        """Return what there is to say of whoever follows the repository.

        Args:
            next_check: when it looks for news again, in seconds since 1970; None while it does.
        """
        row = self._carried_row()
        return MirrorProcess(
            url=self._location.url,
            repository_id=self._known_repository(),
            name="" if row is None else row.name,
            checking=next_check is None,
            next_check=next_check,
        )

    def _require_carried(self) -> None:
        """Make sure that the mirror was not removed meanwhile.

        Raises:
            RemovedError: somebody did.
        """
        rows = self._database.carried()
        if self._follows and not any(row.repository_id == self._follows for row in rows):
            raise RemovedError(f"repository {self._follows} was removed from this node")

    async def check(self, name: str | None = None) -> Mirrored:
        """Do what `update` does, and record for ``gittorrent status`` what it came to.

        A failure is recorded where it is known which repository it is about.

        Args:
            name: to carry it under; the policy's by default.

        Raises:
            RemovedError: the mirror was there before, and was removed.
            GitTorrentError: the reasons acquiring has.
        """
        try:
            done = await self.update(name)
        except (RemovedError, PublishedHereError):
            raise  # there is no mirror left to record it of
        except GitTorrentError as error:
            self._note_failure(error)
            raise
        except OSError as error:
            trouble = explain_local_error(error)
            if trouble is None:
                raise
            self._note_failure(trouble)
            raise trouble from error
        now = int(self._context.clock())
        self._database.check_succeeded(done.repository_id, done.source, now, done.push_id)
        return done

    def _note_failure(self, error: GitTorrentError) -> None:
        repository = self._known_repository()
        if repository is not None:
            self._database.check_failed(repository, str(error), int(self._context.clock()))

    def _known_repository(self) -> RepositoryId | None:
        """Return the repository that the location stands for, as far as this machine knows."""
        return self._location.expected or self._database.known_url(self._location.url)

    async def update(
        self, name: str | None = None, judge: Callable[[VerifiedLog], None] | None = None
    ) -> Mirrored:
        """Make the mirror, or bring it up to date.

        Args:
            name: to carry it under; by default the policy's, or the one that it has here.
            judge: takes the place of the one that it was made with.

        Raises:
            UsageError: the name is no name, or taken.
            RemovedError: the mirror was there before, and was removed.
            PublishedHereError: it is published from here.
            GitTorrentError: the reasons acquiring has.
        """
        self._require_carried()
        home = self._home
        home.repositories.mkdir(parents=True, exist_ok=True)
        sweep_removed(home.repositories)
        async with Acquisition(self._location, self._context) as acquisition:
            claimed = await acquisition.open()
            object_format = acquisition.object_format
            # One at a time, or two that find nothing would make the same repository.
            async with locked_patiently(update_lock(home, claimed)):
                self._require_carried()
                path = self.path_of(claimed) or self._found_again(claimed)
                if name is not None:
                    taken_by = "" if path is None else str(path)
                    self._database.require_free(require_name(name), taken_by, claimed)
                is_new = path is None
                if path is None:
                    path = home.repositories / f".new-{claimed}.git"
                    if broken_files(path):
                        shutil.rmtree(path)  # begun before a power cut
                    create_bare(path, object_format)
                require_of_home(path, home)
                mark_as_own(path, home)
                carried = open_mirror(path, claimed)
                try:
                    with carried.writing():
                        log, changed = await self._bring(
                            acquisition, carried, object_format, is_new, name, judge or self._judge
                        )
                        if not is_new:
                            self._take_settings(carried, log, name, acquisition)
                    reels = MirrorReels(acquisition, carried, log, self._context)
                    if is_new:
                        await reels.follow_indexes(is_changed=True)
                    else:
                        await reels.follow(is_changed=changed)
                except BaseException:
                    if is_new and not carried.layout.has_objects():
                        shutil.rmtree(path)  # nothing came that would be worth going on with
                    raise
                path = self.settle(carried, log) if is_new else carried.layout.git_dir
        self._follows, self._is_first = log.repository, False
        assert log.head is not None
        name = Carried(path, object_format).info.name
        return Mirrored(log.repository, name, path, log.head, acquisition.url, changed)

    def path_of(self, repository: RepositoryId) -> Path | None:
        """Return where this node has the mirror; None where nothing is left of it.

        What the directory itself says counts: the node's record may be older, or about something
        that is gone.

        Raises:
            PublishedHereError: it is no mirror.
        """
        for row in self._database.carried():
            path = Path(row.path)
            if row.repository_id != repository:
                continue
            if not path.is_dir():
                moved = relocate(row, self._database)
                if moved is None:
                    continue
                path = Path(moved.path)
            carried = open_mirror(path, repository)
            if not carried.is_carried or carried.info.repository_id != repository:
                continue
            if carried.info.role == ORIGIN:
                raise PublishedHereError(
                    f"{path} is where {row.name} is published from; it follows no mirror",
                    hint=f"push to it, and run 'gittorrent publish {path}'",
                )
            return path
        return None

    def _found_again(self, repository: RepositoryId) -> Path | None:
        """Return the mirror of a repository that the database does not know of (any more).

        Whoever was killed after giving a mirror its name had no time to record it; and the database
        may be lost while the repositories are not.
        """
        for path in sorted(self._home.repositories.glob("[!.]*.git")):
            carried = open_mirror(path)
            if not carried.is_carried or carried.log_store.head() is None:
                continue
            info = carried.info
            if info.repository_id != repository or info.role != MIRROR:
                continue
            if other_home_of_mirror(path, self._home) is None:
                self._record(path, info)
                return path
        return None

    def _record(self, path: Path, info: RepositoryInfo) -> None:
        """Let the node carry a mirror."""
        self._database.carry(self._row(path, info))

    def _take_settings(
        self, carried: Carried, log: VerifiedLog, name: str | None, acquisition: Acquisition
    ) -> None:
        """Let a mirror that was there have the name and the source that the user asks for.

        Without a name asked for, one that was the policy's follows the policy.
        """
        info = carried.info
        chosen = self._name_for(carried, log) if name is None else name
        wanted = info.renamed(chosen, *self._policy_names(log, chosen))
        if self._is_first and not self._adopting and self._is_named(acquisition.url):
            wanted = replace(wanted, source=acquisition.source_url())
        if info.source != wanted.source:
            self._reporter.note(f"{chosen} follows {wanted.source} from now on, not {info.source}")
        if info.name != chosen:
            self._reporter.note(f"{info.name} is called {chosen} from now on")
        if info != wanted:
            carried.set_info(wanted)
        row = self._row(carried.layout.git_dir, wanted)
        if row not in self._database.carried():
            self._database.carry(row)

    def _name_for(self, carried: Carried, log: VerifiedLog) -> str:
        """Return the name of a mirror: what the policy says by now, if it said the one it has."""
        info, called = carried.info, log.policy.policy.name
        if info.name not in log.former_names:
            return info.name
        try:
            self._database.require_free(called, str(carried.layout.git_dir), log.repository)
        except UsageError as error:
            self._reporter.note(f"{info.name} is now called {called}, and is not here: {error}")
            return info.name
        return called

    @staticmethod
    def _policy_names(log: VerifiedLog, name: str) -> tuple[str, ...]:
        """Return what old URLs call a repository that is carried under the policy's name."""
        return log.former_names if name == log.policy.policy.name else ()

    def _is_named(self, url: str) -> bool:
        """Tell whether a mirror is the one that the user named, and not one that stands in."""
        return self._location.endpoint is not None and self._location.endpoint.url == url

    @staticmethod
    def _row(path: Path, info: RepositoryInfo) -> CarriedRow:
        return CarriedRow(info.name, info.repository_id, str(path), MIRROR, info.source)

    async def _bring(
        self,
        acquisition: Acquisition,
        carried: Carried,
        object_format: ObjectFormat,
        is_new: bool,
        name: str | None,
        judge: Callable[[VerifiedLog], None],
    ) -> tuple[VerifiedLog, bool]:
        store = carried.log_store
        before, known = store.ids(), store.entries()
        extent = LogExtent.COMPLETE if self._adopting else LogExtent.KEPT
        log = await acquisition.fetch_log(store, object_format, extent)
        assert log.head is not None
        judge(log)
        if is_new:
            chosen = log.policy.policy.name if name is None else require_name(name)
            self._database.require_free(chosen, "", log.repository)
            hide(carried.layout, log)
            carried.set_info(
                RepositoryInfo(
                    log.repository,
                    chosen,
                    MIRROR,
                    source=self._location.url if self._by_id else acquisition.source_url(),
                    former_names=self._policy_names(log, chosen),
                )
            )
        is_broken = bool(before) and not await stoppable(is_complete, carried, before[-1])
        if is_broken:
            self._reporter.note(f"objects of {carried.info.name} are missing here")
        is_news = is_broken or not before or set(known) != set(log.entries)
        waiting = await stoppable(without_objects, carried.git, log)
        if not is_news and not waiting:
            return log, False
        await stoppable(self._context.space.require, carried.layout.git_dir)
        if is_broken or before[-1:] != [log.head]:
            acquisition.gather(log)
            update = Update(
                [Wanted(oid, ref) for ref, oid in log.final_refs.items()],
                have=() if is_broken else before[-1:],
                keep=True,
                doubtful=is_broken,
            )
            await Updater(acquisition, carried.layout, log, store, self._context).bring(update)
        if waiting := await stoppable(without_objects, carried.git, log):
            sources = unique([acquisition.first, *acquisition.sources(log)])
            untaken = UntakenPushes(carried.layout, log, store, sources, self._context)
            still = await untaken.bring(waiting)
            if not is_news and len(still) == len(waiting):
                return log, False
        await unbroken(self._commit, carried, log)
        return log, True

    def _commit(self, carried: Carried, log: VerifiedLog) -> None:
        carried.store_entries(log)
        carried.prepare_settings()
        carried.commit(log)
        close_to_others(carried.layout, self._home.repositories)
        record_complete(carried)

    def settle(self, carried: Carried, log: VerifiedLog) -> Path:
        """Give a new mirror its name and let the node carry it; nothing gives way to it."""
        info = carried.info
        folder = self._home.repositories
        path = folder / f"{info.name}.git"
        for number in itertools.count(1):
            if not os.path.lexists(path):
                break
            suffix = log.repository[:8] if number == 1 else f"{log.repository[:8]}-{number}"
            path = folder / f"{info.name}-{suffix}.git"
        carried.layout.git_dir.rename(path)
        sync_directory(folder)
        self._record(path, info)
        return path
