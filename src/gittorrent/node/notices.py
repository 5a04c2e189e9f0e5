"""mirror-notify, receiving side: which mirrors are listed, and for how long.

Tracks how many notices each address sent lately, and how many call-backs are under way. The mirrors
themselves are in the `MirrorTable`.

Rules: a mirror is listed only after it was called back and answered for this very repository. The
call goes to the address the notice came from and to no other, whatever the URL's name resolves to,
so nobody can make this node contact third parties; loopback and private addresses only if the node
itself is local. New mirrors are listed for minutes; each renewal doubles that. A notice with a ttl
of 0 takes a mirror off the list.
Source: docs/protocol/mirrorsync.md, mirror-notify.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.node.dial_back import ask_back, resolves_to, why_gone
from gittorrent.store.database import MirrorRow
from gittorrent.transfer.addresses import caller_group
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts
from gittorrent.wire import notify
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.urls import AddressClass, UrlError, address_class, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gittorrent.ids import RepositoryId
    from gittorrent.node.catalogue import Served
    from gittorrent.node.mirror_table import MirrorTable
    from gittorrent.store.database import Database
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.urls import Endpoint

FIRST_TTL = 600
"""Seconds a new mirror is listed at most: ten minutes show whether it stays."""

LONGEST_TTL = 24 * 3600
"""Seconds any mirror is listed at most without renewing."""

MAX_PER_SOURCE = 16
"""Mirrors of one repository listed on the word of one address."""

MAX_PER_REPOSITORY = 1000
"""Mirrors of one repository that are remembered."""

PARTIAL_TTL = 600
"""Seconds a partial peer is listed at most: it may go at any time, and renews."""

MAX_PARTIAL_PER_SOURCE = 4
"""Partial peers of one repository listed on the word of one address."""

MAX_PARTIAL = 100
"""Partial peers of one repository that are remembered; mirrors have places of their own."""

MAX_NOTICES = 120
"""Notices one address may send in WINDOW_SECONDS: a mirror of many repositories, no flood."""

WINDOW_SECONDS = 60.0
"""Time over which notices are counted."""

MAX_CALLBACKS = 16
"""Call-backs under way at once. When there are as many the address with most of them has the newest
of its own ended in place of a newcomer's, so that whoever does not answer keeps out nobody else."""

TOO_MANY_CALLS = "too many notices at once; try again later"
"""What is said to those for whom nobody is called."""

MAX_SOURCES = 10_000
"""Addresses whose notices are counted at once; beyond that newcomers have to wait."""

T = TypeVar("T")

_log = EventLog(__name__)


class NoticeReply(Struct, frozen=True):
    """What a notice is answered with: the seconds granted, or why not."""

    granted: int = 0
    refusal: str = ""

    def encode(self) -> bytes:
        """Write the answer as one line."""
        if self.refusal:
            return notify.encode_refusal(self.refusal)
        return notify.encode_answer(self.granted)


class RefusedNotice(GitTorrentError):
    """A notice cannot be believed; the text is the answer to it."""


class _AddressIsFullError(RefusedNotice):
    """As many are listed for an address as may be."""


