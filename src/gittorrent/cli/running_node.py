"""Where the nodes that run here serve a repository: the URLs to give to people.

Asked of what nodes say of themselves (`gittorrent.store.snapshot`), so it is about nodes of the
same user and home only. A node that listens at all addresses is called by the name of this machine.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.store.processes import NodeProcess
from gittorrent.store.snapshot import read_snapshots
from gittorrent.transfer.addresses import is_loopback, is_wildcard
from gittorrent.transfer.location import LocationError, parse_location
from gittorrent.wire.urls import UrlError, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import RepositoryId
    from gittorrent.store.home import Home
    from gittorrent.wire.urls import Endpoint


class ServedAt(Struct, frozen=True):
    """Where a repository is served.

    Args:
        urls: ``gittorrent`` URLs with its id, the best first; nothing where no node serves it.
        is_here_only: whether all of them lead to this machine's loopback.
    """

    urls: tuple[str, ...]
    is_here_only: bool


def served_at(
    home: Home, name: str, repository: RepositoryId, *, is_private: bool = False
) -> ServedAt:
    """Return where the nodes that run here serve a repository.

    Args:
        home: of the nodes.
        name: the repository is served at ``/<name>.git``.
        repository: its id.
        is_private: whether it is there for nobody who calls in the clear.
    """
    found: dict[str, bool] = {}
    for process in read_snapshots(home.run):
        if not isinstance(process, NodeProcess):
            continue
        if process.serves is not None and name not in process.serves:
            continue
        for base in _bases(process):
            if is_private and base.scheme != "https":
                continue
            try:
                location = parse_location(f"{base.url.rstrip('/')}/{name}.git")
                endpoint = location.require_endpoint()
            except LocationError:
                continue  # written by another version; nobody is told of what cannot be used
            found[location.pinned_url(repository)] = _is_here(endpoint.host)
    return ServedAt(tuple(found), bool(found) and all(found.values()))


def _bases(process: NodeProcess) -> list[Endpoint]:
    """Return the base URLs of a node: what its operator says, or else where it listens."""
    bases = []
    for base in [process.url] if process.url else process.listening:
        with contextlib.suppress(UrlError):  # written by another version
            bases.append(_by_name(parse_learned_url(base)))
    return sorted(bases, key=lambda base: base.scheme != "git")


def _by_name(base: Endpoint) -> Endpoint:
    """Put this machine's name for an address that stands for all of its addresses."""
    if _is_address(base.host, is_wildcard):
        return replace(base, host=socket.gethostname())
    return base


def _is_here(host: str) -> bool:
    return host == "localhost" or _is_address(host, is_loopback)


def _is_address(host: str, judge: Callable[[str], bool]) -> bool:
    """Tell whether a host is an IP address, and one that ``judge`` holds for."""
    try:
        return judge(host)
    except ValueError:
        return False
