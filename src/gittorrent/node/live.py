"""The live conversations of a node: with whom it talks of which repository, and about what.

Each repository that it carries for others, published or mirrored, has a `LiveRepository`. A mirror
calls the mirror it was made from and some others, chosen at random among those that it knows or is
told of in conversations; whoever calls here is told of news once it says which checkpoint it has.

Tracks the repositories; whom each of them calls is for `live_calls`. Rules: some conversations of a
repository are begun from here, so that those who call cannot keep us from hearing of news. Must not
know what is told.
Source: docs/protocol/mirrorsync.md, Live conversations.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.disk_space import UNBOUNDED
from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.node.due_times import AT_ONCE, DueTimes
from gittorrent.node.held_bytes import HeldBytes
from gittorrent.node.keeper import Keeper
from gittorrent.node.keeper_clock import MAX_ASKED, KeeperClock
from gittorrent.node.live_calls import Calling, LiveCalls
from gittorrent.node.live_notes import LiveNotes
from gittorrent.node.live_repository import OPENED_ANEW, LiveRepository
from gittorrent.node.log_watch import LogWatch, watched
from gittorrent.node.open_repositories import MOST_OPEN, OpenRepositories
from gittorrent.node.reel_builder import ReelBuilder
from gittorrent.node.reel_news import ReelNews
from gittorrent.node.rounds import in_rounds
from gittorrent.reel.timing import ReelTimes, ReelTiming
from gittorrent.repository.carried import MIRROR, ORIGIN
from gittorrent.repository.kept_log import KeptLog
from gittorrent.repository.readers_file import close_to_others
from gittorrent.store.signing_time import SigningTime
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.off_loop import SlowError
from gittorrent.transfer.shared_connections import SharedConnections
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.limits import MAX_PUSH_PACK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gittorrent.disk_space import Space
    from gittorrent.ids import RepositoryId
    from gittorrent.node.bringing import Bringing
    from gittorrent.node.catalogue import Catalogue, Served
    from gittorrent.node.live_caller import Caller
    from gittorrent.node.log_watch import Seen
    from gittorrent.repository.depot import AcceptedPush
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.store.processes import KeepingFigures, LackingFigures
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.reaching import Source

LOOK_SECONDS = 1.0
"""How often it is looked for repositories, and for logs that other processes changed."""

WORK_SECONDS = 600.0
"""Time after which a batch is given up that the disk does not finish."""

BEGIN_SECONDS = 10.0
"""Time for which a caller waits until its repository's log was read; it hears no news otherwise."""

MAX_LACKING = 32
"""Repositories that lack objects which a node names."""

MAX_CURRENT = 1024
"""Repositories that a node says it is up to date with: four times those that it talks about at
least. Their ids are written down each second; of what is left out mirrors are asked once more."""

PART_SECONDS = 2.0
"""Time for a look at the log of what turned private, until conversations end in any case."""

CATCH_UP_SECONDS = 5.0
"""Time for which somebody who wants to push waits until this node has caught up; a mirror that
claims what it does not have costs no more."""

_log = EventLog(__name__)


class _Live:
    """A repository, the calls made for it, its keeper, and who makes its reels."""

    def __init__(
        self,
        repository: LiveRepository,
        calls: LiveCalls,
        keeper: Keeper,
        reel_builder: ReelBuilder,
    ) -> None:
        self.repository = repository
        self.keeper = keeper
        self.reel_builder = reel_builder
        served = repository.served
        self.reel_news = ReelNews(served.content.reels, served.reading, repository.say_reel)
        self.calls = calls
        self.watched = watched(served)
        self.seen: Seen | None = None

    async def stop(self) -> None:
        """End all of it."""
        await self.calls.stop()
        await self.reel_builder.stop()
        await self.keeper.stop()
        await self.repository.stop()

    def next_due(self, now: float) -> float:
        """Return when it is to be looked at again though nothing changed, on the loop's clock."""
        return min(
            self.calls.next_due(now),
            self.keeper.next_look,
            self.reel_builder.next_look,
            self.repository.doubts_until,
        )


