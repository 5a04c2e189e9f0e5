"""Follows what this node mirrors: brings first copies, looks for news, as long as the node runs.

Tracks the updates under way; what is followed and who waits is `gittorrent.node.followed`, when
each is due `gittorrent.node.look_schedule`.

Rules: what commands and the configuration change counts within a second. A look asks the source
for its list and nothing more while that says what it said at the last update; so a round without
news costs one question, and no write. Whoever waits for a repository may leave; the work goes on.
What fails with one repository never stops the others. Must not know how updates are made (that is
`gittorrent.transfer.mirroring`).
Source: docs/commands.md, gittorrent serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.disk_space import UNBOUNDED
from gittorrent.errors import GitTorrentError, NoRoomError
from gittorrent.event_log import EventLog
from gittorrent.node.access import OPERATOR
from gittorrent.node.collection_rounds import CollectionRounds
from gittorrent.node.config import CarryConfig
from gittorrent.node.follow_plan import Plan, Records, Target, plan
from gittorrent.node.follow_reports import FollowReports
from gittorrent.node.followed import FollowedSet
from gittorrent.node.look_records import LookRecords
from gittorrent.node.look_schedule import LOOK_EVERY, LookSchedule
from gittorrent.node.mirror_updates import MirrorUpdates
from gittorrent.node.rounds import in_rounds
from gittorrent.repository.carried import require_name
from gittorrent.store.following import FollowRow, FollowTable, WantedRow
from gittorrent.store.processes import FollowFigures
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.mirroring import (
    Mirrored,
    PublishedHereError,
    RemovedError,
)
from gittorrent.wire.control import Phase, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.disk_space import Space
    from gittorrent.ids import RepositoryId
    from gittorrent.node.catalogue import Catalogue, Served
    from gittorrent.node.collection_plan import Brought, CollectionPlan
    from gittorrent.node.followed import Followed
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.limiter import Limits
    from gittorrent.wire.control import Answer, Follow

AT_ONCE = 4
"""Repositories that are brought or looked at at once, unless the operator says otherwise."""

STEP_SECONDS = 1.0
"""How often it is looked whether somebody changed what is followed, and what is due."""

_log = EventLog(__name__)


class Follower:
    """Follows the mirrors of a node.

    Args:
        catalogue: what it serves.
        database: of the node.
        home: of the node.
        limits: of all that it sends and takes.
        carry: what the configuration says.
        is_live: tells whether a conversation tells of news of a repository.
        space: tells whether there is room for what comes.

    ``on_paused`` is called when other mirrors may be paused than before.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        database: Database,
        home: Home,
        limits: Limits,
        carry: CarryConfig,
        is_live: Callable[[Served], bool],
        space: Space = UNBOUNDED,
    ) -> None:
        self._space = space
        self._for_room: set[str] = set()
        self._catalogue = catalogue
        self._database = database
        self._home = home
        self._limits = limits
        self._carry = carry
        self._is_live = is_live
        self._table = FollowTable(database)
        self._querying = catalogue.threads.executor()
        at_once = carry.at_once or AT_ONCE
        self._collections = CollectionRounds(database, home, self._querying, at_once)
        self._turns = self._collections.turns
        self._updates = MirrorUpdates(catalogue, database, home, limits, space)
        self._schedule = LookSchedule(random.random, carry.look_every or LOOK_EVERY)
        self._followed = FollowedSet()
        self._silent: set[str] = set()
        self._records = LookRecords(self._table, self._querying)
        self._number: int | None = None
        self._changing = asyncio.Lock()
        self._running = 0
        self._wake = asyncio.Event()
        self.on_paused: Callable[[], None] = lambda: None

    # -- what is followed

    def is_paused(self, repository: RepositoryId) -> bool:
        """Tell whether a mirror is left as it is: paused, named no more, or beyond a limit."""
        return self._followed.is_paused(repository)

    def note_silent(self, repository: RepositoryId) -> None:
        """Take note that no conversation tells of a repository any more: it is looked at soon."""
        now = asyncio.get_running_loop().time()
        if self._schedule.silent(repository, now):
            self._silent.add(repository)
            self._records.planned(
                repository, (self._schedule.due(repository) or now) - now, is_live=False
            )

    def configure(self, carry: CarryConfig) -> None:
        """Go by what a configuration says now."""
        self._carry = carry
        self._schedule.set_look_every(carry.look_every or LOOK_EVERY)
        self._turns.set_at_once(carry.at_once or AT_ONCE)
        self._number = None
        self._wake.set()

    def report(self) -> FollowFigures:
        """Return what there is to say of all of it; costs the same, however much is followed."""
        return self._followed.report(self._running)

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            await in_rounds(self._step, self._wake, STEP_SECONDS, self._note_mistake)
        finally:
            await self._stop()

    def _note_mistake(self, error: Exception) -> None:
        if isinstance(error, GitTorrentError):
            _log.warning("not-following", "cannot look for news: {reason}", reason=error)
        else:
            _log.exception("failed", "following failed")

    async def _step(self) -> None:
        await self._look_at_changes()
        if await self._collections.let_go(asyncio.get_running_loop().time()):
            self._number = None
        self._look_for_room()
        self._take_turns()
        self._start_due()
        await self._records.write_if_due(asyncio.get_running_loop().time())

    def _look_for_room(self) -> None:
        """Let all be tried again at once that failed for want of room, when there is some."""
        if self._for_room and not self._space.short():
            now = asyncio.get_running_loop().time()
            for key in self._for_room:
                if key in self._followed:
                    self._schedule.at_once(key, now)
            self._for_room.clear()

    async def _stop(self) -> None:
        tasks = [each.task for each in self._followed if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(GitTorrentError):  # the next node looks again
            await self._records.write()

    async def _look_at_changes(self) -> None:
        """Follow what is wanted and carried now, if that has changed."""
        async with self._changing:
            number = await self._querying(self._table.change_number)
            if number == self._number and not await self._collections.has_news():
                return
            named = self._carry.repositories
            urls = [each.location.url for each in named]
            came = self._turns.ended()
            records, collections = await self._querying(partial(self._read_all, urls))
            self._number = number
            self._adopt(plan(records, named, collections))
            self._turns.measured(came)

    def _read_all(self, urls: Sequence[str]) -> tuple[Records, CollectionPlan]:
        """Read what there is to follow, after collections have been looked at."""
        records = self._collections.read(self._carry, partial(self._read, urls))
        return records, self._collections.plan(self._carry, records)

    def _read(self, urls: Sequence[str]) -> Records:
        wanted = self._table.wanted()
        known = {}
        for url in {*urls, *(parse_location(row.url).url for row in wanted)}:
            repository = self._database.known_url(url)
            if repository is not None:
                known[url] = repository
        return Records(self._database.carried(), self._table.all_followed(), wanted, known)

    def _adopt(self, found: Plan) -> None:
        """Go by a plan."""
        for repository in found.dropped.keys() - self._followed.plan.dropped.keys():
            _log.warning(
                "not-followed",
                "{repository} is named by the configuration no more, nor by any collection that is"
                " followed: it stays here and is served,"
                " and is not followed; 'gittorrent remove {repository}' deletes it",
                repository=found.dropped[repository],
                repository_id=repository,
            )
        new, gone = self._followed.adopt(found)
        self.on_paused()
        for key in gone:
            self._schedule.remove(key)
            self._turns.leave(key)
            self._silent.discard(key)
        now = asyncio.get_running_loop().time()
        for key, target in new.items():
            self._schedule.add(key, now, is_here=target.is_here, priority=target.priority)
        for key in self._followed.overdue():
            self._schedule.at_once(key, now)

    # -- looks and updates

    def _take_turns(self) -> None:
        """Let what waited for others of collections be tried again."""
        now = asyncio.get_running_loop().time()
        for key in self._turns.next():
            self._put_back(key, now)

    def _put_back(self, key: str, now: float) -> None:
        target = self._followed[key].target
        self._schedule.put_back(key, now, is_here=target.is_here, priority=target.priority)

    def _start_due(self) -> None:
        loop = asyncio.get_running_loop()
        while self._running < (self._carry.at_once or AT_ONCE):
            key = self._schedule.take(loop.time())
            if key is None:
                return
            followed = self._followed[key]
            if self._is_told_again(key, followed):
                self._plan_next(key, followed, has_news=False, failed=False)
                continue
            brought, room = followed.target.brought, None
            if brought is not None and not followed.target.is_here:
                room = self._begin_turn(brought)
                if room is None:
                    self._turns.wait(key)
                    continue
            self._running += 1
            followed.task = loop.create_task(self._work(key, followed, room))
            followed.task.add_done_callback(partial(self._note_end, followed, brought, room))

    def _is_told_again(self, key: str, followed: Followed) -> bool:
        """Tell whether a look was due only since a conversation ended, and there is one again."""
        was_silent = key in self._silent
        self._silent.discard(key)
        is_wanted = bool(followed.waiters) or followed.is_overdue
        return was_silent and not is_wanted and self._is_told(followed.target)

    def _is_told(self, target: Target) -> bool:
        """Tell whether a conversation tells of news of something that is followed."""
        served = None if target.repository is None else self._served(target.repository)
        return served is not None and self._is_live(served)

    def _note_end(
        self,
        followed: Followed,
        brought: Brought | None,
        room: int | None,
        task: asyncio.Task[None],
    ) -> None:
        """Give back the place of work that was cancelled before it began: it could not itself."""
        if followed.task is not task:
            return
        followed.task = None
        self._running -= 1
        if brought is not None and room is not None:
            self._turns.end(brought, came=False)
        self._wake.set()

    def _begin_turn(self, brought: Brought) -> int | None:
        """Begin the turn of something that a collection brings; returns how many bytes it may take.

        None if it has to wait.
        """
        room = self._turns.room(brought)
        if room is not None:
            self._turns.begin(brought, room)
        return room

    async def _work(self, key: str, followed: Followed, room: int | None) -> None:
        """Look at a repository, or bring it, and plan the next look.

        Args:
            key: of it.
            followed: it.
            room: bytes that it may take, if its turn began that a collection brings it.
        """
        has_news = failed = waits = followed.is_overdue = False
        target = followed.target
        brought = target.brought
        try:
            if not followed.waiters and await self._updates.is_unchanged(target):
                self._note_success(followed, target.location.url)
            elif brought is not None:
                room = self._begin_turn(brought) if room is None else room
                waits = room is None
                if room is not None:
                    update = partial(self._update, followed, room)
                    has_news = (await self._collections.bring(brought, update)).changed
                    self._number = None if has_news else self._number  # there is less room by now
            else:
                done = await self._update(followed, target.max_size)
                has_news = done.changed
        except (PublishedHereError, RemovedError) as error:
            failed = True
            followed.waiters.failed(error)
            await self._forget_wanted(followed.target)
        except GitTorrentError as error:
            failed = True
            if isinstance(error, NoRoomError) and self._space.short():
                self._for_room.add(key)
            await self._note_failure(followed, error)
        except Exception:
            failed = True
            _log.exception("failed", "following {url} failed", url=followed.target.location.url)
        finally:
            self._running -= 1
            followed.task = None
            if waits and self._followed.has(key, followed):
                self._turns.wait(key)
            elif not waits:
                self._plan_next(key, followed, has_news=has_news, failed=failed)
            self._wake.set()

    def _plan_next(self, key: str, followed: Followed, *, has_news: bool, failed: bool) -> None:
        target = followed.target
        now = asyncio.get_running_loop().time()
        is_live = self._is_told(target)
        self._schedule.done(key, now, has_news=has_news, failed=failed, is_live=is_live)
        # They came while the source was only asked whether it has news.
        if followed.waiters or followed.is_overdue:
            self._schedule.at_once(key, now)
        due = self._schedule.due(key)
        if due is not None and target.is_here and target.repository is not None:
            self._records.planned(target.repository, due - now, is_live=is_live)
        if not target.is_here and not failed:
            self._number = None  # it is carried from now on, under its id

    def _served(self, repository: RepositoryId) -> Served | None:
        return self._catalogue.find(f"/{repository}".encode("ascii"), OPERATOR)

    async def _update(self, followed: Followed, max_size: int | None) -> Mirrored:
        """Bring a repository up to date; every mirror that is known may be asked.

        Args:
            followed: it.
            max_size: bytes of packs to take; None for what holds for all.
        """
        target = followed.target
        loop = asyncio.get_running_loop()
        reports = FollowReports(self._name_of(target), followed.waiters.tell, loop)
        most = self._carry.max_size if max_size is None else max_size
        done = await self._updates.update(target, reports, most)
        await self._querying(partial(self._record, target, done))
        if self._served(done.repository_id) is None:
            await self._catalogue.look(at_once=True)  # whoever waits may ask for it at once
        if done.changed or not followed.is_settled or followed.failure:
            _log.info(
                "updated" if done.changed else "up-to-date",
                "{repository} "
                + ("updated" if done.changed else "is up to date")
                + ": checkpoint {push} from {source}",
                repository=done.name,
                repository_id=done.repository_id,
                push=done.push_id,
                source=done.source,
            )
        self._followed.set_failure(followed, "")
        followed.is_settled = True
        followed.waiters.done(done)
        return done

    def _record(self, target: Target, done: Mirrored) -> None:
        """Record that what was wanted is here, and whether the configuration wanted it."""
        if target.wanted:
            self._table.unwant(target.wanted)
        how = self._table.followed(done.repository_id)
        by_collection = how.by_collection and target.brought is not None
        wanted = FollowRow(how.paused, target.by_config, by_collection, how.leaving)
        if how != wanted:
            self._table.follow(done.repository_id, wanted)

    def _note_success(self, followed: Followed, source: str) -> None:
        repository = followed.target.repository
        assert repository is not None
        self._followed.set_failure(followed, "")
        followed.is_settled = True
        self._records.succeeded(repository, source)

    async def _note_failure(self, followed: Followed, error: GitTorrentError) -> None:
        """Say why there is no news, once for each reason.

        What somebody asked for who waits and is told is not tried again.
        """
        target = followed.target
        if followed.waiters:
            await self._forget_wanted(target)
        if str(error) != followed.failure:
            _log.warning(
                "check-failed",
                "no news from {url}: {reason}; tried again later",
                url=target.location.url,
                reason=error,
            )
        self._followed.set_failure(followed, str(error))
        followed.waiters.failed(error)

    async def _forget_wanted(self, target: Target) -> None:
        if target.wanted:
            await self._querying(partial(self._table.unwant, target.wanted))

    def _name_of(self, target: Target) -> str:
        served = None if target.repository is None else self._served(target.repository)
        return served.info.name if served is not None else target.name or target.location.url

    # -- those who wait

    async def follow(self, request: Follow, tell: Callable[[Answer], None]) -> Sequence[Answer]:
        """Carry and follow a repository from now on; return once it is here and up to date.

        Whoever asked may leave before.

        Args:
            request: of a program of this machine.
            tell: hears of the progress.

        Raises:
            GitTorrentError: it cannot be asked for like that.
        """
        location = parse_location(request.url)
        name = require_name(request.name) if request.name else ""
        await self._querying(partial(self._want, request.url, name))
        self._number = None
        await self._look_at_changes()
        repository = location.expected or self._database.known_url(location.url)
        followed = self._followed.find(location.url, repository)
        if followed is None:
            raise PublishedHereError(f"{request.url} is published from here; it follows no mirror")
        tell(Taken(os.getpid()))
        waiting = followed.waiters.enter(tell)
        key, now = followed.target.key, asyncio.get_running_loop().time()
        if self._turns.leave(key):
            self._put_back(key, now)
        self._schedule.at_once(key, now)
        self._wake.set()
        if self._running >= (self._carry.at_once or AT_ONCE):
            tell(Phase("waiting for its turn"))
        return await followed.waiters.outcome(waiting, tell)

    def _want(self, url: str, name: str) -> None:
        """Record that a repository is to be followed, as usual if it is carried already."""
        location = parse_location(url)
        repository = location.expected or self._database.known_url(location.url)
        self._table.want(WantedRow(url, name), int(time.time()))
        if repository is not None:
            self._table.follow(repository, FollowRow())
            self._collections.include(repository)
