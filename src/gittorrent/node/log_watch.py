"""Looks whether other processes changed the repositories whose logs a node has open.

Asks for the times of all their files in one job of one thread, so that a second in which nothing
happened costs three system calls a repository. Rule: where that job is not done in time, some disk
hangs, and each repository is looked at by its own executor for a while. Must not know what becomes
of changes.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import FileState, file_state
from gittorrent.event_log import EventLog
from gittorrent.transfer.off_loop import SlowError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gittorrent.node.catalogue import Served
    from gittorrent.transfer.off_loop import Threads

ROUND_SECONDS = 5.0
"""Time for one job about all repositories: a thousand times what it takes."""

APART_SECONDS = 60.0
"""Time for which each is looked at by itself after that."""

SETTLED_SECONDS = 2.0
"""Age below which a directory's time cannot tell two changes apart."""

_log = EventLog(__name__)


class Seen(Struct, frozen=True):
    """A repository's files, as a look found them.

    Args:
        log: state of its log, which is replaced as a whole.
        config: state of git's configuration of it, which names the keeper's key.
        reels: state of the directory of its reels.
        is_settled: whether another change of that directory would show.
    """

    log: FileState | None
    config: FileState | None
    reels: FileState | None
    is_settled: bool


class LogWatch:
    """Looks at the files of repositories.

    Args:
        threads: to do it in.
        round_seconds: time for one job about all of them.
    """

    def __init__(self, threads: Threads, round_seconds: float = ROUND_SECONDS) -> None:
        self._together = threads.executor(round_seconds)
        self._closed = threads.executor()
        self._apart_until = 0.0

    async def states(self, paths: Sequence[Path]) -> list[FileState | None]:
        """Return the states of files.

        Raises:
            SlowError: a disk does not answer.
        """
        return await self._closed(lambda: list(map(file_state, paths)))

    async def seen(self, repositories: Sequence[Served]) -> list[Seen | None]:
        """Return what is seen of each repository; None where its disk does not answer."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._apart_until:
            try:
                return await self._together(lambda: list(map(_look_at, repositories)))
            except SlowError:
                self._apart_until = loop.time() + APART_SECONDS
        return await asyncio.gather(*map(_look_apart, repositories))


async def _look_apart(served: Served) -> Seen | None:
    try:
        return await served.reading(partial(_look_at, served))
    except SlowError:
        return None


def _look_at(served: Served) -> Seen | None:
    log, reels = served.carried.log_store.path, served.carried.layout.reels
    try:
        head, config = file_state(log), file_state(served.carried.layout.git_dir / "config")
        state = file_state(reels)
    except OSError as error:  # one that cannot be read must not hide what happens to the others
        _log.debug("damaged", "cannot look at {path}: {reason}", path=log, reason=error)
        return None
    age = SETTLED_SECONDS if state is None else time.time() - state[1] / 1e9
    return Seen(head, config, state, age >= SETTLED_SECONDS)
