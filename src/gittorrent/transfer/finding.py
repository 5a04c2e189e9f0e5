"""Looks for mirrors of a repository in all the ways there are, side by side.

What the ways find passes the judge of learned addresses before anybody connects there, and has
shares: of each answer a few places count, of each network fewer, and each way has places that the
others cannot take. So whoever poisons one way costs some connections that come to nothing, and
keeps nobody from being found in the others.

Must not know how the ways look. Source: docs/protocol/mirrorsync.md, Discovery.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

from gittorrent.discovery.ports import MAX_PER_ANSWER, Way
from gittorrent.swarm.fair_shares import in_turn
from gittorrent.transfer.addresses import caller_group
from gittorrent.transfer.reaching import Source
from gittorrent.wire.urls import (
    AddressClass,
    UrlError,
    address_class,
    found_endpoint,
    may_contact,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.discovery.ports import Lookup, Place
    from gittorrent.ids import RepositoryId

MAX_PER_WAY = 16
"""Mirrors that one way may have us ask for a repository."""

MAX_PER_GROUP = 2
"""Places that count at one address, or in one /64 network of IPv6."""

MAX_LOOKED_AT = 1000
"""Places that one look-up may tell of before it is ended: a flood of them costs time, too."""

_TRUSTED = {Way.LAN: AddressClass.PRIVATE, Way.DHT: AddressClass.PUBLIC}
"""Where each way may send us: the local network into it and out of it, the DHT out only."""


def judged(place: Place, repository: RepositoryId) -> Source:
    """Return the mirror that may be at a place.

    Raises:
        UrlError: nobody may send us there.
    """
    trusted = _TRUSTED.get(place.way)
    if trusted is None:
        raise UrlError(f"nobody is found by way of {place.way.value}")
    endpoint = found_endpoint(place.address, place.port, f"/{repository}")
    kind = address_class(place.address)
    if not may_contact(kind, trusted):
        raise UrlError(f"{endpoint.url} is {kind.value}, where this way may not send us")
    return Source(endpoint.url, endpoint, trusted, place.way)


class Shares:
    """How many places of one search still count.

    Args:
        sample: picks some of many, at random.
    """

    def __init__(
        self, sample: Callable[[Sequence[Source], int], Sequence[Source]] = random.sample
    ) -> None:
        self._sample = sample
        self._taken: set[str] = set()
        self._ways: Counter[Way] = Counter()
        self._groups: Counter[tuple[Way, str]] = Counter()

    def admit(self, answer: Sequence[Source]) -> list[Source]:
        """Return those of one answer that count; each at most once in all."""
        new = list({each.url: each for each in answer if each.url not in self._taken}.values())
        admitted: list[Source] = []
        for source in self._sample(new, len(new)):
            if len(admitted) < MAX_PER_ANSWER and self._has_place(source):
                self._taken.add(source.url)
                admitted.append(source)
        return admitted

    def _has_place(self, source: Source) -> bool:
        assert source.endpoint is not None
        group = (source.way, caller_group(source.endpoint.host))
        if self._ways[source.way] >= MAX_PER_WAY or self._groups[group] >= MAX_PER_GROUP:
            return False
        self._ways[source.way] += 1
        self._groups[group] += 1
        return True


class Finder:
    """One search for the mirrors of a repository; begins when it is first asked.

    Args:
        repository: whose mirrors are looked for.
        lookups: the ways.
        detail: told of places that do not count.
        shares: of the places.
    """

    def __init__(
        self,
        repository: RepositoryId,
        lookups: Sequence[Lookup],
        detail: Callable[[str], None],
        shares: Shares | None = None,
    ) -> None:
        self._repository = repository
        self._lookups = lookups
        self._detail = detail
        self._shares = shares or Shares()
        self._found: list[Source] = []
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to be found."""
        if self._found or not self._lookups:
            return not self._found
        return self._tasks is not None and all(task.done() for task in self._tasks)

    async def more(self) -> list[Source]:
        """Return the mirrors found since the last time, as soon as there is one.

        Returns:
            One of each way in turn; nothing when all ways came to their end.
        """
        if self._tasks is None:
            self._tasks = [asyncio.ensure_future(self._look(each)) for each in self._lookups]
        while not self._found and not self.is_done:
            self._news.clear()
            await self._news.wait()
        found, self._found = in_turn(self._found, lambda source: source.way), []
        return found

    async def close(self) -> None:
        """End the search."""
        tasks = self._tasks or []
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _look(self, lookup: Lookup) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _task: self._news.set())
        looked_at = 0
        finding = lookup.find(self._repository)
        try:
            async for answer in finding:
                self._take(answer[: MAX_LOOKED_AT - looked_at])
                looked_at += len(answer)
                if looked_at >= MAX_LOOKED_AT:
                    return
        finally:
            await finding.aclose()

    def _take(self, answer: Sequence[Place]) -> None:
        sources = []
        for place in answer:
            try:
                sources.append(judged(place, self._repository))
            except UrlError as error:
                self._detail(f"left out of what was found: {error}")
        admitted = self._shares.admit(sources)
        if admitted:
            self._found += admitted
            self._news.set()
