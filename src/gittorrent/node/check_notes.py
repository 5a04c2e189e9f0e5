"""Notes in the database that a mirror is up to date, as far as live conversations tell.

``gittorrent mirror`` notes each look at its source; a node that serves hears of news at once and
looks nowhere. Tracks when it was noted of each repository. Must not know how conversations go.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.repository.carried import MIRROR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gittorrent.node.live_repository import LiveRepository
    from gittorrent.store.database import Database
    from gittorrent.transfer.off_loop import SerialExecutor

NOTE_SECONDS = 60.0
"""How often it is noted of a repository: as often as ``gittorrent mirror`` looks."""

_log = EventLog(__name__)


class CheckNotes:
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
        self._noted: dict[Path, float] = {}

    async def look(self, repository: LiveRepository) -> None:
        """Note that a mirror is up to date, if it is and that was not noted lately."""
        database, served = self._database, repository.served
        if database is None or served.info.role != MIRROR:
            return
        place, now = served.carried.layout.git_dir, self._clock()
        source = repository.agrees_with
        if not source or now - self._noted.get(place, -NOTE_SECONDS) < NOTE_SECONDS:
            return
        self._noted[place] = now
        try:
            await self._querying(
                lambda: database.check_succeeded(
                    served.info.repository_id, source, int(time.time())
                )
            )
        except GitTorrentError as error:
            _log.warning(
                "database-slow",
                "cannot note that {repository} is up to date: {reason}",
                repository=served.info.name,
                reason=error,
            )
