"""The live conversations of a node: with whom it talks of which repository, and about what.

Each repository that it carries for others, published or mirrored, has a `LiveRepository`. A mirror
calls the mirror it was made from and some others, chosen at random among those that it knows or is
told of in conversations; whoever calls here is told of news once it says which checkpoint it has.

Tracks the repositories, and whom each of them called (`gittorrent.push.call_plan` decides). Rules:
some conversations of a repository are begun from here, so that those who call cannot keep us from
hearing of news. Must not know what is told.
Source: docs/protocol/mirrorsync.md, Live conversations.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError, UnreachableError
from gittorrent.event_log import EventLog
from gittorrent.node.held_bytes import HeldBytes
from gittorrent.node.keeper import Keeper
from gittorrent.node.learned_mirrors import LearnedMirrors
from gittorrent.node.live_notes import LiveNotes
from gittorrent.node.live_repository import OPENED_ANEW, LiveRepository
from gittorrent.node.reel_builder import ReelBuilder
from gittorrent.node.reel_news import ReelNews
from gittorrent.push.call_plan import CALLED, LAST_RETRY, CallPlan
from gittorrent.reel.timing import ReelTimes, ReelTiming
from gittorrent.repository.carried import MIRROR, ORIGIN
from gittorrent.repository.kept_log import KeptLog
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.git_mirror import ConversationContext
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.mirror import NoConversationError
from gittorrent.transfer.off_loop import SlowError
from gittorrent.transfer.opening import converse
from gittorrent.transfer.reaching import known_here, named, unique
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.messages import HaveBundle, News

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gittorrent.ids import RepositoryId
    from gittorrent.node.bringing import Bringing
    from gittorrent.node.catalogue import Catalogue, Served
    from gittorrent.node.live_caller import Caller
    from gittorrent.push.spreading import PeerKey
    from gittorrent.repository.depot import AcceptedPush
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.store.processes import KeepingFigures
    from gittorrent.transfer.git_mirror import GitMirror
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.reaching import Source

LOOK_SECONDS = 1.0
"""How often it is looked for repositories, and for logs that other processes changed."""

SOURCES_SECONDS = 5.0
"""How often it is looked who could be called, as long as there are calls to be made."""

SILENT_SECONDS = 900.0
"""Time for which a web server that holds no conversations is not asked again: it may become a node,
or what kept the conversation from it may be put right."""

WORK_SECONDS = 600.0
"""Time after which a batch is given up that the disk does not finish."""

BEGIN_SECONDS = 10.0
"""Time for which a caller waits until its repository's log was read; it hears no news otherwise."""

CATCH_UP_SECONDS = 5.0
"""Time for which somebody who wants to push waits until this node has caught up; a mirror that
claims what it does not have costs no more."""

_RANDOM = random.SystemRandom()
_log = EventLog(__name__)


