"""Opens mirrors by the scheme of their URL: mirror-sync for git://, resources for HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.dialling import ask_for_list
from gittorrent.transfer.git_mirror import call, open_git_mirror

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from gittorrent.transfer.git_mirror import ConversationContext
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.urls import AddressClass, Endpoint


async def ask_list(
    endpoint: Endpoint,
    trusted: AddressClass | None = None,
    client_timeouts: ClientTimeouts | None = None,
) -> tuple[MirrorList, AddressClass]:
    """Ask a mirror for its list; returns it with the kind of address it came from.

    Args:
        endpoint: where it is.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        client_timeouts: how long to wait, in all: to connect, and for the whole list.

    Raises:
        CannotConnectError: nobody answers in time.
        NotAMirrorError, NotCarriedThereError: it is no mirror of that repository.
    """
    client_timeouts = client_timeouts or ClientTimeouts()
    if endpoint.scheme == "git":
        return await ask_for_list(endpoint, trusted, client_timeouts)
    from gittorrent.transfer.http_mirror import ask_for_list_by_http  # aiohttp is slow to import

    return await ask_for_list_by_http(endpoint, trusted, client_timeouts)


@contextlib.asynccontextmanager
async def calling_ahead(
    endpoint: Endpoint, client_timeouts: ClientTimeouts | None = None
) -> AsyncIterator[asyncio.Task[socket.socket] | None]:
    """Ask for a conversation before it is known whether there will be one.

    That saves the round trips of connecting and asking, where others have to be made first. Nobody
    reads what the mirror says until `open_mirror` is given the task. If the block fails, the
    mirror is hung up on.

    Yields:
        What calls; None where there is nothing to gain.
    """
    if endpoint.scheme != "git":
        yield None
        return
    calling = asyncio.get_running_loop().create_task(
        call(endpoint, None, client_timeouts or ClientTimeouts())
    )
    try:
        yield calling
    except BaseException:
        calling.cancel()
        await asyncio.wait([calling])
        if not calling.cancelled() and calling.exception() is None:
            calling.result().close()
        raise


async def open_mirror(
    endpoint: Endpoint,
    exchange: ConversationContext,
    trusted: AddressClass | None = None,
    calling: asyncio.Task[socket.socket] | None = None,
) -> Mirror:
    """Begin to talk to a mirror.

    Args:
        endpoint: where it is.
        exchange: what conversations share.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        calling: from `calling_ahead` of the same endpoint.
    """
    if endpoint.scheme == "git":
        return await open_git_mirror(endpoint, exchange, trusted, calling)
    from gittorrent.transfer.http_mirror import open_http_mirror

    client_timeouts = exchange.client_timeouts.at_rate(exchange.limits.down.rate)
    return await open_http_mirror(endpoint, trusted, exchange.limits.down, client_timeouts)
