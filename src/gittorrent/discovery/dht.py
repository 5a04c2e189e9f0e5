"""The mainline DHT of BitTorrent (BEP 5): who serves a repository, by the key made from its id.

An answer is an IP address and a port, and anybody may have announced any port of its own address
under any key. Whoever is there is asked for the repository over git://, under its id.
Source: docs/protocol/mirrorsync.md, Discovery.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from gittorrent.discovery.infohash import infohash
from gittorrent.discovery.ports import MAX_PER_ANSWER, Place, Way
from gittorrent.discovery.session import NoLibtorrentError, Session, SessionOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from gittorrent.ids import RepositoryId

LOOKUP_SECONDS = 8.0
"""Time for a look-up: with a fresh routing table some 3 s, and routers drop packets."""

FIRST_AGAIN = 0.5
"""Seconds after which is asked again, doubled each time: the first nodes may be gone by now."""

MAX_PLACES = 1000
"""Places one look-up yields, of all answers: a well known key may have many more."""

_IMPLIED_PORT = 0
"""No flag: the port announced is the one given, not the one that the packet comes from."""


class Dht:
    """The DHT node of a session, as a way to look up and to announce.

    Args:
        session: it belongs to; stays its maker's.
        seconds: for one look-up.
        sample: picks some of many, at random.
    """

    def __init__(
        self,
        session: Session,
        seconds: float = LOOKUP_SECONDS,
        sample: Callable[[Sequence[tuple[str, int]], int], Sequence[tuple[str, int]]] = (
            random.sample
        ),
    ) -> None:
        self._session = session
        self._seconds = seconds
        self._sample = sample

    def announce(self, repository: RepositoryId, port: int) -> None:
        """Tell the nodes near the repository's key that it is served at a TCP port of ours."""
        self._session.raw.dht_announce(self._key(repository), port, _IMPLIED_PORT)

    async def find(self, repository: RepositoryId) -> AsyncGenerator[Sequence[Place], None]:
        """Yield the places that nodes of the DHT tell of, each once."""
        key = self._key(repository)
        told: asyncio.Queue[Sequence[tuple[str, int]]] = asyncio.Queue()
        reply = self._session.lt.dht_get_peers_reply_alert

        def hear(alert: Any) -> None:
            if isinstance(alert, reply) and alert.info_hash == key:
                told.put_nowait([(str(address), int(port)) for address, port in alert.peers()])

        forget = self._session.on_alert(hear)
        seen: set[tuple[str, int]] = set()
        loop = asyncio.get_running_loop()
        end, wait, again = loop.time() + self._seconds, FIRST_AGAIN, loop.time()
        try:
            while loop.time() < end and len(seen) < MAX_PLACES:
                if loop.time() >= again:
                    self._session.raw.dht_get_peers(key)
                    again, wait = loop.time() + wait, 2 * wait
                try:
                    async with asyncio.timeout_at(min(again, end)):
                        places = await told.get()
                except TimeoutError:
                    continue
                untold = [each for each in dict.fromkeys(places) if each not in seen]
                # A long answer, which may be one liar's, takes no places of those of other nodes.
                new = self._sample(untold, min(len(untold), MAX_PER_ANSWER))
                seen.update(new)
                if new:
                    yield [Place(address, port, Way.DHT) for address, port in new]
        finally:
            forget()

    def _key(self, repository: RepositoryId) -> Any:
        return self._session.lt.sha1_hash(infohash(repository))


class OwnDht:
    """Looks up in the DHT with a session that is there for one look-up only, as commands do.

    Args:
        options: of the session.
        complain: told why the DHT cannot be asked.
        seconds: for one look-up.
    """

    def __init__(
        self,
        options: SessionOptions,
        complain: Callable[[str], None],
        seconds: float = LOOKUP_SECONDS,
    ) -> None:
        self._options = options
        self._complain = complain
        self._seconds = seconds

    async def find(self, repository: RepositoryId) -> AsyncGenerator[Sequence[Place], None]:
        """Yield the places that nodes of the DHT tell of, each once."""
        try:
            session = Session(self._options)
        except NoLibtorrentError as error:
            self._complain(f"{error}; {error.hint}")
            return
        finding = Dht(session, self._seconds).find(repository)
        try:
            async for places in finding:
                yield places
        finally:
            await finding.aclose()
            await session.close()
