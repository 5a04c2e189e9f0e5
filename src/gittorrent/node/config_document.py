"""Reading ``node.toml``: which tables and keys there are, and what each may say.

Tracks nothing; a document comes in as text and goes out as frozen values. Rules: every key is
known and has one form; what is not understood is an error that names its line and says what to
write, never left out; all errors are found at once. Keys that are left out have the defaults that
the template of `gittorrent init-node` shows. Must not know files, nor what is done with the values.
Source: docs/commands.md, gittorrent init-node.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from gittorrent.node.ci_options import CiConfig
from gittorrent.node.config import (
    CarryConfig,
    CollectionConfig,
    DiscoveryConfig,
    DiskConfig,
    LimitsConfig,
    ListenConfig,
    LogConfig,
    NodeConfig,
    PushConfig,
    Rates,
    RatesAt,
    RepositoryConfig,
    TrackConfig,
)
from gittorrent.node.config_table import ConfigError, Reading, Table
from gittorrent.node.config_values import (
    absolute_path,
    ci_prefixes,
    ci_socket_mode,
    days,
    dht_nodes,
    endpoint,
    flag,
    followed_refs,
    git_memory,
    hours,
    key_name,
    keys,
    level,
    location,
    log_format,
    number,
    peer_urls,
    places,
    push_size,
    rate,
    ref_patterns,
    repository_name,
    reserve,
    seconds,
    size,
    size_or_none,
    upstream,
)
from gittorrent.node.toml_lines import lines_of
from gittorrent.push.carry_limits import CollectionLimits
from gittorrent.push.upstream_urls import default_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.node.config_values import Place
    from gittorrent.node.toml_lines import KeyPath
    from gittorrent.transfer.location import Location

MAX_CONFIG_BYTES = 4 << 20
"""Bytes of a configuration: ten thousand repositories and some words on each."""

MOST_CALLERS = 1_000_000
"""Callers that a configuration may let in; what a machine has memory and files for is fewer."""

LEAST_EVERY = 10
"""Seconds that no look at a tracked server follows another one before: who needs less has
webhooks."""


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
    document = _document(text, name)
    lines = lines_of(text)
    if (path := next(_too_large(document), None)) is not None:
        why = "is too large a number; whole numbers have 64 bits"
        key = next(each for each in reversed(path) if isinstance(each, str))
        raise ConfigError([f"{name}:{lines.get(path, 1)}: {key}: {why}"])
    reading = Reading(name, lines)
    top = Table(reading, (), document)
    seen: dict[str, int] = {}
    config = NodeConfig(
        listen=_listen(top.table("listen")),
        limits=_limits(top.table("limits")),
        carry=_carry(top.table("carry"), seen),
        track=tuple(_tracks(top, seen)),
        discovery=_discovery(top.table("discovery")),
        push=_push(top.table("push")),
        disk=_disk(top.table("disk")),
        log=_log(top.table("log")),
        ci=_ci(top.table("ci")),
    )
    reading.done()
    if reading.problems:
        raise ConfigError([text for _, text in sorted(reading.problems)])
    return config


def _document(text: str, name: str) -> dict[str, object]:
    """Return what stands in a document.

    Raises:
        ConfigError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_not_toml(str(error), text, name)]) from error
    except RecursionError:
        raise ConfigError([f"{name}: arrays or tables are nested too deep"]) from None
    except ValueError:  # Python reads no number that has so many digits
        found = _ENDLESS.search(text)
        line = 1 if found is None else text.count("\n", 0, found.start()) + 1
        raise ConfigError([f"{name}:{line}: a number has too many digits"]) from None


def _too_large(document: dict[str, object]) -> Iterator[KeyPath]:
    """Yield where whole numbers are that TOML does not have."""
    left: list[tuple[KeyPath, object]] = [((), document)]
    while left:
        path, value = left.pop()
        if isinstance(value, int) and not -_NUMBERS <= value < _NUMBERS:
            yield path
        elif isinstance(value, dict):
            left += [((*path, key), each) for key, each in value.items()]
        elif isinstance(value, list):
            left += [((*path, number), each) for number, each in enumerate(value)]


_ENDLESS = re.compile("[0-9][0-9_]{4000}")

