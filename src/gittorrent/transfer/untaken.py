"""Brings what is needed to judge pushes that no checkpoint has taken yet.

Such a push moves refs to objects that may not be here; whether it may do that is found out from
commits. A mirror, which shows it, needs all objects. A clone lists refs before it fetches: it takes
a look at the commits, and what git then asks for is brought and proved like everything else
(docs/decisions/0035-clones-look-at-commits-before-they-list-refs.md). What the mirror that told of
a push does not give another one may; what nobody gives is not shown, and keeps nothing else up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import temporary_directory
from gittorrent.errors import GitTorrentError, LocalError
from gittorrent.git import scratch
from gittorrent.git.fetching import FetchFailedError, FetchOptions
from gittorrent.git.runner import Git
from gittorrent.ids import RefName
from gittorrent.push.facts import KeptFacts
from gittorrent.repository.completeness import without_objects
from gittorrent.repository.evidence import OnlyVouching
from gittorrent.repository.quarantine import extent_of
from gittorrent.transfer.ordinary import OrdinaryFetch, TooLargeError, Wanted
from gittorrent.transfer.working import stoppable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.rule import Push
    from gittorrent.repository.layout import Layout
    from gittorrent.repository.logstore import LogStore
    from gittorrent.transfer.context import Context
    from gittorrent.transfer.reaching import Source

    Bring = Callable[[Sequence[Wanted]], Awaitable[None]]

DEPTH = 64
"""Commits that a newcomer looks at from each value on: pushes of more are shown when the keeper has
taken them."""

MAX_SINGLE = 16
"""Pushes that are asked for one by one where a mirror does not give all of them."""


class UntakenPushes:
    """Judges the pushes of one log that cannot be judged by what is here.

    Args:
        layout: of the repository.
        log: the verified log.
        store: holds its push objects.
        sources: mirrors, first the one that the log comes from.
        context: of the world around it.
    """

    def __init__(
        self,
        layout: Layout,
        log: VerifiedLog,
        store: LogStore,
        sources: Sequence[Source],
        context: Context,
    ) -> None:
        self._layout = layout
        self._log = log
        self._store = store
        self._sources = sources
        self._context = context

    async def lacking(self) -> Sequence[Push]:
        """Return the pushes whose objects are not in the repository."""
        return await stoppable(without_objects, Git(self._layout.git_dir), self._log)

    async def bring(self, pushes: Sequence[Push]) -> Sequence[Push]:
        """Bring the objects of pushes into the repository, whose lock the caller holds, and judge.

        Returns:
            Those whose objects nobody gives.
        """
        fetch = self._fetch()
        for source in self._sources:

            async def one(wants: Sequence[Wanted], source: Source = source) -> None:
                await fetch.fetch([source], wants, FetchOptions(), patient=False)

            await self._try(one, pushes)
            await stoppable(self._store.judge_again, self._log)
            pushes = await self.lacking()
            if not pushes:
                break
        return pushes

    async def look(self) -> None:
        """Judge by commits that are not kept; the repository stays as it is."""
        fetch = self._fetch()
        extent = extent_of(self._layout.git_dir)
        borrows = self._layout.has_objects() and extent.is_whole
        settings = {"filter": ["tree:0"], "from-promisor": ["true"]}
        if not borrows:
            settings["depth"] = [str(DEPTH)]
        options = FetchOptions(settings=settings)
        alternates = (self._layout.objects,) if borrows else ()
        with (
            temporary_directory("list") as parent,
            scratch.receiving(parent, self._log.object_format, alternates) as staging,
        ):

            async def one(wants: Sequence[Wanted]) -> None:
                await fetch.fetch_into(staging, self._sources[0], wants, options)

            # Where the clone's own objects are not looked at, others decide anew about all of them.
            await self._try(one, self._log.unjudged if borrows else self._log.unfinal)
            await stoppable(self._judge_by, staging)

    async def _try(self, bring: Bring, pushes: Sequence[Push]) -> None:
        """Bring what all of the pushes need, or else what each of some needs."""
        failure = await self._failure(bring, pushes)
        if failure is None or len(pushes) == 1:
            return
        for push in pushes[-MAX_SINGLE:]:
            if isinstance(failure, FetchFailedError) and failure.broken is not None:
                return  # it is slow, or sends too much: so it would be with each
            failure = await self._failure(bring, [push])

    async def _failure(self, bring: Bring, pushes: Sequence[Push]) -> GitTorrentError | None:
        """Bring what some pushes need; returns why it did not come, None if it did."""
        wants = _wanted(pushes)
        try:
            if wants:
                await bring(wants)
        except GitTorrentError as error:
            if isinstance(error, LocalError) and not isinstance(error, TooLargeError):
                raise
            names = ", ".join(push.id for push in pushes[:MAX_SINGLE])
            self._context.reporter.detail(f"what shows push {names} is not to be had: {error}")
            return error
        return None

    def _fetch(self) -> OrdinaryFetch:
        context = self._context
        return OrdinaryFetch(
            self._layout,
            self._log.object_format,
            extent_of(self._layout.git_dir),
            context.max_bytes,
            context.client_timeouts,
            context.reporter,
            context.space,
        )

    def _judge_by(self, git: Git) -> None:
        facts = KeptFacts(OnlyVouching)
        with facts.looking_in(self._store.evidence(git)):
            self._log.judge_again(facts)
            _ = self._log.refs  # asks whatever is asked


def _wanted(pushes: Sequence[Push]) -> list[Wanted]:
    """Return what pushes set refs to, by their ids alone: a conflict is shown by another name."""
    lines = (line for push in pushes for line in push.certificate.lines)
    values = dict.fromkeys(line.new for line in lines)
    return [Wanted(new, RefName(new.encode("ascii"))) for new in values if new is not None]
