"""Makes answers for CI jobs: from a copy of the upstream's repository, or by asking the upstream.

Tracks what is being written. Whatever the shape of a request, the first answer is the upstream's
own; a copy is made of it while nobody waits, and later ones cost the upstream the difference.
Rules: where a copy cannot be used the upstream is asked as if there had been none. Who may read
what was found out before. Source: `gittorrent.node.ci_copy_upkeep`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.git.ci_upstream import CiUpstream
from gittorrent.git.runner import GitError
from gittorrent.node.ci_asking import (
    USUAL,
    LackingError,
    RefusedError,
    TagsGoneError,
    note_asked,
)
from gittorrent.node.ci_copies import NO_FILES, has_copy, require_whole_pack
from gittorrent.node.ci_copy_upkeep import CiCopyUpkeep, refs_for
from gittorrent.node.ci_flow import Flow
from gittorrent.node.ci_owners import FairTurns
from gittorrent.node.flights import Flights
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.followed_tags import with_tags

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Mapping

    from gittorrent.disk_space import Space
    from gittorrent.node.ci_asking import Asker, KnownRefs, Working
    from gittorrent.node.ci_copies import Copy
    from gittorrent.node.ci_store import CiStore, Spool
    from gittorrent.wire.upload_requests import UploadRequest

AT_ONCE = 4
"""Answers that are made or fetched at once; as many wait as there are jobs."""

NOTHING = b"0" * 40
"""Id of no object."""

_log = EventLog(__name__)


class CiMaker:
    """Makes answers; make it inside a running event loop.

    ``flow`` has what is being written, ``copies`` what answers are made from.

    Args:
        store: what is kept.
        space: tells whether there is room for more.
        working: runs what blocks.
        refs: what is known of the refs of upstreams.
    """

    def __init__(
        self,
        store: CiStore,
        space: Space,
        working: Working,
        refs: KnownRefs,
    ) -> None:
        self._store = store
        self._space = space
        self._work = working
        self._refs = refs
        self.flow = Flow()
        self._turns = FairTurns(AT_ONCE)
        self._preparing: Flights[None] = Flights()
        self._background = TaskSet()
        self.copies = CiCopyUpkeep(store, space, working, refs, self._turns)

    async def stop(self) -> None:
        """End what is under way."""
        await asyncio.gather(self._background.stop(), self._preparing.stop())
        await self.copies.stop()

    async def has(self, asker: Asker, request: UploadRequest) -> bool:
        """Tell whether a copy here has what is wanted."""
        copies = self.copies.all_for(asker, request)
        return await self._work(lambda: any(not each.unheld(request.wants) for each in copies))

    async def _know_refs(self, asker: Asker, request: UploadRequest) -> None:
        """Have an upstream list its refs where another runner knows others than this one.

        It has heard of a push, and this one not yet, if some of what is wanted is among the refs
        that are known here; files never are. Of tags it says by their name which it knows.
        """
        known = frozenset(self._refs.refs_of(asker).values())
        wants = frozenset(request.wants)
        is_partly_new = NO_FILES in request.shape and known & wants and wants - known
        tags = with_tags(self._refs.tags_of(asker), request).tags
        if not asker.header and (is_partly_new or tags != request.tags):
            await self._refs.look_again(asker.url)

    async def make(self, asker: Asker, request: UploadRequest, digest: str) -> None:
        """Keep the answer to a request from nothing.

        Raises:
            GitTorrentError: the upstream does not give it.
        """
        await self._know_refs(asker, request)
        for copy in self.copies.all_for(asker, request):
            try:
                await self.copies.update(copy, asker, request)
                await self._make_from(copy, asker, request, digest)
            except TagsGoneError:
                continue  # the upstream knows which it has by now
            except (GitError, LackingError) as error:
                await self.copies.drop(copy, asker, error)
            else:
                return
        async with self.taking(asker, request, digest) as spool, self._turns:
            refs = await self._work(lambda: self._ask(asker, request, spool))
        self.copies.look_into(asker, request, digest, refs)

    async def _make_from(
        self, copy: Copy, asker: Asker, request: UploadRequest, digest: str
    ) -> None:
        async with self._attempt(asker.place, digest) as spool, self._turns:
            await self._work(lambda: self._serve(copy, asker, request, spool))

    def _serve(self, copy: Copy, asker: Asker, request: UploadRequest, spool: Spool) -> None:
        """Write an answer that is made from a copy, as if it had the tags of the upstream. Blocks.

        Tags of the copy itself would come along that the upstream has no more, or for others.
        """
        self._require_room()
        directory = self._store.new_directory()
        try:
            shown = copy.shown_with(directory, self._refs.tags_of(asker))
            shown.serve(request, spool.write)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    async def difference(self, asker: Asker, request: UploadRequest, key: Hashable) -> None:
        """Let the answer for somebody who has something flow, once: nobody else asks just that.

        Args:
            asker: for whom it is.
            request: of git's.
            key: by which it is read.

        Raises:
            GitTorrentError: there is none here.
        """
        copy = self.copies.for_news(asker, request)
        if copy is None:
            if request.shape and self.copies.suits(asker, request):
                self._background.start(self._prepare(asker, request))
            raise RefusedError("there is no copy of it here that news could be made from")

        def serve() -> None:
            self._serve(copy, asker, _seen(copy, asker, request), spool)

        try:
            with contextlib.suppress(TagsGoneError):  # git asks for tags that did not come
                await self.copies.update(copy, asker, request)
            with self._store.spool() as spool, self.flow.writing(key, spool):
                async with self._turns:
                    await self._work(serve)
        except (GitError, LackingError) as error:
            await self.copies.drop(copy, asker, error)
            raise RefusedError("the copy here is not whole, and gone") from error

    async def _prepare(self, asker: Asker, request: UploadRequest) -> None:
        """Have a copy for the next who asks so, while nobody waits for it.

        Jobs in work trees from before would else never bring one about.
        """
        anew = with_tags(
            self._refs.tags_of(asker), replace(request, haves=(), shallow=(), is_done=True)
        )
        key = asker.place, request.shape
        try:
            if key not in self._preparing:
                digest = anew.digest(asker.place)
                await self._preparing.join(key, lambda: self.make(asker, anew, digest))
        except (GitTorrentError, OSError) as error:
            _log.warning("ci-dropped", "{url}: there is no copy of it yet: {reason}", url=asker.url,
                         reason=error)  # fmt: skip

    @contextlib.asynccontextmanager
    async def _attempt(self, place: str, digest: str) -> AsyncIterator[Spool]:
        """Yield where an answer made here is written; what is whole after the block is kept."""
        with self._store.spool() as spool, self.flow.writing(digest, spool):
            yield spool
            await self._work(lambda: self._store.keep(place, digest, spool))

    @contextlib.asynccontextmanager
    async def taking(
        self, asker: Asker, request: UploadRequest, digest: str, *, is_own: bool = True
    ) -> AsyncIterator[Spool]:
        """Yield where an answer that others made is written; `CiCopyUpkeep.look_into` follows.

        Args:
            asker: for whom it is made.
            request: what was asked for.
            digest: name of the answer.
            is_own: whether it comes from the upstream itself.

        Raises:
            BadAnswerError: what is there after the block is no answer.
        """
        with self._store.spool() as spool, self.flow.writing(digest, spool, is_own=is_own):
            yield spool
            await self._work(lambda: self._hold(asker.place, request, digest, spool))

    def _hold(self, place: str, request: UploadRequest, digest: str, spool: Spool) -> None:
        """Hold an answer until somebody has looked into it; keep one that nobody can. Blocks."""
        with spool.path.open("rb") as file:
            require_whole_pack(file)
        if has_copy(request.shape):
            self._store.hold(digest, spool)
        else:
            self._store.keep(place, digest, spool)

    def _ask(self, asker: Asker, request: UploadRequest, spool: Spool) -> Mapping[bytes, bytes]:
        """Write an upstream's answer; returns refs for the copy that is made of it. Blocks."""
        self._require_room()
        refs = self._refs.refs_of(asker)
        with CiUpstream(asker.url, asker.header) as upstream:
            if request.is_whole:
                refs = upstream.list_refs(USUAL)
            upstream.fetch(request.encode(), spool.write)
            note_asked(asker.url, spool.size)
        return refs if request.is_whole else refs_for(request)

    def _require_room(self) -> None:
        self._space.require(self._store.root)


def _seen(copy: Copy, asker: Asker, request: UploadRequest) -> UploadRequest:
    """Return a request as a server hears it that has only what the caller could see.

    Otherwise an answer tells whether something is here that the upstream lists no more, or not to
    this caller, and is made of differences from it. In place of it an object is named that nobody
    has: a server answers a request without any such name in another form.
    """
    if not asker.header or not request.haves:
        return request
    seen = copy.seen_from(asker.tips, request.haves)
    return replace(request, haves=tuple(seen) or (NOTHING,))
