"""All that a node does for CI jobs, from its start to its end."""

from __future__ import annotations

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


class CiJobs:
    """What is done for CI jobs; make it inside a running event loop.

    Args:
        home: of the node.
        config: what is allowed; nothing is done where that is nothing.
        limits: of all that the node sends.
        space: tells whether there is room for more.
    """

    def __init__(self, home: Home, config: CiConfig, limits: Limits, space: Space) -> None:
        self._store = CiStore(home.ci, config)
        self._service = CiService(self._store, config, space)
        place = home.ci_socket if config.socket is None else Path(config.socket)
        self._socket = CiSocket(place, self._service, is_for_all=config.is_for_all)
        self._config = config
        self._home = home
        self._limits = limits
        self._fleet: CiFleet | None = None
        self.http: HttpCi | None = None

    async def start(self) -> bool:
        """Begin to listen for jobs; tells whether `run` is to be run."""
        if not self._config.allow:
            return False
        try:
            await self._service.open()
            if self._config.peers and self._config.secret is not None:
                self._join(read_secret(Path(self._config.secret), LEAST_SECRET))
        except (OSError, SecretError) as error:
            _log.warning("no-ci", "answers no CI jobs: {reason}", reason=error)
            return False
        return await self._socket.start()

    def _join(self, secret: bytes) -> None:
        """Share with the other runners."""
        own, config = self._home.node_id(), self._config
        fleet = CiFleet(config.peers, secret, own, config.wait)
        self._fleet = self._service.fleet = fleet
        self.http = HttpCi(self._service, secret, own, fleet.address_of, self._limits)

    async def run(self) -> None:
        """Keep what is kept within its limits, until cancelled."""
        await self._service.run()

    def change(self, config: CiConfig) -> None:
        """Go by other limits and another list; the rest counts from the next start."""
        self._store.config = self._service.config = config

    async def stop(self) -> None:
        """Hang up on jobs."""
        await self._socket.stop()
        if self.http is not None:
            await self.http.stop()
        if self._fleet is not None:
            await self._fleet.stop()
