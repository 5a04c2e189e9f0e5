"""Gets parts of reels anew from other mirrors that turned out to be damaged on this disk.

One reel at a time; where nobody gives what is wrong it is tried again, ever later. Whoever finds a
reel damaged writes that down in its repository (`gittorrent.repository.damaged_reels`), so it is
looked for there now and then, and when the node starts. Tracks the repositories at whose reels it
is.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.repository.damaged_reels import damaged_reels, forget_damaged
from gittorrent.transfer.off_loop import apart
from gittorrent.transfer.reaching import known_here, leads_here
from gittorrent.transfer.reel_mending import mend_reel
from gittorrent.transfer.task_set import TaskSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import RepositoryId
    from gittorrent.node.catalogue import Catalogue, Served
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.reaching import Source

MAX_ASKED = 16
"""Mirrors that are asked."""

FIRST_PAUSE = 60.0
"""Seconds after which it is tried again; doubled each time."""

LONGEST_PAUSE = 6 * 3600.0
"""Seconds between two attempts, at most."""

LOOK_SECONDS = 60.0
"""Seconds between two looks at what others found damaged, such as 'gittorrent verify'."""

_log = EventLog(__name__)


class ReelMender:
    """Puts reels right; see the module.

    Args:
        database: of the node, which knows the mirrors; None where there is none.
        home: of the node.
        limits: of what the node takes.
    """

    def __init__(self, database: Database | None, home: Home, limits: Limits) -> None:
        self._database = database
        self._home = home
        self._limits = limits
        self._busy: set[RepositoryId] = set()
        self._turn = asyncio.Lock()
        self._tasks = TaskSet()

    def begin(self, served: Served) -> None:
        """See to the damaged reels of a repository, unless somebody does."""
        repository = served.info.repository_id
        if self._database is not None and repository not in self._busy:
            self._busy.add(repository)
            self._tasks.start(self._mend_all(served, self._database))

    async def watch(self, catalogue: Catalogue) -> None:
        """See to what is written down already, and from time to time to what came since.

        While nothing was ever damaged that costs a look for a directory in each repository.
        """
        looking = catalogue.threads.executor()
        while True:
            carried = [served for served in catalogue if not served.is_cached]
            try:
                for served in await looking(partial(_suspects, carried)):
                    if await served.reading(served.content.is_damaged):
                        self.begin(served)
            except (GitTorrentError, OSError) as error:
                _log.debug(
                    "reel-not-mended", "cannot look for damaged reels: {reason}", reason=error
                )
            await asyncio.sleep(LOOK_SECONDS)

    async def stop(self) -> None:
        """End what is under way."""
        await self._tasks.stop()

    async def _mend_all(self, served: Served, database: Database) -> None:
        """Try until none of its reels is damaged any more."""
        layout = served.content.carried.layout
        pause = FIRST_PAUSE
        content, reading = served.content, served.reading
        try:
            while damaged := await reading(partial(damaged_reels, layout)):
                async with self._turn:
                    for each in damaged:
                        reel = await reading(partial(content.stored, each.manifest))
                        if reel is None or await self._mend(served, reel, database):
                            await reading(partial(forget_damaged, layout, each.manifest))
                if not await reading(partial(damaged_reels, layout)):
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        except (GitTorrentError, OSError) as error:
            _log.warning(
                "reel-not-mended",
                "{repository}: damaged reels are left as they are: {reason}",
                repository=served.info.name,
                reason=error,
            )
        finally:
            self._busy.discard(served.info.repository_id)

    async def _mend(self, served: Served, reel: StoredReel, database: Database) -> bool:
        """Put one reel right; tells whether it is."""
        info, home = served.info, self._home
        names = {"repository": info.name, "manifest": reel.id}

        def look() -> list[Source]:
            now = int(time.time())
            found = known_here(info.repository_id, database, home, now, own_node=False)
            others = [
                source
                for source in found
                if source.endpoint is not None and not leads_here(source.endpoint, home)
            ]
            return others[:MAX_ASKED]

        try:
            sources = await asyncio.to_thread(look)
            carried = served.content.carried
            mended = await apart(lambda: mend_reel(carried, reel, sources, self._limits))
        except (GitTorrentError, OSError, TimeoutError) as error:
            _log.warning(
                "reel-not-mended",
                "{repository}: reel {manifest} is still damaged: {reason}",
                reason=str(error) or "what is wrong of it did not come in time",
                **names,
            )
            return False
        around = "; what git has around them was made anew" if mended.around else ""
        _log.info(
            "reel-mended",
            "{repository}: {parts} damaged parts of reel {manifest} came anew from other mirrors"
            "{around}; it is given again",
            parts=mended.parts,
            around=around,
            **names,
        )
        return True


def _suspects(carried: Iterable[Served]) -> list[Served]:
    """Return those repositories in which reels were found damaged some time; asks the disk."""
    return [each for each in carried if each.carried.layout.damaged_reels.is_dir()]
