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

from msgspec import Struct

from gittorrent.disk_space import UNBOUNDED
from gittorrent.event_log import EventLog
from gittorrent.git.ci_upstream import CiUpstream, MayNotReadError, note_ref
from gittorrent.node.ci_maker import AT_ONCE, CiMaker, RefusedError
from gittorrent.node.ci_store import digest_of_file
from gittorrent.node.flights import Flights
from gittorrent.transfer.working import stoppable_by
from gittorrent.wire.ci_urls import is_allowed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gittorrent.disk_space import Space
    from gittorrent.node.ci_maker import Asker
    from gittorrent.node.ci_options import CiConfig
    from gittorrent.node.ci_store import CiStore, Spool
    from gittorrent.wire.upload_requests import UploadRequest

LISTINGS_AT_ONCE = 8
"""Upstreams that are asked at once who may read."""

PROOF_SECONDS = 10.0
"""For how long it counts that an upstream let a caller read: one clone asks twice or thrice."""

MAX_PUBLIC = 10_000
"""Upstreams of which it is remembered that anybody could read them a moment ago."""

MAX_LISTED = 64
"""Upstreams of which the refs are remembered that they listed last: 100 KB each, or some MB."""

EXPIRE_SECONDS = 60.0
"""How often it is looked what has to go."""

_HEAD = b"HEAD"
_USUAL = (b"refs/heads/", b"refs/tags/")
"""Refs that a copy has."""

_ALL = (_HEAD, *_USUAL, b"refs/pull/", b"refs/merge-requests/")
"""Refs whose objects jobs fetch: those of pull requests, as the usual forges name them."""

T = TypeVar("T")

_log = EventLog(__name__)


class LoginWantedError(RefusedError):
    """The upstream wants to know who asks."""


class Proof(Struct, frozen=True):
    """An upstream lets a caller read.

    Args:
        url: of the upstream.
        header: what it was told of the caller; empty if anybody may read.
        at: when it said so, by the event loop's clock.
        tips: ids of the refs that it listed; of a public one, nothing.
    """

    url: str
    header: str
    at: float
    tips: frozenset[bytes] = frozenset()

    @property
    def place(self) -> str:
        """Name of what is kept for such callers: what anybody may read lies apart.

        A private upstream may become public after something was taken away, or the other way.
        """
        return f"private {self.url}" if self.header else self.url


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
        self.config = config
        self.fleet = fleet
        self._public: dict[str, Proof] = {}
        self._proofs: Flights[Proof] = Flights()
        self._listings: Flights[bytes] = Flights()
        self._answers: Flights[None] = Flights()
        # Apart from the above: nobody whom another runner waits for may wait for a runner.
        self._own: Flights[None] = Flights()
        self._listing_turns = asyncio.Semaphore(LISTINGS_AT_ONCE)
        self._threads = ThreadPoolExecutor(2 * AT_ONCE + LISTINGS_AT_ONCE, "ci")
        self._listed: dict[str, dict[bytes, bytes]] = {}
        self._maker = CiMaker(store, space, self._work, self._refs_of)

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
            self._proofs.stop(),
            self._listings.stop(),
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
        """Ask an upstream whether it lets a caller read.

        Args:
            url: of it, as `gittorrent.wire.ci_urls` writes it.
            header: what it is told of the caller; empty for nothing.

        Raises:
            LoginWantedError: it wants to know who asks.
            RefusedError: it does not, or the operator does not allow it.
        """
        if not is_allowed(url, self.config.allow):
            raise RefusedError(f"{url} is not allowed below [ci] in the node's node.toml")
        known = self._public.get(url)
        if not header and known is not None and self._now() - known.at < PROOF_SECONDS:
            return known
        try:
            return await self._proofs.join((url, header), lambda: self._ask_proof(url, header))
        except MayNotReadError as error:
            if header:
                raise RefusedError(str(error)) from error
            raise LoginWantedError(str(error)) from error

    async def _ask_proof(self, url: str, header: str) -> Proof:
        now = self._now()

        def ask() -> frozenset[bytes]:
            with CiUpstream(url, header) as upstream:
                found = upstream.list_refs(_ALL if header else (_HEAD,))
            return frozenset(found.values()) if header else frozenset()

        async with self._listing_turns:
            proof = Proof(url, header, now, await self._work(ask))
        if not header:
            self._note_public(proof)
        return proof

    def _note_public(self, proof: Proof) -> None:
        self._public[proof.url] = proof
        while len(self._public) > MAX_PUBLIC:
            del self._public[next(iter(self._public))]

    def _note_refs(self, url: str, refs: dict[bytes, bytes]) -> None:
        self._listed.pop(url, None)
        self._listed[url] = refs
        while len(self._listed) > MAX_LISTED:
            del self._listed[next(iter(self._listed))]

    def _refs_of(self, asker: Asker) -> Mapping[bytes, bytes]:
        """Return what an upstream listed last to whoever asked, by name."""
        return {} if asker.header else self._listed.get(asker.url, {})

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def listing(self, proof: Proof, request: bytes) -> int:
        """Return a descriptor of a file with the refs that a public upstream has now.

        It is asked after this was called; who calls meanwhile shares the answer.

        Args:
            proof: that anybody may read.
            request: of git's, as `gittorrent.wire.upload_requests` writes it.

        Raises:
            RefusedError: the caller was let in by a name of its own, and hears from the upstream.
            GitTorrentError: the upstream does not say.
        """
        if proof.header:
            raise RefusedError("what is not public is listed by the upstream")
        url = proof.url
        data = await self._listings.join_next((url, request), lambda: self._list(url, request))
        return await self._work(lambda: self._file_of(data))

    async def _list(self, url: str, request: bytes) -> bytes:
        now, found = self._now(), bytearray()
        refs: dict[bytes, bytes] = {}

        def take(packet: bytes) -> None:
            found.extend(packet)
            note_ref(packet, refs)

        def ask() -> None:
            with CiUpstream(url, "") as upstream:
                upstream.list_as(request, take)

        async with self._listing_turns:
            await self._work(ask)
        self._note_public(Proof(url, "", now))
        self._note_refs(url, refs)
        return bytes(found)

    def _file_of(self, data: bytes) -> int:
        with self._store.spool() as spool:
            spool.file.write(data)
            spool.file.flush()
            return os.dup(spool.file.fileno())

    async def _require(self, proof: Proof, request: UploadRequest) -> None:
        """Make sure that a caller may have what it asks for.

        Raises:
            RefusedError: it may not.
        """
        if self._now() - proof.at > PROOF_SECONDS:
            proof = await self.prove(proof.url, proof.header)
        if not proof.header:
            return
        # Of commits called shallow git gives the parents, whatever is wanted.
        named = dict.fromkeys((*request.wants, *request.shallow))
        others = [oid for oid in named if oid not in proof.tips]
        if not others:
            return
        copy, tips = self._maker.copy(proof), proof.tips
        if copy is None or not await self._work(lambda: copy.reaches(tips, others)):
            raise RefusedError("not all of it is reached by the refs that the upstream lists")

    # -- answers

    async def answer(self, proof: Proof, request: UploadRequest) -> int:
        """Return a descriptor of a file with the answer to a request.

        Raises:
            GitTorrentError: there is none here.
        """
        await self._require(proof, request)
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
