"""What a node's follower does for collections: reads them, brings what they name, lets go.

Tracks whose turn it is (`gittorrent.node.collection_turns`), and when it was last looked at what
goes. Rules: the database is used beside the event loop. Must not know how repositories are brought,
nor the schedule.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.node.collecting import Collecting, trust_in
from gittorrent.node.collection_judge import LeftOutError
from gittorrent.node.collection_turns import CollectionTurns
from gittorrent.node.follow_plan import asked_for
from gittorrent.store.collected import CollectionTable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gittorrent.ids import RepositoryId
    from gittorrent.node.collection_plan import Brought, CollectionPlan
    from gittorrent.node.config import CarryConfig
    from gittorrent.node.follow_plan import Records
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.mirroring import Mirrored
    from gittorrent.transfer.off_loop import SerialExecutor

LET_GO_SECONDS = 10.0
"""How often it is looked for repositories that owners took out of their collections."""


class CollectionRounds:
    """The collections of a running node.

    Args:
        database: of the node.
        home: of the node.
        querying: in which the database is used.
        at_once: repositories that are brought or looked at at once.

    ``turns`` says what may be brought beside what is brought already.
    """

    def __init__(
        self, database: Database, home: Home, querying: SerialExecutor, at_once: int
    ) -> None:
        self.turns = CollectionTurns(at_once)
        self._table = CollectionTable(database)
        self._collecting = Collecting(database, home)
        self._querying = querying
        self._let_go_at = 0.0

    async def has_news(self) -> bool:
        """Tell whether a log of a collection changed since it was read."""
        return await self._querying(self._collecting.has_news)

    def read(self, carry: CarryConfig, records: Callable[[], Records]) -> Records:
        """Take in what collections name now, and return what the database says then; blocks.

        Args:
            carry: what the configuration says.
            records: reads the database.
        """
        self._collecting.configure(carry.collections)
        self._collecting.take_in_news()
        return records()

    def plan(self, carry: CarryConfig, records: Records) -> CollectionPlan:
        """Return what collections come to; blocks."""
        asked = asked_for(records, carry.repositories)
        return self._collecting.plan(
            records.carried, records.followed, asked.repositories, asked.names
        )

    async def let_go(self, now: float) -> bool:
        """Delete what owners took out, once in a while; tells whether sizes are others by now.

        Args:
            now: seconds that never run backwards.
        """
        if now - self._let_go_at < LET_GO_SECONDS:
            return False
        self._let_go_at = now
        await self._querying(self._collecting.remove_gone)
        return await self._querying(self._collecting.sizes_changed)

    async def bring(self, brought: Brought, update: Callable[[], Awaitable[Mirrored]]) -> Mirrored:
        """Bring or update something whose turn began, and end its turn.

        Args:
            brought: it.
            update: does so, within the room of its turn.

        Raises:
            GitTorrentError: the reasons that ``update`` has.
        """
        repository = brought.row.repository
        came = False
        try:
            trusted = await trust_in(brought.source)
            await self._querying(partial(self._collecting.mark, brought, trusted))
            done = await update()
            came = done.changed
        except LeftOutError as error:
            now = int(time.time())
            await self._querying(partial(self._table.refuse, repository, str(error), now))
            raise
        finally:
            self._collecting.has_grown(repository)
            self.turns.end(brought, came=came)
        await self._querying(partial(self._table.accept, repository))
        return done

    def include(self, repository: RepositoryId) -> None:
        """Record that the operator asked for a repository, removed before or not; blocks."""
        self._table.include(repository)
