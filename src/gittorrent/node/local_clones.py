"""Downloads for clones of this machine, once for all who want the same, and seeds it afterwards.

Tracks what is in the cache, which is served and announced until it expires; the downloads under way
are in `gittorrent.node.clone_downloads`.

Rules: what is carried already is not cached; everything in the cache expires; the cache is bounded
in bytes, and what was unused longest is evicted first. A clone is not trusted: logs, manifests and
parts that it hands over are verified as if they came from the net.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.disk_space import UNBOUNDED
from gittorrent.errors import UnreachableError
from gittorrent.event_log import EventLog
from gittorrent.git.runner import Git
from gittorrent.ids import format_of
from gittorrent.node.access import OPERATOR
from gittorrent.node.cache_filling import fill_from_clone, fill_from_mirrors
from gittorrent.node.clone_downloads import (
    CloneDownload,
    CloneDownloads,
    NotKeptError,
    RelayedReports,
)
from gittorrent.node.rounds import next_round
from gittorrent.repository.cache import Cache
from gittorrent.repository.carried import object_format_of
from gittorrent.store.privacy import is_private
from gittorrent.store.processes import KeptRepository
from gittorrent.transfer.context import Context
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.off_loop import SlowError, apart
from gittorrent.transfer.peer_manager import Sharing
from gittorrent.transfer.reaching import named
from gittorrent.transfer.seeding import Seed
from gittorrent.wire.control import At, Done

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.disk_space import Space
    from gittorrent.ids import RepositoryId
    from gittorrent.node.catalogue import Catalogue, Served
    from gittorrent.repository.cache import Kept
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.location import Location
    from gittorrent.transfer.slot_queue import SlotQueue
    from gittorrent.wire.control import Answer, Fetch, Keep

KEEP_SECONDS = 24 * 3600
"""How long something is kept after its last use, unless the operator says otherwise."""

KEEP_BYTES = 10 << 30
"""Bytes kept at most, unless the operator says otherwise."""

LOOK_SECONDS = 1.0
"""How often it is looked whether something's time has passed."""

EMPTY_SECONDS = 10.0
"""The same while nothing is kept, so that nothing can be past its time but what crashes left."""

TAKE_SECONDS = 3600.0
"""Time a clone's reels may take to be verified and taken over: packs are read whole."""

_log = EventLog(__name__)


class KeepOptions(Struct, frozen=True):
    """What a node keeps for clones of its machine.

    Args:
        seconds: after the last use; 0 keeps nothing.
        max_bytes: of packs, all together.
    """

    seconds: int = KEEP_SECONDS
    max_bytes: int = KEEP_BYTES


