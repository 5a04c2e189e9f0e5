"""Has reels made of what this node signed, where the keeper's key is.

Nobody publishes what pushes at depots change: the node that makes it final makes the reels, too,
when that pays (`gittorrent.reel.timing`), in a worker of low priority that dies with it
(`gittorrent.repository.making`). Peers are told of what was made (`gittorrent.node.reel_news`), and
build it from what they have. Tracks how many checkpoints no reel covers.
Source: docs/protocol/reels.md, "Reels of a keeper's node".
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.disk_space import UNBOUNDED
from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.reel.timing import ReelTiming
from gittorrent.repository.making import make_reels
from gittorrent.transfer.task_set import TaskSet

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gittorrent.disk_space import Space
    from gittorrent.ids import PushId
    from gittorrent.node.live_repository import LiveRepository
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.making import Made

_log = EventLog(__name__)


class ReelBuilder:
    """Has the reels of one repository made; used inside a running event loop.

    Args:
        live: its part in live conversations.
        timing: when.
        make: makes the reels; the worker, but for tests.
        space: tells whether there is room for them.
    """

    def __init__(
        self,
        live: LiveRepository,
        timing: ReelTiming | None = None,
        make: Callable[[Carried, Callable[[Made], None]], Coroutine[None, None, None]] = make_reels,
        space: Space = UNBOUNDED,
    ) -> None:
        self._space = space
        self._live = live
        self._carried = live.served.carried
        self._timing = ReelTiming() if timing is None else timing
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskSet()
        self._seen: PushId | None = None
        self._done: PushId | None = None

    def look(self) -> None:
        """Find out whether reels are due, unless some are being made."""
        summary = self._live.summary
        if summary is None or (
            summary.head.id == self._seen and not self._timing.is_due(self._loop.time())
        ):
            return
        if not len(self._tasks):
            looking = self._tasks.start(self._look())
            looking.add_done_callback(lambda _: self._live.on_change())

    @property
    def next_look(self) -> float:
        """When to `look` again though nothing changed, on the loop's clock."""
        summary = self._live.summary
        if summary is None or len(self._tasks):
            return math.inf
        if summary.head.id != self._seen:
            return -math.inf
        deadline = self._timing.deadline()
        return math.inf if deadline is None else deadline

    async def settled(self) -> None:
        """Wait until it is found out, and done, what was due."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """Make no more, and leave nothing running."""
        await self._tasks.stop()

    async def _look(self) -> None:
        summary = self._live.summary
        if summary is None:
            return
        head = summary.head.id
        try:
            if head != self._seen:
                uncovered = await self._live.executor(self._uncovered)
                self._timing.saw(self._loop.time(), uncovered)
                self._seen = head
            if self._timing.is_due(self._loop.time()):
                await self._live.executor(
                    partial(self._space.require, self._carried.layout.git_dir)
                )
                await self._make(self._carried, self._made)
                self._done, self._seen = head, None
        except GitTorrentError as error:
            self._timing.failed(self._loop.time())
            _log.warning(
                "no-reel",
                "{repository}: no reel was made: {reason}",
                repository=self._live.served.info.name,
                reason=error,
            )

    def _uncovered(self) -> int:
        """Return how many checkpoints no reel covers, where that is for this node to change."""
        if self._carried.keeper_key is None:
            return 0
        with self._live.kept.reading() as log:
            ids = log.ids
        covered = {*self._carried.reel_ends(), self._done}
        return next((n for n, each in enumerate(reversed(ids)) if each in covered), len(ids))

    def _made(self, made: Made) -> None:
        _log.info(
            "made",
            "{repository}: made reel {manifest}",
            repository=self._live.served.info.name,
            manifest=made.manifest,
        )
