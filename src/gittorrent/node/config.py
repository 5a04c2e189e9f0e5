"""What ``node.toml`` says: how a node listens, what it carries, and within which limits.

Tracks nothing; a document comes in as text and goes out as frozen values. Rules: every key is
known and has one form; what is not understood is an error that names its line and says what to
write, never left out; all errors are found at once. Keys that are left out have the defaults that
the template of `gittorrent init-node` shows. Must not know files, nor what is done with the values.
Source: docs/commands.md, gittorrent init-node.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from gittorrent.errors import UsageError
from gittorrent.node.config_values import (
    ElementError,
    absolute_path,
    days,
    dht_nodes,
    endpoint,
    flag,
    followed_refs,
    hours,
    key_name,
    keys,
    level,
    location,
    log_format,
    number,
    places,
    push_size,
    rate,
    ref_patterns,
    repository_name,
    reserve,
    seconds,
    size,
    upstream,
)
from gittorrent.node.toml_lines import KeyPath, lines_of
from gittorrent.push.carry_limits import CollectionLimits
from gittorrent.push.upstream_urls import default_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.disk_space import Reserve
    from gittorrent.node.config_values import Place
    from gittorrent.transfer.location import Location
    from gittorrent.wire.urls import Endpoint

MAX_CONFIG_BYTES = 4 << 20
"""Bytes of a configuration: ten thousand repositories and some words on each."""

LEAST_EVERY = 10
"""Seconds that no look at a tracked server follows another one before: who needs less has
webhooks."""

T = TypeVar("T")


class ConfigError(UsageError):
    """A configuration cannot be used.

    Args:
        problems: what is wrong, each with its file and line, in the order of the file.
    """

    def __init__(self, problems: list[str]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        hint = "'gittorrent serve --check' lists all" if more else ""
        super().__init__(problems[0] + more, hint=hint)
        self.problems = problems


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
    """

    rates: Rates = Rates()
    at: tuple[RatesAt, ...] = ()
    git_processes: int | None = None
    git_memory: int | None = None

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


def parse_config(text: str, name: str = "node.toml") -> NodeConfig:
    """Read a configuration.

    Args:
        text: of the document.
        name: of the file, for errors.

    Raises:
        ConfigError: it is no TOML, or says something that is not understood.
    """
    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigError([f"{name}: longer than {MAX_CONFIG_BYTES} bytes"])
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_not_toml(str(error), text, name)]) from error
    reading = _Reading(name, lines_of(text))
    top = _Table(reading, (), document)
    config = NodeConfig(
        listen=_listen(top.table("listen")),
        limits=_limits(top.table("limits")),
        carry=_carry(top.table("carry")),
        track=tuple(_tracks(top)),
        discovery=_discovery(top.table("discovery")),
        push=_push(top.table("push")),
        disk=_disk(top.table("disk")),
        log=_log(top.table("log")),
    )
    top.done()
    if reading.problems:
        raise ConfigError([text for _, text in sorted(reading.problems)])
    return config


def _not_toml(said: str, text: str, name: str) -> str:
    """Return what `tomllib` says, with the line where this program has it."""
    reason, _, where = said.rpartition(" (at ")
    line = where.removeprefix("line ").partition(",")[0]
    if not line.isdigit():  # "at end of document"
        reason, line = reason or said, str(text.count("\n") + 1)
    return f"{name}:{line}: {reason[:1].lower()}{reason[1:]}"


def _listen(table: _Table) -> ListenConfig:
    found = ListenConfig(
        git=table.take("git", places),
        http=table.take("http", places),
        https=table.take("https", places),
        tls_certificate=table.take("tls-certificate", absolute_path),
        tls_key=table.take("tls-key", absolute_path),
        behind_proxy=table.flag("behind-proxy", default=False),
        url=table.take("url", endpoint),
    )
    if table.has("tls-key") and not table.has("tls-certificate"):
        table.complain("tls-key: is a key without a certificate; write tls-certificate", "tls-key")
    table.done()
    return found


