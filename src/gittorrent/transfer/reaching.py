"""The mirrors a client may begin with, and the first of them that answers.

Whoever the user named comes first. Where an id is known, so are others: those that served this
machine before, those that announced themselves to its node, those that the owners' policy names,
and a node that runs here. One that fails gives way to the next at once, one that is silent soon;
who was named is still listened to meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.discovery.ports import Way
from gittorrent.errors import GitTorrentError
from gittorrent.repository.carried import MIRROR, ORIGIN
from gittorrent.store.privacy import is_private
from gittorrent.store.processes import NodeProcess
from gittorrent.store.snapshot import read_snapshots
from gittorrent.transfer.addresses import is_wildcard
from gittorrent.transfer.location import SCHEME, LocationError, parse_location
from gittorrent.transfer.racing import first_success
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.urls import AddressClass, UrlError, address_class, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gittorrent.ids import RepositoryId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.wire.urls import Endpoint

T = TypeVar("T")

HEDGE_SECONDS = 3.0
"""Time a mirror gets to answer before the next one is asked too."""

FOUND_SECONDS = 0.25
"""The same for a mirror that was found by address alone: many of them may be gone, or lie."""

MAX_CANDIDATES = 8
"""Mirrors that are asked in turn."""

LISTED_BACK = 7 * 86400
"""Seconds since a mirror was last announced here within which it is asked. Announcements run out
in hours, and they are heard only while a node runs; where none did lately, that is no reason to
forget who mirrors the repository."""

_SSH = re.compile(
    r"ssh://(?:[A-Za-z0-9._][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/[!-~]+\Z"
)
"""What an ssh URL of a policy may look like: nothing that ssh could take for an option."""


CONFIDENTIAL = ("https", "ssh")
"""Transports on which nobody listens in, and on which both ends prove who they are."""


class Source(Struct, frozen=True):
    """A mirror that may be asked.

    Args:
        url: to show, and to use where there is no endpoint (ssh).
        endpoint: of git:// and HTTP mirrors.
        trusted: kind of address it was learned from; None if the user named it.
        way: how it was found.
    """

    url: str
    endpoint: Endpoint | None
    trusted: AddressClass | None
    way: Way = Way.LISTED

    @property
    def is_found(self) -> bool:
        """Tell whether nobody vouches for it: it was found where anybody may say anything."""
        return self.way in (Way.LAN, Way.DHT)


def named(endpoint: Endpoint) -> Source:
    """Return a mirror that the user named."""
    return Source(endpoint.url, endpoint, None, Way.NAMED)


def is_confidential(source: Source) -> bool:
    """Tell whether a mirror may be asked for a private repository.

    The user named it, and both ends prove who they are there.
    """
    endpoint = source.endpoint
    return source.trusted is None and endpoint is not None and endpoint.scheme in CONFIDENTIAL


def learned(url: str, trusted: AddressClass | None, way: Way = Way.LISTED) -> Source | None:
    """Return the mirror at a learned URL, None if the URL is of no use."""
    with contextlib.suppress(UrlError):
        endpoint = parse_learned_url(url)
        return Source(endpoint.url, endpoint, trusted, way)
    return None


def named_by_policy(
    urls: Iterable[str],
    repository: RepositoryId,
    trusted: AddressClass,
    way: Way = Way.POLICY,
) -> list[Source]:
    """Return the mirrors that a policy names, in all forms that owners write.

    Args:
        urls: of its ``mirror`` lines.
        repository: whose policy it is; a URL that names another is passed over.
        trusted: kind of address it was learned from.
        way: how they were found.
    """
    found = []
    for url in urls:
        source: Source | None = None
        if url.startswith("ssh://"):
            source = Source(url, None, trusted, way) if _SSH.match(url) else None
        elif url.startswith(SCHEME):
            with contextlib.suppress(LocationError):
                location = parse_location(url)
                if location.endpoint is not None and location.expected in (None, repository):
                    source = learned(location.endpoint.url, trusted, way)
        else:
            source = learned(url, trusted, way)
        if source is not None:
            found.append(source)
    return found


def known_here(
    repository: RepositoryId, database: Database, home: Home, now: int, *, own_node: bool = True
) -> list[Source]:
    """Return the mirrors of a repository that this machine knows, the most promising first.

    Args:
        repository: its id.
        database: of the node.
        home: of the node.
        now: seconds since 1970.
        own_node: whether a node that runs here counts; for what it serves itself it is no source,
            under whichever of its URLs others list it.
    """
    found = _own_node(repository, database, home) if own_node else []
    for mirror in database.remembered_mirrors(repository):
        way = way_of(mirror.found)
        source = []
        if mirror.trusted is not None:
            source = named_by_policy([mirror.url], repository, mirror.trusted, way)
        else:
            with contextlib.suppress(LocationError):
                source = [named(parse_location(mirror.url).require_endpoint())]
        found += source
    for row in database.mirrors(repository, now):
        if row.state is not MirrorState.PARTIAL:
            announced = learned(row.url, address_class(row.source), Way.NOTICE)
            found += [] if announced is None else [announced]
    if is_private(database, repository):
        return [each for each in unique(found) if is_confidential(each)]
    if not own_node:
        bases = _own_bases(home)
        found = [source for source in found if not source.url.startswith(bases)]
    return unique(found)


def known_to_owner(log: VerifiedLog, database: Database, home: Home, now: int) -> list[Source]:
    """Return the mirrors of a repository that may have news: those known here, and the policy's.

    Asks nobody, and no git.

    Args:
        log: of the repository, not empty.
        database: of the node.
        home: of the node; a node that runs here is none of them.
        now: seconds since 1970.
    """
    repository = log.repository
    found = known_here(repository, database, home, now - LISTED_BACK, own_node=False)
    # Whoever wrote the policy has no say in who is called in a private network.
    if not log.policy.policy.private:
        mirrors = log.policy.policy.mirrors
        found += named_by_policy(mirrors, repository, AddressClass.PUBLIC, Way.POLICY)
    return [each for each in unique(found) if each.endpoint is not None][:MAX_CANDIDATES]


def way_of(text: str) -> Way:
    """Return how a remembered mirror was found, as an older or later version may have put it."""
    return Way(text) if text in {way.value for way in Way} else Way.LISTED


def unique(sources: Iterable[Source]) -> list[Source]:
    """Return mirrors in their order, each once, as it was said first."""
    found: dict[str, Source] = {}
    for source in sources:
        found.setdefault(source.url, source)
    return list(found.values())


def _own_node(repository: RepositoryId, database: Database, home: Home) -> list[Source]:
    """Return where a node of this user's serves the repository on this machine."""
    names = [
        row.name
        for row in database.carried()
        if row.repository_id == repository and row.role in (ORIGIN, MIRROR)
    ]
    if not names:
        return []
    path = quote(f"/{names[0]}.git", safe="/%!$&'()*+,;=:@~")
    return [
        replace(named(endpoint), way=Way.NODE)
        for node in _own_nodes(home)
        for endpoint in _listening_at(node, path)
    ]


