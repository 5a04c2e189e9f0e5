"""What the node's configuration and the options of ``serve`` come to.

Options come before the file, and defaults after it. Must not know what the node does with them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent import event_log
from gittorrent.cli.node_toml import read_config
from gittorrent.disk_space import DEFAULT_RESERVE
from gittorrent.node.connection_limiter import CallerLimits
from gittorrent.node.git_answers import MAX_BYTES
from gittorrent.node.git_limits import BASE_MEMORY
from gittorrent.node.git_turns import PROCESSES
from gittorrent.node.local_clones import KEEP_BYTES, KEEP_SECONDS, KeepOptions
from gittorrent.node.options import Options
from gittorrent.node.tls import CertificateFiles
from gittorrent.repository.uploads import MAX_PUSHED
from gittorrent.transfer.lookups import bootstrap_nodes
from gittorrent.wire.urls import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from gittorrent.node.config import LimitsConfig, ListenConfig, NodeConfig, RatesAt
    from gittorrent.node.config_values import Place

    T = TypeVar("T")

DEFAULT_GIT = (("127.0.0.1", 9418),)


class Flags(Struct, frozen=True):
    """What was typed; None for options that were not. See `gittorrent.node.options.Options`."""

    git: Sequence[Place] = ()
    http: Sequence[Place] = ()
    https: Sequence[Place] = ()
    certificate: CertificateFiles | None = None
    url: Endpoint | None = None
    up_limit: int | None = None
    peer_up_limit: int | None = None
    keep_for: int | None = None
    keep_size: int | None = None
    git_processes: int | None = None
    git_memory: int | None = None
    behind_proxy: bool = False
    git_push: bool = False
    final_only: bool = False
    lan: bool = False
    no_announce: bool = False
    dht: bool | None = None
    no_peer_exchange: bool = False
    map_port: bool = False


class Settings(Struct, frozen=True):
    """Where a node's settings come from, to be read when it begins and again while it runs.

    Args:
        path: of the configuration.
        is_named: whether somebody named it; otherwise it need not be there.
        flags: what was typed.
        level: of the log, as it was typed; None for what the configuration says.
        style: of the log, likewise.
        follows: whether the node follows what it carries.
    """

    path: Path
    is_named: bool
    flags: Flags
    level: str | None
    style: str | None
    follows: bool

    def read(self) -> NodeConfig:
        """Return what the configuration says now.

        Raises:
            GitTorrentError: it cannot be used; see `read_config`.
        """
        return read_config(self.path, is_named=self.is_named)

    def options(self, config: NodeConfig) -> Options:
        """Return how the node runs by a configuration and what was typed."""
        return replace(options_of(config, self.flags), follows=self.follows)

    def set_log(self, config: NodeConfig) -> None:
        """Log as a configuration and what was typed say."""
        style = self.style or config.log.format or "text"
        event_log.configure(style, self.level or config.log.level or "warning", apart=True)


def _certificate(listen: ListenConfig) -> CertificateFiles | None:
    if listen.tls_certificate is None:
        return None
    chain = Path(listen.tls_certificate)
    return CertificateFiles(chain, chain if listen.tls_key is None else Path(listen.tls_key))


def _callers(limits: LimitsConfig) -> CallerLimits:
    usual = CallerLimits()
    return CallerLimits(
        connections=limits.connections or usual.connections,
        per_address=limits.per_address or usual.per_address,
        conversations=limits.conversations or usual.conversations,
        conversations_per_address=limits.conversations_per_address
        or usual.conversations_per_address,
    )


def options_of(config: NodeConfig, flags: Flags) -> Options:
    """Return how a node runs by a configuration and what was typed."""
    listen, limits, carry = config.listen, config.limits, config.carry
    # Addresses that were typed stand for all of the file's.
    typed = flags.git or flags.http or flags.https
    git, http, https = (
        (flags.git, flags.http, flags.https) if typed else (listen.git, listen.http, listen.https)
    )
    if git is None and http is None and https is None:
        git = DEFAULT_GIT
    return Options(
        git=tuple(git or ()),
        http=tuple(http or ()),
        https=tuple(https or ()),
        certificate=flags.certificate or _certificate(listen),
        url=flags.url or listen.url,
        up_limit=flags.up_limit or limits.rates.up,
        peer_up_limit=flags.peer_up_limit or limits.rates.peer_up,
        lan=flags.lan or config.discovery.private_addresses or config.discovery.lan,
        announce=config.discovery.announce and not flags.no_announce,
        keep=KeepOptions(
            _first(flags.keep_for, carry.keep_for, KEEP_SECONDS),
            _first(flags.keep_size, carry.keep_size, KEEP_BYTES),
        ),
        git_processes=_first(flags.git_processes, limits.git_processes, PROCESSES),
        git_memory=_first(flags.git_memory, limits.git_memory, BASE_MEMORY),
        callers=_callers(limits),
        git_answers=_first(None, limits.git_answers, MAX_BYTES),
        behind_proxy=flags.behind_proxy or listen.behind_proxy,
        git_push=flags.git_push or config.push.git,
        final_only=flags.final_only or config.push.final_only,
        discovery=replace(
            config.discovery,
            lan=flags.lan or config.discovery.lan,
            dht=_first(flags.dht, config.discovery.dht, True),
            peer_exchange=config.discovery.peer_exchange and not flags.no_peer_exchange,
            map_port=flags.map_port or config.discovery.map_port,
        ),
        dht_bootstrap=bootstrap_nodes(config.discovery.bootstrap),
        down_limit=limits.rates.down,
        carry=carry,
        max_pushed=_first(None, config.push.max_size, MAX_PUSHED),
        reserve=_first(None, config.disk.reserve, DEFAULT_RESERVE),
        track=config.track,
        ci=config.ci,
        rates=tuple(_untyped(each, flags) for each in limits.at),
    )


def _untyped(at: RatesAt, flags: Flags) -> RatesAt:
    """Leave out of other rates at other times what was typed, which always holds."""
    typed = {"up": flags.up_limit, "peer_up": flags.peer_up_limit}
    rates = {name: rate for name, rate in at.rates.items() if typed.get(name) is None}
    return replace(at, rates=rates)


def _first(typed: T | None, written: T | None, default: T) -> T:
    if typed is not None:
        return typed
    return default if written is None else written
