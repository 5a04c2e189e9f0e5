"""Looks and updates of mirrors that a node follows: whether there is news, and bringing it.

Tracks nothing. Rules: a look asks the source for its list and nothing more; an update does not run
in the node's event loop. Must not know when they are due, nor who waits for them.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.git.repository import read_config
from gittorrent.node.access import OPERATOR
from gittorrent.node.collection_judge import judge_log
from gittorrent.repository.carried import MIRROR
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.local_node import LocalNode
from gittorrent.transfer.lookups import NodeFirst
from gittorrent.transfer.mirroring import Mirrored, Mirroring, tidy_after
from gittorrent.transfer.off_loop import apart
from gittorrent.transfer.opening import ask_list
from gittorrent.transfer.reaching import is_confidential, learned, named
from gittorrent.transfer.settings import read_settings

if TYPE_CHECKING:
    from gittorrent.disk_space import Space
    from gittorrent.node.catalogue import Catalogue
    from gittorrent.node.follow_plan import Target
    from gittorrent.node.follow_reports import FollowReports
    from gittorrent.push.log import VerifiedLog
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.reaching import Source

WHOLE_SECONDS = 24 * 3600
"""Time after which an update is made though the source says nothing new: it finds objects that got
lost here, and reels that the source has by now."""


class MirrorUpdates:
    """Makes them.

    Args:
        catalogue: what the node serves.
        database: of the node.
        home: of the node.
        limits: of all that it sends and takes.
        space: tells whether there is room for what comes.
    """

    def __init__(
        self, catalogue: Catalogue, database: Database, home: Home, limits: Limits, space: Space
    ) -> None:
        self._catalogue = catalogue
        self._database = database
        self._home = home
        self._limits = limits
        self._space = space
        self._querying = catalogue.threads.executor()

    async def is_unchanged(self, target: Target) -> bool:
        """Tell whether a source says what it said at the last update, which is all that is here.

        Where that cannot be told an update finds out.
        """
        repository = target.repository
        if not target.is_here or target.wanted or repository is None:
            return False
        served = self._catalogue.find(f"/{repository}".encode("ascii"), OPERATOR)
        if served is None or served.is_cached or served.info.role != MIRROR:
            return False
        if target.name is not None and served.info.name != target.name:
            return False
        try:
            source = await self._querying(partial(self._source, target))
            if source is None or source.endpoint is None:
                return False
            if served.is_private and not is_confidential(source):
                return False  # an update says why it is not asked
            check = await self._querying(partial(self._database.check, repository))
            content = served.content
            head, untaken = await served.reading(lambda: (content.latest(), content.untaken()))
            # One of the future was made while the clock was ahead.
            if check.head != head or not 0 <= time.time() - check.whole <= WHOLE_SECONDS:
                return False
            found, _ = await ask_list(source.endpoint, source.trusted, ClientTimeouts())
        except GitTorrentError:
            return False
        return (found.repository_id, found.latest, found.untaken) == (repository, head, untaken)

    def _source(self, target: Target) -> Source | None:
        """Return whom to ask for news: the mirror that was named, or who served it last."""
        if target.location.endpoint is not None:
            return named(target.location.endpoint)
        assert target.repository is not None
        known = self._database.remembered_mirrors(target.repository)
        best = max(known, key=lambda each: each.served, default=None)
        if best is None or not best.served or best.trusted is None:
            return None
        return learned(best.url, best.trusted)

    async def update(
        self, target: Target, reports: FollowReports, max_size: int | None
    ) -> Mirrored:
        """Bring a repository up to date; every mirror that is known may be asked.

        Args:
            target: it.
            reports: hears of the progress.
            max_size: bytes of packs to take; None for what git's configuration says.

        Raises:
            GitTorrentError: it did not come, or may not.
        """

        async def bring() -> Mirrored:
            max_bytes = max_size
            if max_bytes is None:
                max_bytes = read_settings(read_config(self._home.root)).max_bytes
            mirroring = Mirroring(
                target.location,
                self._home,
                self._database,
                reports,
                max_bytes=max_bytes,
                limits=self._limits,
                lookups=[NodeFirst(LocalNode(self._home.control, reports), None)],
                space=self._space,
                judge=partial(_judge, target),
                client_timeouts=ClientTimeouts(busy=0),  # it is looked again soon anyway
                by_id=target.brought is not None,
            )
            done = await mirroring.check(target.name)
            tidy_after(done, wait=False)
            return done

        # Verifying a log takes as long as it takes, and so does storing parts: not in this loop.
        return await apart(bring)


def _judge(target: Target, log: VerifiedLog) -> None:
    """Look at the log of what a collection brings.

    Raises:
        LeftOutError: it is none that the operator lets collections bring.
    """
    if target.brought is not None:
        judge_log(log, target.brought.limits)
