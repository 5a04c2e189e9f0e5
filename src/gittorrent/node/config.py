"""What ``node.toml`` says, as values: how a node listens, what it carries, and within which limits.

Pure; frozen values whose defaults are what a node does without a configuration. Must not know how
they are written; see `gittorrent.node.config_document`.
Source: docs/commands.md, gittorrent init-node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.node.ci_options import CiConfig
from gittorrent.push.carry_limits import CollectionLimits

if TYPE_CHECKING:
    from gittorrent.disk_space import Reserve
    from gittorrent.node.config_values import Place
    from gittorrent.transfer.location import Location
    from gittorrent.wire.urls import Endpoint


class ListenConfig(Struct, frozen=True):
    """Where a node listens.

    Args:
        git: hosts and ports for git://; None where nothing is said.
        http: the same for HTTP.
        https: the same for HTTP over TLS.
        tls_certificate: file of the node's certificate; None where nothing is said.
        tls_key: file of its key; None for the same file.
        behind_proxy: whether HTTP callers from this machine are a web server's.
        url: base URL under which others reach the node.
    """

    git: tuple[Place, ...] | None = None
    http: tuple[Place, ...] | None = None
    https: tuple[Place, ...] | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    behind_proxy: bool = False
    url: Endpoint | None = None


class Rates(Struct, frozen=True):
    """Limits in bytes per second; None for no limit.

    Args:
        up: of all sending together.
        peer_up: to one address.
        down: of all that is taken.
    """

    up: int | None = None
    peer_up: int | None = None
    down: int | None = None


class RatesAt(Struct, frozen=True):
    """Rates that hold at some times only, and those that the times leave as they are.

    Args:
        days: on which they begin, 0 for Monday.
        begin: minute of the day.
        end: minute of the day at which they end, of the next day if it is not after ``begin``.
        rates: name: bytes per second, None for no limit.
    """

    days: frozenset[int]
    begin: int
    end: int
    rates: dict[str, int | None]

    def holds(self, weekday: int, minute: int) -> bool:
        """Tell whether they hold at a minute of a day, 0 for Monday."""
        if self.begin < self.end:
            return weekday in self.days and self.begin <= minute < self.end
        before = (weekday - 1) % 7
        return (weekday in self.days and minute >= self.begin) or (
            before in self.days and minute < self.end
        )


class LimitsConfig(Struct, frozen=True):
    """What a node may use.

    Args:
        rates: that hold at any other time.
        at: rates at some times; of several that hold the last one counts.
        git_processes: callers that stock git works for at once; None for the default.
        git_memory: bytes that a process of git's may ask for; None for the default.
        connections: of callers at once; None for the default.
        per_address: of one address; likewise.
        conversations: at once on connections that several share; likewise.
        conversations_per_address: of one address; likewise.
        git_answers: bytes of answers that are kept to be given again; None for the default.
    """

    rates: Rates = Rates()
    at: tuple[RatesAt, ...] = ()
    git_processes: int | None = None
    git_memory: int | None = None
    connections: int | None = None
    per_address: int | None = None
    conversations: int | None = None
    conversations_per_address: int | None = None
    git_answers: int | None = None

    def rates_at(self, weekday: int, minute: int) -> Rates:
        """Return the rates that hold at a minute of a day, 0 for Monday."""
        found = {"up": self.rates.up, "peer_up": self.rates.peer_up, "down": self.rates.down}
        for each in self.at:
            if each.holds(weekday, minute):
                found.update(each.rates)
        return Rates(**found)


class RepositoryConfig(Struct, frozen=True):
    """A repository to carry.

    Args:
        location: where it comes from.
        name: to carry it under; None for the policy's.
        priority: those with a higher one are brought first.
        max_size: bytes of packs to take; None for the default.
    """

    location: Location
    name: str | None = None
    priority: int = 0
    max_size: int | None = None


class CollectionConfig(Struct, frozen=True):
    """A collection to follow.

    Args:
        location: where it comes from.
        limits: of what it brings.
    """

    location: Location
    limits: CollectionLimits = CollectionLimits()


class CarryConfig(Struct, frozen=True):
    """What a node carries.

    Args:
        repositories: named here, besides those that ``gittorrent mirror`` was told of; collections
            among them.
        collections: that are followed.
        max_size: bytes of packs to take of one repository; None for the default.
        look_every: seconds between looks at a source that keeps no conversation with us.
        at_once: repositories that are brought or looked at at once.
        keep_for: seconds that things are kept for clones of this machine; None for the default.
        keep_size: bytes kept for them; None for the default.
    """

    repositories: tuple[RepositoryConfig, ...] = ()
    collections: tuple[CollectionConfig, ...] = ()
    max_size: int | None = None
    look_every: int | None = None
    at_once: int | None = None
    keep_for: int | None = None
    keep_size: int | None = None


class TrackConfig(Struct, frozen=True):
    """A plain git server to track.

    Args:
        url: of it, or an absolute path.
        name: to publish it under.
        every: seconds between looks; None for the default.
        patterns: of further refs, and with ``^`` of refs that are left out.
        key: what names the key to sign with; None for the node's own.
        secret: file of the webhook's secret; None where none are taken.
    """

    url: str
    name: str
    every: int | None = None
    patterns: tuple[str, ...] = ()
    key: str | None = None
    secret: str | None = None


class DiscoveryConfig(Struct, frozen=True):
    """How mirrors find each other.

    Args:
        announce: whether sources are told that what came from them is served here.
        private_addresses: whether mirrors at private addresses may be listed.
        lan: whether this node is found, and finds others, on the local network.
        dht: the same in the mainline DHT.
        peer_exchange: whether peers tell each other of peers.
        map_port: whether the router is asked to let others in, by UPnP or NAT-PMP.
        bootstrap: ``HOST:PORT`` of the nodes of the DHT to begin with; None for the usual ones.
    """

    announce: bool = True
    private_addresses: bool = False
    lan: bool = False
    dht: bool = True
    peer_exchange: bool = True
    map_port: bool = False
    bootstrap: tuple[str, ...] | None = None


class PushConfig(Struct, frozen=True):
    """Which pushes are taken, and shown.

    Args:
        git: whether they are taken over git:// too.
        final_only: whether stock git is shown only those that the keeper has put in order.
        max_size: bytes that one may bring; None for the default.
    """

    git: bool = False
    final_only: bool = False
    max_size: int | None = None


class DiskConfig(Struct, frozen=True):
    """What stays free of each file system that the node writes to; None for the default."""

    reserve: Reserve | None = None


class LogConfig(Struct, frozen=True):
    """What is logged; None for the default."""

    level: str | None = None
    format: str | None = None


class NodeConfig(Struct, frozen=True):
    """All that a configuration says; without any, a node with defaults."""

    listen: ListenConfig = ListenConfig()
    limits: LimitsConfig = LimitsConfig()
    carry: CarryConfig = CarryConfig()
    track: tuple[TrackConfig, ...] = ()
    discovery: DiscoveryConfig = DiscoveryConfig()
    push: PushConfig = PushConfig()
    disk: DiskConfig = DiskConfig()
    log: LogConfig = LogConfig()
    ci: CiConfig = CiConfig()
