"""Sends a notice over HTTP: ``POST mirror-notify``.

No redirects, cookies or credentials, and a bounded answer; an address that was judged is not looked
up again.
Source: docs/protocol/mirrorsync.md, HTTP resources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from gittorrent.errors import UnreachableError
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.dialling import connect
from gittorrent.transfer.http_client import Pinned
from gittorrent.wire import notify
from gittorrent.wire.limits import MAX_REASON

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.wire.notify import Notify
    from gittorrent.wire.urls import AddressClass, Endpoint

NO_NOTICES = frozenset([404, 405, 501])
"""What web servers answer that only hold files."""

_MAX_ANSWER = MAX_REASON + 100


async def send_http_notice(
    endpoint: Endpoint,
    notice_from: Callable[[str], Notify],
    trusted: AddressClass | None = None,
    from_address: str | None = None,
) -> int:
    """Ask the node behind an HTTP URL to list us, and return the seconds it granted.

    Args:
        endpoint: of the repository.
        notice_from: returns what to say, given our address as the node sees it.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        from_address: IP address to call from, so that it is the one announced; None for any.

    Raises:
        RemoteRefusal: it does not list us, and says why.
        ProtocolError: it answers with something else.
        UnreachableError: it does not answer, or takes no notices.
    """
    # The notice names the address that it comes from, so one connection is made to learn that.
    dialled = await connect(endpoint, trusted, from_address)
    with dialled.sock as sock:
        own = str(sock.getsockname()[0])
    url = f"{endpoint.url.rstrip('/')}/mirror-notify"
    connector = aiohttp.TCPConnector(
        force_close=True, local_addr=(own, 0), resolver=Pinned(dialled.address)
    )
    try:
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ClientTimeouts().notice),
            headers={"Content-Type": notify.CONTENT_TYPE},
        ) as client:
            data = notice_from(own).encode_text()
            async with client.post(url, data=data, allow_redirects=False) as response:
                if response.status in NO_NOTICES:
                    raise UnreachableError(f"{endpoint.url} is a web server that takes no notices")
                return notify.parse_answer(await _first_bytes(response))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise UnreachableError(
            f"cannot announce to {endpoint.url}: {error or 'no answer'}"
        ) from error


async def _first_bytes(response: aiohttp.ClientResponse) -> bytes:
    """Return the answer; what is too long for one is cut, and no answer then."""
    data = b""
    while len(data) < _MAX_ANSWER and (more := await response.content.read(_MAX_ANSWER)):
        data += more
    return data[:_MAX_ANSWER]
