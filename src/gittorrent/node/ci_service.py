"""Answers for CI jobs: kept, made from a copy, or asked of the upstream, each once for all who ask.

Tracks what is under way and whom upstreams let read. Rules: a job is somebody else's code, so
nothing of what it says counts: the upstream says who may read, each time; what others get came from
the upstream itself or was made from such; a job's credentials are used for that job alone. Of a
public upstream all that is kept may be given; of another one what the refs reach that it has listed
to the caller a moment ago. Must not know how jobs and other runners call.
Source: docs/guide-mirror-operators.md, CI.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio import FIRST_COMPLETED
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

from gittorrent.disk_space import UNBOUNDED
from gittorrent.event_log import EventLog
from gittorrent.node.ci_asking import RefusedError
from gittorrent.node.ci_flow import Answering, Reader
from gittorrent.node.ci_maker import AT_ONCE, CiMaker
from gittorrent.node.ci_refs import LISTINGS_AT_ONCE, CiRefs
from gittorrent.node.flights import Flights
from gittorrent.transfer.working import stoppable_by
from gittorrent.wire.followed_tags import INCLUDE_TAG, with_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import Any

    from gittorrent.disk_space import Space
    from gittorrent.node.ci_options import CiConfig
    from gittorrent.node.ci_refs import Proof
    from gittorrent.node.ci_store import CiStore, Spool
    from gittorrent.wire.upload_requests import UploadRequest

EXPIRE_SECONDS = 60.0
"""How often it is looked what has to go."""

MAX_OF_PULLS = 8
"""Objects of which it is looked for whether they are pull requests': jobs build one or two."""

T = TypeVar("T")

_log = EventLog(__name__)


class Fleet(Protocol):
    """The other runners."""

    async def take(
        self,
        url: str,
        request: UploadRequest,
        attempt: Callable[[], AbstractAsyncContextManager[Spool]],
    ) -> bool:
        """Write another one's answer to what an attempt yields; tells whether there was one."""
        ...


