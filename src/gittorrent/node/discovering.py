"""What a node does to be found, and to find others for the clones of its machine.

It announces what it serves in the DHT, if strangers can reach it; makes itself known on the local
network, if it is to serve it; has the router map its port, if it was told to; and looks for mirrors
when commands of this machine ask.

Tracks the one libtorrent session, which is there only once it is needed, and the turns of the
announcements. Rules: when the ways change while it runs, what is announced follows, and a session
that is not wanted any more ends once the look-ups that use it are done. Must not know what becomes
of what is found.
Source: docs/protocol/mirrorsync.md, Discovery.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.discovery.dht import Dht
from gittorrent.discovery.lan import Lan, LanAnnouncer
from gittorrent.discovery.pacing import Pacing
from gittorrent.discovery.port_mapping import Mapped, PortMapping
from gittorrent.discovery.session import BOOTSTRAP, NoLibtorrentError, Session, SessionOptions
from gittorrent.event_log import EventLog
from gittorrent.store.processes import DiscoveryFigures
from gittorrent.transfer.finding import Finder
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.control import Done, Find, PlaceLine
from gittorrent.wire.urls import AddressClass, Endpoint, UrlError, address_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gittorrent.discovery.ports import Lookup
    from gittorrent.ids import RepositoryId
    from gittorrent.node.catalogue import Catalogue, Served
    from gittorrent.node.services import Reachable
    from gittorrent.wire.control import Answer

LOOK_SECONDS = 5.0
"""How often it is looked whether something is served that was not."""

JOIN_SECONDS = 0.25
"""How often it is looked whether the DHT can be used: what is announced before is lost."""

_log = EventLog(__name__)


class DiscoveryOptions(Struct, frozen=True):
    """In which ways a node is found, and finds others.

    Args:
        dht: whether by the DHT.
        lan: whether on the local network.
        map_port: whether the router is asked for a port.
        bootstrap: ``HOST:PORT`` of the nodes of the DHT to begin with; none turns it off.
        dht_listen: IP addresses and UDP ports of the DHT.
    """

    dht: bool = False
    lan: bool = False
    map_port: bool = False
    bootstrap: tuple[str, ...] = BOOTSTRAP
    dht_listen: tuple[str, ...] = SessionOptions().listen

    @property
    def uses_dht(self) -> bool:
        """Tell whether the DHT is used."""
        return self.dht and bool(self.bootstrap)


class Discovering:
    """A node's part in discovery; used inside the event loop.

    Args:
        catalogue: what the node serves.
        reachable: where; a mapped port is put there.
        options: in which ways.
        routing_table: file in which the DHT's is kept.
        pacing: of the announcements.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        reachable: Reachable,
        options: DiscoveryOptions,
        routing_table: Path,
        pacing: Pacing | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._reachable = reachable
        self._options = options
        self._routing_table = routing_table
        self._pacing = pacing or Pacing()
        self._changes: int | None = None  # of the catalogue, when its repositories were taken over
        self._git: list[Endpoint] = []
        self._session: Session | None = None
        self._uses: Counter[Session] = Counter()
        self._closing = TaskSet()
        self._changing = asyncio.Lock()
        self._is_unusable = False
        self._mapping: PortMapping | None = None
        self._lan: LanAnnouncer | None = None

    async def run(self, listening: Sequence[Endpoint]) -> None:
        """Announce what is served until cancelled.

        Args:
            listening: where the node does, wildcards as such.
        """
        async with self._changing:
            await self._begin(listening)
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._announce_due()))

    async def change(self, options: DiscoveryOptions, listening: Sequence[Endpoint]) -> None:
        """Go by other options, or other addresses; see `run` and the class."""
        async with self._changing:
            former, self._options = self._options, options
            if (former, self._git) == (options, _of_git(listening)):
                return
            await self._end()
            if _session_options(former) != _session_options(options):
                self._leave_session()
            self._pacing.again(self._now())
            await self._begin(listening)

    async def _begin(self, listening: Sequence[Endpoint]) -> None:
        self._git = _of_git(listening)
        within = [place for place in self._git if not _is_loopback(place.host)]
        if self._options.lan and within:
            port = within[0].port
            hosts = [place.host for place in within if place.port == port]
            self._lan = LanAnnouncer(hosts, port)
            await self._lan.start()
        if self._options.map_port:
            self._map(within)

    async def _end(self) -> None:
        """Say goodbye on the local network, and give the router's port back."""
        if self._lan is not None:
            lan, self._lan = self._lan, None
            await lan.stop()
        if self._mapping is not None:
            self._mapping.stop()
            self._mapping = None
            if not self._reachable.is_given:
                self._reachable.public = None

    def _leave_session(self) -> None:
        """Have another session from now on; this one ends when nobody looks anything up in it."""
        session, self._session, self._is_unusable = self._session, None, False
        if session is not None and not self._uses[session]:
            self._closing.start(session.close())

    @contextlib.contextmanager
    def _using(self, session: Session) -> Iterator[None]:
        """Keep a session for a look-up."""
        self._uses[session] += 1
        try:
            yield
        finally:
            self._uses[session] -= 1
            if not self._uses[session]:
                del self._uses[session]
                if session is not self._session:
                    self._closing.start(session.close())

    async def stop(self) -> None:
        """Say goodbye where that is possible; what was announced in the DHT runs out."""
        async with self._changing:
            await self._end()
            closing = list(self._closing)
            if closing:
                await asyncio.wait(closing)
            if self._session is not None:
                session, self._session = self._session, None
                await session.close()

    def figures(self) -> DiscoveryFigures:
        """Return what there is to say of it."""
        return DiscoveryFigures(
            dht=self._options.uses_dht and not self._is_unusable,
            lan=self._lan is not None,
            port=self.announced_port,
            announced=len(self._pacing),
        )

    async def find(self, request: Find, tell: Callable[[Answer], None]) -> list[Answer]:
        """Look for mirrors of a repository, and tell of each place as it is found."""
        lookups: list[Lookup] = []
        carried = await self._catalogue.carried(request.repository)
        if carried is not None and carried.is_private:
            return [Done(0)]
        session = self._session_if_usable() if self._options.uses_dht else None
        if session is not None:
            lookups.append(Dht(session))
        if self._options.lan:
            lookups.append(Lan(_not_usable))
        with self._using(session) if session is not None else contextlib.nullcontext():
            finder = Finder(request.repository, lookups, _left_out)
            try:
                while found := await finder.more():
                    for source in found:
                        assert source.endpoint is not None
                        endpoint = source.endpoint
                        tell(PlaceLine(source.way.value, endpoint.host, endpoint.port))
            finally:
                await finder.close()
        return [Done(0)]

    @property
    def announced_port(self) -> int | None:
        """The port at which strangers reach the node over git://, as far as that is known.

        The DHT has an address from where the announcement came, and only the port from us.
        """
        public = self._reachable.public
        if public is not None:
            return public.port if public.scheme == "git" and _is_public(public.host) else None
        if self._mapping is not None and self._mapping.mapped.port is not None:
            return self._mapping.mapped.port
        public_ports = [place.port for place in self._git if _is_public(place.host)]
        return public_ports[0] if public_ports else None

    def _announce_due(self) -> float:
        """Announce a repository, if one is due; returns the seconds until one may be."""
        port = self.announced_port
        if port is None or not self._options.uses_dht:
            return LOOK_SECONDS
        now = self._now()
        if self._changes != self._catalogue.changes:
            self._changes = self._catalogue.changes
            self._pacing.serve(_announced_in_public(self._catalogue), now)
        if not len(self._pacing) or (session := self._session_if_usable()) is None:
            return LOOK_SECONDS
        if not session.has_joined:
            return JOIN_SECONDS
        repository = self._pacing.take(now)
        if repository is not None:
            Dht(session).announce(repository, port)
            _log.debug(
                "announced-in-dht",
                "announced {repository} in the DHT at port {port}",
                repository=repository,
                port=port,
            )
        return self._pacing.wait(now)

    def _session_if_usable(self) -> Session | None:
        """Return the session, made when it is needed first; None where that is not possible."""
        if self._session is None and not self._is_unusable:
            options = replace(_session_options(self._options), state=self._routing_table)
            try:
                self._session = Session(options)
            except NoLibtorrentError as error:
                self._is_unusable = True
                _not_usable(f"{error}; {error.hint}")
        return self._session

    def _map(self, within: Sequence[Endpoint]) -> None:
        if not within:
            _not_usable("no port is mapped: the node listens for git:// on loopback only")
        elif (session := self._session_if_usable()) is not None:
            self._mapping = PortMapping(session, within[0].port, self._mapped)

    def _mapped(self, mapped: Mapped) -> None:
        """Tell others of the way in, unless the operator named one."""
        if self._reachable.is_given or mapped.port is None or mapped.address is None:
            return
        if address_class(mapped.address) is AddressClass.PUBLIC:
            self._reachable.public = Endpoint("git", mapped.address, mapped.port, "/")

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def may_be_announced(served: Served) -> bool:
    """Tell whether strangers may learn that a repository is served here.

    What is kept for clones of this machine is not announced: it would tell what was cloned here.
    Nor is what is private.
    """
    return not (served.is_cached or served.is_private)


def _session_options(options: DiscoveryOptions) -> SessionOptions:
    return SessionOptions(
        dht=options.uses_dht,
        map_ports=options.map_port,
        bootstrap=options.bootstrap,
        listen=options.dht_listen,
    )


def _of_git(listening: Sequence[Endpoint]) -> list[Endpoint]:
    return [place for place in listening if place.scheme == "git"]


def _announced_in_public(catalogue: Catalogue) -> list[RepositoryId]:
    return [each.info.repository_id for each in catalogue if may_be_announced(each)]


def _is_public(host: str) -> bool:
    """Tell whether strangers may be able to use a host: a public address, or a name."""
    try:
        return address_class(host) is AddressClass.PUBLIC
    except UrlError:
        return not (host == "localhost" or host.endswith((".localhost", ".local")))


def _is_loopback(host: str) -> bool:
    return address_class(host) is AddressClass.LOOPBACK


def _not_usable(reason: str) -> None:
    _log.warning("no-discovery", "{reason}", reason=reason)


def _left_out(reason: str) -> None:
    _log.debug("left-out", "{reason}", reason=reason)
