"""The ways in which a command looks for mirrors: this machine's node, the local network, the DHT.

A node has a DHT session that knows its way about; so the DHT is asked by a session of the command's
own only where no node runs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.discovery.dht import OwnDht
from gittorrent.discovery.lan import Lan
from gittorrent.discovery.session import BOOTSTRAP, SessionOptions
from gittorrent.errors import UsageError
from gittorrent.transfer.local_node import LocalNode, NoNodeError
from gittorrent.wire.urls import UrlError, check_host_and_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from gittorrent.discovery.ports import Lookup, Place
    from gittorrent.ids import RepositoryId
    from gittorrent.store.home import Home
    from gittorrent.transfer.context import Reporter

BOOTSTRAP_VARIABLE = "GITTORRENT_DHT_BOOTSTRAP"
"""Names the nodes of the DHT to begin with, in place of the configuration; empty means no DHT."""


class Discovery(Struct, frozen=True):
    """In which ways mirrors are looked for.

    Args:
        dht: whether in the DHT.
        lan: whether on the local network.
        bootstrap: ``HOST:PORT`` of the nodes of the DHT to begin with.
    """

    dht: bool = True
    lan: bool = True
    bootstrap: tuple[str, ...] = BOOTSTRAP


NOWHERE = Discovery(dht=False, lan=False)
"""Mirrors are looked for nowhere."""


def parse_bootstrap(text: str, where: str) -> tuple[str, ...]:
    """Read a list of ``HOST:PORT``, apart by commas or blanks.

    Args:
        text: the list.
        where: it was written, for errors.

    Raises:
        UsageError: one of them is none.
    """
    nodes = tuple(text.replace(",", " ").split())
    for node in nodes:
        try:
            check_host_and_port(node)
        except UrlError as error:
            raise UsageError(
                f"{where}: {node} is no node of the DHT: {error}", hint="write HOST:PORT"
            ) from error
    return nodes


def bootstrap_nodes(configured: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the nodes of the DHT to begin with.

    Args:
        configured: what the configuration says; None if it says nothing.

    Raises:
        UsageError: one that the environment names is malformed.
    """
    named = os.environ.get(BOOTSTRAP_VARIABLE)
    if named is not None:
        return parse_bootstrap(named, BOOTSTRAP_VARIABLE)
    return BOOTSTRAP if configured is None else configured


def lookups_of(discovery: Discovery, home: Home, reporter: Reporter) -> list[Lookup]:
    """Return the ways in which a command looks for mirrors.

    Args:
        discovery: which of them the user allows.
        home: of the node, where the DHT's routing table is kept.
        reporter: tells the user of ways that cannot be used here.
    """
    lookups: list[Lookup] = []
    if discovery.dht:
        options = SessionOptions(
            bootstrap=discovery.bootstrap, read_only=True, state=home.routing_table
        )
        own = OwnDht(options, reporter.note) if discovery.bootstrap else None
        lookups.append(NodeFirst(LocalNode(home.control, reporter), own))
    if discovery.lan:
        lookups.append(Lan(reporter.detail))
    return lookups


class NodeFirst:
    """Asks the node of this machine, or looks in the DHT itself where there is none.

    Args:
        node: of this machine.
        otherwise: asked in its place; None for nobody.
    """

    def __init__(self, node: LocalNode, otherwise: Lookup | None) -> None:
        self._node = node
        self._otherwise = otherwise

    async def find(self, repository: RepositoryId) -> AsyncGenerator[Sequence[Place], None]:
        """Yield what either finds."""
        finding = self._node.find(repository)
        try:
            async for places in finding:
                yield places
        except NoNodeError:
            if self._otherwise is None:
                return
        else:
            return
        finally:
            await finding.aclose()
        finding = self._otherwise.find(repository)
        try:
            async for places in finding:
                yield places
        finally:
            await finding.aclose()