class LocalCloneService:
    """Keeps things for clones of this machine.

    Args:
        home: of the node.
        database: of the node; None keeps nothing.
        catalogue: what the node serves.
        options: how much and how long.
        limits: of what the node sends and takes.
        slots: upload slots of the node.
        clock: seconds since 1970.
        space: tells whether there is room for what would be kept.
    """

    def __init__(
        self,
        home: Home,
        database: Database | None,
        catalogue: Catalogue,
        options: KeepOptions,
        limits: Limits,
        slots: SlotQueue,
        clock: Callable[[], float] = time.time,
        space: Space = UNBOUNDED,
    ) -> None:
        self._space = space
        self._home = home
        self._database = database
        self._catalogue = catalogue
        self._options = options
        self._limits = limits
        self._slots = slots
        self._clock = clock
        self._cache = Cache(home.cache)
        self._disk = catalogue.threads.executor()
        self._taking = catalogue.threads.executor(TAKE_SECONDS)
        self._files = threading.RLock()
        self._shown: list[Kept] = []
        self._downloads = CloneDownloads(self._bring)
        self._seeding: dict[RepositoryId, asyncio.Task[None]] = {}
        self._changing = asyncio.Lock()
        self._is_empty = False  # by the last look, and nothing was kept since
        self._next_look = 0.0

    async def run(self) -> None:
        """Serve what is kept from earlier on, and remove what is past its time, until cancelled."""
        try:
            while True:
                try:
                    await self.sweep()
                except SlowError as error:
                    _log.warning("cache-failed", "the cache is not swept: {reason}", reason=error)
                await next_round(LOOK_SECONDS)
        finally:
            await self._stop()

    def change(self, options: KeepOptions) -> None:
        """Keep other amounts, for other times, of what is used from now on."""
        self._options = options

    def report(self) -> list[KeptRepository]:
        """Return what was kept at the last look, for people and programs."""
        now = self._clock()
        return [
            KeptRepository(
                repository_id=kept.carried.info.repository_id,
                name=kept.carried.info.name,
                bytes=kept.size,
                seconds_left=max(0, int(kept.until - now)),
                path=str(kept.carried.layout.git_dir),
            )
            for kept in self._shown
        ]

    async def fetch(self, request: Fetch, tell: Callable[[Answer], None]) -> Sequence[Answer]:
        """Have what leads a repository to a push.

        Args:
            request: of a clone of this machine.
            tell: hears of the progress.

        Raises:
            GitTorrentError: it cannot be had, and says why.
        """
        head = request.head
        carried = await self._catalogue.carried(request.repository)
        if carried is not None:
            if not await carried.reading(partial(carried.content.has_push, head)):
                raise NotKeptError("the repository is carried here and not that far yet")
            return [At(os.fsencode(carried.carried.layout.git_dir)), Done(0)]
        if self._database is None or not self._options.seconds:
            raise NotKeptError("this node keeps nothing for clones")
        served = await self._kept(request.repository)
        if served is None and request.base is not None:
            raise NotKeptError("nothing is kept that could be added to")
        if served is None or not await served.reading(partial(served.content.has_push, head)):
            await self._downloads.join(request, tell)
        granted = await self._use(request.repository, self._options.seconds)
        path = await self._path(request.repository)
        return [At(os.fsencode(path)), Done(granted)]

    async def keep(self, request: Keep) -> Sequence[Answer]:
        """Take a clone's reels over and go on giving them to others.

        Raises:
            GitTorrentError: they do not hold, and says why.
        """
        if await self._catalogue.carried(request.repository) is not None:
            return [Done(request.seconds)]
        database = self._database
        if database is None or not self._options.seconds:
            raise NotKeptError("this node keeps nothing for clones")
        location = self._location(request.url, request.repository)
        source = Path(os.fsdecode(request.directory))
        async with self._changing:
            if request.repository in self._downloads:
                raise NotKeptError("it is being downloaded just now")
            take = partial(self._take_over, request.repository, source, location, database)
            await self._taking(take)
        seconds = min(request.seconds or self._options.seconds, self._options.seconds)
        granted = await self._use(request.repository, seconds)
        _log.info(
            "handed-over",
            "seeding {repository} for a clone, for {seconds} s",
            repository=request.repository,
            seconds=granted,
        )
        return [Done(granted)]

    def _take_over(
        self, repository: RepositoryId, source: Path, location: Location, database: Database
    ) -> None:
        try:
            target = self._cache.open(repository, object_format_of(source))
            room = partial(self._make_room, repository)
            fill_from_clone(target, source, location, database, room)
        except OSError as error:
            raise NotKeptError(f"{source} cannot be taken over: {error}") from error

    def _location(self, url: str, repository: RepositoryId) -> Location:
        return replace(parse_location(url), expected=repository)

    async def _bring(self, request: Fetch, download: CloneDownload) -> None:
        assert self._database is not None
        object_format = format_of(request.head)
        if object_format is None:
            raise UnreachableError("no such push")
        context = Context(
            self._database,
            self._home,
            Git(self._home.root),
            RelayedReports(download, asyncio.get_running_loop()),
            Sharing(),
            max_bytes=self._options.max_bytes,
            limits=self._limits,
            ask_own_node=False,
            space=self._space,
        )
        repository = request.repository
        async with self._changing:
            target = await self._disk(partial(self._cache.open, repository, object_format))
        room = partial(self._make_room, repository)
        location = self._location(request.url, repository)
        begun = self._clock()
        # Verifying a log takes as long as it takes, and so does storing parts: not in this loop.
        await apart(lambda: fill_from_mirrors(target, location, context, room))
        await self._use(repository, self._options.seconds)
        kept = await self._disk(partial(self._cache.find, repository))
        _log.info(
            "cache-filled",
            "{repository} is kept for clones: {bytes} bytes",
            repository=repository,
            bytes=0 if kept is None else kept.size,
            seconds=round(self._clock() - begun, 1),
        )

    def _make_room(self, repository: RepositoryId, size: int) -> None:
        """Let the longest unused go until so many bytes more of a repository fit; in any thread.

        Raises:
            NotKeptError: they do not, whatever goes.
            NoRoomError: the disk is full, or nearly so.
        """
        self._space.require(self._home.cache, size=size)
        if size > self._options.max_bytes:
            raise NotKeptError(f"it has {size >> 20} MiB, more than is kept here")
        with self._files:
            kept = self._cache.kept()
            total = sum(each.size for each in kept)
            for each in kept:
                other = each.carried.info.repository_id
                if total + size <= self._options.max_bytes:
                    return
                if other != repository and other not in self._downloads:
                    _log.info(
                        "cache-dropped",
                        "{repository} is not kept any longer: {reason}",
                        repository=other,
                        reason="others need the room",
                    )
                    self._cache.drop(other)
                    total -= each.size
        if total + size > self._options.max_bytes:
            raise NotKeptError("there is no room for more")

    async def _use(self, repository: RepositoryId, seconds: int) -> int:
        """Keep a repository for some time from now on, and see to it that others get it."""
        now, self._is_empty = self._clock(), False
        until = await self._disk(partial(self._cache.keep, repository, now + seconds))
        await self._serve(repository)
        return int(until - now)

    async def _kept(self, repository: RepositoryId) -> Served | None:
        kept = await self._disk(partial(self._cache.find, repository))
        if kept is None or kept.until <= self._clock():
            return None
        return self._catalogue.find(f"/{repository}".encode("ascii"))

    async def _path(self, repository: RepositoryId) -> Path:
        kept = await self._disk(partial(self._cache.find, repository))
        if kept is None:
            raise NotKeptError("it did not stay")
        return kept.carried.layout.git_dir

    async def _serve(self, repository: RepositoryId) -> None:
        """Serve and announce something that is kept, if that is not done already."""
        if repository in self._seeding:
            return
        kept = await self._disk(partial(self._cache.find, repository))
        if kept is None:
            return
        served = await self._catalogue.add_cached(kept.carried)
        if repository in self._seeding:  # somebody else did so meanwhile
            return
        location = parse_location(served.info.source)
        mirror = None if location.endpoint is None else named(location.endpoint)
        seed = Seed(
            served.content,
            kept.carried,
            lambda: mirror,
            self._limits,
            self._slots,
            reading=served.reading,
        )
        self._seeding[repository] = asyncio.get_running_loop().create_task(seed.run())

    def _look(
        self, busy: frozenset[RepositoryId], hidden: frozenset[RepositoryId]
    ) -> tuple[list[RepositoryId], list[Kept]]:
        """Let go of what is past its time, or private by now; returns that, and what is kept."""
        with self._files:
            gone = self._cache.sweep(self._clock(), busy)
            for repository in {each.carried.info.repository_id for each in self._cache.kept()}:
                is_hidden = repository in hidden or self._is_private(repository)
                if is_hidden and repository not in busy:
                    self._cache.drop(repository)
                    gone.append(repository)
            return gone, self._cache.kept()

    def _is_private(self, repository: RepositoryId) -> bool:
        """Tell whether a repository is private by what this machine verified of it."""
        return self._database is not None and is_private(self._database, repository)

    def _hidden(self) -> frozenset[RepositoryId]:
        """Return what was kept at the last look, and is carried as private by now."""
        kept = [each.carried.info.repository_id for each in self._shown]
        found = [self._catalogue.find(f"/{each}".encode("ascii"), OPERATOR) for each in kept]
        return frozenset(each.info.repository_id for each in found if each and each.is_private)

    async def sweep(self) -> None:
        """Serve what is kept, and let go of what is past its time."""
        now = asyncio.get_running_loop().time()
        if self._is_empty and now < self._next_look:
            return
        self._is_empty, self._next_look = True, now + EMPTY_SECONDS
        await self._catalogue.look()
        async with self._changing:
            busy = self._downloads.repositories
            gone, self._shown = await self._disk(partial(self._look, busy, self._hidden()))
        for repository in gone:
            _log.info(
                "cache-dropped",
                "{repository} is not kept any longer: {reason}",
                repository=repository,
                reason="its time has passed, or it is private now",
            )
        kept = {each.carried.info.repository_id for each in self._shown}
        self._is_empty = self._is_empty and not (kept or busy)
        for repository in kept - busy:
            await self._serve(repository)
        for repository in set(self._seeding) - kept - busy:
            await self._unserve(repository)

    async def _unserve(self, repository: RepositoryId) -> None:
        self._catalogue.drop_cached(repository)
        task = self._seeding.pop(repository)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _stop(self) -> None:
        await self._downloads.stop()
        # At once, for each says goodbye to its mirrors.
        await asyncio.gather(*(self._unserve(repository) for repository in list(self._seeding)))
