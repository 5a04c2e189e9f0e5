"""Nodes of CI runners on the local network: making this one known, and hearing of others.

Both by multicast DNS (RFC 6762, RFC 6763): one service of type ``_gittorrent-ci._tcp`` for each
address, whose name says all (`gittorrent.wire.ci_labels`). Tracks this node's names and the network
cards they were made for. Rules: of what others announce only names are read, and only those that
somebody of the fleet wrote; goodbyes are not believed, since anybody can say them: who is gone is
found out by asking. Names are renewed before they run out, and when the addresses of this machine
change.
Source: docs/protocol/mirrorsync.md, Nodes of CI runners.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

from gittorrent.discovery.lan import LOOK_SECONDS, MAX_ADDRESSES, close, packed, register
from gittorrent.event_log import EventLog
from gittorrent.wire.ci_fleet import NotAMemberError
from gittorrent.wire.ci_labels import RENEW_SECONDS, RunnerLabel, read_label, write_label

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SERVICE = "_gittorrent-ci._tcp.local."
"""Type of the service."""

_log = EventLog(__name__)


class LanRunners:
    """This node's part in finding the other runners; used inside a running event loop.

    Args:
        secret: that the runners share.
        addresses: IP addresses at which this node listens; wildcards stand for all of this
            machine's.
        port: its port of HTTP.
        hear: told of each node of the fleet that made itself known.
        look: seconds between looks at this machine's addresses.
    """

    def __init__(
        self,
        secret: bytes,
        addresses: Sequence[str],
        port: int,
        hear: Callable[[RunnerLabel], None],
        look: float = LOOK_SECONDS,
    ) -> None:
        self._secret = secret
        self._addresses = list(addresses)
        self._port = port
        self._hear = hear
        self._look = look
        self._own: frozenset[str] = frozenset()
        self._complained = ""

    async def run(self) -> None:
        """Make this node known and listen for others, until cancelled; then say goodbye."""
        try:
            while True:
                places = self._places()
                network = self._open()
                if network is None:
                    await asyncio.sleep(self._look)
                    continue
                await self._take_part(network, places)
        except ImportError as error:
            self._complain(str(error))

    def _open(self) -> Any:
        """Return the network; None where it cannot be used now."""
        from zeroconf import IPVersion
        from zeroconf.asyncio import AsyncZeroconf

        try:
            return AsyncZeroconf(ip_version=IPVersion.V4Only)
        except OSError as error:
            self._complain(str(error))
            return None

    def _complain(self, reason: str) -> None:
        """Say why others do not find this node, once for each reason."""
        if reason != self._complained:
            self._complained = reason
            _log.warning(
                "no-ci-lan", "other runners are not found on the local network: {reason}",
                reason=reason,
            )  # fmt: skip

    def _places(self) -> list[str]:
        """Return the addresses that this machine has now, in numbers."""
        found = packed(self._addresses)[:MAX_ADDRESSES]
        return [
            socket.inet_ntop(socket.AF_INET if len(each) == 4 else socket.AF_INET6, each)
            for each in found
        ]

    async def _take_part(self, network: Any, places: list[str]) -> None:
        """Be known under one set of names, for as long as these hold; then close the network."""
        from zeroconf import Error

        try:
            await self._be_known(network, places)
        except Error as error:
            self._complain(str(error) or type(error).__name__)
            await asyncio.sleep(self._look)
        finally:
            await close(network)

    async def _be_known(self, network: Any, places: list[str]) -> None:
        from zeroconf.asyncio import AsyncServiceBrowser

        begun = int(time.time())
        labels = [RunnerLabel(each, self._port, begun) for each in places]
        names = [write_label(self._secret, each) for each in labels]
        self._own = frozenset(names)
        sayings = []
        browser = AsyncServiceBrowser(network.zeroconf, SERVICE, handlers=[self._heard])
        try:
            for name, address in zip(names, packed(places), strict=True):
                sayings.append(await register(network, _service(name, self._port, address)))
            self._complained = ""
            if names:
                _log.info("ci-lan", "made known to other runners at port {port}", port=self._port)
            while self._places() == places and abs(time.time() - begun) < RENEW_SECONDS:
                await asyncio.sleep(self._look)
        finally:
            for saying in sayings:
                saying.cancel()
            await asyncio.gather(*sayings, return_exceptions=True)
            await browser.async_cancel()

    def _heard(self, zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        """Read a name; called by zeroconf."""
        del zeroconf, service_type
        label = name.removesuffix(f".{SERVICE}")
        if state_change.name == "Removed" or label in self._own:
            return
        try:
            self._hear(read_label(self._secret, label, int(time.time())))
        except NotAMemberError as error:
            _log.debug("left-out", "{reason}", reason=f"a runner on the local network: {error}")


def _service(name: str, port: int, address: bytes) -> Any:
    from zeroconf.asyncio import AsyncServiceInfo

    return AsyncServiceInfo(
        SERVICE, f"{name}.{SERVICE}", port=port, server=f"{name}.local.", addresses=[address]
    )