class CiService:
    """Answers for all jobs; make it inside a running event loop.

    Args:
        store: what is kept.
        config: what is allowed.
        space: tells whether there is room for more.
        fleet: the other runners; None for none.
    """

    def __init__(
        self,
        store: CiStore,
        config: CiConfig,
        space: Space = UNBOUNDED,
        fleet: Fleet | None = None,
    ) -> None:
        self._store = store
        self.fleet = fleet
        self._answers: Flights[None] = Flights()
        # Apart from the above: nobody whom another runner waits for may wait for a runner.
        self._own: Flights[None] = Flights()
        self._threads = ThreadPoolExecutor(2 * AT_ONCE + LISTINGS_AT_ONCE, "ci")
        self.refs = CiRefs(config, self._work)
        self._maker = CiMaker(store, space, self._work, self.refs)

    @property
    def config(self) -> CiConfig:
        """What is allowed."""
        return self.refs.config

    def go_by(self, config: CiConfig) -> None:
        """Go by another list, and other limits."""
        self._store.config = self.refs.config = config

    async def open(self) -> None:
        """Make what is needed before the first job comes.

        Raises:
            OSError: the disk does not let us.
        """
        await self._work(self._store.open)

    async def run(self) -> None:
        """Remove what has to go, until cancelled."""
        try:
            while True:
                await self._expire()
                await asyncio.sleep(EXPIRE_SECONDS)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        await asyncio.gather(
            self._maker.stop(),
            self.refs.stop(),
            self._answers.stop(),
            self._own.stop(),
        )
        self._threads.shutdown(wait=False)

    async def _expire(self) -> None:
        for item in await self._work(self._store.expire):
            _log.info(
                "ci-removed", "removed {path}, {size} bytes, which no job used lately or for which"
                " there is no room",
                path=item.path, size=item.size,
            )  # fmt: skip

    async def _work(self, work: Callable[[], T]) -> T:
        return await stoppable_by(self._threads, work)

    # -- who may read

    async def prove(self, url: str, header: str) -> Proof:
        """Ask an upstream whether it lets a caller read; see `CiRefs.prove`."""
        return await self.refs.prove(url, header)

    async def listing(self, proof: Proof, request: bytes) -> Answering:
        """Return the refs of an upstream; see `CiRefs.listing`."""
        return self._begin(object(), lambda _: self._listing(proof, request))

    async def _listing(self, proof: Proof, request: bytes) -> Reader:
        data = await self.refs.listing(proof, request)
        return await self._work(lambda: self._file_of(data))

    def _file_of(self, data: bytes) -> Reader:
        with self._store.spool() as spool:
            spool.write(data)
            return Reader(os.dup(spool.file.fileno()))

    async def _require(self, proof: Proof, request: UploadRequest) -> Proof:
        """Make sure that a caller may have what it asks for; returns what proves it now.

        Raises:
            RefusedError: it may not.
        """
        if self.refs.is_old(proof):
            proof = await self.prove(proof.url, proof.header)
        if not proof.header:
            return proof
        # Of commits called shallow git may give the parents, whatever is wanted.
        named = dict.fromkeys((*request.wants, *(() if request.is_counted else request.shallow)))
        others = [oid for oid in named if oid not in proof.tips]
        if not others or await self._are_reached(proof, others):
            return proof
        if len(others) <= MAX_OF_PULLS:
            proof = await self.refs.with_pulls(proof)
            others = [oid for oid in others if oid not in proof.tips]
            if not others or await self._are_reached(proof, others):
                return proof
        raise RefusedError("not all of it is reached by the refs that the upstream lists")

    async def _are_reached(self, proof: Proof, oids: Sequence[bytes]) -> bool:
        """Tell whether commits are in the past of what an upstream lists to a caller."""
        copy, tips = self._maker.copies.copy(proof), proof.tips
        return copy is not None and await self._work(lambda: copy.reaches(tips, oids))

    # -- answers

    async def answer(self, proof: Proof, request: UploadRequest) -> Answering:
        """Return the answer to a request, which may be read while it comes.

        Raises:
            GitTorrentError: the caller may not have it, or the upstream does not say.
        """
        proof = await self._require(proof, request)
        if INCLUDE_TAG in request.switches:
            await self.refs.know_tags(proof)
        if request.is_from_nothing:
            request = with_tags(self.refs.tags_of(proof), request)
        key = request.digest(proof.place) if request.is_from_nothing else object()
        return self._begin(key, lambda key: self._answer(proof, request, key))

    def _begin(
        self, key: Hashable, work: Callable[[Hashable], Coroutine[Any, Any, Reader | None]]
    ) -> Answering:
        watch = self._maker.flow.watch(key)
        return Answering(watch, asyncio.get_running_loop().create_task(work(key)))

    async def _answer(self, proof: Proof, request: UploadRequest, key: Hashable) -> Reader | None:
        """Have an answer made, and return what is kept of it.

        Raises:
            GitTorrentError: there is none here.
        """
        if not isinstance(key, str):
            await self._maker.difference(proof, request, key)
            return None
        found = await self._kept(proof.place, key)
        if found is None:
            await self._answers.join(key, lambda: self._make(proof, request, key))
            found = await self._kept(proof.place, key)
        return found

    async def _kept(self, place: str, digest: str) -> Reader | None:
        found = await self._work(lambda: self._store.find(place, digest))
        return None if found is None else Reader(found)

    async def _make(self, proof: Proof, request: UploadRequest, digest: str) -> None:
        """Keep the answer to a request, from wherever it comes."""
        fleet, url = self.fleet, proof.url

        def attempt() -> AbstractAsyncContextManager[Spool]:
            return self._maker.taking(proof, request, digest, is_own=False)

        others = None if proof.header else fleet
        if others is not None and not await self._maker.has(proof, request):
            is_taken = await others.take(url, request, attempt)
            if is_taken:
                self._maker.copies.look_into(proof, request, digest, None)
                return
        await self._own.join(digest, lambda: self._maker.make(proof, request, digest))

    # -- for other runners, which have asked the upstream who may read

    async def kept(self, url: str, digest: str, *, only_own: bool) -> Reader | None:
        """Return an answer that is kept, or being written; None if it is neither.

        Only what was given when anybody could read the upstream; whether that is so now has to be
        asked before (`CiRefs.confirm`).

        Args:
            url: of the upstream.
            digest: of the request.
            only_own: whether one that is being taken from another runner does not count. It does
                for whom that one sent here, or two could wait for each other.
        """
        found = await self._kept(url, digest)
        return found or self._maker.flow.reader(digest, only_own=only_own)

    async def make_for_others(self, url: str, request: UploadRequest, digest: str) -> None:
        """Keep the answer to a request of another runner's, of an upstream that anybody may read.

        Raises:
            GitTorrentError: there is none here.
        """
        proof = await self.refs.confirm(url)
        await self._own.join(digest, lambda: self._maker.make(proof, request, digest))

    async def until_begun(self, digest: str, task: asyncio.Task[None], seconds: float) -> None:
        """Wait until some of an answer that is made here is there, or its task has ended.

        Args:
            digest: of the request.
            task: that makes it.
            seconds: not longer than that.
        """
        with contextlib.closing(self._maker.flow.watch(digest, only_own=True)) as watch:
            begun = asyncio.get_running_loop().create_task(watch.until_begun())
            await asyncio.wait([begun, task], timeout=seconds, return_when=FIRST_COMPLETED)
            begun.cancel()

    async def read(self, descriptor: int, at: int, count: int) -> bytes:
        """Read some of a file."""
        return await self._work(lambda: os.pread(descriptor, count, at))