_RATES = {"up": "up", "peer-up": "peer_up", "down": "down"}


def _limits(table: _Table) -> LimitsConfig:
    found = LimitsConfig(
        rates=Rates(**{field: table.take(key, rate) for key, field in _RATES.items()}),
        at=tuple(_rates_at(each) for each in table.tables("at")),
        git_processes=table.take("git-processes", number(1, 10_000)),
        git_memory=table.take("git-memory", size),
    )
    table.done()
    return found


def _rates_at(table: _Table) -> RatesAt:
    begin, end = table.take("hours", hours) or (0, 0)
    found = RatesAt(
        days=table.take("days", days) or frozenset(range(7)),
        begin=begin,
        end=end,
        rates={field: table.take(key, rate) for key, field in _RATES.items() if table.has(key)},
    )
    table.done()
    return found


def _carry(table: _Table) -> CarryConfig:
    seen: dict[str, int] = {}
    repositories = tuple(_repositories(table, seen))
    collections = tuple(_collections(table, seen))
    found = CarryConfig(
        repositories=(*repositories, *(each for each, _ in collections)),
        collections=tuple(each for _, each in collections),
        max_size=table.take("max-size", size),
        look_every=table.take("look-every", seconds(1)),
        at_once=table.take("at-once", number(1, 64)),
        keep_for=table.take("keep-for", seconds(0)),
        keep_size=table.take("keep-size", size),
    )
    table.done()
    return found


def _repositories(table: _Table, seen: dict[str, int]) -> Iterator[RepositoryConfig]:
    """Read what is to be carried; no repository and no name twice."""
    for each in table.tables("repository"):
        source = each.take("url", location)
        name = each.take("name", repository_name)
        priority = each.take("priority", number(-1000, 1000))
        max_size = each.take("max-size", size)
        each.done()
        if source is None:
            if not each.has("url"):
                each.complain("url: is missing; write where the repository comes from")
            continue
        _once(each, seen, source, name)
        yield RepositoryConfig(source, name, priority or 0, max_size)


def _collections(
    table: _Table, seen: dict[str, int]
) -> Iterator[tuple[RepositoryConfig, CollectionConfig]]:
    """Read which collections are followed, each a repository as well."""
    usual = CollectionLimits()
    for each in table.tables("collection"):
        source = each.take("url", location)
        name = each.take("name", repository_name)
        limits = CollectionLimits(
            each.take("max-repositories", number(1, 100_000)) or usual.repositories,
            each.take("max-total", size) or usual.total,
            each.take("max-size", size) or usual.each,
            each.take("refs", ref_patterns) or (),
            each.take("owners", keys) or (),
        )
        each.done()
        if source is None:
            if not each.has("url"):
                each.complain("url: is missing; write where the collection comes from")
            continue
        _once(each, seen, source, name)
        yield RepositoryConfig(source, name), CollectionConfig(source, limits)


def _once(table: _Table, seen: dict[str, int], source: Location, name: str | None) -> None:
    """Complain of a repository or a name that stands there twice."""
    for key, what in (("url", source.expected or source.url), ("name", name)):
        if what is not None and (before := seen.setdefault(what, table.line)) != table.line:
            table.complain(f"{key}: {what} stands in line {before} already", key)


def _tracks(top: _Table) -> Iterator[TrackConfig]:
    """Read which servers are tracked; no name twice."""
    seen: dict[str, int] = {}
    for each in top.tables("track"):
        url = each.take("url", upstream)
        name = each.take("name", repository_name)
        every = each.take("every", seconds(LEAST_EVERY))
        patterns = each.take("refs", followed_refs)
        key = each.take("key", key_name)
        secret = each.take("hook-secret", absolute_path)
        each.done()
        if url is None:
            if not each.has("url"):
                each.complain("url: is missing; write that of a git server")
            continue
        name = name or default_name(url)
        try:
            repository_name(name)
        except ValueError as error:
            each.complain(f"name: {error}", "name" if each.has("name") else "url")
            continue
        if (before := seen.setdefault(name, each.line)) != each.line:
            where = "name" if each.has("name") else "url"
            each.complain(f"name: {name} stands in line {before} already", where)
        yield TrackConfig(url, name, every, patterns or (), key, secret)


