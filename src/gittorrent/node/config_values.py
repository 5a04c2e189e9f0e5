"""The kinds of values that ``node.toml`` has: each takes what TOML has, and says what is wrong.

Pure. Every function raises `ValueError` with what is wrong with a value and what to write.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, TypeVar

from gittorrent.disk_space import NO_RESERVE, Reserve
from gittorrent.errors import GitTorrentError, TrustError, UsageError
from gittorrent.event_log import FORMATS, LEVELS
from gittorrent.node.git_limits import LEAST_MEMORY
from gittorrent.push.quota import MAX_BYTES
from gittorrent.push.upstream_refs import Selection
from gittorrent.push.upstream_urls import Scheme, UpstreamUrlError, scheme_of
from gittorrent.sizes import parse_size
from gittorrent.transfer.location import parse_location
from gittorrent.trust.errors import PolicyError
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.policy import check_name
from gittorrent.trust.refpattern import RefPattern
from gittorrent.wire.ci_urls import CiUrlError, parse_prefix
from gittorrent.wire.urls import UrlError, check_host_and_port, parse_host, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.transfer.location import Location
    from gittorrent.wire.urls import Endpoint

T = TypeVar("T")

Place = tuple[str, int]
"""Host and port to listen at."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
MAX_PERCENT = 90
"""More than that of a disk is hardly to stay free; who wrote it meant the other part."""

_PLACE = re.compile(r"(\[[^]]+\]|[^][:/@]+):([0-9]{1,5})")
_PERCENT = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,3})?)%")
_TIME = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class ElementError(ValueError):
    """An element of a list is wrong.

    Args:
        number: of the element, from 0.
        text: what is wrong with it.
    """

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


def _each(value: object, read: Callable[[object], T]) -> list[T]:
    """Read one value or a list of them."""
    if not isinstance(value, list):
        return [read(value)]
    found = []
    for at, each in enumerate(value):
        try:
            found.append(read(each))
        except ValueError as error:
            raise ElementError(at, str(error)) from error
    return found


def _shown(value: object) -> str:
    """Return a value as TOML writes it, as far as that matters in an error."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is no {what}; write it in quotes")
    return value


def flag(value: object) -> bool:
    """Read a switch."""
    if not isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return value


def absolute_path(value: object) -> str:
    """Read the name of a file, from the root on: where the node is started does not matter."""
    found = _text(value, "file")
    if not found.startswith("/") or "\0" in found:
        raise ValueError(f"{_shown(value)} is no absolute path; write it from / on")
    return found


def number(least: int, most: int) -> Callable[[object], int]:
    """Return what reads a whole number within bounds."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{_shown(value)} is no whole number from {least} to {most}")
        return value

    return read


def size(value: object) -> int:
    """Read a number of bytes: 4096, "500K", "1.5G"."""
    found = value if isinstance(value, int) and not isinstance(value, bool) else None
    found = parse_size(value) if isinstance(value, str) else found
    if found is None or found <= 0:
        raise ValueError(f"{_shown(value)} is no size; write bytes, with K, M or G: 64K, 512M, 10G")
    return found


def size_or_none(value: object) -> int:
    """Read a number of bytes, which may be 0."""
    return 0 if value in (0, "0") and not isinstance(value, bool) else size(value)


def git_memory(value: object) -> int:
    """Read how many bytes a process of git's may ask for: enough to begin with."""
    found = size(value)
    if found < LEAST_MEMORY:
        raise ValueError(
            f"{_shown(value)} is too little for any git; write {LEAST_MEMORY >> 20}M or more"
        )
    return found


def push_size(value: object) -> int:
    """Read how many bytes a push may bring: no more than mirrors pass on of one key."""
    found = size(value)
    if found > MAX_BYTES:
        raise ValueError(
            f"{_shown(value)} is more than {MAX_BYTES >> 20}M, and mirrors pass no more on of one"
            " key before the keeper has taken it"
        )
    return found


def reserve(value: object) -> Reserve:
    """Read what stays free: "1G", "5%", the smaller one of a list of both, or "none"."""
    if value == "none":
        return NO_RESERVE
    found: dict[str, Reserve] = {}
    for each in _each(value, _part_of_reserve):
        kind = "size" if each.percent is None else "percent"
        if kind in found:
            raise ValueError('two of one kind; write a size and a percentage: ["5%", "1G"]')
        found[kind] = each
    if not found:
        raise ValueError('[] says nothing; write "1G", "5%" or "none"')
    both = found.values()
    return Reserve(
        next((each.bytes for each in both if each.bytes is not None), None),
        next((each.percent for each in both if each.percent is not None), None),
    )


