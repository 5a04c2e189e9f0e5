"""The calls that are made for one repository: whom its node converses with of its own accord.

The shell around `gittorrent.push.call_plan`: finds out which mirrors are known, calls those that
the plan says, and keeps each conversation open as long as it lasts.

Rules: the mirror that one was made from comes first; a mirror that turns out to be this node, or a
server of files, is left alone for long. Must not know what is told.
Source: docs/protocol/mirrorsync.md, Live conversations.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError, UnreachableError
from gittorrent.event_log import EventLog
from gittorrent.node.learned_mirrors import LearnedMirrors
from gittorrent.push.call_plan import CALLED, LAST_RETRY, CallPlan, LookUps
from gittorrent.repository.carried import MIRROR
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.git_mirror import ConversationContext
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.mirror import NoConversationError
from gittorrent.transfer.reaching import is_confidential, known_here, named, unique
from gittorrent.wire.messages import HaveBundle, News

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.node.catalogue import Served
    from gittorrent.node.live_repository import LiveRepository
    from gittorrent.push.spreading import PeerKey
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.git_mirror import GitMirror
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.off_loop import SerialExecutor
    from gittorrent.transfer.reaching import Source
    from gittorrent.transfer.shared_connections import SharedConnections
    from gittorrent.wire.messages import Try

SILENT_SECONDS = 900.0
"""Time for which a web server that holds no conversations is not asked again: it may become a node,
or what kept the conversation from it may be put right."""

_RANDOM = random.SystemRandom()
_log = EventLog(__name__)


class Calling(Struct, frozen=True):
    """What all calls of a node share.

    Args:
        database: whom it knows; None calls nobody.
        home: of the node.
        node_id: how it calls itself.
        limits: of all sending.
        querying: in which the database is asked.
        connections: on which conversations are held.
        client_timeouts: how long others are waited for.
    """

    database: Database | None
    home: Home
    node_id: str
    limits: Limits
    querying: SerialExecutor
    connections: SharedConnections
    client_timeouts: ClientTimeouts = ClientTimeouts()

    async def sources(self, served: Served) -> Sequence[Source]:
        """Return the mirrors of a repository that can be talked to, the best first."""
        database, repository = self.database, served.info.repository_id
        if database is None:
            return ()
        source = _source_of(served)
        found = [] if source is None else [source]
        if served.is_private:
            return found
        try:
            now = int(time.time())
            found += await self.querying(
                lambda: known_here(repository, database, self.home, now, own_node=False)
            )
        except GitTorrentError as error:
            _log.warning("database-slow", "cannot look up mirrors: {reason}", reason=error)
        return [each for each in unique(found) if each.endpoint is not None]


class LiveCalls:
    """The calls of one repository.

    Args:
        shared: what all calls of the node share.
        repository: its part in live conversations.

    ``on_change`` is called when there may be something to `call` before `next_due`.
    """

    def __init__(self, shared: Calling, repository: LiveRepository) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._shared = shared
        self._repository = repository
        self._plan = CallPlan(_RANDOM.randrange)
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._known: dict[str, Source] = {}
        self._look_ups = LookUps()
        source = _source_of(repository.served)
        self._first = None if source is None else source.url
        self._learned = LearnedMirrors()

    async def count_known(self) -> int:
        """Return how many mirrors are known, of those that could be called at once."""
        return len((await self.sources())[:CALLED])

    async def sources(self) -> Sequence[Source]:
        """Return the mirrors that are known, of those that can be talked to."""
        return await self._shared.sources(self._repository.served)

    async def look(self) -> None:
        """See to it that there are calls enough, of mirrors or attempts at them."""
        if not self.call():
            return
        loop = asyncio.get_running_loop()
        found = {each.url: each for each in await self._shared.sources(self._repository.served)}
        self._look_ups.done(loop.time(), is_other=found.keys() != self._known.keys())
        self._known = found
        self.call()

    def call(self) -> bool:
        """Begin the calls that are due, of mirrors known; tells whether to `look` for others."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        ended = [url for url, call in self._calls.items() if call.done()]
        for url in ended:
            del self._calls[url]
        if ended:
            self._look_ups.call_ended(now)
        first = self._first
        if self._is_enough:
            return False
        if self._look_ups.is_due(now):
            return True
        # Whoever is told of in conversations about what is private proved nothing.
        is_private = self._repository.served.is_private
        known = self._known if is_private else {**self._learned.sources, **self._known}
        for url in self._plan.due(first, known, now):
            self._calls[url] = loop.create_task(self._talk(known[url]))
            self._calls[url].add_done_callback(lambda _: self.on_change())
        return False

    @property
    def _is_enough(self) -> bool:
        """Whether nobody else is to be called, whoever is known."""
        first = self._first
        is_enough = len(self._calls) >= CALLED and (first is None or first in self._calls)
        return is_enough or self._shared.database is None

    def next_due(self, now: float) -> float:
        """Return when to `call` again at the latest, as things stand."""
        if self._is_enough:
            return math.inf
        return min(self._look_ups.due, self._plan.next_due(now))

    async def stop(self) -> None:
        """End all calls."""
        for call in self._calls.values():
            call.cancel()
        await asyncio.gather(*self._calls.values(), return_exceptions=True)

    async def _talk(self, source: Source) -> None:
        """Converse with one mirror, to the end."""
        loop = asyncio.get_running_loop()
        talk = _Talk()
        try:
            await self._converse(source, talk)
        except NoConversationError as error:
            talk.again = SILENT_SECONDS
            _log.debug(
                "no-conversations",
                "{repository}: {peer} gives files only: {reason}",
                repository=self._repository.served.info.name,
                peer=source.url,
                reason=error,
            )
        except GitTorrentError as error:
            _log.info(
                "not-talking",
                "{repository}: no conversation with {peer}: {reason}",
                repository=self._repository.served.info.name,
                peer=source.url,
                reason=error,
            )
        finally:
            if talk.again is not None:
                self._plan.refused(source.url, loop.time(), talk.again)
            else:
                lasted = 0.0 if talk.begun is None else loop.time() - talk.begun
                self._plan.ended(source.url, loop.time(), lasted)

    async def _converse(self, source: Source, talk: _Talk) -> None:
        repository = self._repository
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
        served, shared = repository.served, self._shared
        from_teller = self._learned.teller(source.trusted)

        def on_try(mirror: GitMirror, message: Try) -> None:
            from_teller(mirror, message)
            self.on_change()

        context = ConversationContext(
            shared.node_id,
            served.content,
            shared.limits,
            client_timeouts=shared.client_timeouts,
            reading=served.reading,
            on_try=on_try,
            on_news=on_news,
            on_bundle=on_bundle,
            on_announced=on_announced,
        )
        assert source.endpoint is not None
        mirror = await shared.connections.converse(source.endpoint, context, source.trusted)
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
    """Return the mirror that one was made from, if it can be talked to.

    Of what is private nobody is asked in the clear.
    """
    info = served.info
    if info.role == MIRROR and info.source:
        with contextlib.suppress(GitTorrentError):
            source = named(parse_location(info.source).require_endpoint())
            return source if is_confidential(source) or not served.is_private else None
    return None