_NUMBERS = 1 << 63
"""Whole numbers of TOML are smaller than that, and no smaller than minus that."""


def _not_toml(said: str, text: str, name: str) -> str:
    """Return what `tomllib` says, with the line where this program has it."""
    reason, _, where = said.rpartition(" (at ")
    line = where.removeprefix("line ").partition(",")[0]
    if not line.isdigit():  # "at end of document"
        reason, line = reason or said, str(text.count("\n") + 1)
    if key := _KEY_PARTS.search(reason):
        reason = reason.replace(key[0], ".".join(_KEY_PART.findall(key[0])))
    for pattern, words in _TOML_REASONS:
        reason = pattern.sub(words, reason)
    return f"{name}:{line}: {reason[:1].lower()}{reason[1:]}"


_KEY_PART = re.compile(r"'([^']*)'")
_KEY_PARTS = re.compile(r"\('[^']*'(?:, '[^']*')*,?\)")

_TOML_REASONS = [
    (re.compile(pattern), words)
    for pattern, words in (
        (r"^Cannot declare (.*) twice$", r"[\1] stands there twice; write all of it below one"),
        (r"^Cannot overwrite a value$", "a key or a table of this name stands there already"),
        (
            r"^Cannot (?:mutate immutable|redefine) namespace (.*)$",
            r"\1 stands there already, as something else",
        ),
        (r"^Invalid value$", "invalid value: a text is written in quotes"),
        (
            r"^Expected newline or end of document after a statement$",
            "something follows the value; a text is written in quotes",
        ),
        (r"^Illegal character '\\n'$", "a text is not closed in its line"),
    )
]
"""What `tomllib` says of its own inside, and what an operator is told."""


def _listen(table: Table) -> ListenConfig:
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
    _no_place_twice(table, {"git": found.git, "http": found.http, "https": found.https})
    return found


def _no_place_twice(table: Table, found: dict[str, tuple[Place, ...] | None]) -> None:
    """Complain of an address at which two things would listen; port 0 is each time another."""
    seen: set[Place] = set()
    for key, places_there in found.items():
        for each in places_there or ():
            if each in seen:
                host, port = each
                shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                table.complain(f"{key}: {shown} stands there already; name another port", key)
            elif each[1]:
                seen.add(each)


_RATES = {"up": "up", "peer-up": "peer_up", "down": "down"}


def _limits(table: Table) -> LimitsConfig:
    found = LimitsConfig(
        rates=Rates(**{field: table.take(key, rate) for key, field in _RATES.items()}),
        at=tuple(_rates_at(each) for each in table.tables("at")),
        git_processes=table.take("git-processes", number(1, 10_000)),
        git_memory=table.take("git-memory", git_memory),
        git_answers=table.take("git-answers", size_or_none),
        connections=table.take("connections", number(1, MOST_CALLERS)),
        per_address=table.take("connections-per-address", number(1, MOST_CALLERS)),
        conversations=table.take("conversations", number(1, MOST_CALLERS)),
        conversations_per_address=table.take("conversations-per-address", number(1, MOST_CALLERS)),
    )
    for all_of_them in ("connections", "conversations"):
        table.not_more(f"{all_of_them}-per-address", all_of_them)
    return found


def _rates_at(table: Table) -> RatesAt:
    begin, end = table.take("hours", hours) or (0, 0)
    return RatesAt(
        days=table.take("days", days) or frozenset(range(7)),
        begin=begin,
        end=end,
        rates={field: table.take(key, rate) for key, field in _RATES.items() if table.has(key)},
    )


def _carry(table: Table, seen: dict[str, int]) -> CarryConfig:
    repositories = tuple(_repositories(table, seen))
    collections = tuple(_collections(table, seen))
    return CarryConfig(
        repositories=(*repositories, *(each for each, _ in collections)),
        collections=tuple(each for _, each in collections),
        max_size=table.take("max-size", size),
        look_every=table.take("look-every", seconds(1)),
        at_once=table.take("at-once", number(1, 64)),
        keep_for=table.take("keep-for", seconds(0)),
        keep_size=table.take("keep-size", size),
    )