class _Live:
    """A repository, its keeper, who makes its reels, and the calls made for it, by URL."""

    def __init__(
        self, repository: LiveRepository, keeper: Keeper, reel_builder: ReelBuilder
    ) -> None:
        self.repository = repository
        self.keeper = keeper
        self.reel_builder = reel_builder
        served = repository.served
        self.reel_news = ReelNews(served.content.reels, served.reading, repository.say_reel)
        self.plan = CallPlan(_RANDOM.randrange)
        self.calls: dict[str, asyncio.Task[None]] = {}
        self.known: dict[str, Source] = {}
        self.known_until = 0.0
        self.learned = LearnedMirrors()
        self.state: object = None


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

    ``is_paused`` tells whether a mirror is left alone; it is set by whoever follows mirrors here.
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
    ) -> None:
        self._catalogue = catalogue
        self._database = database
        self._home = home
        self._node_id = node_id
        self._limits = limits
        self._bringing = bringing
        self._reel_times = reel_times
        self._client_timeouts = ClientTimeouts()
        self._held = HeldBytes()
        self._threads = catalogue.threads
        self._querying = catalogue.threads.executor()
        self._notes = LiveNotes(database, self._querying)
        self._kept: dict[Path, KeptLog] = {}
        self._live: dict[Path, _Live] = {}
        self._mute: set[Path] = set()
        self._unheard: dict[Path, set[Caller]] = {}
        self._changed = asyncio.Event()
        self._tasks = TaskSet()
        self.is_paused: Callable[[RepositoryId], bool] = lambda _: False

    def accepted(self, served: Served, push: AcceptedPush) -> None:
        """Take note that a depot of this node put a push into a log."""
        if push.pack:
            served.content.push_packs.add(push.id, push.pack, push.push.encode())
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

    def keeping(self) -> list[KeepingFigures]:
        """Return how those that this node keeps are doing."""
        found = [live.keeper.figures() for live in self._live.values()]
        return [each for each in found if each is not None]

    async def begun(self, served: Served) -> LiveRepository | None:
        """Return a repository's part once it has begun: who calls right after a start waits.

        None where it has none, or it does not begin in time.
        """
        place = served.carried.layout.git_dir
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEGIN_SECONDS):
                while self._is_live(served) and self.of(served) is None and place not in self._mute:
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

    def _is_live(self, served: Served) -> bool:
        """Tell whether a repository is one for conversations: not one that somebody paused."""
        info = served.info
        return info.role == ORIGIN or (
            info.role == MIRROR and not self.is_paused(info.repository_id)
        )

    async def run(self) -> None:
        """Follow what is carried, and call others, until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                # A mistake with one repository must not end all conversations for good.
                _log.exception("failed", "looking for news failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def stop(self) -> None:
        """End what is under way."""
        await self._tasks.stop()
        await asyncio.gather(*map(self._end, list(self._live)))

    async def look(self) -> None:
        """Begin with what is carried since lately, and notice what other processes did."""
        carried = {
            each.carried.layout.git_dir: each for each in self._catalogue if self._is_live(each)
        }
        for place in self._live.keys() - carried.keys():
            await self._end(place)
        for place, served in carried.items():
            known = self._live.get(place)
            if known is not None and known.repository.served.carried is not served.carried:
                await self._end(place)
            if place not in self._live:
                await self._begin(served)
        await asyncio.gather(*(self._look_at(live) for live in list(self._live.values())))

    async def _begin(self, served: Served) -> None:
        kept, place = self.kept(served), served.carried.layout.git_dir
        executor = self._threads.executor(WORK_SECONDS)
        repository = LiveRepository(
            served, kept, executor, self._bringing.bring, lambda: keeper.look(), self._held
        )
        keeper = Keeper(repository, partial(self._count_sources, served))
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
        else:
            self._mute.discard(place)
            self._live[place] = _Live(
                repository, keeper, ReelBuilder(repository, ReelTiming(self._reel_times))
            )
            for caller in self._unheard.pop(place, ()):
                caller.end(OPENED_ANEW)
        # Those who wait look again, and wait for the next change.
        self._changed.set()
        self._changed = asyncio.Event()

    async def _end(self, place: Path) -> None:
        live = self._live.pop(place)
        for call in live.calls.values():
            call.cancel()
        await asyncio.gather(*live.calls.values(), return_exceptions=True)
        await live.reel_builder.stop()
        await live.keeper.stop()
        await live.repository.stop()

    async def _look_at(self, live: _Live) -> None:
        served = live.repository.served
        with contextlib.suppress(SlowError):
            state = await served.reading(live.repository.kept.state)
            if state != live.state:
                live.state = state
                await live.repository.look_again()
        await self._call_some(live)
        live.keeper.look()
        await self._notes.look(live.repository)
        live.reel_builder.look()
        await live.reel_news.look()

    # -- calling others

    async def _call_some(self, live: _Live) -> None:
        """See to it that there are calls enough, of mirrors or attempts at them."""
        live.calls = {url: call for url, call in live.calls.items() if not call.done()}
        served, now = live.repository.served, asyncio.get_running_loop().time()
        source = _source_of(served)
        first = None if source is None else source.url
        is_enough = len(live.calls) >= CALLED and (first is None or first in live.calls)
        if is_enough or self._database is None:
            return
        if now >= live.known_until:
            live.known = {each.url: each for each in await self._sources(served)}
            live.known_until = now + SOURCES_SECONDS
        known = {**live.learned.sources, **live.known}
        for url in live.plan.due(first, known, now):
            live.calls[url] = asyncio.get_running_loop().create_task(self._talk(live, known[url]))

    async def _sources(self, served: Served) -> Sequence[Source]:
        """Return the mirrors of a repository that can be talked to, the best first."""
        database, info = self._database, served.info
        assert database is not None
        source = _source_of(served)
        found = [] if source is None else [source]
        try:
            found += await self._querying(
                lambda: known_here(
                    info.repository_id, database, self._home, int(time.time()), own_node=False
                )
            )
        except GitTorrentError as error:
            _log.warning("database-slow", "cannot look up mirrors: {reason}", reason=error)
        return [each for each in unique(found) if each.endpoint is not None]

    async def _count_sources(self, served: Served) -> int:
        return 0 if self._database is None else len((await self._sources(served))[:CALLED])

    async def _talk(self, live: _Live, source: Source) -> None:
        """Converse with one mirror, to the end."""
        loop = asyncio.get_running_loop()
        talk = _Talk()
        try:
            await self._converse(live, source, talk)
        except NoConversationError as error:
            talk.again = SILENT_SECONDS
            _log.debug(
                "no-conversations",
                "{repository}: {peer} gives files only: {reason}",
                repository=live.repository.served.info.name,
                peer=source.url,
                reason=error,
            )
        except GitTorrentError as error:
            _log.info(
                "not-talking",
                "{repository}: no conversation with {peer}: {reason}",
                repository=live.repository.served.info.name,
                peer=source.url,
                reason=error,
            )
        finally:
            if talk.again is not None:
                live.plan.refused(source.url, loop.time(), talk.again)
            else:
                lasted = 0.0 if talk.begun is None else loop.time() - talk.begun
                live.plan.ended(source.url, loop.time(), lasted)

    async def _converse(self, live: _Live, source: Source, talk: _Talk) -> None:
        repository = live.repository
        key: PeerKey | None = None

        def on_news(message: News, payload: bytearray | None) -> None:
            if key is not None:
                repository.heard(key, message, payload)
            else:
                early.append(message)  # nothing is sent along before it was asked for

        def on_bundle(_mirror: GitMirror, message: HaveBundle) -> None:
            if key is not None:
                repository.heard(key, message)

        def on_announced(_mirror: GitMirror, size: int) -> None:
            if key is not None:
                repository.announced(key, size)

        early: list[News] = []
        served = repository.served
        from_teller = live.learned.teller(source.trusted)
        context = ConversationContext(
            self._node_id,
            served.content,
            self._limits,
            client_timeouts=self._client_timeouts,
            reading=served.reading,
            on_try=from_teller,
            on_news=on_news,
            on_bundle=on_bundle,
            on_announced=on_announced,
        )
        assert source.endpoint is not None
        mirror = await converse(source.endpoint, context, source.trusted)
        talk.begun = asyncio.get_running_loop().time()
        try:
            key = repository.joined(mirror, is_called=True)
            for message in early:
                repository.heard(key, message)
            await mirror.wait_closed()
        finally:
            if key is not None:
                repository.left(key)
            await mirror.close()
        if mirror.is_myself:
            talk.again = LAST_RETRY
        if not mirror.may_return:
            raise UnreachableError(f"{source.url} does not want to talk")


class _Talk:
    """How a conversation went: when it began, and when there may be use in another one."""

    begun: float | None = None
    again: float | None = None


def _source_of(served: Served) -> Source | None:
    """Return the mirror that one was made from, if it can be talked to."""
    info = served.info
    if info.role == MIRROR and info.source:
        with contextlib.suppress(GitTorrentError):
            return named(parse_location(info.source).require_endpoint())
    return None