def _part_of_reserve(value: object) -> Reserve:
    shape = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if shape is not None and 0 < float(shape[1]) <= MAX_PERCENT:
        return Reserve(percent=float(shape[1]))
    try:
        return Reserve(bytes=size(value))
    except ValueError as error:
        raise ValueError(
            f'{_shown(value)} is neither a size nor a percentage up to {MAX_PERCENT}%; write "1G",'
            ' "5%" or "none"'
        ) from error


def rate(value: object) -> int | None:
    """Read bytes per second: 4096, "500K", "10M"; "none" for no limit."""
    if value == "none":
        return None
    found = value if isinstance(value, int) and not isinstance(value, bool) else None
    found = parse_size(value) if isinstance(value, str) else found
    if found is None or found <= 0:
        digits = re.match(r"[1-9][0-9]*", value) if isinstance(value, str) else None
        instead = f"{digits[0]}M" if digits else "500K or 10M"
        raise ValueError(f"{_shown(value)} is no rate; write {instead}")
    return found


def seconds(least: int) -> Callable[[object], int]:
    """Return what reads a length of time: 90, "90s", "30m", "12h", "7d"."""

    def read(value: object) -> int:
        found = value if isinstance(value, int) and not isinstance(value, bool) else None
        if isinstance(value, str) and (shape := _TIME.fullmatch(value)):
            found = int(shape[1]) * _UNITS[shape[2]]
        if found is None or not least <= found <= 366 * 86400:
            raise ValueError(
                f"{_shown(value)} is no length of time from {least} s to a year;"
                ' write "90s", "30m", "12h" or "7d"'
            )
        return found

    return read


def places(value: object) -> tuple[Place, ...]:
    """Read where to listen: one "HOST:PORT" or a list of them."""
    if value == []:
        raise ValueError('[] names no address; write "0.0.0.0:9418", or leave it out')
    return tuple(_each(value, place))


def place(value: object) -> Place:
    """Read one "HOST:PORT"; IPv6 addresses stand in brackets, with a zone or without."""
    found = _PLACE.fullmatch(_text(value, "address"))
    if found is None or not _is_host(found[1]) or int(found[2]) > 65535:
        raise ValueError(f"{_shown(value)} is no HOST:PORT; write 0.0.0.0:9418 or [::]:9418")
    return found[1].removeprefix("[").removesuffix("]"), int(found[2])


def _is_host(text: str) -> bool:
    """Tell whether a machine may listen at what is called so."""
    try:
        if text.startswith("["):
            IPv6Address(text[1:-1])
        else:
            parse_host(text)
    except (ValueError, UrlError):
        return False
    return True


def dht_nodes(value: object) -> tuple[str, ...]:
    """Read nodes of the DHT."""
    return tuple(_each(value, _dht_node))


def _dht_node(value: object) -> str:
    text = _text(value, "host and port")
    try:
        check_host_and_port(text)
    except UrlError as error:
        raise ValueError(f'{error}; write "dht.example.org:6881"') from error
    return text


def endpoint(value: object) -> Endpoint:
    """Read the base URL under which others reach the node."""
    text = _text(value, "URL")
    try:
        return parse_learned_url(text)
    except UrlError as error:
        raise ValueError(
            f"{error}; write git://mirror.example.org or https://HOST[:PORT]"
        ) from error


def location(value: object) -> Location:
    """Read where a repository comes from."""
    try:
        return parse_location(_text(value, "URL"))
    except GitTorrentError as error:
        raise ValueError(f"{error}; {error.hint}" if error.hint else str(error)) from error


def repository_name(value: object) -> str:
    """Read the name of a repository."""
    name = _text(value, "name")
    try:
        check_name(name)
    except PolicyError as error:
        raise ValueError(f"{error}; {error.hint}") from error
    return name


def upstream(value: object) -> str:
    """Read the URL of a plain git server; a path begins at the root."""
    text = _text(value, "URL")
    try:
        if scheme_of(text) is Scheme.FILE and "://" not in text:
            return absolute_path(text)
    except UpstreamUrlError as error:
        raise ValueError(f"{error}; {error.hint}") from error
    return text


