"""What upstreams say to CI jobs before they give objects: who may read, what they can, their refs.

Tracks whom they let read a moment ago, and what they listed last. Rules: the upstream says who may
read, each time, and a caller's credentials are used for that caller alone; a list of refs is never
older than the question for it. Many jobs begin at once, so lists of a public upstream begin at most
once in `REFRESH_SECONDS` and are for all who asked before, whichever refs each asked for; where the
operator trusts the other runners with it (``share-refs``), for all of the fleet. Upstreams are
asked for no refs but those that somebody needs. Must not know how jobs and runners call.
Source: gitprotocol-v2(5), ls-refs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from gittorrent.git.ci_upstream import CiUpstream, MayNotReadError, note_ref
from gittorrent.node.ci_asking import USUAL, RefusedError
from gittorrent.node.ci_lists import RefLists
from gittorrent.node.ci_owners import FairTurns
from gittorrent.node.flights import Flights
from gittorrent.wire.ci_fleet import Listed
from gittorrent.wire.ci_urls import is_allowed
from gittorrent.wire.followed_tags import annotated
from gittorrent.wire.peeled_refs import PeeledRefs
from gittorrent.wire.ref_lists import RefRequest

if TYPE_CHECKING:
    from gittorrent.node.ci_asking import Asker, Working
    from gittorrent.node.ci_lists import Close
    from gittorrent.node.ci_options import CiConfig

LISTINGS_AT_ONCE = 8
"""Upstreams that are asked at once for refs."""

PROOF_SECONDS = 10.0
"""For how long it counts that an upstream let a caller read: one clone asks twice or thrice."""

REFRESH_SECONDS = 1.0
"""From one list of a public upstream to the next: jobs that come meanwhile wait for that one."""

MAX_PUBLIC = 10_000
"""Upstreams of which it is remembered that anybody could read them a moment ago."""

MAX_LISTED = 64
"""Upstreams of which the refs are remembered that they listed last: 100 KB each, or some MB."""

MAX_NEW = 16
"""Refs of a list of which it is asked once more what they name; of more all is asked anew."""

_HEAD = b"HEAD"
_TAGS = (b"refs/tags/",)
_PEEL = b"peel"
_READABLE = RefRequest(prefixes=(_HEAD,))
"""Asks for as little as an upstream can be asked for."""

_USUAL = RefRequest((_PEEL,), (_HEAD, *USUAL))
_PULLS = RefRequest(prefixes=(b"refs/merge-requests/", b"refs/pull/"))
"""Refs of pull requests, as the usual forges name them: often many more than all others."""


T = TypeVar("T")


class LoginWantedError(RefusedError):
    """The upstream wants to know who asks."""


class Proof(Struct, frozen=True):
    """An upstream lets a caller read.

    Args:
        url: of the upstream.
        header: what it was told of the caller; empty if anybody may read.
        at: when it said so, by the event loop's clock.
        tips: ids of the refs that it listed, but for those of pull requests where nobody needed
            them; of a public one, nothing.
        said: what a public one says that it can, as git reads it.
        tags: what annotated tags are on that it listed, by their ids; of a public one, nothing.
    """

    url: str
    header: str
    at: float
    tips: frozenset[bytes] = frozenset()
    said: bytes = b""
    tags: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Name of what is kept for such callers: what anybody may read lies apart.

        A private upstream may become public after something was taken away, or the other way.
        """
        return _place(self.url, self.header)


class RefSharing(Protocol):
    """The other runners, as far as they ask for refs."""

    async def is_own(self, url: str) -> bool:
        """Tell whether this runner is the one that asks an upstream."""
        ...

    async def refs(self, url: str, request: bytes) -> Listed | None:
        """Return what a public upstream says now; None if this runner is to ask it."""
        ...


