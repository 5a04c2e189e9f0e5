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
    from gittorrent.transfer.off_loop import Reading, Threads

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
        files: states of its log, which is replaced as a whole; of git's configuration of it, which
            names the keeper's key; and of the directory of its reels.
        is_settled: whether another change of that directory would show.
    """

    files: tuple[FileState | None, FileState | None, FileState | None]
    is_settled: bool

    @property
    def log(self) -> FileState | None:
        """State of its log."""
        return self.files[0]

    @property
    def config(self) -> FileState | None:
        """State of git's configuration of it."""
        return self.files[1]


class Watched(Struct, frozen=True):
    """Files of a repository, by their paths: log, configuration, directory of reels.

    Args:
        files: the paths.
        reading: in which they are looked at if some disk hangs.
    """

    files: tuple[str, str, str]
    reading: Reading


def watched(served: Served) -> Watched:
    """Return what is to be looked at of a repository."""
    carried = served.carried
    log, config = carried.log_store.path, carried.layout.git_dir / "config"
    return Watched((str(log), str(config), str(carried.layout.reels)), served.reading)


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

    async def changed(
        self, repositories: Sequence[tuple[Watched, Seen | None]]
    ) -> list[tuple[int, Seen]]:
        """Return what is seen of those that are not as they were, or that a change may not show in.

        Args:
            repositories: each with what was seen of it before; None for nothing.

        Returns:
            The place of each of those in ``repositories``, and what is seen. One whose disk does
            not answer is none of them.
        """
        loop = asyncio.get_running_loop()
        if loop.time() >= self._apart_until:
            try:
                return await self._together(lambda: _changed(repositories))
            except SlowError:
                self._apart_until = loop.time() + APART_SECONDS
        looks = (_look_apart(watched, before) for watched, before in repositories)
        found = await asyncio.gather(*looks)
        return [(at, seen) for at, seen in enumerate(found) if seen is not None]


def _changed(repositories: Sequence[tuple[Watched, Seen | None]]) -> list[tuple[int, Seen]]:
    found = []
    for at, (watched, before) in enumerate(repositories):
        seen = _look_at(watched, before)
        if seen is not None:
            found.append((at, seen))
    return found


async def _look_apart(watched: Watched, before: Seen | None) -> Seen | None:
    try:
        return await watched.reading(partial(_look_at, watched, before))
    except SlowError:
        return None


def _look_at(watched: Watched, before: Seen | None) -> Seen | None:
    """Return what is seen of a repository; None if that is what was seen before."""
    log, config, reels = watched.files
    try:
        found = (file_state(log), file_state(config), file_state(reels))
    except OSError as error:  # one that cannot be read must not hide what happens to the others
        _log.debug("damaged", "cannot look at {path}: {reason}", path=log, reason=error)
        return None
    if before is not None and before.is_settled and found == before.files:
        return None
    state = found[2]
    age = SETTLED_SECONDS if state is None else time.time() - state[1] / 1e9
    return Seen(found, age >= SETTLED_SECONDS)
