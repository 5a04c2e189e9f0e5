"""Where the nodes that run here serve a repository: the URLs to give to people.

Asked of what nodes say of themselves (`gittorrent.store.snapshot`), so it is about nodes of the
same user and home only. A node that listens at all addresses is called by the name of this machine.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.store.processes import NodeProcess
from gittorrent.store.snapshot import read_snapshots
from gittorrent.transfer.addresses import is_loopback, is_wildcard
from gittorrent.transfer.location import LocationError, parse_location

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import RepositoryId
    from gittorrent.store.home import Home


class ServedAt(Struct, frozen=True):
    """Where a repository is served.

    Args:
        urls: ``gittorrent`` URLs with its id, the best first; nothing where no node serves it.
        is_here_only: whether all of them lead to this machine's loopback.
    """

    urls: tuple[str, ...]
    is_here_only: bool


def served_at(home: Home, name: str, repository: RepositoryId) -> ServedAt:
    """Return where the nodes that run here serve a repository.

    Args:
        home: of the nodes.
        name: the repository is served at ``/<name>.git``.
        repository: its id.
    """
    found: dict[str, bool] = {}
    for process in read_snapshots(home.run):
        if not isinstance(process, NodeProcess):
            continue
        if process.serves is not None and name not in process.serves:
            continue
        for base in _bases(process):
            try:
                location = parse_location(f"{base.rstrip('/')}/{name}.git")
                endpoint = location.require_endpoint()
            except LocationError:
                continue  # written by another version; nobody is told of what cannot be used
            found[location.pinned_url(repository)] = _is_here(endpoint.host)
    return ServedAt(tuple(found), bool(found) and all(found.values()))


def _bases(process: NodeProcess) -> list[str]:
    """Return the base URLs of a node: what its operator says, or else where it listens."""
    if process.url:
        return [process.url]
    listening = [_by_name(base) for base in process.listening]
    return sorted(listening, key=lambda base: not base.startswith("git:"))


def _by_name(base: str) -> str:
    """Put this machine's name for an address that stands for all of its addresses."""
    scheme, _, place = base.partition("://")
    host, _, port = place.rpartition(":")
    if _is_address(host.strip("[]"), is_wildcard):
        return f"{scheme}://{socket.gethostname()}:{port}"
    return base


def _is_here(host: str) -> bool:
    return host == "localhost" or _is_address(host, is_loopback)


def _is_address(host: str, judge: Callable[[str], bool]) -> bool:
    """Tell whether a host is an IP address, and one that ``judge`` holds for."""
    try:
        return judge(host)
    except ValueError:
        return False
