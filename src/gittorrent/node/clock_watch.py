"""Notices that somebody set the clock while the node runs, and keeps lists of mirrors as they were.

Mirrors are listed until some time of day. When the clock leaps, all would run out at once, or be
listed for as long as it leapt; so what is left of their time goes on as if nothing had happened.
Must not know whether the clock was right before or is now.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError
from gittorrent.event_log import EventLog
from gittorrent.store.signing_time import Clocks
from gittorrent.transfer.off_loop import SlowError

if TYPE_CHECKING:
    from gittorrent.store.database import Database
    from gittorrent.transfer.off_loop import SerialExecutor

LOOK_SECONDS = 2.0
"""How often to look: what is listed between a leap and the next look may be listed for too long."""

NOTICED_SECONDS = 60.0
"""Leaps below this change no list that matters, and NTP makes them."""

_log = EventLog(__name__)


class ClockWatch:
    """Watches the clock for one node.

    Args:
        database: of the node.
        querying: in which it is used.
        clocks: of the machine.
    """

    def __init__(
        self,
        database: Database,
        querying: SerialExecutor,
        clocks: Clocks = Clocks(),  # noqa: B008 (it is frozen)
    ) -> None:
        self._database = database
        self._querying = querying
        self._clocks = clocks
        self._before = clocks.read()

    async def run(self) -> None:
        """Watch until cancelled."""
        is_begun, failure = False, ""
        while True:
            try:
                await (self.look() if is_begun else self.begin())
                is_begun, failure = True, ""
            except (LocalError, SlowError) as error:
                if str(error) != failure:
                    failure = str(error)
                    _log.warning("database-slow", "cannot look at lists of mirrors: {reason}",
                                 reason=error)  # fmt: skip
            await asyncio.sleep(LOOK_SECONDS)

    async def begin(self) -> None:
        """Cut what was listed until too late, as by a node that ended while the clock was ahead.

        Raises:
            GitTorrentError: the database cannot be used.
        """
        now = int(self._clocks.time())
        await self._querying(lambda: self._database.clock_was_set(now, now))

    async def look(self) -> None:
        """Look at the clocks.

        Raises:
            GitTorrentError: the database cannot be used; the next look tries again.
        """
        before, now = self._before, self._clocks.read()
        expected = before.expected(now)
        leapt = now.time - expected
        if abs(leapt) >= NOTICED_SECONDS:
            await self._querying(lambda: self._database.clock_was_set(int(expected), int(now.time)))
            _log.warning(
                "clock-set",
                "the clock was set {direction} by {seconds:.0f} s",
                direction="ahead" if leapt > 0 else "back",
                seconds=abs(leapt),
            )
        self._before = now
