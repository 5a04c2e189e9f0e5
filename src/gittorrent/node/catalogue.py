"""Which repositories a node serves, and under which paths.

Tracks a table from request path to repository, made from names and repository ids alone. A
request is looked up in it by exact bytes: no path of the file system is ever built from what a
caller sent, so there is nothing for ``..``, symbolic links or odd encodings to reach.

Rules: every repository answers at ``/NAME.git``, ``/NAME``, ``/ID/NAME.git``, ``/ID/NAME`` and
``/ID``, and likewise under names that it had before, where no other has them now; two repositories
of one name are an error. What is in the cache answers at ``/ID`` alone and gives way to what is
carried. Private repositories are in a table of their own, where nobody looks for strangers: they
are not there for these, and finding that out takes what it takes for a path that nobody uses.
Repositories are moved, renamed and removed while a node runs: one that is not what it was is
dropped when somebody asks for it, by its own executor, and looked for again; one that is not
carried any more at the next look. Must not know sockets, nor where the names of what is carried
come from.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import FileState, file_state
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.event_log import EventLog
from gittorrent.node.access import OPERATOR, STRANGER, Access
from gittorrent.node.rounds import next_round
from gittorrent.repository.carried import CACHE, Carried, object_format_of
from gittorrent.repository.layout import Layout
from gittorrent.repository.readers_file import readers_here
from gittorrent.transfer.deflated_logs import KeptLogs
from gittorrent.transfer.off_loop import SlowError, Threads
from gittorrent.transfer.repository_content import RepositoryContent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from gittorrent.ids import RepositoryId
    from gittorrent.repository.carried import RepositoryInfo
    from gittorrent.transfer.off_loop import SerialExecutor
    from gittorrent.trust.keys import KeyRef

RELOAD_SECONDS = 1.0
"""How often a node looks what is carried."""

REST = 0.8
"""Share of that for which unknown paths do not make it look again; rounds are not quite even."""

CHECK_SECONDS = 10.0
"""Seconds between two checks whether an unrequested repository was moved."""

CHECKED_AT_ONCE = 256
"""Repositories of which that is checked each time."""

_log = EventLog(__name__)


class NameTakenError(UsageError):
    """Two repositories to be served have one name."""


class Listing(Struct, frozen=True):
    """What is carried, compared with what a catalogue knows.

    Args:
        fresh: repositories that it does not know.
        gone: git directories that it knows and that are not carried any more.
    """

    fresh: Sequence[Carried] = ()
    gone: Collection[Path] = ()


class Served(Struct, frozen=True):
    """A repository that is served.

    Args:
        info: what it is to the node.
        carried: the repository.
        content: what can be had of it; use it in ``reading`` alone.
        reading: the executor that reads its files.
        opening: the executor for what takes longer, such as verifying its policies.
        seen: the files that say what it is to the node, and who may read it, as they were when
            that was read.
        readers: the keys that may read it; None where everybody may.
    """

    info: RepositoryInfo
    carried: Carried
    content: RepositoryContent
    reading: SerialExecutor
    opening: SerialExecutor
    seen: tuple[FileState | None, ...]
    readers: frozenset[KeyRef] | None = None

    def is_current(self) -> bool:
        """Tell whether it is where it was and what it was; not in the event loop."""
        return _files_of(self.carried, self.info.repository_id) == self.seen

    @property
    def is_private(self) -> bool:
        """Tell whether strangers may not know of it."""
        return self.readers is not None

    @property
    def is_cached(self) -> bool:
        """Tell whether it is kept for a while only, and not for git's own clients."""
        return self.info.role == CACHE

    @property
    def path(self) -> str:
        """The path under which it is announced."""
        if self.is_cached:
            return f"/{self.info.repository_id}"
        return f"/{self.info.name}.git"