def _discovery(table: _Table) -> DiscoveryConfig:
    found = DiscoveryConfig(
        announce=table.flag("announce", default=True),
        private_addresses=table.flag("private-addresses", default=False),
        lan=table.flag("lan", default=False),
        dht=table.flag("dht", default=True),
        peer_exchange=table.flag("peer-exchange", default=True),
        map_port=table.flag("map-port", default=False),
        bootstrap=table.take("dht-bootstrap", dht_nodes),
    )
    table.done()
    return found


def _push(table: _Table) -> PushConfig:
    found = PushConfig(
        git=table.flag("git", default=False),
        final_only=table.flag("final-only", default=False),
        max_size=table.take("max-size", push_size),
    )
    table.done()
    return found


def _disk(table: _Table) -> DiskConfig:
    found = DiskConfig(reserve=table.take("reserve", reserve))
    table.done()
    return found


def _log(table: _Table) -> LogConfig:
    found = LogConfig(level=table.take("level", level), format=table.take("format", log_format))
    table.done()
    return found


class _Reading:
    """What the tables of one document share: its name, its lines, and what is wrong."""

    def __init__(self, name: str, lines: dict[KeyPath, int]) -> None:
        self.name = name
        self.lines = lines
        self.problems: list[tuple[int, str]] = []


class _Table:
    """One table of a document, whose keys are taken out one by one."""

    def __init__(self, reading: _Reading, path: KeyPath, values: dict[str, object]) -> None:
        self._reading = reading
        self._path = path
        self._values = values
        self._known: list[str] = []

    @property
    def line(self) -> int:
        """The line of its header."""
        return self._line_of(self._path)

    def _line_of(self, path: KeyPath) -> int:
        lines = self._reading.lines
        while path and path not in lines:
            path = path[:-1]
        return lines.get(path, 1)

    def has(self, key: str) -> bool:
        """Tell whether a key is there."""
        return key in self._values

    def take(self, key: str, read: Callable[[object], T]) -> T | None:
        """Return the value of a key as ``read`` understands it; None if it is not there or wrong.

        Args:
            key: it.
            read: raises `ValueError` with what is wrong with the value, and what to write.
        """
        self._known.append(key)
        if key not in self._values:
            return None
        try:
            return read(self._values[key])
        except ElementError as error:
            self.complain(f"{key}: {error}", key, error.number)
        except ValueError as error:
            self.complain(f"{key}: {error}", key)
        return None

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a switch."""
        found = self.take(key, flag)
        return default if found is None else found

    def table(self, key: str) -> _Table:
        """Return a table in this one, empty if it is not there."""
        self._known.append(key)
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            self.complain(f"{key}: is no table; write [{key}]", key)
            value = {}
        return _Table(self._reading, (*self._path, key), value)

    def tables(self, key: str) -> list[_Table]:
        """Return the tables of an array of tables."""
        self._known.append(key)
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self.complain(f"{key}: write [[{'.'.join([*map(str, self._path), key])}]]", key)
            return []
        path = (*self._path, key)
        return [_Table(self._reading, (*path, n), each) for n, each in enumerate(value)]

    def complain(self, text: str, *at: str | int) -> None:
        """Note what is wrong with the table, or with a key or element in it."""
        line = self._line_of((*self._path, *at))
        names = ".".join(str(each) for each in self._path if isinstance(each, str))
        where = f"[{names}] " if names else ""
        self._reading.problems.append((line, f"{self._reading.name}:{line}: {where}{text}"))

    def done(self) -> None:
        """Complain of keys that nobody took."""
        for key in self._values:
            if key not in self._known:
                near = get_close_matches(key, self._known, n=1)
                known = ", ".join(self._known)
                way_out = f"did you mean {near[0]}?" if near else f"known are {known}"
                self.complain(f"{key}: is not known; {way_out}", key)