class Notices:
    """Receives the notices of a node.

    Args:
        mirrors: where mirrors are listed; None refuses all notices.
        is_local: tells whether loopback and private addresses may be called back.
        server_timeouts: how long others are waited for.

    ``on_current`` is told whenever a mirror that is up to date was listed.
    """

    def __init__(
        self,
        mirrors: MirrorTable | None,
        is_local: Callable[[], bool],
        server_timeouts: ServerTimeouts = SERVER_TIMEOUTS,
    ) -> None:
        self._server_timeouts = server_timeouts
        self._mirrors = mirrors
        self._is_local = is_local
        self.on_current: Callable[[Served], None] = lambda _: None
        self._recent: dict[str, deque[float]] = {}
        self._calls: dict[asyncio.Task[Any], str] = {}  # for whom; the oldest first

    async def receive(self, served: Served, notice: notify.Notify, address: str) -> NoticeReply:
        """Judge a notice, and list the mirror if it answers.

        Args:
            served: the repository it is about.
            notice: the claim.
            address: IP address it came from.
        """
        try:
            granted, state = await self._receive(served, notice, address)
        except RefusedNotice as error:
            _log.info(
                "notice-refused",
                "notice for {repository} from {peer} refused: {reason}",
                repository=served.info.name,
                peer=address,
                url=notice.url,
                reason=error,
            )
            return NoticeReply(refusal=str(error))
        event, text = (
            "notice-accepted",
            "{state} mirror of {repository} at {url} listed for {seconds} s",
        )
        if state is MirrorState.CURRENT:
            self.on_current(served)
        if state is None:
            event, text = "notice-withdrawn", "mirror of {repository} at {url} is listed no more"
        _log.info(
            event,
            text,
            repository=served.info.name,
            peer=address,
            url=notice.url,
            state="" if state is None else state.value,
            seconds=granted,
        )
        return NoticeReply(granted=granted)

    async def _receive(
        self, served: Served, notice: notify.Notify, address: str
    ) -> tuple[int, MirrorState | None]:
        mirrors = self._mirrors
        if mirrors is None or served.is_private:
            raise RefusedNotice("this node lists no mirrors")
        now = mirrors.clock()
        group = caller_group(address)
        self._count(group, now)
        called = await self._in_turn(group, partial(self._call, mirrors, served, notice, address))
        if called is None:
            return 0, None
        endpoint, found = called
        if isinstance(found, str):
            raise RefusedNotice(found)
        state = await _state(served, found, now)
        row = MirrorRow(endpoint.url, state, group, int(now), 0, 0)
        repository = served.info.repository_id
        enter = partial(_list, repository=repository, row=row, asked=notice.ttl)
        try:
            return await mirrors.change(enter), state
        except _AddressIsFullError:
            drop = partial(self._drop_lost_peers, mirrors, repository, row)
            if not await self._in_turn(group, drop):
                raise
        return await mirrors.change(enter), state

    async def _call(
        self, mirrors: MirrorTable, served: Served, notice: notify.Notify, address: str
    ) -> tuple[Endpoint, MirrorList | str] | None:
        """Call a mirror back, and return where and what it says; None if it was withdrawn."""
        endpoint = await self._endpoint(notice.url, address)
        if notice.ttl:
            return endpoint, await ask_back(endpoint, address, self._server_timeouts)
        await self._withdraw(mirrors, served, endpoint, address)
        return None

    async def _in_turn(self, group: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do what calls back for an address, unless others have a better right to that."""
        if len(self._calls) >= MAX_CALLBACKS:
            self._make_room(group)
        task = asyncio.get_running_loop().create_task(work())
        self._calls[task] = group
        try:
            await asyncio.wait([task])
        finally:
            self._calls.pop(task, None)
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        if task.cancelled():
            raise RefusedNotice(TOO_MANY_CALLS)
        return task.result()

    def _make_room(self, group: str) -> None:
        """End the newest call for the address with most, if a newcomer's has fewer by two."""
        calls = Counter(self._calls.values())
        most, count = calls.most_common(1)[0]
        if count < calls[group] + 2:
            raise RefusedNotice(TOO_MANY_CALLS)
        task = next(task for task in reversed(self._calls) if self._calls[task] == most)
        del self._calls[task]
        task.cancel()

    async def _drop_lost_peers(
        self, mirrors: MirrorTable, repository: RepositoryId, newcomer: MirrorRow
    ) -> bool:
        """List partial peers of a newcomer's address no more that do not answer; tells if any.

        One that was killed keeps its place until its time runs out, and the next one from there
        has another port. Full mirrors may be restarting, and keep theirs.
        """
        if newcomer.state is not MirrorState.PARTIAL:
            return False
        rows = [
            row
            for row in await mirrors.rows(repository)
            if row.state is MirrorState.PARTIAL and row.source == newcomer.source
        ]
        is_local = self._is_local()
        calls = (
            why_gone(repository, row, is_local=is_local, server_timeouts=self._server_timeouts)
            for row in rows
        )
        reasons = await asyncio.gather(*calls)
        gone = [row for row, reason in zip(rows, reasons, strict=True) if reason]
        for row in gone:
            await mirrors.change(partial(_drop, repository=repository, url=row.url))
        return bool(gone)

    async def _withdraw(
        self, mirrors: MirrorTable, served: Served, endpoint: Endpoint, address: str
    ) -> None:
        """List a mirror no more that says goodbye.

        Others may share its address, and a mirror of long standing has a place to lose; so it is
        called once more. Partial peers come and go, and are believed.
        """
        repository = served.info.repository_id
        rows = await mirrors.rows(repository)
        known = next((row for row in rows if row.url == endpoint.url), None)
        if known is None:
            return
        if known.state is not MirrorState.PARTIAL:
            found = await ask_back(endpoint, address, self._server_timeouts)
            if not isinstance(found, str) and found.repository_id == repository:
                raise RefusedNotice(f"{endpoint.url} still answers")
        await mirrors.change(lambda database: database.drop_mirror(repository, endpoint.url))

    def _count(self, group: str, now: float) -> None:
        """Refuse callers that send too many notices."""
        if len(self._recent) >= MAX_SOURCES:
            self._recent = {
                name: times
                for name, times in self._recent.items()
                if times and 0 <= now - times[-1] < WINDOW_SECONDS
            }
        if group not in self._recent and len(self._recent) >= MAX_SOURCES:
            raise RefusedNotice("too many notices; try again later")
        times = self._recent.setdefault(group, deque(maxlen=MAX_NOTICES))
        # Those that are still to come were sent before the clock was set back.
        if len(times) == MAX_NOTICES and 0 <= now - times[0] < WINDOW_SECONDS:
            raise RefusedNotice("too many notices from your address; try again later")
        times.append(now)

    async def _endpoint(self, url: str, address: str) -> Endpoint:
        """Return where to call back, if that is where the notice came from."""
        try:
            endpoint = parse_learned_url(url)
        except UrlError as error:
            raise RefusedNotice(str(error)) from error
        kind = address_class(address)
        if kind is AddressClass.RESERVED:
            raise RefusedNotice("your address is of a kind that is never called back")
        if kind is not AddressClass.PUBLIC and not self._is_local():
            raise RefusedNotice(f"{kind.value} addresses are not called back from here")
        if kind is AddressClass.LOOPBACK and _is_name_of_the_net(endpoint.host):
            # Anybody can make a name resolve here.
            raise RefusedNotice("of this machine only its addresses and localhost are called back")
        if not await resolves_to(endpoint, address, self._server_timeouts):
            raise RefusedNotice(f"{endpoint.host} is not the address this notice came from")
        return endpoint


def _drop(database: Database, repository: RepositoryId, url: str) -> None:
    database.drop_mirror(repository, url)


def _list(database: Database, repository: RepositoryId, row: MirrorRow, asked: int) -> int:
    """Put a mirror that answered into the database; returns the seconds it is listed for.

    Raises:
        RefusedNotice: there is no place for it.
    """
    now = row.verified
    rows = database.mirrors(repository, -1)
    for other in rows:
        if other.expires <= now and other.url != row.url:
            database.drop_mirror(repository, other.url)
    rows = [other for other in rows if other.expires > now]
    is_partial = row.state is MirrorState.PARTIAL
    known = next((other for other in rows if other.url == row.url), None)
    if known is None or (known.state is MirrorState.PARTIAL) != is_partial:
        # Mirrors and partial peers have places of their own, so neither crowds the other out.
        known = None
        like = [other for other in rows if (other.state is MirrorState.PARTIAL) == is_partial]
        here = sum(other.source == row.source for other in like)
        if here >= (MAX_PARTIAL_PER_SOURCE if is_partial else MAX_PER_SOURCE):
            raise _AddressIsFullError(f"{here} mirrors of your address are listed already")
        if len(like) >= (MAX_PARTIAL if is_partial else MAX_PER_REPOSITORY):
            raise RefusedNotice("the list of mirrors is full; try again later")
    renewals = 0 if known is None else known.renewals + 1
    granted = min(asked, PARTIAL_TTL if is_partial else granted_at_most(renewals))
    database.list_mirror(repository, replace(row, expires=now + granted, renewals=renewals))
    return granted


def _is_name_of_the_net(host: str) -> bool:
    """Tell whether only a resolver knows that a URL's host is loopback."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return not (host == "localhost" or host.endswith(".localhost"))
    return False


def granted_at_most(renewals: int) -> int:
    """Return the longest listing, in seconds, for a mirror that renewed so many times."""
    return min(LONGEST_TTL, FIRST_TTL << min(renewals, 16))


async def _state(served: Served, found: MirrorList, now: float) -> MirrorState:
    """Compare what a mirror says of itself with what is here."""
    if found.repository_id != served.info.repository_id:
        raise RefusedNotice("another repository is served at that URL")
    if found.latest is None:
        return MirrorState.PARTIAL
    is_current = await served.reading(partial(served.content.is_current, found.latest, now))
    return MirrorState.CURRENT if is_current else MirrorState.STALE
