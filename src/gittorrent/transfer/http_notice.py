"""Sends a notice over HTTP: ``POST mirror-notify``.

No redirects, cookies or credentials, and a bounded answer; an address that was judged is not looked
up again.
Source: docs/protocol/mirrorsync.md, HTTP resources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import UnreachableError
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.dialling import connect
from gittorrent.transfer.http_client import HttpClient
from gittorrent.transfer.mirror import MirrorLostError
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
    client = HttpClient(endpoint, trusted, ClientTimeouts(), dialled.address, own)
    try:
        data = notice_from(own).encode_text()
        status, answer = await client.post("mirror-notify", data, notify.CONTENT_TYPE, _MAX_ANSWER)
    except MirrorLostError as error:
        raise UnreachableError(f"cannot announce to {error}") from error
    finally:
        await client.close()
    if status in NO_NOTICES:
        raise UnreachableError(f"{endpoint.url} is a web server that takes no notices")
    return notify.parse_answer(answer)
