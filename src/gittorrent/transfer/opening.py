"""Opens mirrors by the scheme of their URL: mirror-sync for git://, resources for HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.transfer.dialling import ask_for_list
from gittorrent.transfer.git_mirror import open_git_mirror

if TYPE_CHECKING:
    from gittorrent.transfer.git_mirror import Exchange
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.urls import AddressClass, Endpoint


async def ask_list(
    endpoint: Endpoint, trusted: AddressClass | None = None
) -> tuple[MirrorList, AddressClass]:
    """Ask a mirror for its list; returns it with the kind of address it came from."""
    if endpoint.scheme == "git":
        return await ask_for_list(endpoint, trusted)
    from gittorrent.transfer.http_mirror import ask_for_list_by_http  # aiohttp is slow to import

    return await ask_for_list_by_http(endpoint, trusted)


async def open_mirror(
    endpoint: Endpoint, exchange: Exchange, trusted: AddressClass | None = None
) -> Mirror:
    """Begin to talk to a mirror.

    Args:
        endpoint: where it is.
        exchange: what conversations share.
        trusted: kind of address the endpoint was learned from; None if the user named it.
    """
    if endpoint.scheme == "git":
        return await open_git_mirror(endpoint, exchange, trusted)
    from gittorrent.transfer.http_mirror import open_http_mirror

    return await open_http_mirror(endpoint, trusted, exchange.limits.down)