class Catalogue:
    """The repositories a node serves.

    Args:
        repositories: those known at the start.
        reload: compares what is carried with the git directories known; asked when a path is
            unknown, and now and then. Without it that is fixed, but for what becomes of each.
        clock: seconds that never run backwards.
        threads: in which repositories are read.
        reload_seconds: how often it may be asked.
        has_all: whether ``reload`` brings whatever the node comes to carry.

    ``changes`` counts what was added and dropped, so that nobody need compare all that is served.

    Raises:
        NameTakenError: two have one name.
    """

    def __init__(
        self,
        repositories: Iterable[Carried],
        reload: Callable[[set[Path]], Listing] | None = None,
        clock: Callable[[], float] = time.monotonic,
        threads: Threads | None = None,
        reload_seconds: float = RELOAD_SECONDS,
        has_all: bool = False,
    ) -> None:
        repositories = list(repositories)
        self.threads = Threads() if threads is None else threads
        self._kept_logs = KeptLogs()
        self._looking = self.threads.executor()
        self._change = asyncio.Lock()
        self._looked = asyncio.Event()
        places = [carried.layout.git_dir for carried in repositories]
        self._reload = reload or partial(still_carried, places)
        self._reload_seconds = reload_seconds
        self._has_all = has_all
        self._clock = clock
        self._next_reload = clock() + reload_seconds
        self._served: dict[str, Served] = {}
        self._paths: dict[bytes, Served] | None = None
        self._private: dict[bytes, Served] = {}
        self._cached: dict[bytes, Served] = {}
        self._refused: set[Path] = set()
        self._checking = self.threads.executor()
        self._places: dict[Path, Served] = {}
        self._turns: deque[Path] = deque()
        self.changes = 0
        self._known: set[Path] = set()  # all places, as they were
        self._known_at = 0  # after so many changes
        for carried in repositories:
            self.add(carried)

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def __len__(self) -> int:
        return len(self._served)

    @property
    def names(self) -> list[str] | None:
        """The names of what is served now; None where all that is carried is, or soon will be."""
        return None if self._has_all else sorted(self._served)

    def add(self, carried: Carried) -> None:
        """Serve one more repository.

        Raises:
            NameTakenError: another one has its name.
        """
        self._add(self._make(carried))

    def _make(self, carried: Carried) -> Served:
        executors = (self.threads.executor(), self.threads.executor())
        # The files first: should one be replaced in between, that is seen at the next request.
        info, content = carried.info, RepositoryContent(carried, kept_logs=self._kept_logs)
        seen = _files_of(carried, info.repository_id)
        readers = readers_here(carried.layout, info.repository_id)
        return Served(carried.info, carried, content, *executors, seen, readers)

    def _add(self, served: Served) -> None:
        info = served.info
        other = self._served.get(info.name)
        if other is not None:
            here, there = served.carried.layout.git_dir, other.carried.layout.git_dir
            if here == there:
                return
            raise NameTakenError(
                f"{there} and {here} are both published as {info.name}",
                hint="serve one of them, or give them nodes of their own",
            )
        self.changes += 1
        self._served[info.name] = served
        self._places[served.carried.layout.git_dir] = served
        self._paths = None

    def _drop(self, served: Served) -> bool:
        """Serve a repository no more; tells whether that was still to be done."""
        known = self._served.get(served.info.name)
        if known is None or known.carried is not served.carried:
            return False
        self.changes += 1
        del self._served[served.info.name]
        self._places.pop(served.carried.layout.git_dir, None)
        self._paths = None
        return True

    def _table(self) -> dict[bytes, Served]:
        """Return what is public by path, made again after a change, as what is private is."""
        if self._paths is None:
            self._paths, self._private = {}, {}
            for served in self._served.values():
                table = self._private if served.is_private else self._paths
                for path in _paths_of(served.info.repository_id, served.info.name):
                    table.setdefault(path, served)
            for served in self._served.values():
                table = self._private if served.is_private else self._paths
                for name in served.info.former_names:
                    for path in _paths_of(served.info.repository_id, name):
                        table.setdefault(path, served)
        return self._paths

    def find(self, path: bytes, access: Access = STRANGER) -> Served | None:
        """Return the repository known at ``path``, byte for byte but for slashes at its end.

        Args:
            path: of it.
            access: what whoever asks has proved.

        Returns:
            None where there is none that they may know of.
        """
        path = path.rstrip(b"/")  # as git daemon has it; clones have such URLs
        found = self._table().get(path)
        if found is not None:
            return found
        if not access.is_stranger:
            private = self._private.get(path)
            if private is not None and access.may_read(private.info.repository_id, private.readers):
                return private
        cached = self._cached.get(path)
        # What was kept while it was public gives way to what is private by now.
        return None if cached is None or path in self._private else cached

    async def seek(self, path: bytes, access: Access = STRANGER) -> Served | None:
        """Return the repository served at ``path``, as it is now.

        It may be carried since lately, or have been moved or renamed, or be private by now.

        Args:
            path: of it.
            access: what the caller has proved.

        Raises:
            SlowError: the disk does not answer.
        """
        found = self.find(path, access)
        if found is None:
            await self.look()
        elif not found.is_cached and not await found.reading(found.is_current):
            await self.look(at_once=self._drop(found))
        else:
            return found
        return self.find(path, access)

    async def renew(self, served: Served) -> None:
        """Take note that a repository may have turned private, or public, by its log."""
        if not await served.reading(served.is_current):
            await self.look(at_once=self._drop(served))

    async def await_path(self, path: bytes, access: Access = STRANGER) -> Served | None:
        """Return the repository served at ``path``; one that is unknown may have just been carried.

        Who was told by `publish` that it is published asks within the second. That costs others
        who ask for what is not here a moment.

        Args:
            path: of it.
            access: what the caller has proved.

        Raises:
            SlowError: the disk does not answer.
        """
        before = self._looked
        found = await self.seek(path, access)
        if found is None and self._has_all and self._looked is before:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * self._reload_seconds):
                    await before.wait()
            found = self.find(path, access)
        return found

    async def carried(self, repository: RepositoryId) -> Served | None:
        """Return a repository that the node's operator named; None when there is none."""
        await self.look()
        found = await self.seek(f"/{repository}".encode("ascii"), OPERATOR)
        return None if found is None or found.is_cached else found

    async def add_cached(self, carried: Carried) -> Served:
        """Serve a repository of the cache too, under its id and to MirrorSync only."""
        served = await self._looking(lambda: self._make(carried))
        self._cached[served.path.encode("ascii")] = served
        return served

    def drop_cached(self, repository: RepositoryId) -> None:
        """Serve a repository of the cache no more."""
        self._cached.pop(f"/{repository}".encode("ascii"), None)

    async def follow(self) -> None:
        """Keep the table up to date with what is carried, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_again_and_again(self.look, self._reload_seconds))
            group.create_task(_again_and_again(self.check, CHECK_SECONDS))

    async def check(self) -> None:
        """Drop some repositories that were moved or removed, without waiting for a request.

        They take turns, so that a node that carries thousands does not read them all each time.
        """
        if not self._turns:
            self._turns.extend(self._places)
        places = [self._turns.popleft() for _ in range(min(CHECKED_AT_ONCE, len(self._turns)))]
        found = [self._places[place] for place in places if place in self._places]
        moved: list[Served] = []
        with contextlib.suppress(SlowError):  # nobody needs it now
            moved = await self._checking(lambda: [s for s in found if not s.is_current()])
        dropped = [self._drop(served) for served in moved]
        if any(dropped):
            await self.look(at_once=True)

    async def look(self, *, at_once: bool = False) -> None:
        """Add what is carried since the last look, and drop what is carried no more.

        Args:
            at_once: whatever the last look; otherwise only if that is long enough ago.
        """
        async with self._change:  # whoever comes while another one looks sees what that finds
            if not at_once and self._clock() < self._next_reload:
                return
            self._next_reload = self._clock() + REST * self._reload_seconds
            if self._known_at != self.changes:
                self._known, self._known_at = set(self._places), self.changes
            known = self._known
            gone, made = await self._looking(lambda: self._compare(known))
            for place in gone:
                if place in self._places:
                    self._drop(self._places[place])
        for served in made:
            await self._admit(served)
        looked, self._looked = self._looked, asyncio.Event()
        looked.set()

    def _compare(self, known: set[Path]) -> tuple[Collection[Path], list[Served]]:
        listing = self._reload(known)
        made = []
        for carried in listing.fresh:
            try:
                made.append(self._make(carried))
            except (GitTorrentError, OSError) as error:
                # It may have been moved on just now. One that is damaged keeps nobody else away.
                self._complain(carried.layout.git_dir, error)
        return listing.gone, made

    def _complain(self, place: Path, error: Exception) -> None:
        """Say once why a repository that was found is not served."""
        note = _log.debug if place in self._refused else _log.warning
        note("not-served", "not served: {reason}", reason=error)
        self._refused.add(place)

    async def _admit(self, served: Served) -> None:
        """Serve a repository that was found, unless its name is taken."""
        place = served.carried.layout.git_dir
        other = self._served.get(served.info.name)
        if other is not None and not await other.reading(other.is_current):
            self._drop(other)
        try:
            self._add(served)
        except NameTakenError as error:
            self._complain(place, error)
        else:
            self._refused.discard(place)


async def _again_and_again(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Do something every so many seconds, whether it works or not."""
    while True:
        try:
            await work()
        except (GitTorrentError, OSError) as error:
            _log.warning("damaged", "cannot look for repositories: {reason}", reason=error)
        await next_round(seconds)


def still_carried(places: Iterable[Path], known: set[Path]) -> Listing:
    """Compare places that never change with what a catalogue knows."""
    fresh = []
    for place in places:
        if place not in known and Layout(place).info.exists():
            fresh.append(Carried(place, object_format_of(place)))
    return Listing(fresh)


def _files_of(carried: Carried, repository: RepositoryId) -> tuple[FileState | None, ...]:
    """Return how the files are by which it is known what a repository is to the node."""
    layout = carried.layout
    return file_state(layout.info), file_state(layout.readers(repository))


def _paths_of(repository: RepositoryId, name: str) -> list[bytes]:
    paths = [f"/{name}.git", f"/{name}", f"/{repository}"]
    paths += [f"/{repository}/{name}.git", f"/{repository}/{name}"]
    return [path.encode("ascii") for path in paths]
