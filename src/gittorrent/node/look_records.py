"""What looks at mirrors came to, written to the database all at once now and then.

Tracks what has not been written yet. Rules: a look without news writes nothing by itself; what is
lost by a crash is found out again by the next look. Must not know when looks are due.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.store.following import LookRow

if TYPE_CHECKING:
    from gittorrent.ids import RepositoryId
    from gittorrent.store.following import FollowTable
    from gittorrent.transfer.off_loop import Reading

WRITE_SECONDS = 30.0
"""How often they are written down."""


class LookRecords:
    """The results of looks that are not written yet.

    Args:
        table: where they are written.
        querying: where the database is asked.
    """

    def __init__(self, table: FollowTable, querying: Reading) -> None:
        self._table = table
        self._querying = querying
        self._rows: dict[RepositoryId, LookRow] = {}
        self._written = 0.0

    def succeeded(self, repository: RepositoryId, source: str) -> None:
        """Note that a source has been asked and has no news."""
        self._rows[repository] = LookRow(repository, int(time.time()), source)

    def planned(self, repository: RepositoryId, seconds: float, *, is_live: bool) -> None:
        """Note when the next look is due.

        Args:
            repository: that is looked at.
            seconds: until then.
            is_live: whether a conversation tells of news before.
        """
        before = self._rows.get(repository, LookRow(repository))
        moment = int(time.time() + seconds)
        self._rows[repository] = LookRow(
            repository, before.succeeded, before.source, moment, is_live
        )

    async def write_if_due(self, now: float) -> None:
        """Write down what there is, if that is due; ``now`` is the event loop's."""
        if self._rows and now - self._written >= WRITE_SECONDS:
            self._written = now
            await self.write()

    async def write(self) -> None:
        """Write down what there is."""
        rows, self._rows = list(self._rows.values()), {}
        await self._querying(partial(self._table.looked, rows))
