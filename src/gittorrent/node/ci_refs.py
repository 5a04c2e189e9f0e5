"""What upstreams say to CI jobs before they give objects: who may read, what they can, their refs.

Tracks whom they let read a moment ago, and what they listed last. Rules: the upstream says who may
read, each time, and a caller's credentials are used for that caller alone; a list of refs is never
older than the question for it. Many jobs begin at once, so lists of a public upstream begin at most
once in `REFRESH_SECONDS` and are for all who asked before; where the operator trusts the other
runners with it (``share-refs``), for all of the fleet. Must not know how jobs and runners call.
Source: gitprotocol-v2(5), ls-refs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec import Struct

from gittorrent.git.ci_upstream import CiUpstream, MayNotReadError, note_ref
from gittorrent.node.ci_maker import USUAL, RefusedError
from gittorrent.node.ci_owners import FairTurns
from gittorrent.node.flights import Flights
from gittorrent.wire.ci_fleet import Listed
from gittorrent.wire.ci_urls import is_allowed
from gittorrent.wire.peeled_refs import PeeledRefs, without_peel
from gittorrent.wire.upload_requests import list_request, request_prefixes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gittorrent.node.ci_maker import Asker, Working
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

_HEAD = b"HEAD"
_ALL = (_HEAD, *USUAL, b"refs/pull/", b"refs/merge-requests/")
"""Refs whose objects jobs fetch: those of pull requests, as the usual forges name them."""


T = TypeVar("T")


class LoginWantedError(RefusedError):
    """The upstream wants to know who asks."""


class Proof(Struct, frozen=True):
    """An upstream lets a caller read.

    Args:
        url: of the upstream.
        header: what it was told of the caller; empty if anybody may read.
        at: when it said so, by the event loop's clock.
        tips: ids of the refs that it listed; of a public one, nothing.
        said: what a public one says that it can, as git reads it.
    """

    url: str
    header: str
    at: float
    tips: frozenset[bytes] = frozenset()
    said: bytes = b""

    @property
    def place(self) -> str:
        """Name of what is kept for such callers: what anybody may read lies apart.

        A private upstream may become public after something was taken away, or the other way.
        """
        return f"private {self.url}" if self.header else self.url


class RefSharing(Protocol):
    """The other runners, as far as they ask for refs."""

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
        self._peeled: dict[str, PeeledRefs] = {}
        self._proofs: Flights[Proof] = Flights()
        self._listings: Flights[Listed] = Flights(REFRESH_SECONDS)
        # Apart from the above: nobody whom another runner waits for may wait for a runner.
        self._own: Flights[Listed] = Flights(REFRESH_SECONDS)
        self._turns = FairTurns(LISTINGS_AT_ONCE)

    async def stop(self) -> None:
        """End what is under way."""
        await asyncio.gather(self._proofs.stop(), self._listings.stop(), self._own.stop())

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
            asked = list_request(_HEAD)
            await self._listings.join((url, asked), lambda: self._heard(url, asked))
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
        now, asked = self._now(), list_request(_HEAD)
        try:
            found = await self._own.join((url, asked), lambda: self._ask(url, asked))
        except MayNotReadError as error:
            raise RefusedError(str(error)) from error
        _put(self._public, url, Proof(url, "", now, said=found.said), MAX_PUBLIC)
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
        now = self._now()

        def ask() -> frozenset[bytes]:
            with CiUpstream(url, header) as upstream:
                return frozenset(upstream.list_refs(_ALL).values())

        async with self._turns:
            return Proof(url, header, now, await self._work(ask))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def refs_of(self, asker: Asker) -> Mapping[bytes, bytes]:
        """Return what a public upstream listed last to whoever asked, by name."""
        return {} if asker.header else self._listed.get(asker.url, {})

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
        return (await self._list(proof.url, request)).refs

    async def for_others(self, url: str, request: bytes) -> Listed:
        """Return what a public upstream says now, for another runner.

        Raises:
            GitTorrentError: it does not say, or is not allowed here.
        """
        self._require_allowed(url)
        found = await self._own.join_next((url, request), lambda: self._ask(url, request))
        # Those who ask for refs here are those who ask for objects next.
        self._note(url, request, found)
        return found

    async def _list(self, url: str, request: bytes) -> Listed:
        return await self._listings.join_next((url, request), lambda: self._heard(url, request))

    async def _heard(self, url: str, request: bytes) -> Listed:
        """Return what an upstream says now, from the fleet or from itself."""
        now = self._now()
        fleet = self.fleet if self.config.share_refs else None
        found = None if fleet is None else await fleet.refs(url, request)
        if found is None:
            found = await self.for_others(url, request)
        else:
            self._note(url, request, found)
        _put(self._public, url, Proof(url, "", now, said=found.said), MAX_PUBLIC)
        return found

    def _note(self, url: str, request: bytes, found: Listed) -> None:
        """Remember which refs an upstream has, if it was asked for the usual ones at least."""
        asked = set(request_prefixes(request))
        if asked and not asked.issuperset(USUAL):
            return
        refs: dict[bytes, bytes] = {}
        for packet in found.packets():
            note_ref(packet, refs)
        _put(self._listed, url, refs, MAX_LISTED)

    async def look_again(self, url: str) -> None:
        """Have the usual refs of a public upstream known as they are now.

        Raises:
            GitTorrentError: it does not say.
        """
        await self.for_others(url, list_request(_HEAD, *USUAL))

    async def _ask(self, url: str, request: bytes) -> Listed:
        """Ask an upstream, without what is known of its tags."""
        shorter, known = without_peel(request), self._peeled.get(url)
        if shorter is not None and known is not None:
            found = await self._ask_itself(url, shorter)
            refs = known.complete(found.packets())
            if refs is not None:
                return Listed(found.said, refs)
        found = await self._ask_itself(url, request)
        if shorter is not None:
            learned = PeeledRefs()
            learned.learn(found.packets())
            _put(self._peeled, url, learned, MAX_LISTED)
        return found

    async def _ask_itself(self, url: str, request: bytes) -> Listed:
        refs = bytearray()

        def ask() -> bytes:
            with CiUpstream(url, "") as upstream:
                upstream.list_as(request, refs.extend)
                return upstream.said

        async with self._turns:
            said = await self._work(ask)
        return Listed(said, bytes(refs))


def _put(known: dict[str, T], url: str, value: T, most: int) -> None:
    """Remember something of an upstream, and forget what was heard least lately."""
    known.pop(url, None)
    known[url] = value
    while len(known) > most:
        del known[next(iter(known))]
