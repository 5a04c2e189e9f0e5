"""The mirrors a node knows of: a table of its database, read and written off the event loop.

Tracks for each repository the rows read last. A query waits a moment for the database and returns
the rows read last while another process holds it locked: a list that is a little old beats none.
Changes are made one after another, each as a whole.

Must not know who may be listed.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from gittorrent.errors import LocalError
from gittorrent.event_log import EventLog
from gittorrent.swarm.fair_shares import fair_shares
from gittorrent.transfer.addresses import neighbourhood
from gittorrent.transfer.off_loop import Threads
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.ids import RepositoryId
    from gittorrent.store.database import Database, MirrorRow

MAX_MIRRORS = 50
"""Mirrors told to one caller: far more than it will contact."""

MAX_PARTIAL = 8
"""Partial peers among them, after all others: they come and go."""

WAIT_SECONDS = 5.0
"""Time a list waits for the database; a client waits 20 s for a list."""

MAX_KNOWN = 1000
"""Repositories whose rows are remembered; of others a locked database says nothing."""

_log = EventLog(__name__)

T = TypeVar("T")


class MirrorTable:
    """The mirrors a node knows; ``on_told`` is called with the rows that a list named.

    Args:
        database: of the node.
        threads: to use it in.
        clock: seconds since 1970.
        shuffle: puts a list into random order.
        wait_seconds: seconds that a question waits for the database.
    """

    def __init__(
        self,
        database: Database,
        threads: Threads | None = None,
        clock: Callable[[], float] = time.time,
        shuffle: Callable[[list[MirrorRow]], None] = random.shuffle,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        threads = Threads() if threads is None else threads
        self.clock = clock
        self._database = database
        self._shuffle = shuffle
        # Who writes may wait for another process; who reads need not wait for that.
        self._reading = threads.executor(wait_seconds)
        self._writing = threads.executor()
        self._known: dict[RepositoryId, list[MirrorRow]] = {}
        self.on_told: Callable[[RepositoryId, list[MirrorRow]], None] = lambda _id, _rows: None

    async def rows(self, repository: RepositoryId) -> list[MirrorRow]:
        """Return the mirrors whose time has not run out, most recently verified first."""
        now = int(self.clock())
        try:
            rows = await self._reading(lambda: self._database.mirrors(repository, now))
        except LocalError as error:
            _log.warning(
                "database-slow",
                "listed mirrors from memory: {reason}",
                repository=repository,
                reason=error,
            )
            return [row for row in self._known.get(repository, ()) if row.expires > now]
        self._known.pop(repository, None)
        self._known[repository] = rows
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return rows

    async def entries(self, repository: RepositoryId) -> Sequence[MirrorEntry]:
        """Return what to tell a caller: those who were verified lately come first."""
        now = int(self.clock())
        rows = await self.rows(repository)
        whole = [row for row in rows if row.state is not MirrorState.PARTIAL]
        partial = [row for row in rows if row.state is MirrorState.PARTIAL]
        # Beyond the cap each network has a fair share, its most recent first; within it chance
        # decides, so that nobody is always asked first.
        partial = fair_shares(partial, _neighbourhood, MAX_PARTIAL)
        whole = fair_shares(whole, _neighbourhood, MAX_MIRRORS - len(partial))
        half = len(whole) // 2
        recent, older = whole[:half], whole[half:]
        for group in (recent, older, partial):
            self._shuffle(group)
        chosen = [*recent, *older, *partial]
        self.on_told(repository, chosen)
        return [MirrorEntry(r.url, r.seconds_left(now), r.state) for r in chosen]

    async def change(self, work: Callable[[Database], T]) -> T:
        """Have the database changed, after all changes that were asked for before.

        Raises:
            LocalError: it cannot be, or another process holds it locked.
        """
        return await self._writing(lambda: work(self._database))


def _neighbourhood(row: MirrorRow) -> str:
    """Return the network on whose word a mirror is listed."""
    try:
        return neighbourhood(row.source)
    except ValueError:  # written by another version
        return row.source
