"""Announces a seed, by mirror-notify, to the mirrors that list the repository.

A seed talks to one mirror, which introduces it to those who download there. By a notice the other
mirrors of the list can tell of it too, in their lists and to downloaders of their own; they call
back, find that it answers without a push of its own, and list it as ``partial`` for some minutes. A
seed that cannot be dialled back, such as one behind NAT, is refused, and nothing is lost.

A seed that ends withdraws its notices, or clients would dial its old address for minutes.
Source: docs/protocol/mirrorsync.md, mirror-notify.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError
from gittorrent.transfer.opening import ask_list, send_notice
from gittorrent.transfer.transport import transport_of
from gittorrent.wire import notify
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.urls import UrlError, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from gittorrent.ids import PushId
    from gittorrent.transfer.reaching import Source
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.urls import AddressClass, Endpoint

ASKED_TTL = 600
"""Seconds of listing that are asked for: a seed may end without a word."""

RENEWED_AT = 0.7
"""Share of the time granted after which a notice is sent again."""

RETRY_SECONDS = 300.0
"""Time until those who refused, or could not be reached, are asked again."""

MAX_TOLD = 8
"""Mirrors that are told of one seed."""

FAREWELL_SECONDS = 0.5
"""Time for all withdrawals together: ending a seed does not wait for slow mirrors."""


class _Told(Struct):
    """A mirror that is asked to list us.

    Args:
        endpoint: where it is.
        trusted: kind of address it was learned from; None if the user named it.
    """

    endpoint: Endpoint
    trusted: AddressClass | None


class PeerAnnouncer:
    """Keeps a peer listed at a mirror and at those it lists.

    Args:
        where: returns the mirror to begin with; None if there is none.
        url_at: returns our URL, given our address as a mirror sees it.
        latest: returns the newest push of the log we have.
        note: tells the user something worth a line.
    """

    def __init__(
        self,
        where: Callable[[], Source | None],
        url_at: Callable[[str], str],
        latest: Callable[[], Awaitable[PushId | None]],
        note: Callable[[str], None],
    ) -> None:
        self._where = where
        self._url_at = url_at
        self._latest = latest
        self._note = note
        self._told: dict[str, _Told] = {}
        self._was_told_why = False

    async def run(self) -> None:
        """Announce and renew until cancelled."""
        while True:
            push = await self._latest()
            granted = 0 if push is None else await self._announce(push)
            await asyncio.sleep(RENEWED_AT * granted if granted else RETRY_SECONDS)

    async def withdraw(self) -> None:
        """Ask all who may list us not to any more, as far as they hear it at once."""
        if not self._told:
            return
        push = await self._latest()
        if push is None:
            return
        work = [self._send(told, push, 0) for told in self._told.values()]
        self._told.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                # Who cannot be reached any more finds out by itself, as it did before.
                await asyncio.gather(*work, return_exceptions=True)

    async def _announce(self, latest: PushId) -> int:
        """Tell everybody once; returns the shortest time granted, 0 if none was."""
        try:
            whom = await self._whom()
        except GitTorrentError as error:
            self._say_why(str(error))
            return 0
        work = [self._send(told, latest, ASKED_TTL) for told in whom]
        self._told |= {told.endpoint.url: told for told in whom}
        answers = await asyncio.gather(*work, return_exceptions=True)
        refusals = []
        for told, answer in zip(whom, answers, strict=True):
            if isinstance(answer, GitTorrentError):
                self._told.pop(told.endpoint.url, None)
                refusals.append(f"{told.endpoint.url}: {answer}")
            elif isinstance(answer, BaseException):
                raise answer
        granted = [answer for answer in answers if isinstance(answer, int) and answer]
        if whom and not granted:
            self._say_why(refusals[0] if refusals else "none lists it")
        return min(granted, default=0)

    def _say_why(self, reason: str) -> None:
        """Report once that no mirror lists this seed: downloaders have to find it by other ways."""
        if not self._was_told_why:
            self._was_told_why = True
            self._note(f"no mirror tells others of this seed yet ({reason}); trying on")

    async def _whom(self) -> list[_Told]:
        source = self._where()
        if source is None or source.endpoint is None:
            return []
        first = _Told(source.endpoint, source.trusted)
        found, kind = await ask_list(first.endpoint, first.trusted)
        others = (each for each in _others(found) if each.url != first.endpoint.url)
        return [first, *(_Told(each, kind) for each in others)][:MAX_TOLD]

    async def _send(self, told: _Told, latest: PushId, ttl: int) -> int:
        def notice_from(own_address: str) -> notify.Notify:
            return notify.Notify(self._url_at(own_address), latest, ttl)

        return await send_notice(told.endpoint, notice_from, told.trusted)


def _others(found: MirrorList) -> Iterator[Endpoint]:
    """Yield the full mirrors of a list that hold conversations; malformed URLs are left out."""
    for entry in found.mirrors:
        if entry.state is not MirrorState.PARTIAL:
            with contextlib.suppress(UrlError):
                endpoint = parse_learned_url(entry.url)
                if transport_of(endpoint).is_stream:
                    yield endpoint