def own_endpoints(home: Home, path: str) -> list[Endpoint]:
    """Return where this machine reaches nodes of this user that run here, git:// before HTTP.

    Args:
        home: of the user.
        path: of a repository, percent-encoded.
    """
    found = [each for node in _own_nodes(home) for each in _listening_at(node, path)]
    return sorted(found, key=lambda endpoint: endpoint.scheme != "git")


def _own_nodes(home: Home) -> list[NodeProcess]:
    """Return the nodes of this user that run here."""
    return [each for each in read_snapshots(home.run) if isinstance(each, NodeProcess)]


def _own_bases(home: Home) -> tuple[str, ...]:
    """Return what the URLs begin with under which others may have learned of nodes that run here.

    That is what the operator named, or else the addresses that they listen at; both, since it may
    have been the other one when they announced themselves.
    """
    bases = [each.url for node in _own_nodes(home) for each in _listening_at(node, "/")]
    for node in _own_nodes(home):
        public = learned(f"{(node.url or '').rstrip('/')}/", None)
        bases += [] if public is None else [public.url]
    return tuple(bases)


def leads_here(endpoint: Endpoint, home: Home) -> bool:
    """Tell whether somebody who was found is a node that runs here, under an address of its own."""
    if endpoint.url.startswith(_own_bases(home)):
        return True
    ports = {
        place.port
        for node in _own_nodes(home)
        for base in node.listening
        if is_wildcard((place := parse_learned_url(base)).host)
    }
    return endpoint.port in ports and _is_of_this_machine(endpoint.host)


def _is_of_this_machine(address: str) -> bool:
    """Tell whether an IP address is one of this machine's: only those can be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True


def _listening_at(node: NodeProcess, path: str) -> list[Endpoint]:
    """Return where this machine reaches a node that runs here."""
    found = []
    for base in node.listening:
        with contextlib.suppress(UrlError):  # written by another version
            endpoint = parse_learned_url(base)
            if endpoint.scheme == "https":
                continue  # its certificate is for its name, and not for an address
            found.append(replace(endpoint, host=_as_reached_here(endpoint.host), path=path))
    return found


def _as_reached_here(host: str) -> str:
    """Return the address at which this machine reaches what listens at one of its addresses."""
    if not is_wildcard(host):
        return host
    return "::1" if ":" in host else "127.0.0.1"


async def all_that_answer(
    sources: Sequence[Source], ask: Callable[[Source], Awaitable[T]], seconds: float = HEDGE_SECONDS
) -> list[tuple[Source, T]]:
    """Ask mirrors side by side; returns the answers that come in time, in the mirrors' order."""
    tasks = {asyncio.ensure_future(ask(source)): source for source in sources}
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, timeout=seconds)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    found = []
    for source, outcome in zip(tasks.values(), outcomes, strict=True):
        if not isinstance(outcome, BaseException):
            found.append((source, outcome))
        elif not isinstance(outcome, GitTorrentError | asyncio.CancelledError):
            raise outcome
    return found


async def first_to_answer(
    sources: Sequence[Source],
    ask: Callable[[Source], Awaitable[T]],
    failures: dict[str, GitTorrentError],
    let_go: Callable[[T], Awaitable[None]],
    more: Callable[[], Awaitable[Sequence[Source]]] | None = None,
    hedge: float = HEDGE_SECONDS,
) -> tuple[Source, T] | None:
    """Ask mirrors in order until one answers; the next one is asked when one fails or is slow.

    Args:
        sources: whom to ask, the best first.
        ask: asks one.
        failures: what went wrong with each is put here, by URL.
        let_go: ends what somebody answered who was not needed any more.
        more: looks for others, when nobody answers.
        hedge: seconds that one gets before the next is asked too, unless it was only found.

    Returns:
        Who answered, and what; None if nobody did.
    """

    def failed(source: Source, error: BaseException) -> None:
        if not isinstance(error, GitTorrentError):
            raise error
        failures[source.url] = error

    def head_start(source: Source) -> float:
        return FOUND_SECONDS if source.is_found else hedge

    return await first_success(sources, ask, head_start, failed, let_go, more=more)
