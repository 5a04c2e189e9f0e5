"""Answers that are made for other runners, which are told to ask again until they come.

Tracks what is made. Rules: each is made once for all that ask; how it ended is told those who ask
again soon, among them who looked for it where answers are kept just before it came there; and no
later: by then the upstream may be there again. Must not know what is made, nor how.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.transfer.task_set import TaskSet

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

ENDED_SECONDS = 10.0
"""Time for which it is told how one ended: who was told to ask again does so within two."""

_log = EventLog(__name__)


class Promised:
    """What is made; used inside a running event loop.

    Args:
        ended_seconds: time for which it is told how one ended.
    """

    def __init__(self, ended_seconds: float = ENDED_SECONDS) -> None:
        self._ended_seconds = ended_seconds
        self._tasks = TaskSet()
        self._made: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """Return of how many answers something is remembered."""
        return len(self._made)

    def make(
        self, digest: str, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> asyncio.Task[None]:
        """Return the task that makes an answer, or that made it or failed a moment ago.

        Args:
            digest: of the request.
            work: makes the answer, called only if nobody is at it.
        """
        task = self._made.get(digest)
        if task is None:
            task = self._made[digest] = self._tasks.start(work())
            task.add_done_callback(lambda done: self._ended(digest, done))
        return task

    def _ended(self, digest: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, GitTorrentError | OSError):
            _log.error("failed", "answering another runner failed: {reason}", reason=repr(error))
        asyncio.get_running_loop().call_later(self._ended_seconds, self.forget, digest, task)

    def forget(self, digest: str, task: asyncio.Task[None]) -> None:
        """Tell nobody any more how a task ended: whoever asks next has the answer made anew."""
        if self._made.get(digest) is task:
            del self._made[digest]

    async def stop(self) -> None:
        """End all that is made."""
        await self._tasks.stop()
