"""Announces this node's mirrors, by mirror-notify, to the nodes that they were made from.

Tracks for each mirrored repository when to announce it next and what was announced. A notice is
renewed before the time granted runs out, and at once when the log has grown. Failures are tried
again, ever more rarely. A node that ends withdraws its notices, and one that carries a repository
no more withdraws the notice of that.

Rules: only mirrors announce themselves, only where they came from, and only an address that others
can use. Source: docs/protocol/mirrorsync.md, mirror-notify.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.node.rounds import next_round
from gittorrent.repository.carried import MIRROR
from gittorrent.transfer.location import SCHEME, parse_location
from gittorrent.transfer.off_loop import SlowError
from gittorrent.transfer.opening import send_notice
from gittorrent.wire.notify import Notify
from gittorrent.wire.urls import AddressClass, address_class, parse_learned_url

if TYPE_CHECKING:
    from gittorrent.ids import PushId
    from gittorrent.node.catalogue import Catalogue, Served
    from gittorrent.node.services import Reachable
    from gittorrent.wire.urls import Endpoint

ASKED_TTL = 24 * 3600
"""Seconds of listing that are asked for."""

LOOK_SECONDS = 5.0
"""How often it is looked whether something is to be announced."""

LOOKED_AT = 256
"""Repositories that are announced and not due, and whose logs are looked at each time."""

FIRST_RETRY = 30.0
"""Seconds after which a failed announcement is tried again; doubled each time."""

LAST_RETRY = 3600.0
"""Longest wait between failed announcements."""

AT_ONCE = 4
"""Announcements under way at once."""

GOODBYE_SECONDS = 3.0
"""Time to tell others that we are going; who does not hear it finds out."""

_log = EventLog(__name__)


class _Announced(Struct):
    """How it stands with one repository: what was said, when to say it again, how it failed."""

    served: Served
    latest: PushId | None = None
    due: float = 0.0
    retry: float = FIRST_RETRY


class MirrorAnnouncer:
    """Announces a node's mirrored repositories.

    Args:
        catalogue: what the node serves.
        reachable: where it can be reached.
    """

    def __init__(self, catalogue: Catalogue, reachable: Reachable) -> None:
        self._catalogue = catalogue
        self._reachable = reachable
        self._state: dict[str, _Announced] = {}
        self._turn = 0
        self._mirrors: list[Served] = []
        self._changes: int | None = None  # of the catalogue, when they were listed

    async def run(self) -> None:
        """Announce and renew until cancelled."""
        while True:
            try:
                await self.announce_due()
            except Exception:
                # A mistake with one repository must not end announcing for good.
                _log.exception("failed", "announcing failed")
            await next_round(LOOK_SECONDS)

    async def announce_due(self) -> None:
        """Announce what is new or about to run out, and wait for the answers."""
        await self._catalogue.look()
        if self._changes != self._catalogue.changes:
            self._changes = self._catalogue.changes
            self._mirrors = [each for each in self._catalogue if _announces(each)]
            await self._withdraw_removed()
        now = asyncio.get_running_loop().time()
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(served: Served) -> None:
            # One whose disk does not answer must not keep the others waiting: it holds no slot.
            try:
                latest = await served.reading(served.content.latest)
            except SlowError as error:
                self._note_failure(served, "", str(error))
                return
            if latest is not None and self._is_due(served, latest, now):
                async with slots:
                    await self._announce(served, latest)

        await asyncio.gather(*map(one, self._some(now)))

    def _some(self, now: float) -> list[Served]:
        """Return what may be due: what was never announced, is due, or whose turn it is.

        Of the others it is looked in turns whether their logs have grown, so that a round costs
        the same whatever is carried.
        """
        announced = self._mirrors
        self._turn = self._turn + LOOKED_AT if self._turn + LOOKED_AT < len(announced) else 0
        found = []
        for number, served in enumerate(announced):
            state = self._state.get(served.info.name)
            has_turn = self._turn <= number < self._turn + LOOKED_AT
            if has_turn or state is None or now >= state.due:
                found.append(served)
        return found

    async def goodbye(self) -> None:
        """Tell those who list us that we are going, as far as they hear it in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await asyncio.gather(*map(self._withdraw, self._state.values()))

    async def _withdraw_removed(self) -> None:
        """Tell those who list what is not served here any more, as far as they hear it in time."""
        sources = {each.info.name: each.info.source for each in self._mirrors}
        removed = [
            self._state.pop(name)
            for name, state in list(self._state.items())
            if sources.get(name) != state.served.info.source
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await asyncio.gather(*map(self._withdraw, removed))

    async def _withdraw(self, state: _Announced) -> None:
        served = state.served
        urls = self._reachable.urls(served)
        if state.latest is None or not urls:
            return
        source = served.info.source
        try:
            endpoint = parse_location(source).require_endpoint()
            notice = Notify(urls[0], state.latest, 0)
            await self._send(endpoint, notice)
        except GitTorrentError as error:
            # It finds out for itself then.
            _log.info(
                "not-withdrawn",
                "{source} could not be told that {url} is withdrawn: {reason}",
                repository=served.info.name,
                url=urls[0],
                source=source,
                reason=error,
            )
        state.latest = None

    def _is_due(self, served: Served, latest: PushId, now: float) -> bool:
        state = self._state.setdefault(served.info.name, _Announced(served))
        state.served = served
        return now >= state.due or (state.latest is not None and state.latest != latest)

    async def _announce(self, served: Served, latest: PushId) -> None:
        state = self._state[served.info.name]
        urls = self._reachable.urls(served)
        now = asyncio.get_running_loop().time()
        if not urls:
            state.due = now + LAST_RETRY
            _log.info(
                "not-announced",
                "{repository} is not announced: {reason}",
                repository=served.info.name,
                reason="this node has no address of its own",
            )
            return
        # From here on it may list us, whether or not its answer is heard.
        state.latest = latest
        try:
            location = parse_location(served.info.source)
            notice = Notify(urls[0], latest, ASKED_TTL)
            granted = await self._send(location.require_endpoint(), notice)
        except GitTorrentError as error:
            state.latest = None
            state.due = now + state.retry
            state.retry = min(LAST_RETRY, 2 * state.retry)
            self._note_failure(served, urls[0], str(error))
            return
        state.retry = FIRST_RETRY
        state.due = now + max(LOOK_SECONDS, 0.7 * granted)
        _log.info(
            "announced",
            "announced {url} to {source} for {seconds} s",
            repository=served.info.name,
            url=urls[0],
            source=served.info.source,
            seconds=granted,
        )

    def _note_failure(self, served: Served, url: str, reason: str) -> None:
        _log.warning(
            "not-announced",
            "{url} was not announced to {source}: {reason}",
            repository=served.info.name,
            url=url or served.path,
            source=served.info.source,
            reason=reason,
        )

    async def _send(self, endpoint: Endpoint, notice: Notify) -> int:
        own = self._own_address(notice.url)
        return await send_notice(endpoint, lambda _seen: notice, from_address=own)

    def _own_address(self, url: str) -> str | None:
        """Return the address to announce from: the one announced, if it is one of ours."""
        if self._reachable.public:
            return None
        host = parse_learned_url(url).host
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None
        return None if address_class(str(address)) is AddressClass.RESERVED else str(address)


def _announces(served: Served) -> bool:
    """Tell whether a repository came from somewhere that can be told of us."""
    if served.info.role != MIRROR or not served.info.source or served.is_private:
        return False
    # Of what a collection brought nobody named a mirror; the id alone leads to it.
    return served.info.source != f"{SCHEME}://{served.info.repository_id}"
