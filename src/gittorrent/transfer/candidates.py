"""Whom a client may ask for a repository's log, and what failed with whom.

That is the mirror the user named, those that this machine knows, and then, one look after another,
those that are found. Names of what is private are told to nobody who was not named, and to nobody
in the clear. Must not know what is asked.
Source: docs/protocol/mirrorsync.md, Whom a client asks.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from gittorrent.errors import UnreachableError, UsageError
from gittorrent.store.privacy import is_private
from gittorrent.swarm.reconnect import BUSY_SECONDS, FIRST_SECONDS
from gittorrent.transfer.finding import Finder
from gittorrent.transfer.location import SCHEME
from gittorrent.transfer.mirror import BusyMirrorError
from gittorrent.transfer.reaching import (
    MAX_CANDIDATES,
    first_to_answer,
    is_confidential,
    known_here,
    leads_here,
    named,
    unique,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import TypeVar

    from gittorrent.errors import GitTorrentError
    from gittorrent.ids import RepositoryId
    from gittorrent.transfer.context import Context
    from gittorrent.transfer.location import Location
    from gittorrent.transfer.reaching import Source

    T = TypeVar("T")


def _waits(seconds: float) -> Iterator[float]:
    """Yield times in which a mirror may find room for us, longer and longer, ``seconds`` in all.

    They grow as those of a mirror that becomes busy in a download. Callers who are turned away
    together come back one by one.
    """
    wait, left = FIRST_SECONDS, seconds
    while left > 0:
        pause = min(left, wait * random.uniform(0.5, 1.5))  # noqa: S311
        yield pause
        left -= pause
        wait = min(2 * wait, BUSY_SECONDS)


def require_confidential(location: Location, repository: RepositoryId, way_out: str) -> None:
    """Make sure that nobody is asked in the clear for a repository that is private.

    Args:
        location: whom the user named.
        repository: it.
        way_out: what to do where it is private no more.

    Raises:
        UsageError: the mirror would be.
    """
    endpoint = location.endpoint
    if endpoint is not None and not is_confidential(named(endpoint)):
        raise UsageError(
            f"{repository} is private, and {endpoint.url} would be asked for it in the clear",
            hint=f"use {SCHEME}::https://HOST/NAME.git or {SCHEME}::ssh://USER@HOST/NAME.git;"
            f" {way_out}",
        )


class Candidates:
    """The mirrors to turn to, the best first.

    Args:
        location: what the user named.
        repository: its id, where that or what is remembered of it says.
        context: of the world around it.

    Raises:
        UsageError: the repository is private, and the mirror named would be asked in the clear.
    """

    def __init__(
        self, location: Location, repository: RepositoryId | None, context: Context
    ) -> None:
        self._location = location
        self._context = context
        self._require_confidential(repository)
        found = [] if location.endpoint is None else [named(location.endpoint)]
        if repository is not None:
            found += self.known_here(repository)
        usable = [each for each in unique(found) if each.endpoint is not None]
        self._sources = usable[:MAX_CANDIDATES]
        self._finder: Finder | None = None
        if repository is not None and context.lookups and self._may_look_up(repository):
            self._finder = Finder(repository, context.lookups, context.reporter.detail)
        self.failures: dict[str, GitTorrentError] = {}
        """What went wrong with whom, by URL."""
        self._counted: set[str] = set()
        self._waits = _waits(context.client_timeouts.busy)

    async def close(self) -> None:
        """End the search for mirrors, if one is under way."""
        if self._finder is not None:
            await self._finder.close()

    def _require_confidential(self, repository: RepositoryId | None) -> None:
        """Make sure that the name of what is private passes no network in the clear."""
        if repository is not None and is_private(self._context.database, repository):
            forget = f"if it is public by now, 'gittorrent forget {self._location.full_url}'"
            require_confidential(self._location, repository, forget)

    def _may_look_up(self, repository: RepositoryId) -> bool:
        """Tell whether strangers may be asked for a repository: a question says that there is one.

        What was never seen here may be private where its mirror was named by a URL that could
        lead to such.
        """
        database, endpoint = self._context.database, self._location.endpoint
        if is_private(database, repository):
            return False
        is_open = endpoint is None or not is_confidential(named(endpoint))
        return is_open or database.seen_head(repository) is not None

    def known_here(self, repository: RepositoryId) -> list[Source]:
        """Return the mirrors that this machine knows, the most promising first."""
        context = self._context
        now = int(context.clock())
        return known_here(
            repository, context.database, context.home, now, own_node=context.ask_own_node
        )

    @property
    def wanted(self) -> Source:
        """The best of them, whatever failed with it."""
        return self._sources[0]

    @property
    def why_not_wanted(self) -> str:
        """Why another one is turned to than the best of them."""
        url = self.wanted.url
        return str(self.failures.get(url, f"{url} takes long to answer"))

    @property
    def left(self) -> list[Source]:
        """Those that did not fail yet."""
        return [source for source in self._sources if source.url not in self.failures]

    def is_last(self, source: Source | None) -> bool:
        """Tell whether nobody is left if one fails."""
        if self._finder is not None and not self._finder.is_done:
            return False
        return all(each is source for each in self.left)

    async def first_to_answer(
        self, ask: Callable[[Source], Awaitable[T]], let_go: Callable[[T], Awaitable[None]]
    ) -> tuple[Source, T]:
        """Ask those that did not fail yet, and then those that are found, until one answers.

        Args:
            ask: asks one.
            let_go: ends what somebody answered who was not needed any more.

        Raises:
            GitTorrentError: none is left, or none answers.
        """
        while True:
            left = self.left
            answered = await first_to_answer(left, ask, self.failures, let_go, self._find_more)
            if answered is not None:
                return answered
            failed = self.failures.items()
            busy = {url: why for url, why in failed if isinstance(why, BusyMirrorError)}
            if not busy or (wait := next(self._waits, None)) is None:
                raise self.failures[left[0].url] if left else self._nobody_answers()
            for url, why in busy.items():
                self._context.reporter.note(f"{why}; asking again")
                del self.failures[url]
            await asyncio.sleep(wait)

    async def _find_more(self) -> list[Source]:
        """Return mirrors that were found and are not known yet; nothing if there are no more."""
        while self._finder is not None and (found := await self._finder.more()):
            known = {source.url for source in self._sources}
            new = [each for each in found if each.url not in known and self._may_ask(each)]
            if new:
                self._sources += new
                return new
        return []

    def _may_ask(self, source: Source) -> bool:
        """Tell whether somebody who was found is not the node that is brought up to date itself."""
        context = self._context
        assert source.endpoint is not None
        return context.ask_own_node or not leads_here(source.endpoint, context.home)

    def note_failures(self, repository: RepositoryId) -> None:
        """Remember, once for each, who failed to give a repository."""
        with self._context.remembering():
            for url in self.failures.keys() - self._counted:
                self._context.database.mirror_failed(repository, url)
        self._counted.update(self.failures)

    def _nobody_answers(self) -> UnreachableError:
        """Say that nobody is known who could be asked, or that nobody who was found can be used."""
        url, reporter = self._location.url, self._context.reporter
        for error in self.failures.values():
            reporter.detail(f"left out: {error}")
        found = "none is known on this machine"
        if self._finder is not None:
            found += (
                f", and none of {len(self._sources)} places found has it"
                if self._sources
                else ", and none was found"
            )
        return UnreachableError(
            f"no mirror of {url} can be asked: {found}",
            hint=f"name one that carries it: {SCHEME}://{self._location.expected}@HOST/PATH",
        )
