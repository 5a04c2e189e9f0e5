"""Looks at the plain git servers that this node tracks, and publishes what they have.

Tracks what is tracked (`gittorrent.store.tracks`), when each is due
(`gittorrent.node.track_schedule`), the looks under way, and who waits for one. Rules: what commands
and the configuration change counts within a second; a look that runs goes on if that changes, and
is cancelled if it is paused or removed; what fails with one upstream never stops the others. Reels
are made when that pays, as of any repository whose keeper's key is here; the first one at once.
Must not know how a look is done (that is `gittorrent.transfer.tracking`).
Source: docs/commands.md, gittorrent track.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.disk_space import UNBOUNDED
from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.git.repository import find_repository, read_config
from gittorrent.git.runner import Git
from gittorrent.ids import SHA1
from gittorrent.node.follow_reports import FollowReports
from gittorrent.node.rounds import in_rounds
from gittorrent.node.track_schedule import GAP, KNOWN_GAP, TrackSchedule
from gittorrent.node.waiters import Waiters, fail, give
from gittorrent.repository import housekeeping
from gittorrent.repository.carried import Carried
from gittorrent.repository.making import make_reels
from gittorrent.store.following import FollowTable
from gittorrent.store.held import HeldKind, HeldTable
from gittorrent.store.signing_time import SigningTime
from gittorrent.store.tracks import Track, TrackTable
from gittorrent.transfer.context import Context
from gittorrent.transfer.off_loop import apart
from gittorrent.transfer.settings import read_settings
from gittorrent.transfer.task_set import TaskSet
from gittorrent.transfer.track_places import own_key, place_of
from gittorrent.transfer.tracking import LOOK_EVERY, RemovedTrackError, Tracking
from gittorrent.wire.control import No, Phase, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from gittorrent.disk_space import Space
    from gittorrent.ids import RepositoryId
    from gittorrent.node.catalogue import Catalogue
    from gittorrent.node.config import TrackConfig
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.store.tracks import TrackState
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.tracking import Tracked
    from gittorrent.wire.control import Answer, LookAt

AT_ONCE = 4
"""Upstreams that are looked at at once, unless the operator says otherwise."""

STEP_SECONDS = 1.0
"""How often it is looked whether somebody changed what is tracked, and what is due."""

_log = EventLog(__name__)


class _Tracked(Struct):
    """An upstream: the look under way, who waits for one, and why the last one failed.

    ``may_go`` tells whether something that is held back was let go when that was last looked at.
    """

    track: Track
    may_go: bool = False
    task: asyncio.Task[None] | None = None
    waiters: Waiters[Tracked] = field(default_factory=Waiters)
    failure: str = ""


def is_asked_for(
    former: Track | None, track: Track, state: TrackState, *, may_go: bool, could_go: bool
) -> bool:
    """Tell whether the operator did something after which an upstream is looked at at once.

    Pure. Whatever else changes in the database, as when a collection brings something, is no reason
    to ask an upstream again whose looks fail: that waits for its time.

    Args:
        former: how it was tracked before; None if it was not.
        track: how it is tracked now.
        state: what looks at it came to.
        may_go: whether something that is held back may go.
        could_go: whether that was so before.
    """
    if former is None:
        return may_go
    if former != track or (may_go and not could_go):
        return True
    return state.failures == 0 and (may_go or not state.settled)


class Tracker:
    """Tracks upstreams for a node.

    Args:
        catalogue: what it serves.
        database: of the node.
        home: of the node.
        limits: of all that it sends and takes.
        named: upstreams of the configuration.
        at_once: upstreams to look at at once; None for the default.
        current: returns the repositories of whose news at mirrors the node hears anyway.
        space: tells whether there is room for what comes.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        database: Database,
        home: Home,
        limits: Limits,
        named: Sequence[TrackConfig],
        at_once: int | None,
        current: Callable[[], Collection[RepositoryId]],
        space: Space = UNBOUNDED,
    ) -> None:
        self._space = space
        self._catalogue = catalogue
        self._database = database
        self._home = home
        self._limits = limits
        self._named = named
        self._at_once = at_once
        self._current = current
        self._table = TrackTable(database)
        self._changes = FollowTable(database)
        self._held = HeldTable(database)
        self._believed = SigningTime(home.clock)
        self._querying = catalogue.threads.executor()
        self._schedule = TrackSchedule(random.random)
        self._known: dict[str, _Tracked] = {}
        self._number: int | None = None
        self._is_configured = False
        self._changing = asyncio.Lock()
        self._running = 0
        self._wake = asyncio.Event()
        self._making = TaskSet()

    def configure(self, named: Sequence[TrackConfig], at_once: int | None) -> None:
        """Go by what a configuration says now; see the class."""
        self._named, self._at_once = named, at_once
        self._is_configured = False
        self._wake.set()

    async def run(self) -> None:
        """Track until cancelled."""
        try:
            await in_rounds(self._step, self._wake, STEP_SECONDS, self._note_mistake)
        finally:
            await self._stop()

    def _note_mistake(self, error: Exception) -> None:
        if isinstance(error, GitTorrentError):
            _log.warning("not-tracking", "cannot track: {reason}", reason=error)
        else:
            _log.exception("failed", "tracking failed")

    async def _stop(self) -> None:
        tasks = [each.task for each in self._known.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._making.stop()

    async def _step(self) -> None:
        if not self._is_configured:
            await self._querying(self._take_configured)
            self._is_configured = True
        await self._look_at_changes()
        self._start_due()

    # -- what is tracked

    def _take_configured(self) -> None:
        """Let the database say what the configuration says; blocks."""
        rows = {row.name: row for row in self._table.all()}
        named = {each.name: each for each in self._named}
        for name, each in named.items():
            former = rows.get(name)
            track = Track(
                name,
                each.url,
                each.every or LOOK_EVERY,
                each.patterns,
                each.key or own_key(self._home, self._warn),
                each.secret or "",
                paused=former is not None and former.paused,
                by_config=True,
            )
            if track != former:
                self._table.put(track)
        for name, row in rows.items():
            if row.by_config and name not in named:
                self._table.remove(name)
                _log.warning(
                    "not-tracked",
                    "{repository} is named by the configuration no more: it stays published, and"
                    " follows {url} no more",
                    repository=name,
                    url=row.url,
                )

    def _warn(self, text: str) -> None:
        _log.warning("note", "{reason}", reason=text)

    async def _look_at_changes(self) -> None:
        """Track what the database says now, if that has changed."""
        async with self._changing:
            number = await self._querying(self._changes.change_number)
            if number == self._number:
                return
            rows = await self._querying(self._read)
            self._number = number
            self._adopt(rows)

    def _read(self) -> list[tuple[Track, TrackState, bool]]:
        """Return what is tracked, what became of it, and whether something held may go."""
        now = int(self._believed.now())  # a clock that leapt ahead lets nothing go
        found = []
        for track in self._table.all():
            held = self._held.of(HeldKind.TRACKED, track.name)
            may_go = any(row.for_judging().is_released(now) for row in held)
            found.append((track, self._table.state(track.name), may_go))
        return found

    def _adopt(self, rows: Sequence[tuple[Track, TrackState, bool]]) -> None:
        now, moment = asyncio.get_running_loop().time(), time.time()
        tracked = {t.name: (t, s, go) for t, s, go in rows if t.every and not t.paused}
        for name in self._known.keys() - tracked.keys():
            self._drop(name)
        before = frozenset(self._known)
        for name, (track, state, may_go) in tracked.items():
            known = self._known.setdefault(name, _Tracked(track))
            former = known.track if name in before else None
            asked = is_asked_for(former, track, state, may_go=may_go, could_go=known.may_go)
            known.track, known.may_go = track, may_go
            # One that was looked at before goes on in its time, however often the node restarts.
            due_in = min(max(0.0, state.next - moment), float(track.every))
            self._schedule.put(name, track.every, now, due_in)
            if asked:
                self._schedule.at_once(name, now)

    def _drop(self, name: str) -> None:
        gone = self._known.pop(name)
        self._schedule.remove(name)
        if gone.task is not None:
            gone.task.cancel()
        gone.waiters.failed(RemovedTrackError(f"{gone.track.url} is not tracked any more"))

    # -- looks

    def _start_due(self) -> None:
        loop = asyncio.get_running_loop()
        while self._running < (self._at_once or AT_ONCE):
            name = self._schedule.take(loop.time())
            if name is None:
                return
            known = self._known[name]
            self._running += 1
            known.task = loop.create_task(self._work(name, known))

    async def _work(self, name: str, known: _Tracked) -> None:
        """Look at one upstream, and plan the next look."""
        waiting = known.waiters.take()
        try:
            done = await self._look(known)
            self._note_success(known, done)
            give(waiting, done)
        except GitTorrentError as error:
            self._note_failure(known, error, waiting)
        except Exception as error:
            _log.exception("failed", "tracking {url} failed", url=known.track.url)
            self._note_failure(known, GitTorrentError(str(error)), waiting)
        finally:
            self._running -= 1
            known.task = None
            await self._plan_next(name)
            self._wake.set()

    async def _look(self, known: _Tracked) -> Tracked:
        track, loop = known.track, asyncio.get_running_loop()
        reports = FollowReports(track.name, known.waiters.tell, loop)
        current = self._current()
        path = place_of(self._home.repositories, track.name)

        async def look() -> Tracked:
            limit = read_settings(read_config(self._home.root)).max_bytes
            context = Context(
                self._database,
                self._home,
                Git(self._home.root),
                reports,
                max_bytes=limit,
                limits=self._limits,
                space=self._space,
            )
            return await Tracking(
                track, context, makes_reels=False, is_current=_is_of(path, current)
            ).look()

        # Judging refs takes as long as it takes: not in this loop.
        done = await apart(look)
        if done.changed:
            await self._after_news(done)
        return done

    async def _after_news(self, done: Tracked) -> None:
        """Let what was published be served at once; of a new repository the reel is made now."""
        carried = Carried(done.path, find_repository(done.path).object_format)
        if done.is_new:
            await self._catalogue.look(at_once=True)
            self._making.start(self._make(done.name, carried))
        else:
            await self._querying(lambda: housekeeping.start_if_due(carried))

    async def _make(self, name: str, carried: Carried) -> None:
        try:
            await self._querying(lambda: self._space.require(carried.layout.git_dir))
            await make_reels(carried, lambda _made: None)
        except GitTorrentError as error:
            _log.warning(
                "no-reel",
                "{repository}: no reel was made: {reason}",
                repository=name,
                reason=error,
            )

    def _note_success(self, known: _Tracked, done: Tracked) -> None:
        known.failure = ""
        published = done.published
        if published is None or not done.changed:
            return
        _log.info(
            "tracked",
            "{repository}: published {count} refs that changed at {url}: checkpoint {push}",
            repository=done.name,
            count=published.changed,
            url=known.track.url,
            push=published.push_id,
        )

    def _note_failure(
        self, known: _Tracked, error: GitTorrentError, waiting: list[asyncio.Future[Tracked]]
    ) -> None:
        """Say why there is no news, once for each reason."""
        if str(error) != known.failure:
            _log.warning(
                "track-failed",
                "{repository}: no news from {url}: {reason}",
                repository=known.track.name,
                url=known.track.url,
                reason=error,
            )
        known.failure = str(error)
        fail([*waiting, *known.waiters.take()], error)

    async def _plan_next(self, name: str) -> None:
        if name not in self._known:
            return
        loop = asyncio.get_running_loop()
        try:
            state = await self._querying(lambda: self._table.state(name))
            self._schedule.done(name, loop.time(), state.failures)
            due = self._schedule.due(name)
            if due is not None:
                moment = int(time.time() + due - loop.time())
                await self._querying(lambda: self._table.plan(name, moment))
        except GitTorrentError as error:
            self._schedule.done(name, loop.time(), 1)
            _log.warning("not-tracking", "cannot note a look: {reason}", reason=error)

    # -- those who say that there is news

    def secret_of(self, name: str) -> str:
        """Return the file of the secret of a repository's webhooks; empty where none are taken."""
        known = self._known.get(name)
        return "" if known is None else known.track.secret

    def hooked(self, name: str, *, is_known: bool) -> None:
        """Look at an upstream soon: a webhook said that it has news; see `Hooked`."""
        gap = KNOWN_GAP if is_known else GAP
        self._schedule.at_once(name, asyncio.get_running_loop().time(), gap)
        self._wake.set()

    async def look_at(self, request: LookAt, tell: Callable[[Answer], None]) -> Sequence[Answer]:
        """Look at an upstream at once, and return when that is done; whoever asked may leave."""
        self._number = None
        await self._look_at_changes()
        known = self._known.get(request.name)
        if known is None:
            return [No(f"nothing is tracked under the name {request.name} by a schedule")]
        tell(Taken(os.getpid()))
        waiting = known.waiters.enter(tell)
        self._schedule.at_once(request.name, asyncio.get_running_loop().time())
        self._wake.set()
        if self._running >= (self._at_once or AT_ONCE):
            tell(Phase("waiting for its turn"))
        return await known.waiters.outcome(waiting, tell)


def _is_of(path: Path, current: Collection[RepositoryId]) -> bool:
    """Tell whether a repository is one of some, by what it says of itself."""
    carried = Carried(path, SHA1)  # git is not asked, which a power cut may keep from answering
    return carried.is_carried and carried.info.repository_id in current