class CiRefs:
    """What upstreams say; make it inside a running event loop.

    Args:
        config: what is allowed.
        working: runs what blocks.
    """

    def __init__(self, config: CiConfig, working: Working) -> None:
        self.config = config
        self.fleet: RefSharing | None = None
        self._work = working
        self._public: dict[str, Proof] = {}
        self._listed: dict[str, dict[bytes, bytes]] = {}
        self._tags: dict[str, dict[bytes, bytes]] = {}
        self._peeled: dict[str, PeeledRefs] = {}
        self._proofs: Flights[Proof] = Flights()
        self._shared = RefLists(self._ask_fleet)
        # Apart from the above: nobody whom another runner waits for may wait for a runner.
        self._own = RefLists(self._ask, REFRESH_SECONDS)
        self._turns = FairTurns(LISTINGS_AT_ONCE)

    async def stop(self) -> None:
        """End what is under way."""
        await asyncio.gather(self._proofs.stop(), self._shared.stop(), self._own.stop())

    async def prove(self, url: str, header: str) -> Proof:
        """Ask an upstream whether it lets a caller read.

        Args:
            url: of it, as `gittorrent.wire.ci_urls` writes it.
            header: what it is told of the caller; empty for nothing.

        Raises:
            LoginWantedError: it wants to know who asks.
            RefusedError: it does not, or the operator does not allow it.
        """
        self._require_allowed(url)
        known = None if header else self._known(url)
        if known is not None:
            return known
        try:
            if header:
                key = (url, header)
                return await self._proofs.join(key, lambda: self._ask_proof(url, header))
            # Who may read was asked a moment ago, if it is asked now.
            await (await self._lists_of(url)).anything(url, _READABLE)
        except MayNotReadError as error:
            if header:
                raise RefusedError(str(error)) from error
            raise LoginWantedError(str(error)) from error
        return self._public[url]

    async def confirm(self, url: str) -> Proof:
        """Make sure that anybody may read an upstream, for another runner; returns what proves it.

        The upstream said so `PROOF_SECONDS` ago or later. No other runner is asked: somebody there
        waits for this one.

        Raises:
            RefusedError: it is not public, or not allowed here.
            GitTorrentError: it does not say.
        """
        self._require_allowed(url)
        known = self._known(url)
        if known is not None:
            return known
        try:
            await self._own.anything(url, _READABLE)
        except MayNotReadError as error:
            raise RefusedError(str(error)) from error
        return self._public[url]

    def _require_allowed(self, url: str) -> None:
        if not is_allowed(url, self.config.allow):
            raise RefusedError(f"{url} is not allowed below [ci] in the node's node.toml")

    def _known(self, url: str) -> Proof | None:
        """Return what is known of a public upstream since a moment ago."""
        known = self._public.get(url)
        return None if known is None or self.is_old(known) else known

    def is_old(self, proof: Proof) -> bool:
        """Tell whether something was proved too long ago to count."""
        return self._now() - proof.at >= PROOF_SECONDS

    async def _ask_proof(self, url: str, header: str) -> Proof:
        now, place = self._now(), _place(url, header)
        known = self._peeled.get(place) or PeeledRefs()
        refs, tags = await self._list_for(url, header, _USUAL, known)
        _put(self._peeled, place, known, MAX_LISTED)
        return Proof(url, header, now, frozenset(refs.values()), tags=tags)

    async def with_pulls(self, proof: Proof) -> Proof:
        """Return what proves that somebody may read, with the tips of pull requests.

        Raises:
            GitTorrentError: the upstream does not say.
        """
        more, _ = await self._list_for(proof.url, proof.header, _PULLS, PeeledRefs())
        return replace(proof, tips=proof.tips.union(more.values()))

    async def _list_for(
        self, url: str, header: str, asked: RefRequest, known: PeeledRefs
    ) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
        """Return refs that a caller with a name is listed, and what annotated tags are on."""

        def ask() -> Listed:
            with CiUpstream(url, header) as upstream:
                return Listed(upstream.said, _ask_peeled(upstream, asked, known))

        async with self._turns:
            found = await self._work(ask)
        return _refs_in(found), annotated(found.packets())

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def refs_of(self, asker: Asker) -> Mapping[bytes, bytes]:
        """Return what a public upstream listed last to whoever asked, by name."""
        return {} if asker.header else self._listed.get(asker.url, {})

    def tags_of(self, asker: Asker) -> Mapping[bytes, bytes]:
        """Return what annotated tags are on that an upstream listed last, by their ids."""
        return asker.tags if asker.header else self._tags.get(asker.url, {})

    # -- lists

    async def listing(self, proof: Proof, request: bytes) -> bytes:
        """Return the answer to a request for refs that a public upstream gives now.

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
        lists = await self._lists_of(proof.url)
        return (await lists.listing(proof.url, RefRequest.parse(request))).refs

    async def for_others(self, url: str, request: bytes) -> Listed:
        """Return what a public upstream says now, for another runner.

        Raises:
            GitTorrentError: it does not say, or is not allowed here.
        """
        self._require_allowed(url)
        return await self._own.listing(url, RefRequest.parse(request))

    async def look_again(self, url: str) -> None:
        """Have the usual refs of a public upstream known as they are now.

        Raises:
            GitTorrentError: it does not say.
        """
        await self._own.listing(url, _USUAL)

    async def know_tags(self, proof: Proof) -> None:
        """Have the tags known that an upstream lists.

        Raises:
            GitTorrentError: it does not say.
        """
        if not proof.header and proof.url not in self._tags:
            await self.look_again(proof.url)

    async def _lists_of(self, url: str) -> RefLists:
        """Return where this runner's jobs get lists of an upstream."""
        fleet = self.fleet if self.config.share_refs else None
        return self._own if fleet is None or await fleet.is_own(url) else self._shared

    async def _ask_fleet(self, url: str, close: Close) -> Listed:
        """Return what an upstream says now, from another runner, or from itself if none says it."""
        now, asked = self._now(), close()
        found = None if self.fleet is None else await self.fleet.refs(url, asked.encode())
        if found is None:
            return await self._own.listing(url, asked)
        self._note(url, asked, found, now)
        return found

    async def _ask(self, url: str, close: Close) -> Listed:
        """Ask an upstream, without what is known of its tags."""
        known = self._peeled.get(url) or PeeledRefs()

        def ask() -> tuple[RefRequest, Listed]:
            with CiUpstream(url, "") as upstream:
                asked = close()
                return asked, Listed(upstream.said, _ask_peeled(upstream, asked, known))

        async with self._turns:
            now = self._now()
            asked, found = await self._work(ask)
        _put(self._peeled, url, known, MAX_LISTED)
        # Those who ask for refs here are those who ask for objects next.
        self._note(url, asked, found, now)
        return found

    def _note(self, url: str, asked: RefRequest, found: Listed, now: float) -> None:
        """Remember that anybody may read an upstream, and its refs, if it was asked for all."""
        _put(self._public, url, Proof(url, "", now, said=found.said), MAX_PUBLIC)
        if asked.has_all(USUAL):
            _put(self._listed, url, _refs_in(found), MAX_LISTED)
        if _PEEL in asked.words and asked.has_all(_TAGS):
            _put(self._tags, url, annotated(found.packets()), MAX_LISTED)


