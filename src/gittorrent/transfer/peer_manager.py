"""The peers of an acquisition: the first mirror, mirrors it learns of, and peers that connect.

Keeps the conversations, dials what it is told of (within limits, and only where strangers may send
us), listens for other downloaders, and lets everybody take part in the running download. What goes
wrong with one peer is reported to the user and never stops the others. One that is lost while a
download runs is dialled again, as `gittorrent.swarm.reconnect` says.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.errors import GitTorrentError
from gittorrent.store.processes import DownloadFigures, GivenFigures
from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.have_scheduler import HaveScheduler
from gittorrent.swarm.reconnect import ReconnectScheduler
from gittorrent.transfer.addresses import plain_address
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.git_mirror import ConversationContext, GitMirror, claimed_parts
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.mirror import BusyMirrorError
from gittorrent.transfer.offers import OfferBans
from gittorrent.transfer.opening import open_mirror
from gittorrent.transfer.partial_content import PartialContent
from gittorrent.transfer.peer_admission import PeerAdmission
from gittorrent.transfer.peer_listener import PeerListener
from gittorrent.transfer.slot_queue import SlotQueue
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.messages import Try
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.urls import address_class, less_trusted, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.ids import RepositoryId
    from gittorrent.swarm.keys import ConversationKey
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.transfer.pack_download import PackDownload
    from gittorrent.transfer.reaching import Source
    from gittorrent.transfer.stream import Stream
    from gittorrent.wire.messages import HaveBundle
    from gittorrent.wire.urls import AddressClass, Endpoint

MAX_CONVERSATIONS = 40
"""Conversations one acquisition keeps; enough for a well connected graph of any size."""

MAX_LEARNED = 8
"""Addresses taken from one of those we dialled; only the first mirror may tell more."""

SHOWN_BYTES = 64 << 10
"""Bytes from which on a peer is shown as having been given something; questions are smaller."""

LOOK_SECONDS = 0.5
"""Seconds between two checks whether a lost peer is due to be dialled again."""

SMALLEST_SHARED = 4
"""Parts below which a download is over before anybody else could profit."""


class Sharing(Struct, frozen=True):
    """How a downloader shares what it has.

    Args:
        listen: port to listen on; 0 takes a free one, None listens nowhere.
        up_limit: bytes per second to give, None for no limit.
        down_limit: bytes per second to take, None for no limit.
        peer_up_limit: bytes per second to give to one peer, None for no limit.
        exchange: whether those are asked who were told of in conversations.
    """

    listen: int | None = 0
    up_limit: int | None = None
    down_limit: int | None = None
    peer_up_limit: int | None = None
    exchange: bool = True


class PeerManager:
    """The other ends of one acquisition.

    Args:
        note: tells the user something worth a line.
        sharing: how to share.
        limits: what is sent and taken counts here too; made from ``sharing`` by default.
        client_timeouts: how long others are waited for.
        detail: tells what is worth a line only if all is wanted; ``note`` by default.
    """

    def __init__(
        self,
        note: Callable[[str], None],
        sharing: Sharing,
        limits: Limits | None = None,
        client_timeouts: ClientTimeouts | None = None,
        detail: Callable[[str], None] | None = None,
    ) -> None:
        self.content = PartialContent()
        self.mirrors: list[Mirror] = []
        self._note = note
        self._detail = detail or note
        self._sharing = sharing
        self._slots = SlotQueue()
        self._exchange = ConversationContext(
            secrets.token_hex(20),
            self.content,
            limits or Limits(sharing.up_limit, sharing.down_limit, sharing.peer_up_limit),
            self._slots,
            self._learn,
            client_timeouts or ClientTimeouts(),
            on_detail=self._detail,
        )
        self._trusted: AddressClass | None = None
        self._known: dict[str, tuple[Endpoint, AddressClass | None]] = {}
        self._whole: set[str] = set()
        self._tasks = TaskSet()
        self._peer_listener: PeerListener | None = None
        self._repository: RepositoryId | None = None
        self._download: PackDownload | None = None
        self._have_scheduler = HaveScheduler()
        self._told_first = 0
        self._admission = PeerAdmission()
        self.offer_bans = OfferBans()
        self._learned: Counter[ConversationKey] = Counter()
        self._reconnect = ReconnectScheduler(secrets.randbelow)
        self._watchers = TaskSet()
        self._watched: list[Mirror] = []
        self._lost: set[str] = set()
        self._ever_lost: set[str] = set()
        self._reconnecting: asyncio.Task[None] | None = None

    async def call(
        self,
        endpoint: Endpoint,
        trusted: AddressClass | None,
        calling: asyncio.Task[Stream] | None = None,
    ) -> Mirror:
        """Connect to a mirror that may become the first; the caller closes it.

        Args:
            endpoint: where it is.
            trusted: kind of address it was learned from; None if the user named it.
            calling: what calls it already.
        """
        return await open_mirror(endpoint, self._exchange, trusted, calling)

    def begin_with(
        self, mirror: Mirror, endpoint: Endpoint, trusted: AddressClass | None, kind: AddressClass
    ) -> None:
        """Let a mirror be the first, whose word on others counts.

        Args:
            mirror: it answered.
            endpoint: where it is.
            trusted: kind of address it was learned from; None if the user named it.
            kind: of its address; what it tells of is judged by it, and by how we learned of it.
        """
        self._trusted = kind if trusted is None else less_trusted(kind, trusted)
        self._known[endpoint.url] = (endpoint, trusted)
        self._keep(mirror, endpoint.url)

    def keep_to_mirrors(self) -> None:
        """Neither listen for others nor dial whom anybody tells of: the repository is private."""
        self._sharing = replace(self._sharing, listen=None, exchange=False)

    async def drop_first(self) -> None:
        """Let go of the first mirror, whose log did not hold; another one takes its place."""
        await self.mirrors.pop(0).close()

    @property
    def trusted(self) -> AddressClass:
        """The kind of address by which what the first mirror tells of is judged."""
        assert self._trusted is not None
        return self._trusted

    def gather(self, sources: Iterable[Source], whole: Iterable[str] = ()) -> None:
        """Begin to dial mirrors; they join downloads as they answer.

        Args:
            sources: whom.
            whole: URLs of those who have all of a repository, and so can serve in other ways, too.
        """
        self._whole.update(whole)
        for source in sources:
            if source.endpoint is not None:
                self._dial_at(source.endpoint, source.trusted)

    def stands_in(self, mirror: Mirror) -> bool:
        """Tell whether what a mirror lacks of a download may come from it otherwise."""
        return mirror.url in self._whole and not mirror.called_us and not self.is_lost(mirror)

    def _dial(self, url: str, trusted: AddressClass | None) -> bool:
        """Begin to dial an address we were told of; tells whether it was new."""
        try:
            endpoint = parse_learned_url(url)
        except GitTorrentError as error:
            self._say(url, f"is left out: {error}")
            return False
        return self._dial_at(endpoint, trusted)

    def _dial_at(self, endpoint: Endpoint, trusted: AddressClass | None) -> bool:
        if endpoint.url in self._known or len(self._known) >= MAX_CONVERSATIONS:
            return False
        self._known[endpoint.url] = (endpoint, trusted)
        self._tasks.start(self._join(endpoint, trusted))
        return True

    def _say(self, name: str, text: str) -> None:
        """Report on a peer: as a note on the one the user named, as a detail on others.

        Lists are full of those who have just gone, and downloads do without them.
        """
        known = self._known.get(name)
        is_named = known is not None and known[1] is None
        (self._note if is_named else self._detail)(f"{name} {text}")

    def is_lost(self, mirror: Mirror) -> bool:
        """Tell whether the line to a mirror broke, against everybody's will, and still is."""
        return mirror.url in self._lost or (mirror.has_ended and mirror.may_return)

    def is_growing(self) -> bool:
        """Tell whether a peer that was dialled, or will be again, has not answered yet.

        One that has just ended may be: what is left of it comes to its end before that is known.
        """
        return (
            bool(self._tasks)
            or self._reconnect.next_deadline() is not None
            or any(mirror.has_ended for mirror in self._watched)
        )

    async def grown(self, seconds: float) -> bool:
        """Wait for a peer that was dialled to answer; tells whether one did in time."""
        before = len(self.mirrors)
        limit = asyncio.get_running_loop().time() + seconds
        while self._tasks and len(self.mirrors) == before:
            left = limit - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return len(self.mirrors) > before

    @property
    def client_timeouts(self) -> ClientTimeouts:
        """How long others are waited for."""
        return self._exchange.client_timeouts

    @property
    def impatient(self) -> ClientTimeouts:
        """How long others are waited for whose parts may come otherwise."""
        return self.client_timeouts.impatient(self._exchange.limits.down.rate)

    def help_with(self, download: PackDownload, repository: RepositoryId) -> None:
        """Let everybody, now and later, take part in a download."""
        self._repository = repository
        self._download = download
        self._have_scheduler = HaveScheduler()
        self._told_first = 0
        for mirror in self.mirrors:
            if not self.is_lost(mirror):
                self._tasks.start(self._offer_help(mirror, download))
        if download.wanted.total >= SMALLEST_SHARED:
            self._listen(repository)
        if self._reconnect.next_deadline() is not None:
            self._wake_reconnecting()

    def rest(self, figures: DownloadFigures) -> None:
        """Note that no download is running any more, and what came of the last one."""
        self._download = None
        self.offer_bans.gave(mirror.url for mirror in figures.mirrors if mirror.parts)

    def announce(self, download: PackDownload, have: PartSet) -> None:
        """Tell those whose turn it is which parts there are now, and always the first mirror."""
        message = self.content.announcement(download.wanted.manifest)
        if message is None:
            return
        if len(have) > self._told_first:
            self._told_first = len(have)
            self.mirrors[0].tell(message)
        peers = {mirror.key: mirror for mirror in self.mirrors[1:] if isinstance(mirror, GitMirror)}
        line = self._slots.line & peers.keys()
        for key in self._have_scheduler.due(have, line, asyncio.get_running_loop().time()):
            if key in peers:
                peers[key].tell(message)
            else:
                self._have_scheduler.left(key)

    def giving(self) -> list[GivenFigures]:
        """Return what each peer was given so far, and whether it waits for a slot."""
        waiting = self._slots.waiting
        return [
            GivenFigures(mirror.url, mirror.bytes_sent, mirror.key in waiting, mirror.called_us)
            for mirror in self.mirrors
            if isinstance(mirror, GitMirror) and mirror.bytes_sent >= SHOWN_BYTES
        ]

    def take_claim(self, mirror: Mirror, parts: PartSet | None) -> None:
        """Note what a peer says it has, so that it is not told of that."""
        if isinstance(mirror, GitMirror) and self._download is not None:
            total = self._download.wanted.total
            self._have_scheduler.has(mirror.key, PartSet.full(total) if parts is None else parts)

    async def close(self) -> None:
        """End all conversations."""
        reconnecting = () if self._reconnecting is None else (self._reconnecting,)
        tasks = [*self._watchers, *reconnecting, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._peer_listener is not None:
            await self._peer_listener.close()
        await asyncio.gather(*(m.close() for m in self.mirrors), return_exceptions=True)

    def _keep(self, mirror: Mirror, url: str) -> None:
        """Add a mirror that answered, in the place of its former conversation if there was one."""
        self._lost.discard(url)
        before = [at for at, known in enumerate(self.mirrors) if known.url == url]
        if before:
            self.mirrors[before[0]] = mirror
        else:
            self.mirrors.append(mirror)
        self._watched.append(mirror)
        self._watchers.start(self._watch(mirror, url))

    async def _watch(self, mirror: Mirror, url: str) -> None:
        """Wait for a mirror's end, and see to it that it is dialled again if that may help."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await mirror.wait_closed()
            if not mirror.may_return:
                self._reconnect.forget(url)
                return
            self._lost.add(url)
            await mirror.close()
            now = loop.time()
            is_due = self._reconnect.lost(
                url, now, now - begun, has_given=mirror.has_given, is_busy=mirror.is_busy
            )
        finally:
            self._watched.remove(mirror)
        if is_due and self._download is not None:
            text = "was lost and is dialled again, a few times"
            if url in self._ever_lost:
                self._detail(f"{url} {text}")
            else:
                self._say(url, text)
            self._ever_lost.add(url)
            self._wake_reconnecting()

    def _wake_reconnecting(self) -> None:
        if self._reconnecting is None or self._reconnecting.done():
            work = self._reconnect_due()
            self._reconnecting = asyncio.get_running_loop().create_task(work)

    async def _reconnect_due(self) -> None:
        """Dial peers that are due, until none waits or no download is running."""
        loop = asyncio.get_running_loop()
        while self._download is not None:
            deadline = self._reconnect.next_deadline()
            if deadline is None:
                return
            # Others may be lost, and due, before whoever is due first now.
            await asyncio.sleep(min(LOOK_SECONDS, max(0.0, deadline - loop.time())))
            for url in self._reconnect.due(loop.time()):
                self._tasks.start(self._join(*self._known[url], again=True))

    def _listen(self, repository: RepositoryId) -> None:
        if self._peer_listener is not None or self._sharing.listen is None:
            return
        self._peer_listener = PeerListener(
            repository, self._exchange, self._take_caller, self._admission, self._forget
        )
        if self._peer_listener.start(self._sharing.listen):
            for mirror in self.mirrors:
                self._say_where(mirror)

    def _say_where(self, mirror: Mirror) -> None:
        """Tell a peer where others reach us, as it sees our address."""
        if (
            self._peer_listener is None
            or not self._peer_listener.port
            or not isinstance(mirror, GitMirror)
            or not mirror.own_address  # we are reached some other way than we reach it
        ):
            return
        mirror.tell(self._peer_listener.invitation(mirror.own_address))

    def _learn(self, teller: GitMirror, message: Try) -> None:
        """Dial an address that a peer told of, if that peer may send us there.

        Source: docs/protocol/mirrorsync.md, Peer exchange.
        """
        if message.entry.state is MirrorState.STALE or self._trusted is None:
            return
        if not self._sharing.exchange:
            return
        trusted = self._trusted
        if self.mirrors and teller is not self.mirrors[0]:
            if self._learned[teller.key] >= MAX_LEARNED or not teller.address:
                return
            trusted = less_trusted(trusted, address_class(teller.address))
            if teller.called_us and not _leads_to(message.entry.url, teller.address):
                return
            self._learned[teller.key] += 1
        self._dial(message.entry.url, trusted)

    def banned(self, mirror: Mirror) -> None:
        """Note that a peer was banned for a wrong part or a false claim."""
        if isinstance(mirror, GitMirror) and mirror.address:
            self._admission.blame(mirror.address)

    def _forget(self, caller: GitMirror) -> None:
        """Note that a caller is gone: others may come in its place."""
        self.mirrors = [mirror for mirror in self.mirrors if mirror is not caller]
        self._have_scheduler.left(caller.key)
        self._learned.pop(caller.key, None)

    def _take_caller(self, caller: GitMirror) -> None:
        self.mirrors.append(caller)
        if self._download is not None:
            self._tasks.start(self._offer_help(caller, self._download))

    async def _join(
        self, endpoint: Endpoint, trusted: AddressClass | None, *, again: bool = False
    ) -> None:
        """Dial a mirror; it takes part in what is downloaded from then on."""
        url = endpoint.url
        try:
            one_more = replace(self._exchange, is_extra=True)
            mirror = await open_mirror(endpoint, one_more, trusted)
        except GitTorrentError as error:
            now, is_busy = asyncio.get_running_loop().time(), isinstance(error, BusyMirrorError)
            if again and self._reconnect.failed(url, now, is_busy=is_busy):
                self._wake_reconnecting()
            else:
                self._say(url, f"is left out: {error}")
            return
        if isinstance(mirror, GitMirror) and self._admission.is_banned(mirror.address):
            await mirror.close()
            return
        if again:
            self._say(url, "is back")
        self._keep(mirror, url)
        self._say_where(mirror)
        if self._download is not None:
            await self._offer_help(mirror, self._download)

    async def _offer_help(self, mirror: Mirror, download: PackDownload) -> None:
        """Let a mirror take part in a download with what it has of the pack."""
        wanted = download.wanted
        if isinstance(mirror, GitMirror) and mirror is not self.mirrors[0]:
            now = asyncio.get_running_loop().time()
            self._have_scheduler.joined(mirror.key, PartSet(wanted.total), now)
        claims: list[HaveBundle] = []

        def take(offer: HaveBundle) -> None:
            if offer.manifest == wanted.manifest:
                claims[:] = [offer]

        try:
            await mirror.offers(wanted.reel, take, shapes=wanted.is_asked_for)
            for offer in claims:
                download.add(mirror, claimed_parts(offer, wanted.total))
                return
        except GitTorrentError as error:
            self._say(mirror.name, f"is left out: {error}")
            return
        if isinstance(mirror, GitMirror):
            # It has nothing of it yet; a peer that downloads too soon will.
            download.add_empty(mirror)


def _leads_to(url: str, address: str) -> bool:
    """Tell whether a URL names an address by its number."""
    try:
        return plain_address(parse_learned_url(url).host) == address
    except (GitTorrentError, ValueError):
        return False
