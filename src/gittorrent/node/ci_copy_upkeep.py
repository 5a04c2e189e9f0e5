"""Keeps copies of upstreams' repositories that answers for CI jobs are made from.

Tracks which copies are brought up to date. A copy is made of the first answer of its shape while
nobody waits; what it lacks later is brought by whoever needs it, for all who do. Rules: copies of
callers whom the upstream wants to know lie apart, as their answers do; a copy that cannot be used
goes. Must not know what is made from them. Source: `gittorrent.node.ci_copies`.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError, UnreachableError
from gittorrent.event_log import EventLog
from gittorrent.git.ci_upstream import CiUpstream
from gittorrent.git.runner import GitError
from gittorrent.node.ci_asking import USUAL, LackingError, TagsGoneError, note_asked
from gittorrent.node.ci_copies import NO_FILES, WANTED, Copy, has_copy
from gittorrent.node.ci_owners import FairTurns
from gittorrent.node.flights import Flights
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.followed_tags import INCLUDE_TAG, followed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gittorrent.disk_space import Space
    from gittorrent.node.ci_asking import Asker, KnownRefs, Working
    from gittorrent.node.ci_store import CiStore
    from gittorrent.wire.upload_requests import UploadRequest

COPIES_AT_ONCE = 2
"""Copies that are made or made smaller at once, of which nobody waits for any."""

_log = EventLog(__name__)


class CiCopyUpkeep:
    """Finds, makes and renews copies; make it inside a running event loop.

    Args:
        store: what is kept.
        space: tells whether there is room for more.
        working: runs what blocks.
        refs: what is known of the refs of upstreams.
        turns: of all who ask upstreams.
    """

    def __init__(
        self, store: CiStore, space: Space, working: Working, refs: KnownRefs, turns: FairTurns
    ) -> None:
        self._store = store
        self._space = space
        self._work = working
        self._refs = refs
        self._turns = turns
        self._updates: Flights[None] = Flights()
        self._tidying: Flights[None] = Flights()
        self._copying = FairTurns(COPIES_AT_ONCE)
        self._background = TaskSet()

    async def stop(self) -> None:
        """End what is under way."""
        await asyncio.gather(self._background.stop(), self._updates.stop(), self._tidying.stop())

    def copy(self, asker: Asker, shape: tuple[bytes, ...] = ()) -> Copy | None:
        """Return the copy of an upstream's repository; None if there is none."""
        found = self._store.copy_of(asker.place, shape)
        return None if found is None else Copy(found, shape)

    def all_for(self, asker: Asker, request: UploadRequest) -> list[Copy]:
        """Return the copies that an answer can be made from."""
        found = (self.copy(asker), self._of_shape(asker, request))
        return [each for each in found if each is not None]

    def for_news(self, asker: Asker, request: UploadRequest) -> Copy | None:
        """Return the copy that the answer for somebody who has something can be made from.

        That is one of the same shape where there is no whole one: once it has what is wanted, all
        is there that the answer may have, and where it cuts history off the asker does, too.
        """
        return self.copy(asker) or self._of_shape(asker, request)

    def _of_shape(self, asker: Asker, request: UploadRequest) -> Copy | None:
        is_one = request.shape and self.suits(asker, request)
        return self.copy(asker, request.shape) if is_one else None

    def suits(self, asker: Asker, request: UploadRequest) -> bool:
        """Tell whether a request can be answered from a copy of its shape, if it has one.

        A commit of a copy without files counts for the upstream as all that belongs to it. So
        files that are asked for by their ids, when they are checked out, would never come. Whoever
        asks for files says nothing of what he has.
        """
        if not _fits(request):
            return False
        if NO_FILES not in request.shape or request.haves:
            return True
        listed = frozenset(self._refs.refs_of(asker).values())
        return listed.issuperset(request.wants)

    def look_into(
        self,
        asker: Asker,
        request: UploadRequest,
        digest: str,
        refs: Mapping[bytes, bytes] | None,
    ) -> None:
        """Find out, while nobody waits for it, whether an answer that is held is one.

        Who waited for it finds out as well, as everybody does who asks a server. But a server that
        is mended afterwards would not be asked again.

        Args:
            asker: for whom it was made.
            request: what was asked for.
            digest: name of the answer.
            refs: for a copy that is made of it; None for no copy.
        """
        # Of commits that its asker called shallow an answer does not say that they are.
        is_kept = _fits(request) and not request.shallow
        are_listed = self.suits(asker, request)

        def look(held: Path) -> None:
            # Of a copy that fills the disk nobody has anything.
            self._space.require(self._store.root, size=held.stat().st_size)
            directory = self._store.new_directory()
            copy = Copy(directory, request.shape)
            try:
                with held.open("rb") as file:
                    copy.make(file, refs or {})
                is_copy = is_kept and (are_listed or copy.are_commits(request.wants))
                copy.require_all(request, is_connected=is_copy)
                if is_copy and refs is not None:
                    self._store.keep_copy(asker.place, directory, request.shape)
            finally:
                shutil.rmtree(directory, ignore_errors=True)

        held = self._store.held(digest)
        if held is not None:
            self._background.start(self._settle(asker, digest, held, look))

    async def _settle(
        self, asker: Asker, digest: str, held: Path, look: Callable[[Path], None]
    ) -> None:
        """Keep an answer that is held if ``look`` finds nothing wrong with it."""
        is_good = False
        try:
            async with self._copying:
                await self._work(lambda: look(held))
            is_good = True
        except (GitTorrentError, OSError) as error:
            _log.warning("ci-dropped", "{url}: an answer is not kept: {reason}", url=asker.url,
                         reason=error)  # fmt: skip
        finally:
            self._store.settle(asker.place, digest, held, is_good=is_good)

    async def update(self, copy: Copy, asker: Asker, request: UploadRequest) -> None:
        """Bring what a copy lacks from the upstream.

        Raises:
            TagsGoneError: it has some tags no more that it listed.
            GitTorrentError: it does not give it.
        """
        tags = followed(self._refs.tags_of(asker), request)

        def is_lacking() -> bool:
            return bool(copy.unheld(request.wants) or copy.unheld_tags(tags))

        while await self._work(is_lacking):
            # Whoever asks for other objects than the one at work waits, and looks again.
            place = str(copy.directory)
            is_waiting = place in self._updates
            await self._updates.join(place, lambda: self._bring(copy, asker, request, tags))
            if not is_waiting and await self._work(is_lacking):
                raise LackingError("the upstream did not give all of it")

    async def _bring(
        self, copy: Copy, asker: Asker, request: UploadRequest, tags: Mapping[bytes, bytes]
    ) -> None:
        def take(
            upstream: CiUpstream, asked: UploadRequest, refs: Mapping[bytes, bytes] | None
        ) -> None:
            with self._store.spool() as spool:
                upstream.fetch(asked.encode(), spool.write)
                note_asked(asker.url, spool.size)
                with spool.path.open("rb") as answer:
                    copy.take(answer, refs)

        def bring() -> None:
            self._space.require(self._store.root)
            with CiUpstream(asker.url, asker.header) as upstream:
                wants = copy.unheld(request.wants)
                if wants and copy.shape:
                    with_tags = INCLUDE_TAG in request.switches
                    asked = copy.request_for(wants, with_tags=with_tags)
                    take(upstream, asked, refs_for(request))
                elif wants:
                    refs = upstream.list_refs(USUAL)
                    asked = copy.request_for(copy.lacking([*request.wants, *refs.values()]))
                    take(upstream, asked, refs)
                lacking = {oid: tags[oid] for oid in copy.unheld_tags(tags)}
                try:
                    if lacking:
                        take(upstream, copy.request_for_tags(lacking), None)
                except UnreachableError as error:
                    raise TagsGoneError(str(error)) from error

        async with self._turns:
            await self._work(bring)
        self._background.start(self._tidy(copy, asker))

    async def drop(self, copy: Copy, asker: Asker, error: GitTorrentError) -> None:
        """Remove a copy that cannot be used; the next answer of its shape makes another."""
        _log.warning("ci-dropped", "{url}: its copy is removed: {reason}", url=asker.url,
                     reason=error)  # fmt: skip
        await self._work(lambda: self._store.remove(copy.directory))

    async def _tidy(self, copy: Copy, asker: Asker) -> None:
        """Make one pack of many, while nobody waits for it."""

        def tidy() -> None:
            if copy.is_full:
                self._store.remove(copy.directory)
            else:
                copy.tidy()

        async def work() -> None:
            async with self._copying:
                await self._work(tidy)

        try:
            await self._tidying.join(str(copy.directory), work)
        except GitError as error:
            _log.warning("ci-dropped", "{url}: its copy stays as it is: {reason}", url=asker.url,
                         reason=error)  # fmt: skip


def _fits(request: UploadRequest) -> bool:
    """Tell whether a copy of a request's shape has all that its answer may have.

    Where history begins at a date, nothing tells whether all of a commit's past is there: what was
    cut off of another one's by its date may lie behind older commits.
    """
    if not has_copy(request.shape) or b"deepen-relative" in request.switches:
        return False
    if request.shallow and not request.is_counted:
        return False
    return not any(line.startswith(b"deepen-since ") for line in request.shape)


def refs_for(request: UploadRequest) -> dict[bytes, bytes]:
    """Return the refs that a copy of a shape is to have: what was wanted."""
    return {WANTED + oid: oid for oid in request.wants}