def ci_prefixes(value: object) -> tuple[str, ...]:
    """Read what the URLs of upstreams for CI begin with."""
    return tuple(_each(value, _ci_prefix))


def _ci_prefix(value: object) -> str:
    return _prefix(_text(value, "URL"), "https://HOST/ or https://HOST/PATH/")


def _prefix(text: str, right: str) -> str:
    """Read what a URL begins with; errors show no password that stands in it.

    Raises:
        ValueError: it is none; says to write what is ``right``.
    """
    try:
        return parse_prefix(text)
    except CiUrlError as error:
        shown = _shown(text.rpartition("@")[2])
        raise ValueError(f"{shown}: {error}; write {right}") from error


def peer_urls(value: object) -> tuple[str, ...]:
    """Read the base URLs of other runners' nodes."""
    return tuple(_each(value, _peer_url))


def _peer_url(value: object) -> str:
    found = _prefix(_text(value, "URL"), "http://HOST:PORT")
    if found.count("/") != 3:
        raise ValueError(f"{_shown(value)} has a path; write http://HOST:PORT")
    return found.rstrip("/")


def ref_patterns(value: object) -> tuple[str, ...]:
    """Read patterns of refs: "refs/heads/*" or a list of them."""
    return tuple(_each(value, _ref_pattern))


def _ref_pattern(value: object) -> str:
    text = _text(value, "pattern")
    try:
        RefPattern(text.encode("utf-8", "surrogateescape"))
    except PolicyError as error:
        raise ValueError(f"{error}; {error.hint}") from error
    return text


def keys(value: object) -> tuple[str, ...]:
    """Read names of keys: "ssh:SHA256:..." or "openpgp:...", or a list of them."""
    return tuple(_each(value, _key))


def _key(value: object) -> str:
    try:
        return str(KeyRef.parse(_text(value, "key")))
    except TrustError as error:
        raise ValueError(f"{error}; {error.hint}" if error.hint else str(error)) from error


def followed_refs(value: object) -> tuple[str, ...]:
    """Read patterns of refs: one, or a list of them."""
    return tuple(_each(value, _followed_ref))


def _followed_ref(value: object) -> str:
    text = _text(value, "pattern of refs")
    try:
        Selection((text,))
    except UsageError as error:
        raise ValueError(f"{error}; {error.hint}") from error
    return text


def key_name(value: object) -> str:
    """Read what names a signing key: an absolute path, or an OpenPGP fingerprint."""
    found = _text(value, "key")
    if "/" in found:
        return absolute_path(value)
    if not found.strip():
        raise ValueError("names no key; write the absolute path of one, or a fingerprint")
    return found


def hours(value: object) -> tuple[int, int]:
    """Read "22:00-06:00" as two minutes of the day."""
    shape = _HOURS.fullmatch(_text(value, "time of day"))
    if shape is None:
        raise ValueError(f'{_shown(value)} is no time of day; write "22:00-06:00"')
    begin, end = int(shape[1]) * 60 + int(shape[2]), int(shape[3]) * 60 + int(shape[4])
    if begin == end:
        raise ValueError(f"{_shown(value)} is empty; leave hours out for the whole day")
    return begin, end


def days(value: object) -> frozenset[int]:
    """Read ["mon", "sat"] or "mon-fri" as numbers of days, 0 for Monday."""
    return frozenset[int]().union(*_each(value, _days))


def _days(word: object) -> set[int]:
    """Read "mon" or "fri-mon"."""
    first, _, last = word.partition("-") if isinstance(word, str) else ("", "", "")
    if first not in DAYS or (last or first) not in DAYS:
        raise ValueError(f'{_shown(word)} is no day; write "mon-fri" or ["sat", "sun"]')
    begin, end = DAYS.index(first), DAYS.index(last or first)
    return {*range(begin, end + 1)} if begin <= end else {*range(begin, 7), *range(end + 1)}


def _one_of(words: tuple[str, ...]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError(
                f"{_shown(value)} is not known; write {', '.join(words[:-1])} or {words[-1]}"
            )
        return str(value)

    return read


level = _one_of(LEVELS)
"""Read how much is logged."""

log_format = _one_of(FORMATS)
"""Read how the log is written."""

ci_socket_mode = _one_of(("own", "all"))
"""Read who may use the socket for CI jobs."""
