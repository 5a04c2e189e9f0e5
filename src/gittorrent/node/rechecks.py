"""Dials listed mirrors and seeds again, and takes those off the list that do not answer.

A mirror that was killed, or whose host is lost, cannot withdraw its notice. So an entry of a list
that is given out is dialled back if its last check is too long ago: a minute for partial peers,
several for others. Lists that nobody asks for cost nothing.

Tracks what is being checked and what failed lately. Rules: dial-backs go to the address that the
notice came from, as in `gittorrent.node.notices`; how many there are at once, and how often one
mirror is dialled, is bounded. Must not know who asked for the list.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.node.dial_back import why_gone
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.mirrorlist import MirrorState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.ids import RepositoryId
    from gittorrent.node.mirror_table import MirrorTable
    from gittorrent.store.database import Database, MirrorRow

PARTIAL_SECONDS = 60.0
"""Age of a partial peer's last answer after which it is called again when it is told of."""

MIRROR_SECONDS = 600.0
"""The same for mirrors: they stay, and a call costs both ends something."""

AGAIN_SECONDS = 60.0
"""Time between calls to a mirror that does not answer."""

MIRROR_FAILURES = 3
"""Calls in vain after which a mirror is listed no more: it may be restarting. Peers get one."""

AT_ONCE = 4
"""Calls under way at once."""

MAX_WAITING = 200
"""Entries that wait for their call; of more than that the next list will think again."""

MAX_REMEMBERED = 10_000
"""Entries whose calls in vain are remembered; the oldest are forgotten first."""

_log = EventLog(__name__)


class _Looked(Struct):
    """When an entry was called last, and how often in vain."""

    at: float
    failures: int = 0


class Rechecks:
    """Checks what a table tells of.

    Args:
        mirrors: the table.
        is_local: tells whether loopback and private addresses may be called.
    """

    def __init__(self, mirrors: MirrorTable, is_local: Callable[[], bool]) -> None:
        self._mirrors = mirrors
        self._is_local = is_local
        self._looked: dict[tuple[RepositoryId, str], _Looked] = {}
        self._tasks = TaskSet()
        self._calls = asyncio.Semaphore(AT_ONCE)

    def told(self, repository: RepositoryId, rows: Iterable[MirrorRow]) -> None:
        """Note who was told of; those who have not answered for long are called soon."""
        now = self._mirrors.clock()
        for row in rows:
            if len(self._tasks) >= MAX_WAITING:
                return
            looked = self._looked.get((repository, row.url))
            if not self._is_due(row, looked, now):
                continue
            looked = looked or _Looked(now)
            looked.at = now
            self._looked[repository, row.url] = looked
            while len(self._looked) > MAX_REMEMBERED:
                del self._looked[next(iter(self._looked))]
            self._tasks.start(self._check(repository, row, looked))

    async def stop(self) -> None:
        """Stop all checks."""
        await self._tasks.stop()

    async def settled(self) -> None:
        """Wait until all calls that are due have been made."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _is_due(self, row: MirrorRow, looked: _Looked | None, now: float) -> bool:
        enough = PARTIAL_SECONDS if row.state is MirrorState.PARTIAL else MIRROR_SECONDS
        since = float(row.verified)
        if looked is not None and row.verified < looked.at:
            since, enough = looked.at, AGAIN_SECONDS if looked.failures else enough
        # What was seen in the future was so by a clock that was set back since.
        return not 0 <= now - since < enough

    async def _check(self, repository: RepositoryId, row: MirrorRow, looked: _Looked) -> None:
        async with self._calls:
            reason = await why_gone(repository, row, is_local=self._is_local())
        looked.failures = looked.failures + 1 if reason else 0
        allowed = 1 if row.state is MirrorState.PARTIAL else MIRROR_FAILURES
        now = int(self._mirrors.clock())
        if 0 < looked.failures < allowed:
            return
        self._looked.pop((repository, row.url), None)

        def note(database: Database) -> None:
            if reason:
                database.drop_mirror(repository, row.url)
            else:
                database.note_answer(repository, row.url, now)

        try:
            await self._mirrors.change(note)
        except GitTorrentError as error:
            _log.warning("database-slow", "cannot note who answers: {reason}", reason=error)
            return
        if reason:
            _log.info(
                "mirror-dropped",
                "{url} is listed no more: {reason}",
                repository=repository,
                url=row.url,
                reason=reason,
            )
