"""How hosts are found for HTTP requests: once, or not at all, and judged before any is contacted.

Must not know what is asked for.
Source: docs/protocol/mirrorsync.md, HTTP resources.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from aiohttp.abc import AbstractResolver, ResolveResult

from gittorrent.transfer.dialling import CannotConnectError
from gittorrent.transfer.looking_up import look_up
from gittorrent.wire.urls import AddressClass, address_class, may_contact

if TYPE_CHECKING:
    from gittorrent.transfer.client_timeouts import ClientTimeouts
    from gittorrent.wire.urls import Endpoint


class Pinned(AbstractResolver):
    """Resolves every name to given IP addresses, which are tried in this order."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return them."""
        del family
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Hold nothing to close."""


class JudgingResolver(AbstractResolver):
    """Resolves a name once, and leaves out addresses that a stranger may not send us to."""

    def __init__(self, trusted: AddressClass | None, client_timeouts: ClientTimeouts) -> None:
        self._trusted = trusted
        self._client_timeouts = client_timeouts
        self._results: list[ResolveResult] = []
        self.addresses: list[str] = []

    def judge_literal(self, endpoint: Endpoint) -> None:
        """Judge a host that is an address already: nobody looks those up.

        Raises:
            CannotConnectError: a stranger may not send us there.
        """
        try:
            literal = str(ipaddress.ip_address(endpoint.host))
        except ValueError:
            return
        if not self._may_contact(literal):
            raise CannotConnectError(f"{endpoint.url} is where strangers may not send us to")
        self.addresses = [literal]

    def _may_contact(self, address: str) -> bool:
        return self._trusted is None or may_contact(address_class(address), self._trusted)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses found the first time."""
        del family
        if not self._results:
            found = await look_up(host, port, self._client_timeouts.look_up)
            self._results = [
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=port,
                    family=kind,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST,
                )
                for kind, _, protocol, _, address in found
                if self._may_contact(str(address[0]))
            ]
            self.addresses = [result["host"] for result in self._results]
        if not self._results:
            raise OSError(f"{host} has no address that may be contacted")
        return self._results

    async def close(self) -> None:
        """Hold nothing."""
