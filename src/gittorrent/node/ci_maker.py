"""Makes answers for CI jobs: from a copy of the upstream's repository, or by asking the upstream.

Tracks which copies are brought up to date. Whatever the shape of a request, the first answer is
the upstream's own; a copy is made of it while nobody waits, and later ones cost the upstream the
difference. Rules: copies of callers whom the upstream wants to know lie apart, as their answers do;
a copy that cannot be used goes, and the upstream is asked as if there had been none. Who may read
what was found out before. Source: `gittorrent.node.ci_copies`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec.structs import replace

from gittorrent.errors import GitTorrentError, UnreachableError
from gittorrent.event_log import EventLog
from gittorrent.git.ci_upstream import CiUpstream
from gittorrent.git.runner import GitError
from gittorrent.node.ci_copies import NO_FILES, WANTED, Copy, has_copy, require_whole_pack
from gittorrent.node.ci_flow import Flow
from gittorrent.node.ci_owners import FairTurns
from gittorrent.node.flights import Flights
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.followed_tags import INCLUDE_TAG, followed, with_tags

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Mapping
    from pathlib import Path
    from typing import Any

    from gittorrent.disk_space import Space
    from gittorrent.node.ci_store import CiStore, Spool
    from gittorrent.wire.upload_requests import UploadRequest

AT_ONCE = 4
"""Answers that are made or fetched at once; as many wait as there are jobs."""

COPIES_AT_ONCE = 2
"""Copies that are made or made smaller at once, of which nobody waits for any."""

USUAL = (b"refs/heads/", b"refs/tags/")
"""Refs that a whole copy has, and that clones of everything ask for."""

NOTHING = b"0" * 40
"""Id of no object."""

T = TypeVar("T")

_log = EventLog(__name__)


class RefusedError(UnreachableError):
    """A job does not get what it asks for; the text says why."""


class LackingError(RefusedError):
    """A copy lacks something after the upstream was asked for it."""


class TagsGoneError(RefusedError):
    """The upstream does not give tags that it listed: some may be gone since."""


class Working(Protocol):
    """Runs blocking work in a thread, and stops it when nobody waits for it any more."""

    def __call__(self, work: Callable[[], T]) -> Coroutine[Any, Any, T]:
        """Return what it comes to."""
        ...


class Asker(Protocol):
    """For whom an answer is made, and what is known of the upstream's refs."""

    @property
    def url(self) -> str:
        """Of the upstream."""
        ...

    @property
    def header(self) -> str:
        """What the upstream is told of the caller."""
        ...

    @property
    def place(self) -> str:
        """Name of what is kept for such callers."""
        ...

    @property
    def tips(self) -> frozenset[bytes]:
        """Ids of the refs that an upstream listed to a caller whom it wants to know."""
        ...

    @property
    def tags(self) -> Mapping[bytes, bytes]:
        """What annotated tags are on that it listed to such a caller, by their ids."""
        ...


class KnownRefs(Protocol):
    """What is known of the refs of upstreams."""

    def refs_of(self, asker: Asker) -> Mapping[bytes, bytes]:
        """Return the refs that an upstream listed last, by name; nothing if that is not known."""
        ...

    def tags_of(self, asker: Asker) -> Mapping[bytes, bytes]:
        """Return what annotated tags are on that an upstream listed last, by their ids."""
        ...

    async def look_again(self, url: str) -> None:
        """Have the usual refs of a public upstream known as they are now."""
        ...


