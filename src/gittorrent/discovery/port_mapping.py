"""Asks the router for a port: UPnP and NAT-PMP, by libtorrent.

So that a node behind a router can be reached from outside. What the router grants is renewed by
libtorrent, and given back when the session ends.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gittorrent.event_log import EventLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.discovery.session import Session

_log = EventLog(__name__)


class Mapped(Struct, frozen=True):
    """What is known of the way in.

    Args:
        port: of the router's that leads to us; None while there is none.
        address: our IP address as seen from outside; None while nobody said it.
    """

    port: int | None = None
    address: str | None = None


class PortMapping:
    """Keeps one TCP port mapped while its session runs.

    Args:
        session: which maps ports; stays its maker's.
        port: that we listen at.
        changed: told of what there is, whenever that changes.
    """

    def __init__(self, session: Session, port: int, changed: Callable[[Mapped], None]) -> None:
        self._session = session
        self._port = port
        self._changed = changed
        self._mapped = Mapped()
        self._forget = session.on_alert(self._hear)
        lt = session.lt
        numbers = session.raw.add_port_mapping(lt.portmap_protocol.tcp, port, port)
        self._mappings = {int(number) for number in numbers}

    @property
    def mapped(self) -> Mapped:
        """What there is now."""
        return self._mapped

    def stop(self) -> None:
        """Give the port back."""
        self._forget()
        for number in self._mappings:
            self._session.raw.delete_port_mapping(number)

    def _hear(self, alert: Any) -> None:
        lt = self._session.lt
        if isinstance(alert, lt.portmap_alert) and int(alert.mapping) in self._mappings:
            self._take(Mapped(int(alert.external_port), self._mapped.address))
        elif isinstance(alert, lt.portmap_error_alert):
            _log.info("no-port", "the router maps no port: {reason}", reason=alert.message())
        elif isinstance(alert, lt.external_ip_alert):
            address = str(alert.external_address)
            if isinstance(ipaddress.ip_address(address), ipaddress.IPv4Address):
                self._take(Mapped(self._mapped.port, address))

    def _take(self, mapped: Mapped) -> None:
        if mapped != self._mapped:
            self._mapped = mapped
            _log.info("mapped", "the router maps port {port} to us", port=mapped.port or "none yet")
            self._changed(mapped)
