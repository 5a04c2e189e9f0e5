"""Whom a node gives something of a repository just now, over whatever transport.

Tracks for each what it is about, what was proved, and how it is ended. What was proved was good
when it began, and may end while a download lasts for hours: a token is revoked or expires, a reader
is taken out of the policy, a repository turns private. Must not know what is given, nor how.
Source: docs/protocol/trust.md, Private repositories.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.node.access import OPERATOR, Access

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from gittorrent.node.catalogue import Catalogue, Served
    from gittorrent.node.tokens import Tokens
    from gittorrent.store.tokens import TokenRow

KEEP_OUT_SECONDS = 2.0
"""How often it is looked whether those who are given something may still have it."""


class _Given(Struct, frozen=True):
    """What one caller is given: of which repository, by what it proved, and what ends it."""

    served: Served
    access: Access
    end: Callable[[], None]


class Audience:
    """All who are given something.

    Args:
        catalogue: what is served.
        tokens: that are good.
        part: waited for before anything ends of what turned private.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        tokens: Tokens,
        part: Callable[[Served], Awaitable[None]] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._tokens = tokens
        self._part = part
        self._all: dict[object, _Given] = {}

    def __len__(self) -> int:
        return len(self._all)

    @contextlib.contextmanager
    def giving(self, served: Served, access: Access, end: Callable[[], None]) -> Iterator[None]:
        """Have somebody looked after as long as the block runs.

        Args:
            served: what is given.
            access: what was proved.
            end: called at most once in each round of `end_unauthorised`, if that is not enough any
                more; the block is expected to end soon.
        """
        key = object()
        self._all[key] = _Given(served, access, end)
        try:
            yield
        finally:
            del self._all[key]

    async def end_unauthorised(self) -> None:
        """End what is given to those who may not have it any more.

        Raises:
            GitTorrentError: the database does not answer.
        """
        revoked: set[TokenRow] = {
            each.access.token for each in self._all.values() if each.access.token is not None
        }
        if revoked:
            revoked.difference_update(await self._tokens.good())
        given = [each for each in self._all.values() if not self._may_have(each, revoked)]
        if self._part is not None:
            public = {id(each.served): each.served for each in given if not each.served.is_private}
            await asyncio.gather(*map(self._part, public.values()), return_exceptions=True)
        for each in given:  # whatever comes of the last words
            each.end()

    def _may_have(self, given: _Given, revoked: set[TokenRow]) -> bool:
        served, access = given.served, given.access
        if served.is_cached:
            return True
        repository = served.info.repository_id
        now = self._catalogue.find(f"/{repository}".encode("ascii"), OPERATOR)
        if now is None or now.readers is None:
            return True
        if access.token is not None and access.token in revoked:
            return False
        return access.may_read(repository, now.readers)
