"""What the token in a request proves, by what the node's database says at that moment.

Read for each request that needs it, so that a token that was revoked is good for nothing at once.
Must not know requests.
Source: docs/protocol/mirrorsync.md, Private repositories.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gittorrent.node.access import STRANGER, Access
from gittorrent.store.tokens import TokenTable, find_token
from gittorrent.wire.tokens import digest_of, token_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.store.database import Database
    from gittorrent.store.tokens import TokenRow
    from gittorrent.transfer.off_loop import Threads

WAIT_SECONDS = 5.0
"""Time a request waits for the database."""


class Tokens:
    """The tokens of a node; used inside the event loop.

    Args:
        database: of the node; None has none.
        threads: to use it in.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database | None,
        threads: Threads,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = None if database is None else TokenTable(database)
        self._reading = threads.executor(WAIT_SECONDS)
        self._clock = clock

    async def proved(self, header: str | None) -> Access:
        """Return what a request with this Authorization header proves.

        Raises:
            GitTorrentError: the database does not answer.
        """
        token = token_in(header)
        if token is None:
            return STRANGER
        found = find_token(await self.good(), digest_of(token))
        return STRANGER if found is None else Access(token=found)

    async def now(self, access: Access) -> Access:
        """Return what is left of what a caller proved before; likewise."""
        if access.token is None or access.token in await self.good():
            return access
        return STRANGER

    async def good(self) -> list[TokenRow]:
        """Return the tokens that are good now; likewise."""
        table = self._table
        if table is None:
            return []
        return await self._reading(lambda: table.good(self._clock()))