class Live:
    """The live conversations of a node.

    Args:
        catalogue: what it serves.
        database: whom it knows; None calls nobody.
        home: of the node.
        node_id: how it calls itself.
        limits: of all sending.
        bringing: brings objects that do not come with pushes.
        reel_times: when reels are made of what a keeper signs here.
        most_open: repositories that are open though nobody uses them.
        space: tells whether there is room for what comes, and is made.

    ``is_paused`` tells whether a mirror is left alone; it is set by whoever follows mirrors here,
    who calls `note_paused` when it answers otherwise. ``on_silent`` is called when no conversation
    is left about a repository.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        database: Database | None,
        home: Home,
        node_id: str,
        limits: Limits,
        bringing: Bringing,
        reel_times: ReelTimes = ReelTimes(),  # noqa: B008 (it is frozen)
        most_open: int = MOST_OPEN,
        space: Space = UNBOUNDED,
    ) -> None:
        self._space = space
        self._home = home
        self._catalogue = catalogue
        self._bringing = bringing
        self._reel_times = reel_times
        self._held = HeldBytes()
        self._threads = catalogue.threads
        querying = catalogue.threads.executor()
        self._connections = SharedConnections(limits, ClientTimeouts())
        self._calling = Calling(database, home, node_id, limits, querying, self._connections)
        self._keeper_clock = KeeperClock(SigningTime(home.clock))
        self._notes = LiveNotes(database, querying)
        self._kept: dict[Path, KeptLog] = {}
        self._live: dict[Path, _Live] = {}
        self._mute: set[Path] = set()
        self._unheard: dict[Path, set[Caller]] = {}
        self._changed = asyncio.Event()
        self._is_stopped = False
        self._tasks = TaskSet()
        self._ending = TaskSet()
        self._opening: OpenRepositories[Path] = OpenRepositories(most_open)
        self._wanted = asyncio.Event()
        self._logs: dict[Path, Path] = {}
        self._watch = LogWatch(catalogue.threads)
        self._due: DueTimes[Path] = DueTimes()
        self._agreeing: dict[Path, LiveRepository] = {}
        self._keeping: dict[Path, Keeper] = {}
        self._carried: dict[Path, Served] = {}
        self._carried_at: int | None = None  # as many changes of the catalogue
        self.is_paused: Callable[[RepositoryId], bool] = lambda _: False
        self.on_silent: Callable[[RepositoryId], None] = lambda _: None

    def accepted(self, served: Served, push: AcceptedPush) -> None:
        """Take note that a depot of this node put a push into a log."""
        if push.pack is not None and len(push.pack) <= MAX_PUSH_PACK_BYTES:
            served.content.push_packs.add(push.id, push.pack, push.push.encode())
        self._open_for(served)
        repository = self.of(served)
        if repository is not None:
            self._tasks.start(repository.look_again())

    async def catch_up(self, served: Served) -> None:
        """Take in newer checkpoints that are known of, as far as they come in time.

        Who pushes at a mirror that is behind would sign something that is out of date.
        """
        repository = self.of(served)
        if repository is not None:
            await repository.catch_up(CATCH_UP_SECONDS)

    async def part(self, served: Served) -> None:
        """See to it that whoever talks of what may be private by now is told so, and no more.

        Whatever notices first that it is private is to wait for this before it ends conversations.
        """
        repository = self.of(served)
        if repository is not None and not repository.served.is_private:
            try:
                async with asyncio.timeout(PART_SECONDS):
                    await repository.look_again()
            except (GitTorrentError, OSError) as error:  # a TimeoutError is an OSError
                _log.debug(
                    "not-live",
                    "nobody is told that {repository} is private: {reason}",
                    repository=served.info.name,
                    reason=error,
                )

    def is_talking(self, served: Served) -> bool:
        """Tell whether there is a conversation about a repository."""
        repository = self.of(served)
        return repository is not None and repository.peers > 0

    # -- repositories

    def kept(self, served: Served) -> KeptLog:
        """Return the log of a repository, which its depot and its keeper use, too."""
        place = served.carried.layout.git_dir
        found = self._kept.get(place)
        if found is None or found.carried is not served.carried:
            found = self._kept[place] = KeptLog(served.carried)
        return found

    def of(self, served: Served) -> LiveRepository | None:
        """Return a repository's part, if it has begun."""
        found = self._live.get(served.carried.layout.git_dir)
        return None if found is None else found.repository

    def current(self) -> list[RepositoryId]:
        """Return repositories of which a mirror that was called has nothing new."""
        found = itertools.islice(self._agreeing.values(), MAX_CURRENT)
        return [each.served.info.repository_id for each in found]

    def keeping(self) -> list[KeepingFigures]:
        """Return how those that this node keeps are doing."""
        found = [keeper.figures() for keeper in self._keeping.values()]
        return [each for each in found if each is not None]

    def lacking(self) -> list[LackingFigures]:
        """Return those that lack objects of pushes; of many only some."""
        found = (live.repository.lacking() for live in self._live.values())
        return list(itertools.islice((each for each in found if each is not None), MAX_LACKING))

    def heard_of_mirror(self, served: Served) -> None:
        """Take note of a mirror of a repository that was listed."""
        repository = self.of(served)
        if repository is not None:
            repository.heard_of_mirror()

    async def begun(self, served: Served) -> LiveRepository | None:
        """Return a repository's part once it has begun: who calls right after a start waits.

        None where it has none, or it does not begin in time.
        """
        self._open_for(served)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEGIN_SECONDS):
                while self._may_begin(served) and self.of(served) is None:
                    await self._changed.wait()
        return self.of(served)

    def note_unheard(self, served: Served, caller: Caller) -> None:
        """Take note of a caller that told of news which nobody takes in: it calls again later."""
        self._unheard.setdefault(served.carried.layout.git_dir, set()).add(caller)

    def forget_unheard(self, served: Served, caller: Caller) -> None:
        """Take note that such a caller is gone."""
        place = served.carried.layout.git_dir
        waiting = self._unheard.get(place, set())
        waiting.discard(caller)
        if not waiting:
            self._unheard.pop(place, None)

    def _may_begin(self, served: Served) -> bool:
        """Tell whether a repository's part is there, or may be in a moment."""
        is_mute = served.carried.layout.git_dir in self._mute
        return self._is_live(served) and not is_mute and not self._is_stopped

    def _is_live(self, served: Served) -> bool:
        """Tell whether a repository is one for conversations: not one that somebody paused."""
        info = served.info
        return info.role == ORIGIN or (
            info.role == MIRROR and not self.is_paused(info.repository_id)
        )

    async def run(self) -> None:
        """Follow what is carried, and call others, until cancelled."""
        await in_rounds(
            self.look,
            self._wanted,
            LOOK_SECONDS,
            lambda _error: _log.exception("failed", "looking for news failed"),
        )

    async def stop(self) -> None:
        """End what is under way; who waits for a repository to begin waits no longer."""
        self._is_stopped = True
        self._changed.set()
        await self._tasks.stop()
        await asyncio.gather(*map(self._end, list(self._live)))
        await asyncio.gather(*self._ending)
        await self._connections.stop()

    def note_paused(self) -> None:
        """Take note that other mirrors are paused than before."""
        self._carried_at = None

    async def look(self) -> None:
        """Begin with what is carried since lately, and notice what other processes did.

        While nothing is new this costs a look at the files of what is open, and of some of the
        others, whatever is carried.
        """
        if self._carried_at != self._catalogue.changes:
            await self._carry()
        now = asyncio.get_running_loop().time()
        if self._keeper_clock.is_due(now):
            self._tasks.start(self._keeper_clock.look(self._clock_sources, may_wait=True))
        for place in self._opening.to_close(now, self._live, self._is_used):
            await self._end(place)
            self._kept.pop(place, None)
        for place in self._opening.to_open(now, self._live):
            await self._begin(self._carried[place])
        await self._watch_closed()
        await self._watch_open()

    async def _clock_sources(self) -> Sequence[Source]:
        """Return mirrors that could be asked what time it is."""
        some = [each.calls for each in itertools.islice(self._live.values(), MAX_ASKED)]
        return [source for calls in some for source in await calls.sources()]

    @property
    def next_due(self) -> float:
        """When one that is open is to be looked at, though none of its files changes."""
        return self._due.next_due

    async def _carry(self) -> None:
        """Compare what is carried with what is open."""
        carried = {
            each.carried.layout.git_dir: each for each in self._catalogue if self._is_live(each)
        }
        self._carried, self._carried_at = carried, self._catalogue.changes
        self._opening.carry(sorted(carried, key=lambda place: carried[place].info.role != ORIGIN))
        for gone in self._logs.keys() - carried.keys():
            del self._logs[gone]
        for place, live in list(self._live.items()):
            if place not in carried or live.repository.served.carried is not carried[place].carried:
                if place in carried and carried[place].is_private:
                    await self.part(live.repository.served)
                await self._end(place)

    def _is_used(self, place: Path) -> bool:
        """Tell whether somebody talks of a repository, or this node signs its checkpoints."""
        live = self._live[place]
        return live.repository.peers > 0 or live.keeper.is_keeping

    def _open_for(self, served: Served) -> None:
        """Have a repository opened that somebody needs."""
        if self.of(served) is None and self._is_live(served):
            self._opening.ask(served.carried.layout.git_dir)
            self._wanted.set()

    async def _watch_closed(self) -> None:
        """Notice what other processes did to some of the repositories that are not open."""
        places = self._opening.to_look_at(self._live)
        if not places:
            return
        for place in places:
            if place not in self._logs:
                self._logs[place] = self._carried[place].carried.log_store.path
        paths = [self._logs[place] for place in places]
        with contextlib.suppress(SlowError):
            states = await self._watch.states(paths)
            for place, state in zip(places, states, strict=True):
                self._opening.saw(place, state)

    async def _begin(self, served: Served) -> None:
        kept, place = self.kept(served), served.carried.layout.git_dir
        executor = self._threads.executor(WORK_SECONDS)
        repository = LiveRepository(
            served, kept, executor, self._bringing.bring, lambda: keeper.look(), self._held,
            self._space,
        )  # fmt: skip
        calls = LiveCalls(self._calling, repository)
        keeper = Keeper(repository, calls.count_known, calls.sources, self._keeper_clock)
        try:
            await repository.begin()
        except GitTorrentError as error:
            _log.debug(
                "not-live",
                "{repository} has no live conversations: {reason}",
                repository=served.info.name,
                reason=error,
            )
            self._mute.add(place)
            self._opening.could_not(place, asyncio.get_running_loop().time())
        else:
            self._mute.discard(place)
            self._opening.opened(place, asyncio.get_running_loop().time())
            timing = ReelTiming(self._reel_times)
            reel_builder = ReelBuilder(repository, timing, space=self._space)
            self._live[place] = _Live(repository, calls, keeper, reel_builder)
            self._due.no_later(place, AT_ONCE)
            repository.on_change = partial(self._note_change, place)
            calls.on_change = partial(self._due.no_later, place, AT_ONCE)
            for caller in self._unheard.pop(place, ()):
                caller.end(OPENED_ANEW)
        # Those who wait look again, and wait for the next change.
        self._changed.set()
        self._changed = asyncio.Event()

    def _note_change(self, place: Path) -> None:
        """Take note that something happened with a repository that is, or was, open."""
        live = self._live.get(place)
        if live is not None:
            self._due.no_later(place, AT_ONCE)
            if live.keeper.is_keeping:
                self._keeping[place] = live.keeper
            self._opening.used(place, asyncio.get_running_loop().time())
            if not live.repository.peers:
                self.on_silent(live.repository.served.info.repository_id)

    async def _end(self, place: Path) -> None:
        live = self._live.pop(place)
        live.calls.on_change = live.repository.on_change = lambda: None
        self._due.remove(place)
        self._agreeing.pop(place, None)
        self._keeping.pop(place, None)
        self._notes.forget(place)
        self._opening.closed(place)
        self.on_silent(live.repository.served.info.repository_id)
        # Whoever waits for this may be cancelled, as when the node stops: it is ended all the same.
        await asyncio.shield(self._ending.start(live.stop()))

    async def _watch_open(self) -> None:
        """Look at each repository that is open and whose files changed, or for which it is time."""
        places, open_now = list(self._live), list(self._live.values())
        files = [(live.watched, live.seen) for live in open_now]
        news = {places[at]: seen for at, seen in await self._watch.changed(files)}
        now = asyncio.get_running_loop().time()
        due = dict.fromkeys([*news, *self._due.take(now)])
        looks = []
        try:
            for place in due:
                live, seen = self._live[place], news.get(place)
                live.keeper.look()
                live.reel_builder.look()
                has_head = self._notes.is_new_head(live.repository)
                if live.calls.call() or seen is not None or has_head:
                    looks.append(self._look_at(live, seen))
            await asyncio.gather(*looks)
        finally:  # whatever went wrong with one, all are looked at again
            for place in due:
                self._note_state(place)
        await self._notes.renew(self._agreeing)

    async def _look_at(self, live: _Live, seen: Seen | None) -> None:
        former = live.seen
        if seen is not None:
            live.seen = seen
            if seen.log is None:  # moved or removed: the catalogue lets it go, or finds it again
                return
            if former is None or seen.log != former.log:
                await live.repository.look_again()
                live.keeper.look()
                served = live.repository.served
                # It may have turned private: nobody else's to read, nor to hear of.
                close = partial(close_to_others, served.carried.layout, self._home.repositories)
                await served.reading(close)
                await self._catalogue.renew(served)
                await self._notes.note_privacy(live.repository)
            if former is not None and seen.config != former.config:
                live.keeper.note_config()
        await live.calls.look()
        await self._notes.note_head(live.repository)
        if seen is not None:
            live.reel_builder.look()
            await live.reel_news.look()

    def _note_state(self, place: Path) -> None:
        """Take note of what there is to say of a repository, and when it is to be looked at."""
        live = self._live.get(place)
        if live is None:
            return
        now = asyncio.get_running_loop().time()
        self._due.no_later(place, live.next_due(now))
        if live.repository.agrees_with:
            self._agreeing[place] = live.repository
        else:
            self._agreeing.pop(place, None)