class CiMaker:
    """Makes answers; make it inside a running event loop.

    ``flow`` has what is being written.

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
        self._updates: Flights[None] = Flights()
        self._tidying: Flights[None] = Flights()
        self._turns = FairTurns(AT_ONCE)
        self._copying = FairTurns(COPIES_AT_ONCE)
        self._background = TaskSet()

    async def stop(self) -> None:
        """End what is under way."""
        await asyncio.gather(self._background.stop(), self._updates.stop(), self._tidying.stop())

    def copy(self, asker: Asker, shape: tuple[bytes, ...] = ()) -> Copy | None:
        """Return the copy of an upstream's repository; None if there is none."""
        found = self._store.copy_of(asker.place, shape)
        return None if found is None else Copy(found, shape)

    async def has(self, asker: Asker, request: UploadRequest) -> bool:
        """Tell whether a copy here has what is wanted."""
        copies = self._copies(asker, request)
        return await self._work(lambda: any(not each.unheld(request.wants) for each in copies))

    def _copies(self, asker: Asker, request: UploadRequest) -> list[Copy]:
        """Return the copies that an answer can be made from."""
        found = [self.copy(asker)]
        if request.shape and self._suits(asker, request):
            found.append(self.copy(asker, request.shape))
        return [each for each in found if each is not None]

    def _suits(self, asker: Asker, request: UploadRequest) -> bool:
        """Tell whether a request can be answered from a copy of its shape.

        A commit of a copy without files counts for the upstream as all that belongs to it. So
        files that are asked for by their ids, when they are checked out, would never come.
        Where history begins at a date, nothing tells whether all of a commit's past is there: what
        was cut off of another one's by its date may lie behind older commits.
        """
        if not has_copy(request.shape) or request.shallow or b"deepen-relative" in request.switches:
            return False
        if any(line.startswith(b"deepen-since ") for line in request.shape):
            return False
        if NO_FILES not in request.shape:
            return True
        listed = frozenset(self._refs.refs_of(asker).values())
        return listed.issuperset(request.wants)

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

    # -- answers

    async def make(self, asker: Asker, request: UploadRequest, digest: str) -> None:
        """Keep the answer to a request from nothing.

        Raises:
            GitTorrentError: the upstream does not give it.
        """
        await self._know_refs(asker, request)
        for copy in self._copies(asker, request):
            try:
                await self._update(copy, asker, request)
                await self._make_from(copy, asker, request, digest)
            except TagsGoneError:
                continue  # the upstream knows which it has by now
            except (GitError, LackingError) as error:
                await self._drop(copy, asker, error)
            else:
                return
        async with self.taking(asker, request, digest) as spool, self._turns:
            refs = await self._work(lambda: self._ask(asker, request, spool))
        self.look_into(asker, request, digest, refs)

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
        copy = self.copy(asker)
        if copy is None:
            raise RefusedError("there is no copy of it here that news could be made from")

        def serve() -> None:
            self._serve(copy, asker, _seen(copy, asker, request), spool)

        try:
            with contextlib.suppress(TagsGoneError):  # git asks for tags that did not come
                await self._update(copy, asker, request)
            with self._store.spool() as spool, self.flow.writing(key, spool):
                async with self._turns:
                    await self._work(serve)
        except (GitError, LackingError) as error:
            await self._drop(copy, asker, error)
            raise RefusedError("the copy here is not whole, and gone") from error

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
        """Yield where an answer that others made is written; `look_into` has to follow.

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
            _asked(asker.url, spool.size)
        return refs if request.is_whole else _refs_for(request)

    def _require_room(self) -> None:
        self._space.require(self._store.root)

    # -- copies

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
        suits = self._suits(asker, request)

        def look(held: Path) -> None:
            # Of a copy that fills the disk nobody has anything.
            self._space.require(self._store.root, size=held.stat().st_size)
            directory = self._store.new_directory()
            copy = Copy(directory, request.shape)
            try:
                with held.open("rb") as file:
                    copy.make(file, refs or {})
                copy.require_all(request, is_connected=suits)
                if suits and refs is not None:
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

    async def _update(self, copy: Copy, asker: Asker, request: UploadRequest) -> None:
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
                _asked(asker.url, spool.size)
                with spool.path.open("rb") as answer:
                    copy.take(answer, refs)

        def bring() -> None:
            self._require_room()
            with CiUpstream(asker.url, asker.header) as upstream:
                wants = copy.unheld(request.wants)
                if wants and copy.shape:
                    with_tags = INCLUDE_TAG in request.switches
                    asked = copy.request_for(wants, with_tags=with_tags)
                    take(upstream, asked, _refs_for(request))
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

    async def _drop(self, copy: Copy, asker: Asker, error: GitTorrentError) -> None:
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


def _refs_for(request: UploadRequest) -> dict[bytes, bytes]:
    """Return the refs that a copy of a shape is to have: what was wanted."""
    return {WANTED + oid: oid for oid in request.wants}


def _asked(url: str, size: int) -> None:
    _log.info("ci-asked", "{url}: the upstream sent {size} bytes", url=url, size=size)
