"""Seeds the reels of a clone, or of a repository in the node's cache.

A seed listens on a port of its own, tells the mirror it names where that is, and is introduced by
it to downloaders. By notices that mirror and those it lists tell of the seed in their lists too,
for some minutes at a time; when it ends it withdraws them.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError, LocalError
from gittorrent.store.processes import GivenFigures
from gittorrent.transfer.git_mirror import ConversationContext, GitMirror
from gittorrent.transfer.off_loop import Threads
from gittorrent.transfer.opening import converse
from gittorrent.transfer.peer_admission import PeerAdmission
from gittorrent.transfer.peer_announcer import PeerAnnouncer
from gittorrent.transfer.peer_listener import PeerListener
from gittorrent.transfer.slot_queue import SlotQueue
from gittorrent.wire.reelname import ReelName

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from typing import Any

    from gittorrent.ids import PushId
    from gittorrent.repository.carried import Carried
    from gittorrent.transfer.content_source import ContentSource
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.off_loop import Reading
    from gittorrent.transfer.reaching import Source
    from gittorrent.wire.messages import HaveBundle

RETRY_SECONDS = 30.0
"""Time between attempts to reach the mirror again."""

END_SECONDS = 0.6
"""Time for all goodbyes together: a seed that is ended is to end at once."""

MAX_CALLERS = 80
"""Conversations that others may have with a seed."""


class Seed:
    """Gives what a repository holds.

    Args:
        content: gives it.
        carried: the repository, prepared (`gittorrent.transfer.preparing`).
        where: returns the mirror to be introduced by, which may change; None if there is none.
        limits: of what is sent.
        slots: upload slots, if they are shared with other conversations of this process.
        note: tells the user something worth a line.
        reading: where the content source is read; an executor of its own by default.
    """

    def __init__(
        self,
        content: ContentSource,
        carried: Carried,
        where: Callable[[], Source | None],
        limits: Limits,
        slots: SlotQueue | None = None,
        note: Callable[[str], None] = lambda _text: None,
        reading: Reading | None = None,
    ) -> None:
        self._content = content
        self._reading = reading or Threads().executor()
        self._carried = carried
        self._where = where
        self._callers: set[GitMirror] = set()
        self._slots = slots or SlotQueue()
        self._exchange = ConversationContext(
            secrets.token_hex(20), content, limits, self._slots, reading=self._reading
        )
        self._peer_listener = PeerListener(
            carried.info.repository_id,
            self._exchange,
            self._callers.add,
            PeerAdmission(MAX_CALLERS),
            self._callers.discard,
        )
        latest = partial(self._reading, self._latest)
        self._announcer = PeerAnnouncer(where, self._peer_listener.url_at, latest, note)
        self._news = asyncio.Event()

    def listen(self, port: int = 0) -> int:
        """Begin to listen, before `run`; returns the port, 0 if there is none to be had.

        Args:
            port: to listen on; 0 takes a free one.

        Raises:
            LocalError: something else listens at the port.
        """
        if not self._peer_listener.start(port) and port:
            raise LocalError(
                f"cannot listen at port {port}: {self._peer_listener.trouble}",
                hint="choose another, or 0 for any",
            )
        return self._peer_listener.port

    async def run(self, *works: Coroutine[Any, Any, None]) -> None:
        """Give until cancelled, and say goodbye then.

        Args:
            works: to be done meanwhile; when one fails, so does this.
        """
        loop = asyncio.get_running_loop()
        if not self._peer_listener.port:
            self.listen()
        mine = [
            self._stay_introduced(),
            *([self._announcer.run()] if self._peer_listener.port else []),
        ]
        tasks = [loop.create_task(work) for work in (*mine, *works)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await self._end(tasks)

    async def _end(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """Say goodbye to mirrors and callers, all at once, within bounded time."""
        goodbyes = [self._announcer.withdraw(), *(caller.close() for caller in self._callers)]
        loop = asyncio.get_running_loop()
        ending = [*tasks, *(loop.create_task(goodbye) for goodbye in goodbyes)]
        _, late = await asyncio.wait(ending, timeout=END_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._peer_listener.close()

    def giving(self) -> list[GivenFigures]:
        """Return who is connected, what they were given, and who waits for its turn."""
        waiting = self._slots.waiting
        return [
            GivenFigures(caller.url, caller.bytes_sent, caller.key in waiting, caller.called_us)
            for caller in self._callers
        ]

    def tell_offers(self) -> None:
        """Have the mirror that introduces us told what there is to give, some of it new."""
        self._news.set()

    async def _keep_told(self, mirror: GitMirror) -> None:
        """Tell a mirror what there is to give, and again when there is more."""
        while True:
            self._news.clear()
            for offer in await self._reading(self._offers):
                mirror.tell(offer)
            await self._news.wait()

    def _offers(self) -> Sequence[HaveBundle]:
        head = self._latest()
        return () if head is None else self._content.offers(ReelName(None, head))

    def _latest(self) -> PushId | None:
        """Return the newest push of the log; none if the repository has just been removed."""
        return self._carried.log_store.head()

    async def _stay_introduced(self) -> None:
        """Talk to the mirror that introduces us to others, and again when that has ended."""
        while True:
            await self._be_introduced()
            await asyncio.sleep(RETRY_SECONDS)

    async def _be_introduced(self) -> None:
        source = self._where()
        endpoint = None if source is None else source.endpoint
        if source is None or endpoint is None:
            return
        try:
            mirror = await converse(endpoint, self._exchange, source.trusted)
        except GitTorrentError:
            return  # a server of files: notices do what they can. Whoever announces it says so
        try:
            if mirror.own_address:
                mirror.tell(self._peer_listener.invitation(mirror.own_address))
            await self._converse(mirror)
        finally:
            await mirror.close()

    async def _converse(self, mirror: GitMirror) -> None:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(work) for work in (self._keep_told(mirror), mirror.wait_closed())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(GitTorrentError):  # it is over, and will be begun anew
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
