"""Which repositories a node serves, and under which paths.

Tracks a table from request path to repository, made from names and repository ids alone. A
request is looked up in it by exact bytes: no path of the file system is ever built from what a
caller sent, so there is nothing for ``..``, symbolic links or odd encodings to reach.

Rules: every repository answers at ``/NAME.git``, ``/NAME``, ``/ID/NAME.git``, ``/ID/NAME`` and
``/ID``; two repositories of one name are an error. What is in the cache answers at ``/ID`` alone
and gives way to what is carried. Must not know sockets.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.git.repository import NotARepositoryError, find_repository
from gittorrent.node.events import EventLog
from gittorrent.node.repository_content import RepositoryContent
from gittorrent.repository.carried import (
    CACHE,
    Carried,
    NotCarriedError,
    object_format_of,
    open_carried,
)
from gittorrent.repository.layout import Layout
from gittorrent.transfer.off_loop import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gittorrent.ids import RepositoryId
    from gittorrent.repository.carried import RepositoryInfo
    from gittorrent.store.database import CarriedRow, Database
    from gittorrent.transfer.off_loop import SerialExecutor

MAX_DEPTH = 3
"""How far below a directory given repositories are looked for: ``group/user/name.git``."""

RELOAD_SECONDS = 1.0
"""Unknown paths make the node look for new repositories at most this often."""

_log = EventLog(__name__)


class NameTakenError(UsageError):
    """Two repositories to be served have one name."""


class Served(Struct, frozen=True):
    """A repository that is served.

    Args:
        info: what it is to the node.
        carried: the repository.
        content: what can be had of it; use it in ``reading`` alone.
        reading: the lane in which its files are read.
        opening: the lane for what takes longer, such as verifying its policies.
    """

    info: RepositoryInfo
    carried: Carried
    content: RepositoryContent
    reading: SerialExecutor
    opening: SerialExecutor

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
        reload: names what is carried now, asked when a path is unknown; None if that is fixed.
        clock: seconds that never run backwards.
        threads: in which repositories are read.

    Raises:
        NameTakenError: two have one name.
    """

    def __init__(
        self,
        repositories: Iterable[Carried],
        reload: Callable[[set[Path]], list[Carried]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        threads: Threads | None = None,
    ) -> None:
        self.threads = threads or Threads()
        self._looking = self.threads.executor()
        self._change = asyncio.Lock()
        self._reload = reload
        self._clock = clock
        self._next_reload = clock() + RELOAD_SECONDS
        self._served: dict[str, Served] = {}
        self._paths: dict[bytes, Served] = {}
        self._cached: dict[bytes, Served] = {}
        for carried in repositories:
            self.add(carried)

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def __len__(self) -> int:
        return len(self._served)

    def add(self, carried: Carried) -> None:
        """Serve one more repository.

        Raises:
            NameTakenError: another one has its name.
        """
        self._add(self._make(carried))

    def _make(self, carried: Carried) -> Served:
        lanes = (self.threads.executor(), self.threads.executor())
        return Served(carried.info, carried, RepositoryContent(carried), *lanes)

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
        self._served[info.name] = served
        for path in _paths_of(info.repository_id, info.name):
            self._paths.setdefault(path, served)

    def find(self, path: bytes) -> Served | None:
        """Return the repository known at ``path``, byte for byte; None when there is none."""
        found = self._paths.get(path)
        return self._cached.get(path) if found is None else found

    async def seek(self, path: bytes) -> Served | None:
        """Return the repository served at ``path``, perhaps one that is carried since lately.

        Raises:
            SlowError: the disk does not answer.
        """
        found = self.find(path)
        if found is None:
            await self.look()
            found = self.find(path)
        return found

    async def carried(self, repository: RepositoryId) -> Served | None:
        """Return a repository that the node's operator named; None when there is none."""
        await self.look()
        return self._paths.get(f"/{repository}".encode("ascii"))

    async def add_cached(self, carried: Carried) -> Served:
        """Serve a repository of the cache too, under its id and to MirrorSync only."""
        served = await self._looking(lambda: self._make(carried))
        self._cached[served.path.encode("ascii")] = served
        return served

    def drop_cached(self, repository: RepositoryId) -> None:
        """Serve a repository of the cache no more."""
        self._cached.pop(f"/{repository}".encode("ascii"), None)

    async def look(self) -> None:
        """Add what is carried since the last look, if that was long enough ago to look again."""
        reload = self._reload
        if reload is None:
            return
        async with self._change:  # whoever comes while another one looks sees what that finds
            if self._clock() < self._next_reload:
                return
            self._next_reload = self._clock() + RELOAD_SECONDS
            known = {served.carried.layout.git_dir for served in self._served.values()}
            made = await self._looking(lambda: [self._make(carried) for carried in reload(known)])
        for served in made:
            try:
                self._add(served)
            except GitTorrentError as error:
                _log.warning("not-served", "not served: {reason}", reason=error)


def _paths_of(repository: RepositoryId, name: str) -> list[bytes]:
    paths = [f"/{name}.git", f"/{name}", f"/{repository}"]
    paths += [f"/{repository}/{name}.git", f"/{repository}/{name}"]
    return [path.encode("ascii") for path in paths]


def catalogue_of_database(
    database: Database, clock: Callable[[], float] = time.monotonic
) -> Catalogue:
    """Return all that the node carries, and what it will carry later."""

    unusable: set[str] = set()

    def load(known: set[Path]) -> list[Carried]:
        found = []
        for row in database.carried():
            if Path(row.path) in known:
                continue
            carried = _open_row(row, complain=row.path not in unusable)
            if carried is None:
                unusable.add(row.path)
            else:
                found.append(carried)
        return found

    return Catalogue(load(set()), load, clock)


def _open_row(row: CarriedRow, *, complain: bool) -> Carried | None:
    """Open what the database lists; what is gone or damaged must not keep others from serving."""
    path = Path(row.path)
    try:
        if not path.is_dir():
            raise NotCarriedError(f"{path} is not there any more")
        carried = Carried(path, object_format_of(path))
        _ = carried.info
    except (GitTorrentError, KeyError) as error:
        note = _log.warning if complain else _log.debug
        text = "{repository} is not served: {reason}"
        note("not-served", text, repository=row.name, reason=error)
        return None
    return carried


def catalogue_of_paths(paths: Iterable[Path]) -> Catalogue:
    """Return the repositories named, and those below directories named.

    Raises:
        NotCarriedError: a repository was never published or mirrored, or a directory has none.
        NameTakenError: two have one name.
    """
    found: dict[Path, Carried] = {}
    for path in paths:
        if _is_repository(path):
            carried = open_carried(path)
            found.setdefault(carried.layout.git_dir, carried)
            continue
        below = list(_carried_below(path, MAX_DEPTH, set()))
        if not below:
            raise NotCarriedError(
                f"there is no published or mirrored repository in {path}",
                hint="run 'gittorrent publish' on one first",
            )
        for carried in below:
            found.setdefault(carried.layout.git_dir, carried)
    return Catalogue(found.values())


def _is_repository(path: Path) -> bool:
    """Tell whether ``path`` itself is a repository; one that merely contains it does not count."""
    bare = (path / "HEAD").is_file() and (path / "objects").is_dir()
    return bare or (path / ".git").exists()


def _carried_below(directory: Path, depth: int, seen: set[Path]) -> Iterator[Carried]:
    """Yield carried repositories below ``directory``, each once however links lead to it."""
    try:
        entries = sorted(entry for entry in directory.iterdir() if entry.is_dir())
    except OSError as error:
        raise NotCarriedError(f"cannot look into {directory}: {error.strerror}") from error
    for entry in entries:
        real = entry.resolve()
        if real in seen:
            continue
        seen.add(real)
        if _is_repository(entry):
            try:
                found = find_repository(entry)
            except NotARepositoryError as error:
                _log.warning("not-served", "not served: {reason}", reason=error)
                continue
            if Layout(found.git_dir).info.exists():
                yield Carried(found.git_dir, found.object_format)
        elif depth > 1:
            yield from _carried_below(entry, depth - 1, seen)
