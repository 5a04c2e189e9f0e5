"""Notes in the database what live conversations bring: the newest checkpoint, and that all is here.

``gittorrent mirror`` and ``publish`` note what they see; a node that serves hears of news at once
and looks nowhere. Tracks what was noted of each repository, and when. Rule: a checkpoint is noted
at once, since ``publish`` on an old copy goes by it. Must not know how conversations go.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.repository.carried import MIRROR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gittorrent.ids import PushId
    from gittorrent.node.live_repository import LiveRepository
    from gittorrent.store.database import Database
    from gittorrent.transfer.off_loop import SerialExecutor

NOTE_SECONDS = 60.0
"""How often it is noted that a mirror is up to date: as often as ``gittorrent mirror`` looks."""

_log = EventLog(__name__)


class LiveNotes:
    """Writes the notes of one node.

    Args:
        database: of the node; None writes nothing.
        querying: in which the database is asked.
        clock: seconds that never run backwards.
    """

    def __init__(
        self,
        database: Database | None,
        querying: SerialExecutor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._querying = querying
        self._clock = clock
        self._current: dict[Path, float] = {}
        self._heads: dict[Path, PushId] = {}

    def is_due(self, repository: LiveRepository) -> bool:
        """Tell whether there is something to note, for `look`."""
        if self._database is None:
            return False
        place, summary = repository.served.carried.layout.git_dir, repository.summary
        if summary is not None and self._heads.get(place) != summary.head.id:
            return True
        is_mirror = repository.served.info.role == MIRROR
        return is_mirror and bool(repository.agrees_with) and self._is_old(place)

    def _is_old(self, place: Path) -> bool:
        """Tell whether the last note that a mirror is up to date is to be renewed."""
        return self._clock() - self._current.get(place, -math.inf) >= NOTE_SECONDS

    async def look(self, repository: LiveRepository) -> None:
        """Note the newest checkpoint if it is new, and now and then that a mirror is up to date."""
        if self._database is None:
            return
        info, place = repository.served.info, repository.served.carried.layout.git_dir
        try:
            await self._note_head(self._database, repository, place)
            if info.role == MIRROR:
                await self._note_current(self._database, repository, place)
        except GitTorrentError as error:
            _log.warning(
                "database-slow",
                "cannot note how far {repository} is: {reason}",
                repository=info.name,
                reason=error,
            )

    async def _note_head(self, database: Database, repository: LiveRepository, place: Path) -> None:
        summary, info = repository.summary, repository.served.info
        if summary is None or self._heads.get(place) == summary.head.id:
            return
        head = summary.head
        await self._querying(
            lambda: database.saw_head(info.repository_id, head.id, head.number, int(time.time()))
        )
        self._heads[place] = head.id

    async def _note_current(
        self, database: Database, repository: LiveRepository, place: Path
    ) -> None:
        source, info = repository.agrees_with, repository.served.info
        if not source or not self._is_old(place):
            return
        self._current[place] = self._clock()
        await self._querying(
            lambda: database.check_current(info.repository_id, source, int(time.time()))
        )