def _place(url: str, header: str) -> str:
    return f"private {url}" if header else url


def _refs_in(listed: Listed) -> dict[bytes, bytes]:
    refs: dict[bytes, bytes] = {}
    for packet in listed.packets():
        note_ref(packet, refs)
    return refs


def _ask_peeled(upstream: CiUpstream, asked: RefRequest, known: PeeledRefs) -> bytes:
    """Return an upstream's answer to a request for refs, and learn of its tags. Blocks."""
    shorter = asked.without_peel
    if shorter != asked and known:
        packets = _packets(upstream, shorter)
        unknown = known.unknown(packets)
        if 0 < len(unknown) <= MAX_NEW:
            # What an object is does not change: it does not matter where these refs are by now.
            known.learn(_packets(upstream, RefRequest(asked.words, tuple(sorted(set(unknown))))))
        refs = known.complete(packets)
        if refs is not None:
            return refs
    packets = _packets(upstream, asked)
    if shorter != asked:
        known.learn(packets)
    return b"".join(packets)


def _packets(upstream: CiUpstream, asked: RefRequest) -> list[bytes]:
    found: list[bytes] = []
    upstream.list_as(asked.encode(), found.append)
    return found


def _put(known: dict[str, T], url: str, value: T, most: int) -> None:
    """Remember something of an upstream, and forget what was heard least lately."""
    known.pop(url, None)
    known[url] = value
    while len(known) > most:
        del known[next(iter(known))]
