"""What a node looks at again and again: which limits hold at this hour, and how full disks are.

Tracks the options that hold. Rules: nothing here waits for callers, and a disk that hangs stops
nobody. Must not know who is served.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError
from gittorrent.event_log import EventLog
from gittorrent.node.rounds import next_round
from gittorrent.transfer.off_loop import SlowError

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.disk_space import Watermarks
    from gittorrent.node.catalogue import Catalogue
    from gittorrent.node.git_answers import GitAnswers
    from gittorrent.node.options import Options
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.off_loop import Reading

RATES_SECONDS = 20.0
"""How often it is looked whether other limits hold by now; they change by the minute."""

DISK_SECONDS = 2.0
"""How often it is looked how full the disks are."""

_log = EventLog(__name__)


class Upkeep:
    """Keeps a node's limits and marks; used inside a running event loop.

    Args:
        options: how it runs.
        limits: of all that it sends and takes.
        catalogue: what it serves.
        space: the marks of the disks.
        answers: of git's that are kept, and go when there is no room.
        writing: where the system is asked about disks.
    """

    def __init__(
        self,
        options: Options,
        limits: Limits,
        catalogue: Catalogue,
        space: Watermarks,
        answers: GitAnswers,
        writing: Reading,
    ) -> None:
        self._options = options
        self._limits = limits
        self._catalogue = catalogue
        self._space = space
        self._answers = answers
        self._writing = writing

    def change(self, options: Options) -> None:
        """Go by other options from now on."""
        self._options = options
        self._space.change(options.reserve)
        self._set_rates()

    async def keep_rates(self) -> None:
        """Let other rates hold at other times of the day."""
        while True:
            self._set_rates()
            await next_round(RATES_SECONDS)

    def _set_rates(self) -> None:
        now = time.localtime()
        rates = self._options.rates_at(now.tm_wday, now.tm_hour * 60 + now.tm_min)
        if self._limits.set_rates(rates.up, rates.down, rates.peer_up):
            _log.info(
                "rates",
                "sends at most {up}, to one address {peer_up}, and takes at most {down} bytes/s",
                up=rates.up,
                peer_up=rates.peer_up,
                down=rates.down,
            )

    async def watch_disks(self) -> None:
        """Look at the disks that are written to: a full one is said of before somebody pushes."""
        known: frozenset[Path] = frozenset()
        changes, failure = None, ""
        while True:
            if changes != self._catalogue.changes:
                changes = self._catalogue.changes
                known = frozenset(each.carried.layout.git_dir.parent for each in self._catalogue)
            try:
                await self._writing(partial(self._space.look, *known))
                known, failure = frozenset(), ""
            except (LocalError, SlowError) as error:
                if str(error) != failure:
                    failure = str(error)
                    _log.warning("disk-unknown", "cannot tell how full disks are: {reason}",
                                 reason=error)  # fmt: skip
            self._answers.tidy(is_short=bool(self._space.short()))
            await next_round(DISK_SECONDS)
