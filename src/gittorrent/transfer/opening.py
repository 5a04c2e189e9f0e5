"""Opens mirrors by the scheme of their URL: mirror-sync for git://, resources for HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.transfer.dialling import ask_for_list
from gittorrent.transfer.git_mirror import open_git_mirror

if TYPE_CHECKING:
    from gittorrent.transfer.limiter import Limiter
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.transfer.shelf import Shelf
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
    endpoint: Endpoint, shelf: Shelf, limiter: Limiter, trusted: AddressClass | None = None
) -> Mirror:
    """Begin to talk to a mirror.

    Args:
        endpoint: where it is.
        shelf: what it may ask of us.
        limiter: of what we send.
        trusted: kind of address the endpoint was learned from; None if the user named it.
    """
    if endpoint.scheme == "git":
        return await open_git_mirror(endpoint, shelf, limiter, trusted)
    from gittorrent.transfer.http_mirror import open_http_mirror

    return await open_http_mirror(endpoint, trusted)
