"""What users configure about fetching, as git configuration: ``gittorrent.*``.

==============================  ====================================================================
``gittorrent.allowUnverified``  clone from a plain git server, where nothing can be verified
``gittorrent.maxSize``          pack bytes to take for one repository; with K, M or G
``gittorrent.listen``           port on which other downloaders reach this one: ``auto`` takes a
                                free one (the default), ``off`` listens nowhere
``gittorrent.seedTime``         seconds to go on giving a fetched repository to others; 0 by default
``gittorrent.downLimit``        bytes per second to take from others; with K, M or G
``gittorrent.upLimit``          bytes per second to give to others; with K, M or G
``gittorrent.peerUpLimit``      bytes per second to give to one of them; with K, M or G
``gittorrent.useNode``          whether a node that runs on this machine may help; true by default
``gittorrent.dht``              whether mirrors are looked for in the DHT; true by default
``gittorrent.lan``              whether mirrors are looked for on the local network; true by default
``gittorrent.dhtBootstrap``     nodes of the DHT to begin with, as ``HOST:PORT``, apart by commas
``gittorrent.peerExchange``     whether downloaders are asked that others tell of; true by default
==============================  ====================================================================
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import UsageError
from gittorrent.sizes import parse_size
from gittorrent.transfer.context import MAX_REPOSITORY_BYTES
from gittorrent.transfer.lookups import Discovery, bootstrap_nodes, parse_bootstrap
from gittorrent.transfer.peer_manager import Sharing

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class Settings(Struct, frozen=True):
    """The settings, read."""

    allow_unverified: bool
    max_bytes: int
    sharing: Sharing
    seed_seconds: int
    use_node: bool
    discovery: Discovery = Discovery()

    @property
    def node_may_act(self) -> bool:
        """Tell whether the node of this machine may download and seed in our place.

        It goes by its own limits and listens, so not where this fetch is to do otherwise.
        """
        return self.use_node and self.sharing == Sharing(self.sharing.listen or 0)


def read_settings(config: Mapping[str, str]) -> Settings:
    """Read the settings out of git's configuration (keys in lower case).

    Raises:
        UsageError: one of them is malformed.
    """
    size = _size(config, "gittorrent.maxSize")
    return Settings(
        allow_unverified=config.get("gittorrent.allowunverified", "").lower() in _TRUE,
        max_bytes=MAX_REPOSITORY_BYTES if size is None else size,
        seed_seconds=_seconds(config.get("gittorrent.seedtime", "0")),
        sharing=Sharing(
            _port(config.get("gittorrent.listen", "auto")),
            _size(config, "gittorrent.upLimit"),
            _size(config, "gittorrent.downLimit"),
            _size(config, "gittorrent.peerUpLimit"),
            _is_on(config, "gittorrent.peerExchange"),
        ),
        use_node=_is_on(config, "gittorrent.useNode"),
        discovery=read_discovery(config),
    )


def read_discovery(config: Mapping[str, str]) -> Discovery:
    """Read in which ways mirrors are looked for.

    Raises:
        UsageError: a setting is malformed.
    """
    name = "gittorrent.dhtBootstrap"
    nodes = config.get(name.lower())
    return Discovery(
        dht=_is_on(config, "gittorrent.dht"),
        lan=_is_on(config, "gittorrent.lan"),
        bootstrap=bootstrap_nodes(None if nodes is None else parse_bootstrap(nodes, name)),
    )


def _is_on(config: Mapping[str, str], name: str) -> bool:
    """Tell whether something is wanted that is there unless it is turned off."""
    return config.get(name.lower(), "").lower() not in _FALSE


_PORT = re.compile("[0-9]{1,5}")
_SECONDS = re.compile("[0-9]{1,9}")


def _port(text: str) -> int | None:
    if text.lower() in ("auto", "true"):
        return 0
    if text.lower() in ("off", "false"):
        return None
    if _PORT.fullmatch(text) is None or int(text) > 65535:
        raise UsageError(f"gittorrent.listen is {text!r}", hint="write auto, off or a port")
    return int(text)


def _seconds(text: str) -> int:
    if _SECONDS.fullmatch(text) is None:
        raise UsageError(f"gittorrent.seedTime is {text!r}", hint="write seconds")
    return int(text)


def _size(config: Mapping[str, str], name: str) -> int | None:
    """Return how many bytes a setting allows; None if it is not set."""
    text = config.get(name.lower())
    if text is None:
        return None
    size = parse_size(text)
    if not size:
        raise UsageError(f"{name} is {text!r}", hint="write bytes, with K, M or G: 500K, 2M")
    return size
