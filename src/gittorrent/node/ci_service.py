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
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

from gittorrent.disk_space import UNBOUNDED
from gittorrent.event_log import EventLog
from gittorrent.node.ci_maker import AT_ONCE, CiMaker, RefusedError
from gittorrent.node.ci_refs import LISTINGS_AT_ONCE, CiRefs
from gittorrent.node.ci_store import digest_of_file
from gittorrent.node.flights import Flights
from gittorrent.transfer.working import stoppable_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.disk_space import Space
    from gittorrent.node.ci_options import CiConfig
    from gittorrent.node.ci_refs import Proof
    from gittorrent.node.ci_store import CiStore, Spool
    from gittorrent.wire.upload_requests import UploadRequest

EXPIRE_SECONDS = 60.0
"""How often it is looked what has to go."""

T = TypeVar("T")

_log = EventLog(__name__)


class Fleet(Protocol):
    """The other runners."""

    async def take(self, url: str, request: UploadRequest, spool: Spool) -> bool:
        """Write another one's answer; tells whether there was one."""
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
        self._maker = CiMaker(store, space, self._work, self.refs.refs_of)

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

    async def listing(self, proof: Proof, request: bytes) -> int:
        """Return a descriptor of a file with the refs of an upstream; see `CiRefs.listing`."""
        data = await self.refs.listing(proof, request)
        return await self._work(lambda: self._file_of(data))

    def _file_of(self, data: bytes) -> int:
        with self._store.spool() as spool:
            spool.file.write(data)
            spool.file.flush()
            return os.dup(spool.file.fileno())

    async def _require(self, proof: Proof, request: UploadRequest) -> Proof:
        """Make sure that a caller may have what it asks for; returns what proves it now.

        Raises:
            RefusedError: it may not.
        """
        if self.refs.is_old(proof):
            proof = await self.prove(proof.url, proof.header)
        if not proof.header:
            return proof
        # Of commits called shallow git gives the parents, whatever is wanted.
        named = dict.fromkeys((*request.wants, *request.shallow))
        others = [oid for oid in named if oid not in proof.tips]
        if not others:
            return proof
        copy, tips = self._maker.copy(proof), proof.tips
        if copy is None or not await self._work(lambda: copy.reaches(tips, others)):
            raise RefusedError("not all of it is reached by the refs that the upstream lists")
        return proof

    # -- answers

    async def answer(self, proof: Proof, request: UploadRequest) -> int:
        """Return a descriptor of a file with the answer to a request.

        Raises:
            GitTorrentError: there is none here.
        """
        proof = await self._require(proof, request)
        if not request.is_from_nothing:
            news = await self._maker.difference(proof, request)
            _log.info("ci-given", "{url}: gave {size} bytes to a job", url=proof.url,
                      size=_size(news))  # fmt: skip
            return news
        url, place, digest = proof.url, proof.place, request.digest(proof.place)
        found = await self._work(lambda: self._store.find(place, digest))
        if found is None:
            await self._answers.join(digest, lambda: self._make(proof, request, digest))
            found = await self._work(lambda: self._store.find(place, digest))
        if found is None:
            raise RefusedError("it is gone already: there is no room for it")
        _log.info("ci-given", "{url}: gave {size} bytes to a job", url=url, size=_size(found))
        return found

    async def _make(self, proof: Proof, request: UploadRequest, digest: str) -> None:
        """Keep the answer to a request, from wherever it comes."""
        fleet, url = self.fleet, proof.url
        if fleet is not None and not proof.header and not await self._maker.has(proof, request):
            with self._store.spool() as spool:
                if await fleet.take(url, request, spool):
                    await self._work(lambda: self._store.keep(url, digest, spool))
                    return
        await self._own.join(digest, lambda: self._maker.make(proof, request, digest))

    # -- for other runners, which have asked the upstream who may read

    async def kept(self, url: str, digest: str) -> int | None:
        """Return a descriptor of a file with an answer that is kept; None if it is not.

        Only what was given when anybody could read the upstream: nobody asked it again.
        """
        return await self._work(lambda: self._store.find(url, digest))

    async def make_for_others(self, url: str, request: UploadRequest, digest: str) -> None:
        """Keep the answer to a request of another runner's, of an upstream that anybody may read.

        Raises:
            GitTorrentError: there is none here.
        """
        proof = await self.prove(url, "")
        await self._own.join(digest, lambda: self._maker.make(proof, request, digest))

    async def read(self, descriptor: int, at: int, count: int) -> bytes:
        """Read some of a file."""
        return await self._work(lambda: os.pread(descriptor, count, at))

    async def digest_of(self, descriptor: int) -> str:
        """Return the SHA-256 of a file."""
        return await self._work(lambda: digest_of_file(descriptor))


def _size(descriptor: int) -> int:
    return os.fstat(descriptor).st_size
