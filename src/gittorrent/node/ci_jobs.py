"""All that a node does for CI jobs, from its start to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.discovery.lan_runners import LanRunners
from gittorrent.event_log import EventLog
from gittorrent.node.ci_fleet import CiFleet
from gittorrent.node.ci_service import CiService
from gittorrent.node.ci_socket import CiSocket
from gittorrent.node.ci_store import CiStore
from gittorrent.node.http_ci import HttpCi
from gittorrent.node.webhook_secret import SecretError, read_secret
from gittorrent.store.processes import CiFigures, CiRunner
from gittorrent.wire.ci_fleet import LEAST_SECRET
from gittorrent.wire.urls import AddressClass, UrlError, address_class, found_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.disk_space import Space
    from gittorrent.node.ci_options import CiConfig
    from gittorrent.store.home import Home
    from gittorrent.transfer.limiter import Limits
    from gittorrent.wire.urls import Endpoint

_log = EventLog(__name__)

STOP_SECONDS = 5.0
"""Time to remove what was begun when the node ends or its configuration changes."""


class CiJobs:
    """What is done for CI jobs; make it inside a running event loop.

    Args:
        home: of the node.
        config: what is allowed; nothing is done where that is nothing.
        limits: of all that the node sends.
        space: tells whether there is room for more.
        listening: returns where the node does, wildcards as such.
    """

    def __init__(
        self,
        home: Home,
        config: CiConfig,
        limits: Limits,
        space: Space,
        listening: Callable[[], Sequence[Endpoint]] = lambda: (),
    ) -> None:
        self._home = home
        self._listening = listening
        self._limits = limits
        self._space = space
        self._config = config
        self._parts: _Parts | None = None
        self._changing = asyncio.Lock()
        self._has_ended = False

    @property
    def http(self) -> HttpCi | None:
        """Answers the other runners; None where nothing is shared with any."""
        return None if self._parts is None else self._parts.http

    @property
    def place(self) -> Path | None:
        """Socket at which jobs are answered; None where none are."""
        return None if self._parts is None else self._parts.place

    def figures(self) -> CiFigures | None:
        """Return what there is to say of it; None where no jobs are answered."""
        parts = self._parts
        if parts is None or parts.place is None:
            return None
        members = [] if parts.fleet is None else parts.fleet.members()
        return CiFigures(
            socket=str(parts.place),
            lan=self._config.lan,
            port=parts.known_at[1] if self._config.lan and parts.known_at[0] else None,
            runners=[CiRunner(each.url, bool(each.name), bool(each.host)) for each in members],
        )

    async def start(self) -> None:
        """Begin to listen for jobs, where any are allowed."""
        async with self._changing:
            await self._begin()

    async def _begin(self) -> None:
        config = self._config
        if not config.allow or self._has_ended:
            return
        parts = None
        try:
            secret = secret_of(config)
            parts = _Parts(self._home, config, self._limits, self._space, secret)
            parts.known_at = self._known_at(config)
            await parts.service.open()
        except (OSError, SecretError) as error:
            _log.warning("no-ci", "answers no CI jobs: {reason}", reason=error)
            if parts is not None:
                await parts.stop()
            return
        self._parts = parts
        await parts.start()

    def _known_at(self, config: CiConfig) -> tuple[Sequence[str], int]:
        """Return at which addresses and port others on the local network are to find this node."""
        return lan_places(self._listening()) if config.lan else ((), 0)

    async def change(self, config: CiConfig) -> None:
        """Go by another configuration.

        Limits and the list of what is allowed change under the jobs that are answered. Where the
        place of the socket or the fleet changes, jobs that wait at this moment go to their server.

        Raises:
            SecretError: the fleet's cannot be read; all stays as it was then.
        """
        secret = secret_of(config)
        async with self._changing:
            former, self._config = self._config, config
            parts = self._parts
            standing = (_standing(config), secret, self._known_at(config))
            if parts and standing == (_standing(former), parts.secret, parts.known_at):
                parts.go_by(config)
                return
            await self._end_parts()
            await self._begin()

    async def stop(self) -> None:
        """Hang up on jobs, for good."""
        self._has_ended = True
        async with self._changing:
            await self._end_parts()

    async def _end_parts(self) -> None:
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.stop()


class _Parts:
    """What answers jobs under one configuration, but for what may change under them."""

    def __init__(
        self, home: Home, config: CiConfig, limits: Limits, space: Space, secret: bytes | None
    ) -> None:
        self.secret = secret
        self.service = CiService(CiStore(home.ci, config, space), config, space)
        place = home.ci_socket if config.socket is None else Path(config.socket)
        self._socket = CiSocket(place, self.service, is_for_all=config.is_for_all)
        self._tidying: asyncio.Task[None] | None = None
        self.known_at: tuple[Sequence[str], int] = ((), 0)
        self._wants_lan = config.lan
        self._finding: list[asyncio.Task[None]] = []
        self.fleet: CiFleet | None = None
        self.http: HttpCi | None = None
        if secret is not None:
            own = home.node_id()
            self.fleet = self.service.fleet = CiFleet(config.peers, secret, own, config.wait)
            self.http = HttpCi(self.service, secret, own, self.fleet.address_of, limits)
            self.service.refs.fleet = self.fleet

    @property
    def place(self) -> Path | None:
        """Where it listens; None where it does not."""
        return self._socket.place

    async def start(self) -> None:
        """Begin to listen, and to keep what is kept within its limits."""
        if await self._socket.start():
            self._tidying = asyncio.get_running_loop().create_task(self.service.run())
            self._find()

    def _find(self) -> None:
        """Begin to find other runners on the local network, where that is wanted."""
        if not self._wants_lan or self.fleet is None or self.secret is None:
            return
        hosts, port = self.known_at
        if not hosts:
            _log.warning(
                "no-ci-lan", "other runners do not find this one: {reason}",
                reason="it listens for HTTP at no address and port that others may ask; write http"
                " below [listen] in node.toml",
            )  # fmt: skip
        lan = LanRunners(self.secret, hosts, port, self.fleet.hear)
        loop = asyncio.get_running_loop()
        self._finding = [loop.create_task(lan.run()), loop.create_task(self.fleet.follow_found())]

    def go_by(self, config: CiConfig) -> None:
        """Go by other limits and another list."""
        self.service.go_by(config)

    async def stop(self) -> None:
        """Hang up on everybody; what hangs in the system is not waited for."""
        await self._socket.stop()
        if self.http is not None:
            await self.http.stop()
        for task in self._finding:
            task.cancel()
        if self._finding:
            await asyncio.wait(self._finding, timeout=STOP_SECONDS)
        if self.fleet is not None:
            await self.fleet.stop()
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait([self._tidying], timeout=STOP_SECONDS)


def _standing(config: CiConfig) -> tuple[object, ...]:
    """Return what cannot change under jobs that are answered."""
    fleet = (config.peers, config.lan, config.secret, config.wait)
    return bool(config.allow), config.socket, config.is_for_all, fleet


def secret_of(config: CiConfig) -> bytes | None:
    """Return what the runners share; None where they are not a fleet.

    Raises:
        SecretError: the file holds none that can be used.
    """
    if not config.is_fleet or config.secret is None:
        return None
    return read_secret(Path(config.secret), LEAST_SECRET)


def lan_places(listening: Sequence[Endpoint]) -> tuple[Sequence[str], int]:
    """Return at which addresses and port others on the local network may ask a node.

    Args:
        listening: where it does, wildcards as such.

    Returns:
        The addresses, none where there are no such ones, and the port of all of them.
    """
    found = [each for each in listening if each.scheme == "http" and _may_be_asked(each)]
    if not found:
        return (), 0
    return tuple(each.host for each in found if each.port == found[0].port), found[0].port


def _may_be_asked(place: Endpoint) -> bool:
    try:
        found_endpoint("10.0.0.1", place.port, "/", "http")
    except UrlError:
        return False
    return address_class(place.host) is not AddressClass.LOOPBACK
