"""Notes in the database what live conversations bring: the newest checkpoint, that all is here, and
what turned private.

``gittorrent mirror`` and ``publish`` note what they see; a node that serves hears of news at once
and looks nowhere. Tracks what was noted of each repository, and when. Rules: a checkpoint is noted
at once, since ``publish`` on an old copy goes by it, and so is what turned private, since whoever
looks for mirrors does. Must not know how conversations go.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.repository.carried import MIRROR
from gittorrent.repository.readers_file import is_private_here
from gittorrent.store.privacy import note_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gittorrent.ids import PushId
    from gittorrent.node.live_repository import LiveRepository
    from gittorrent.store.database import Database
    from gittorrent.transfer.off_loop import SerialExecutor

NOTE_SECONDS = 60.0
"""How often it is noted at least that a mirror is up to date: as often as ``gittorrent mirror``
looks."""

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
        self._noted: dict[Path, float] = {}
        self._renew_at = -math.inf
        self._heads: dict[Path, PushId] = {}
        self._private: dict[Path, bool] = {}

    def is_new_head(self, repository: LiveRepository) -> bool:
        """Tell whether there is a checkpoint to note, for `note_head`."""
        if self._database is None:
            return False
        place, summary = repository.served.carried.layout.git_dir, repository.summary
        return summary is not None and self._heads.get(place) != summary.head.id

    async def note_head(self, repository: LiveRepository) -> None:
        """Note the newest checkpoint if it is new."""
        database, summary, info = self._database, repository.summary, repository.served.info
        if database is None or summary is None or not self.is_new_head(repository):
            return
        head = summary.head
        try:
            await self._querying(
                lambda: database.saw_head(
                    info.repository_id, head.id, head.number, int(time.time())
                )
            )
        except GitTorrentError as error:
            _complain(error)
        else:
            self._heads[repository.served.carried.layout.git_dir] = head.id

    async def note_privacy(self, repository: LiveRepository) -> None:
        """Note whether a repository whose log changed is private by now.

        Otherwise strangers would be asked for it, and mirrors in the clear. Noted once:
        somebody may say meanwhile that it is public (`gittorrent forget`).
        """
        database, served = self._database, repository.served
        if database is None:
            return
        layout, repository_id = served.carried.layout, served.info.repository_id

        known = self._private.get(layout.git_dir)

        def note() -> bool:
            found = is_private_here(layout, repository_id)
            if found != known:
                note_private(database, repository_id, private=found)
            return found

        try:
            self._private[layout.git_dir] = await self._querying(note)
        except GitTorrentError as error:
            _complain(error)

    async def renew(self, agreeing: Mapping[Path, LiveRepository]) -> None:
        """Note now and then that mirrors are up to date: of all at once, if it is time for one.

        Args:
            agreeing: those of which a mirror that was called has nothing new.
        """
        database, now = self._database, self._clock()
        is_new = agreeing.keys() - self._noted.keys()
        if database is None or not (is_new or now >= self._renew_at):
            return
        lately = now - NOTE_SECONDS / 2
        due = {
            place: repository
            for place, repository in agreeing.items()
            if self._noted.get(place, -math.inf) <= lately
        }
        self._noted.update(dict.fromkeys(due, now))
        self._renew_at = min((self._noted[place] for place in agreeing), default=now) + NOTE_SECONDS
        rows = [
            (repository.served.info.repository_id, repository.agrees_with)
            for repository in due.values()
            if repository.served.info.role == MIRROR
        ]
        if not rows:
            return
        try:
            await self._querying(lambda: database.check_current(rows, int(time.time())))
        except GitTorrentError as error:
            _complain(error)

    def forget(self, place: Path) -> None:
        """Take note that a repository is not talked about any more."""
        self._noted.pop(place, None)


def _complain(error: GitTorrentError) -> None:
    _log.warning("database-slow", "cannot note how far mirrors are: {reason}", reason=error)
