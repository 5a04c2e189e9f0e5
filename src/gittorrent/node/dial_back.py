"""Dial-back: connects to an announced URL and reads its mirror list before the URL is listed.

Rules: a dial-back goes to one IP address that was judged before, never to what a name resolves to a
second time; no redirects, cookies, proxies or credentials; answers are bounded in size and time.
Source: docs/protocol/mirrorsync.md, Learned addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError, ProtocolError
from gittorrent.transfer.addresses import caller_group, plain_address
from gittorrent.transfer.looking_up import look_up
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts
from gittorrent.transfer.transport import transport_of
from gittorrent.wire.urls import AddressClass, address_class, parse_learned_url

if TYPE_CHECKING:
    from gittorrent.ids import RepositoryId
    from gittorrent.store.database import MirrorRow
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.urls import Endpoint


async def addresses_of(
    endpoint: Endpoint, server_timeouts: ServerTimeouts = SERVER_TIMEOUTS
) -> set[str]:
    """Return the addresses of an endpoint's host, none if they are not found in time."""
    with contextlib.suppress(ValueError):
        return {plain_address(endpoint.host)}
    try:
        found = await look_up(endpoint.host, endpoint.port, server_timeouts.look_up)
    except OSError:
        return set()
    return {plain_address(str(entry[4][0])) for entry in found}


async def resolves_to(
    endpoint: Endpoint, address: str, server_timeouts: ServerTimeouts = SERVER_TIMEOUTS
) -> bool:
    """Tell whether ``address`` is among those of the endpoint's host."""
    return address in await addresses_of(endpoint, server_timeouts)


async def ask_back(
    endpoint: Endpoint, address: str, server_timeouts: ServerTimeouts = SERVER_TIMEOUTS
) -> MirrorList | str:
    """Ask what is served at an endpoint, at one address of it; a text says why that failed."""
    try:
        async with asyncio.timeout(server_timeouts.call_back):
            return await transport_of(endpoint).ask_list_at(endpoint, address)
    except ProtocolError as error:
        return f"{endpoint.url} does not answer in this protocol: {error}"
    except (GitTorrentError, OSError):
        return f"{endpoint.url} cannot be reached from here"


async def why_gone(
    repository: RepositoryId,
    row: MirrorRow,
    *,
    is_local: bool,
    server_timeouts: ServerTimeouts = SERVER_TIMEOUTS,
) -> str:
    """Call a listed mirror; returns why it is not to be told of any more, empty if it answers.

    Args:
        repository: that it is listed for.
        row: the mirror.
        is_local: whether loopback and private addresses may be called.
        server_timeouts: how long it is waited for.
    """
    try:
        endpoint = parse_learned_url(row.url)
    except GitTorrentError as error:
        return str(error)
    there = [
        a for a in await addresses_of(endpoint, server_timeouts) if caller_group(a) == row.source
    ]
    if not there:
        return f"{endpoint.host} is not where it was announced from"
    address = min(there)
    if address_class(address) is not AddressClass.PUBLIC and not is_local:
        return "addresses of its kind are not called from here any more"
    found = await ask_back(endpoint, address, server_timeouts)
    if isinstance(found, str):
        return found
    return "" if found.repository_id == repository else "another repository is there"
