"""Brings the objects of pushes that did not come with them: by an ordinary fetch.

Beside the event loop, in a thread and a loop of its own, since it waits for the repository's lock
and for git. Must not know conversations.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gittorrent.disk_space import UNBOUNDED
from gittorrent.errors import GitTorrentError, UnreachableError
from gittorrent.event_log import EventLog
from gittorrent.git.fetching import FetchOptions
from gittorrent.git.history import describe
from gittorrent.printable import printable
from gittorrent.push.certificate import parse_certificate
from gittorrent.push.object import PushKind, parse_push_object
from gittorrent.repository.carried import MIRROR
from gittorrent.repository.quarantine import extent_of
from gittorrent.repository.uploads import MAX_PUSHED
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.off_loop import apart
from gittorrent.transfer.ordinary import OrdinaryFetch, Wanted
from gittorrent.transfer.reaching import MAX_CANDIDATES, is_confidential, known_here, named, unique

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gittorrent.disk_space import Space
    from gittorrent.node.catalogue import Served
    from gittorrent.repository.arrived_objects import Arrived
    from gittorrent.repository.carried import Carried
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.store.processes import DownloadFigures
    from gittorrent.transfer.reaching import Source

_log = EventLog(__name__)


class NotBroughtError(UnreachableError):
    """Nobody gave the objects of some pushes.

    ``asked`` are the mirrors that were asked, ``lacking`` what is not here.
    """

    def __init__(
        self, error: GitTorrentError, asked: Sequence[str], lacking: Sequence[Wanted]
    ) -> None:
        super().__init__(str(error), hint=error.hint)
        self.asked = asked
        self.lacking = lacking


class Bringing:
    """Brings objects for the repositories of a node.

    Args:
        database: whom it knows; None knows nobody.
        home: of the node.
        space: tells whether there is room for what comes.
    """

    def __init__(self, database: Database | None, home: Home, space: Space = UNBOUNDED) -> None:
        self._space = space
        self._database = database
        self._home = home

    async def bring(self, served: Served, pushes: Sequence[Arrived]) -> Sequence[Path]:
        """Bring everything that some pushes' new values reach.

        Args:
            served: the repository.
            pushes: certificates, verified.

        Returns:
            The packs that came.

        Raises:
            NotBroughtError: nobody gives it.
        """
        wants = list(_wanted(served.carried, pushes))
        return await apart(lambda: self._fetch(served, wants)) if wants else ()

    async def _fetch(self, served: Served, wants: Sequence[Wanted]) -> list[Path]:
        sources = self._sources(served)
        try:
            return await self._fetch_from(sources, served, wants)
        except GitTorrentError as error:
            asked = [source.url for source in sources]
            here = describe(served.carried.git, [want.oid for want in wants])
            absent = [want for want, info in zip(wants, here, strict=True) if info is None]
            # All of them may be here, and lack something that they lead to.
            raise NotBroughtError(error, asked, absent or wants) from error

    async def _fetch_from(
        self, sources: Sequence[Source], served: Served, wants: Sequence[Wanted]
    ) -> list[Path]:
        carried = served.carried
        if not sources:
            raise UnreachableError(f"no mirror of {served.info.name} is known to fetch from")
        layout = carried.layout
        with carried.writing():
            before = set(_packs(carried))
            fetch = OrdinaryFetch(
                layout, carried.object_format, extent_of(layout.git_dir), MAX_PUSHED,
                ClientTimeouts(), _Reports(served.info.name), self._space,
            )  # fmt: skip
            await fetch.fetch(sources, wants, FetchOptions())
            return [pack for pack in _packs(carried) if pack not in before]

    def _sources(self, served: Served) -> list[Source]:
        info = served.info
        found: list[Source] = []
        endpoint = parse_location(info.source).endpoint if info.source else None
        if info.role == MIRROR and endpoint is not None:  # else its id alone is known
            found.append(named(endpoint))
        if served.is_private:
            return [each for each in found if is_confidential(each)]
        if self._database is not None:
            now = int(time.time())
            found += known_here(info.repository_id, self._database, self._home, now, own_node=False)
        return unique(found)[:MAX_CANDIDATES]


def _packs(carried: Carried) -> list[Path]:
    return sorted((carried.layout.objects / "pack").glob("pack-*.pack"))


def wanted_by(carried: Carried, arrived: Arrived) -> list[Wanted]:
    """Return what a push sets refs to; nothing for what is no push."""
    push = parse_push_object(arrived.data)
    if push.kind is not PushKind.CERTIFICATE:
        return []
    lines = parse_certificate(push.text, carried.object_format).lines
    return [Wanted(line.new, line.ref) for line in lines if line.new is not None]


def _wanted(carried: Carried, pushes: Sequence[Arrived]) -> list[Wanted]:
    return list(dict.fromkeys(want for each in pushes for want in wanted_by(carried, each)))


class _Reports:
    """A `gittorrent.transfer.context.Reporter` that writes to the node's log."""

    is_quiet = True
    shows_progress = False

    def __init__(self, repository: str) -> None:
        self._repository = repository

    def note(self, text: str) -> None:
        """Log it."""
        _log.info("fetching", "{repository}: {note}", repository=self._repository, note=text)

    def detail(self, text: str) -> None:
        """Log it where everything is logged."""
        _log.debug("fetching", "{repository}: {note}", repository=self._repository, note=text)

    def downloading(self, name: str, figures: DownloadFigures) -> None:
        """Show nothing."""

    def phase(self, text: str) -> None:
        """Show nothing."""

    def git_says(self, said: bytes) -> None:
        """Log it where everything is logged."""
        self.detail(printable(said.decode(errors="replace")))

    def close(self) -> None:
        """Show nothing."""