def _repositories(table: Table, seen: dict[str, int]) -> Iterator[RepositoryConfig]:
    """Read what is to be carried; no repository and no name twice."""
    for each in table.tables("repository"):
        source = each.require("url", location, "write where the repository comes from")
        name = each.take("name", repository_name)
        priority = each.take("priority", number(-1000, 1000))
        max_size = each.take("max-size", size)
        if source is None:
            continue
        _once(each, seen, source, name)
        yield RepositoryConfig(source, name, priority or 0, max_size)


def _collections(
    table: Table, seen: dict[str, int]
) -> Iterator[tuple[RepositoryConfig, CollectionConfig]]:
    """Read which collections are followed, each a repository as well."""
    usual = CollectionLimits()
    for each in table.tables("collection"):
        source = each.require("url", location, "write where the collection comes from")
        name = each.take("name", repository_name)
        limits = CollectionLimits(
            each.take("max-repositories", number(1, 100_000)) or usual.repositories,
            each.take("max-total", size) or usual.total,
            each.take("max-size", size) or usual.each,
            each.take("refs", ref_patterns) or (),
            each.take("owners", keys) or (),
        )
        if source is None:
            continue
        _once(each, seen, source, name)
        yield RepositoryConfig(source, name), CollectionConfig(source, limits)


def _once(table: Table, seen: dict[str, int], source: Location, name: str | None) -> None:
    """Complain of a repository or a name that stands there twice."""
    for key, what in (("url", source.expected or source.url), ("name", name)):
        if what is not None and (before := seen.setdefault(what, table.line)) != table.line:
            table.complain(f"{key}: {what} stands in line {before} already", key)


def _tracks(top: Table, seen: dict[str, int]) -> Iterator[TrackConfig]:
    """Read which servers are tracked; no name twice, nor one of what is carried."""
    for each in top.tables("track"):
        url = each.require("url", upstream, "write that of a git server")
        name = each.take("name", repository_name)
        every = each.take("every", seconds(LEAST_EVERY))
        patterns = each.take("refs", followed_refs)
        key = each.take("key", key_name)
        secret = each.take("hook-secret", absolute_path)
        if url is None:
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


def _discovery(table: Table) -> DiscoveryConfig:
    return DiscoveryConfig(
        announce=table.flag("announce", default=True),
        private_addresses=table.flag("private-addresses", default=False),
        lan=table.flag("lan", default=False),
        dht=table.flag("dht", default=True),
        peer_exchange=table.flag("peer-exchange", default=True),
        map_port=table.flag("map-port", default=False),
        bootstrap=table.take("dht-bootstrap", dht_nodes),
    )


def _push(table: Table) -> PushConfig:
    return PushConfig(
        git=table.flag("git", default=False),
        final_only=table.flag("final-only", default=False),
        max_size=table.take("max-size", push_size),
    )


def _disk(table: Table) -> DiskConfig:
    return DiskConfig(reserve=table.take("reserve", reserve))


def _log(table: Table) -> LogConfig:
    return LogConfig(level=table.take("level", level), format=table.take("format", log_format))


def _ci(table: Table) -> CiConfig:
    usual = CiConfig()
    found = CiConfig(
        allow=table.take("allow", ci_prefixes) or (),
        socket=table.take("socket", absolute_path),
        is_for_all=table.take("socket-mode", ci_socket_mode) == "all",
        max_size=table.take("max-size", size) or usual.max_size,
        max_repository=table.take("max-repository", size) or usual.max_repository,
        keep_for=table.take("keep-for", seconds(60)) or usual.keep_for,
        peers=table.take("peers", peer_urls) or (),
        lan=table.flag("lan", default=False),
        secret=table.take("secret", absolute_path),
        wait=table.take("wait", seconds(1)) or usual.wait,
        share_refs=table.take("share-refs", flag) or False,
    )
    if found.peers and not table.has("secret"):
        table.complain("peers: share nothing without a secret; write secret = FILE", "peers")
    if found.lan and not table.has("secret"):
        table.complain("lan: shares nothing without a secret; write secret = FILE", "lan")
    if found.is_for_all and not table.has("socket"):
        table.complain(
            "socket-mode: nobody else gets to the home's own socket; write socket = PATH",
            "socket-mode",
        )
    return found
