"""How a node runs: what its configuration and what was typed come to. Frozen values."""

from __future__ import annotations

from msgspec import Struct, field

from gittorrent.disk_space import DEFAULT_RESERVE, Reserve
from gittorrent.node.ci_options import CiConfig
from gittorrent.node.config import (
    CarryConfig,
    DiscoveryConfig,
    LimitsConfig,
    Rates,
    RatesAt,
    TrackConfig,
)
from gittorrent.node.connection_limiter import CallerLimits
from gittorrent.node.discovering import DiscoveryOptions
from gittorrent.node.git_answers import MAX_BYTES
from gittorrent.node.git_limits import BASE_MEMORY
from gittorrent.node.git_turns import PROCESSES, WAIT_SECONDS
from gittorrent.node.local_clones import KeepOptions
from gittorrent.node.tls import CertificateFiles
from gittorrent.reel.timing import ReelTimes
from gittorrent.repository.uploads import MAX_PUSHED
from gittorrent.wire.urls import Endpoint


class Options(Struct, frozen=True):
    """How a node runs.

    Args:
        git: hosts and ports to listen at for git://; port 0 takes a free one.
        http: the same for HTTP.
        https: the same for HTTP over TLS.
        certificate: of the node, for that.
        url: base URL under which others reach this node, such as ``git://mirror.example.org``.
        up_limit: bytes per second of all sending together; None for no limit.
        peer_up_limit: bytes per second that one caller gets; None for no limit.
        lan: whether mirrors at private addresses may be listed.
        announce: whether mirrored repositories are announced to where they came from.
        keep: what is kept for clones of this machine.
        git_processes: callers that stock git works for at once.
        git_memory: bytes that a process of git's may ask for, before what objects need.
        callers: how many there may be at once.
        git_answers: bytes of git's answers that are kept to be given again; 0 for none.
        git_wait: seconds after which callers are told that git works for others.
        behind_proxy: whether HTTP callers from this machine are a web server's.
        git_push: whether pushes are taken over git://, too.
        final_only: whether stock git is shown only what the newest checkpoint has taken.
        discovery: how mirrors find each other.
        reel_times: when reels are made of what a keeper signs here.
        down_limit: bytes per second of all that is taken together; None for no limit.
        carry: what the configuration says of what is carried.
        track: plain git servers that the configuration names.
        ci: what is done for CI jobs.
        follows: whether this node follows what it carries, and carries more when asked to.
        dht_bootstrap: ``HOST:PORT`` of the nodes of the DHT to begin with; none turns it off.
        dht_listen: IP addresses and UDP ports of the DHT.
        rates: other limits at some times of the day.
        max_pushed: bytes that a push may bring.
        reserve: what stays free of the disks.
    """

    git: tuple[tuple[str, int], ...] = ()
    http: tuple[tuple[str, int], ...] = ()
    https: tuple[tuple[str, int], ...] = ()
    certificate: CertificateFiles | None = None
    url: Endpoint | None = None
    up_limit: int | None = None
    peer_up_limit: int | None = None
    lan: bool = False
    announce: bool = True
    keep: KeepOptions = field(default_factory=KeepOptions)
    git_processes: int = PROCESSES
    git_memory: int = BASE_MEMORY
    callers: CallerLimits = CallerLimits()
    git_answers: int = MAX_BYTES
    git_wait: float = WAIT_SECONDS
    behind_proxy: bool = False
    git_push: bool = False
    final_only: bool = False
    discovery: DiscoveryConfig = DiscoveryConfig()
    reel_times: ReelTimes = ReelTimes()
    down_limit: int | None = None
    carry: CarryConfig = CarryConfig()
    track: tuple[TrackConfig, ...] = ()
    ci: CiConfig = CiConfig()
    follows: bool = False
    dht_bootstrap: tuple[str, ...] = ()
    dht_listen: tuple[str, ...] = DiscoveryOptions().dht_listen

    rates: tuple[RatesAt, ...] = ()
    max_pushed: int = MAX_PUSHED
    reserve: Reserve = DEFAULT_RESERVE

    @property
    def found(self) -> DiscoveryOptions:
        """In which ways the node is found, and finds others."""
        says = self.discovery
        return DiscoveryOptions(
            says.dht, says.lan, says.map_port, self.dht_bootstrap, self.dht_listen
        )

    def rates_at(self, weekday: int, minute: int) -> Rates:
        """Return the limits that hold at a minute of a day, 0 for Monday."""
        always = Rates(self.up_limit, self.peer_up_limit, self.down_limit)
        return LimitsConfig(always, self.rates).rates_at(weekday, minute)
