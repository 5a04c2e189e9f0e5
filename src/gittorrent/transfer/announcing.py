"""Announces a peer that has reels for a while to mirrors, so that others hear of it from them.

A seed talks to one mirror, which introduces it to those who download there. By a notice the other
mirrors of the list can tell of it too, in their lists and to downloaders of their own; they call
back, find that it answers without a push of its own, and list it as ``partial`` for some minutes.
Whoever cannot be called back, behind address translation say, is refused, and nothing is lost.
Source: docs/protocol/mirrorsync.md, mirror-notify.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError, UnreachableError
from gittorrent.transfer.dialling import ask_for_list, connect, service_request
from gittorrent.wire import notify, pktline
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.service import MIRROR_NOTIFY
from gittorrent.wire.urls import UrlError, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.ids import PushId
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.urls import AddressClass, Endpoint

ASKED_TTL = 600
"""Seconds of listing that are asked for: a seed may end at any time."""

RENEWED_AT = 0.7
"""Share of the time granted after which a notice is sent again."""

RETRY_SECONDS = 300.0
"""Time until those who refused, or could not be reached, are asked again."""

MAX_TOLD = 8
"""Mirrors that are told of one seed."""

ANSWER_SECONDS = 60.0
"""Time for an answer: the mirror calls us back meanwhile."""


async def announce_for_long(
    first: Endpoint, url_at: Callable[[str], str], latest: Callable[[], PushId | None]
) -> None:
    """Keep a peer listed at a mirror and at those it lists, until cancelled.

    Args:
        first: the mirror the user named.
        url_at: returns our URL, given our address as a mirror sees it.
        latest: returns the newest push of the log we have.
    """
    while True:
        push = latest()
        granted = 0 if push is None else await _announce(first, url_at, push)
        await asyncio.sleep(RENEWED_AT * granted if granted else RETRY_SECONDS)


async def _announce(first: Endpoint, url_at: Callable[[str], str], latest: PushId) -> int:
    """Tell a mirror and those it lists once; returns the shortest time granted, 0 if none was."""
    try:
        found, kind = await ask_for_list(first)
    except GitTorrentError:
        return 0
    told: list[tuple[Endpoint, AddressClass | None]] = [(first, None)]
    told += [(other, kind) for other in _others(found) if other.url != first.url]

    def notice_from(own_address: str) -> notify.Notify:
        return notify.Notify(url_at(own_address), latest, ASKED_TTL)

    work = [send_git_notice(each, notice_from, trusted) for each, trusted in told[:MAX_TOLD]]
    answers = await asyncio.gather(*work, return_exceptions=True)
    for answer in answers:
        # Who does not list us has its reasons; what is no such answer is a mistake of ours.
        if isinstance(answer, BaseException) and not isinstance(answer, GitTorrentError):
            raise answer
    return min((answer for answer in answers if isinstance(answer, int) and answer), default=0)


def _others(found: MirrorList) -> Iterator[Endpoint]:
    """Yield the full mirrors of a list that can be told by git://; odd URLs are nobody's."""
    for entry in found.mirrors:
        if entry.state is not MirrorState.PARTIAL and entry.url.startswith("git://"):
            with contextlib.suppress(UrlError):
                yield parse_learned_url(entry.url)


async def send_git_notice(
    endpoint: Endpoint,
    notice_from: Callable[[str], notify.Notify],
    trusted: AddressClass | None = None,
    from_address: str | None = None,
) -> int:
    """Ask one mirror to list us, and return the seconds it granted.

    Args:
        endpoint: the mirror, at a git:// URL.
        notice_from: returns what to say, given our address as the mirror sees it.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        from_address: IP address to call from, so that it is the one announced; None for any.

    Raises:
        RemoteRefusal: it does not list us, and says why.
        GitTorrentError: it cannot be reached, or answers with something else.
    """
    dialled = await connect(endpoint, trusted, from_address)
    loop = asyncio.get_running_loop()
    with dialled.sock as sock:
        notice = notice_from(str(sock.getsockname()[0]))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                request = service_request(MIRROR_NOTIFY, endpoint)
                await loop.sock_sendall(sock, request + notice.encode_packets())
                reader = pktline.PktReader()
                while data := await loop.sock_recv(sock, 4096):
                    packets = reader.feed(data)
                    if packets and isinstance(packets[0], bytes):
                        return notify.parse_answer(packets[0])
        except (OSError, TimeoutError) as error:
            raise UnreachableError(f"{endpoint.url}: {error or 'no answer'}") from error
    raise UnreachableError(f"{endpoint.url} does not answer a notice")
