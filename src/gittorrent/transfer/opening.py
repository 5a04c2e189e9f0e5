"""Connects to mirrors by the transport of their URL (`gittorrent.transfer.transport`)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.transport import transport_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gittorrent.transfer.git_mirror import ConversationContext, GitMirror
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.transfer.stream import Stream
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.notify import Notify
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
    return await transport_of(endpoint).ask_list(endpoint, trusted, client_timeouts)


async def ask_time(endpoint: Endpoint) -> float | None:
    """Ask what time it is at a mirror that the user named.

    Returns:
        Seconds since 1970, to the second; None where its protocol does not say it.

    Raises:
        UnreachableError: there is no answer.
    """
    return await transport_of(endpoint).ask_time(endpoint)


@contextlib.asynccontextmanager
async def calling_ahead(
    endpoint: Endpoint, client_timeouts: ClientTimeouts | None = None
) -> AsyncIterator[asyncio.Task[Stream] | None]:
    """Ask for a conversation before it is known whether there will be one.

    That saves the round trips of connecting and asking, where others have to be made first. Nobody
    reads what the mirror says until `open_mirror` is given the task. If the block fails, the
    mirror is hung up on.

    Yields:
        What calls; None where there is nothing to gain.
    """
    calling = transport_of(endpoint).call_ahead(endpoint, client_timeouts or ClientTimeouts())
    try:
        yield calling
    except BaseException:
        if calling is not None:
            calling.cancel()
            await asyncio.wait([calling])
            if not calling.cancelled() and calling.exception() is None:
                await calling.result().hang_up()
        raise


async def open_mirror(
    endpoint: Endpoint,
    exchange: ConversationContext,
    trusted: AddressClass | None = None,
    calling: asyncio.Task[Stream] | None = None,
) -> Mirror:
    """Begin to talk to a mirror.

    Args:
        endpoint: where it is.
        exchange: what conversations share.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        calling: from `calling_ahead` of the same endpoint.
    """
    return await transport_of(endpoint).open_mirror(endpoint, exchange, trusted, calling)


async def converse(
    endpoint: Endpoint, exchange: ConversationContext, trusted: AddressClass | None = None
) -> GitMirror:
    """Begin a conversation with a mirror, whatever it costs to have one.

    Args:
        endpoint: where it is.
        exchange: what conversations share.
        trusted: kind of address the endpoint was learned from; None if the user named it.

    Raises:
        NoConversationError: what answers there serves files and nothing else.
        GitTorrentError: it cannot be reached, or does not speak this protocol.
    """
    return await transport_of(endpoint).converse(endpoint, exchange, trusted)


async def send_notice(
    endpoint: Endpoint,
    notice_from: Callable[[str], Notify],
    trusted: AddressClass | None = None,
    from_address: str | None = None,
) -> int:
    """Ask one mirror to list us, and return the seconds it granted.

    Args:
        endpoint: the mirror.
        notice_from: returns what to say, given our address as the mirror sees it.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        from_address: IP address to call from, so that it is the one announced; None for any.

    Raises:
        RemoteRefusal: it does not list us, and says why.
        ProtocolError: it answers with something else.
        UnreachableError: it does not answer, or takes no notices.
    """
    transport = transport_of(endpoint)
    return await transport.send_notice(endpoint, notice_from, trusted, from_address)
