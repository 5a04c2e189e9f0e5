"""All that a node does for CI jobs, from its start to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.event_log import EventLog
from gittorrent.node.ci_fleet import CiFleet
from gittorrent.node.ci_service import CiService
from gittorrent.node.ci_socket import CiSocket
from gittorrent.node.ci_store import CiStore
from gittorrent.node.http_ci import HttpCi
from gittorrent.node.webhook_secret import SecretError, read_secret
from gittorrent.wire.ci_fleet import LEAST_SECRET

if TYPE_CHECKING:
    from gittorrent.disk_space import Space
    from gittorrent.node.ci_options import CiConfig
    from gittorrent.store.home import Home
    from gittorrent.transfer.limiter import Limits

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
    """

    def __init__(self, home: Home, config: CiConfig, limits: Limits, space: Space) -> None:
        self._home = home
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
            await parts.service.open()
        except (OSError, SecretError) as error:
            _log.warning("no-ci", "answers no CI jobs: {reason}", reason=error)
            if parts is not None:
                await parts.stop()
            return
        self._parts = parts
        await parts.start()

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
            standing = (_standing(config), secret)
            if parts is not None and standing == (_standing(former), parts.secret):
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
        self._store = CiStore(home.ci, config)
        self.service = CiService(self._store, config, space)
        place = home.ci_socket if config.socket is None else Path(config.socket)
        self._socket = CiSocket(place, self.service, is_for_all=config.is_for_all)
        self._tidying: asyncio.Task[None] | None = None
        self._fleet: CiFleet | None = None
        self.http: HttpCi | None = None
        if secret is not None:
            own = home.node_id()
            self._fleet = self.service.fleet = CiFleet(config.peers, secret, own, config.wait)
            self.http = HttpCi(self.service, secret, own, self._fleet.address_of, limits)

    @property
    def place(self) -> Path | None:
        """Where it listens; None where it does not."""
        return self._socket.place

    async def start(self) -> None:
        """Begin to listen, and to keep what is kept within its limits."""
        if await self._socket.start():
            self._tidying = asyncio.get_running_loop().create_task(self.service.run())

    def go_by(self, config: CiConfig) -> None:
        """Go by other limits and another list."""
        self._store.config = self.service.config = config

    async def stop(self) -> None:
        """Hang up on everybody; what hangs in the system is not waited for."""
        await self._socket.stop()
        if self.http is not None:
            await self.http.stop()
        if self._fleet is not None:
            await self._fleet.stop()
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait([self._tidying], timeout=STOP_SECONDS)


def _standing(config: CiConfig) -> tuple[object, ...]:
    """Return what cannot change under jobs that are answered."""
    fleet = (config.peers, config.secret, config.wait)
    return bool(config.allow), config.socket, config.is_for_all, fleet


def secret_of(config: CiConfig) -> bytes | None:
    """Return what the runners share; None where they are not a fleet.

    Raises:
        SecretError: the file holds none that can be used.
    """
    if not config.peers or config.secret is None:
        return None
    return read_secret(Path(config.secret), LEAST_SECRET)
