"""The running node: its listeners, what they share, and its orderly end.

Tracks listening sockets, callers being served, git processes, and announcements. Rules: one
set of limits paces everything that is sent; stopping takes bounded time and leaves no process
behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.disk_space import DEFAULT_RESERVE, Reserve, Watermarks
from gittorrent.errors import GitTorrentError, LocalError, UsageError
from gittorrent.event_log import EventLog
from gittorrent.interruptions import until_interrupted
from gittorrent.node.audience import KEEP_OUT_SECONDS
from gittorrent.node.bringing import Bringing
from gittorrent.node.ci_jobs import CiJobs, secret_of
from gittorrent.node.ci_options import CiConfig
from gittorrent.node.config import (
    CarryConfig,
    DiscoveryConfig,
    LimitsConfig,
    Rates,
    RatesAt,
    TrackConfig,
)
from gittorrent.node.connection_limiter import CallerLimits, ConnectionLimiter
from gittorrent.node.connections import allow_open_files
from gittorrent.node.control import ControlSocket
from gittorrent.node.conversations import Conversations
from gittorrent.node.discovering import Discovering, DiscoveryOptions
from gittorrent.node.follower import Follower
from gittorrent.node.git_answers import MAX_BYTES
from gittorrent.node.git_limits import BASE_MEMORY
from gittorrent.node.git_listener import GitListener
from gittorrent.node.git_processes import GitProcesses
from gittorrent.node.git_turns import PROCESSES, WAIT_SECONDS
from gittorrent.node.http_listener import HttpListener
from gittorrent.node.listeners import Listeners
from gittorrent.node.live import Live
from gittorrent.node.local_clones import KeepOptions, LocalCloneService
from gittorrent.node.local_conversations import LocalConversations
from gittorrent.node.mirror_announcer import MirrorAnnouncer
from gittorrent.node.mirror_table import MirrorTable
from gittorrent.node.notices import Notices
from gittorrent.node.pushes import Pushes
from gittorrent.node.readiness import Phase, Readiness
from gittorrent.node.rechecks import Rechecks
from gittorrent.node.services import Lists, NodeServices, Reachable
from gittorrent.node.tls import Certificate, CertificateFiles
from gittorrent.node.tokens import Tokens
from gittorrent.node.tracker import Tracker
from gittorrent.node.webhooks import Webhooks
from gittorrent.reel.timing import ReelTimes
from gittorrent.repository.uploads import MAX_PUSHED
from gittorrent.store.processes import GitLoad, NodeProcess
from gittorrent.store.snapshot import INTERVAL_SECONDS, Snapshot
from gittorrent.transfer.addresses import is_loopback, is_wildcard
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.off_loop import SlowError
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts
from gittorrent.transfer.slot_queue import SlotQueue
from gittorrent.wire.urls import Endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gittorrent.node.catalogue import Catalogue
    from gittorrent.node.connection_limiter import ConnectionSlot
    from gittorrent.node.connections import Serve
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.store.processes import EndedConversation

STOP_SECONDS = 5.0
"""Time callers get to be told goodbye before their connections are cut."""

RATES_SECONDS = 20.0
"""How often it is looked whether other limits hold by now; they change by the minute."""

DISK_SECONDS = 2.0
"""How often it is looked how full the disks are."""

_log = EventLog(__name__)


class Options(Struct, frozen=True):
    """How a node runs.

    Args:
        git: hosts and ports to listen at for git://; port 0 takes a free one.
        http: the same for HTTP.
        https: the same for HTTP over TLS.
        certificate: of the node, for that.
        url: base URL under which others reach this node, such as ``git://mirror.example.org``.
        up_limit: bytes per second of all sending together; None for no limit.
        peer_up_limit: bytes per second that one caller gets; None for no limit.
        lan: whether mirrors at private addresses may be listed.
        announce: whether mirrored repositories are announced to where they came from.
        keep: what is kept for clones of this machine.
        git_processes: callers that stock git works for at once.
        git_memory: bytes that a process of git's may ask for, before what objects need.
        callers: how many there may be at once.
        git_answers: bytes of git's answers that are kept to be given again; 0 for none.
        git_wait: seconds after which callers are told that git works for others.
        behind_proxy: whether HTTP callers from this machine are a web server's.
        git_push: whether pushes are taken over git://, too.
        final_only: whether stock git is shown only what the newest checkpoint has taken.
        discovery: how mirrors find each other.
        reel_times: when reels are made of what a keeper signs here.
        down_limit: bytes per second of all that is taken together; None for no limit.
        carry: what the configuration says of what is carried.
        track: plain git servers that the configuration names.
        ci: what is done for CI jobs.
        follows: whether this node follows what it carries, and carries more when asked to.
        dht_bootstrap: ``HOST:PORT`` of the nodes of the DHT to begin with; none turns it off.
        dht_listen: IP addresses and UDP ports of the DHT.
        rates: other limits at some times of the day.
        max_pushed: bytes that a push may bring.
        reserve: what stays free of the disks.
    """

    git: tuple[tuple[str, int], ...] = ()
    http: tuple[tuple[str, int], ...] = ()
    https: tuple[tuple[str, int], ...] = ()
    certificate: CertificateFiles | None = None
    url: Endpoint | None = None
    up_limit: int | None = None
    peer_up_limit: int | None = None
    lan: bool = False
    announce: bool = True
    keep: KeepOptions = field(default_factory=KeepOptions)
    git_processes: int = PROCESSES
    git_memory: int = BASE_MEMORY
    callers: CallerLimits = CallerLimits()
    git_answers: int = MAX_BYTES
    git_wait: float = WAIT_SECONDS
    behind_proxy: bool = False
    git_push: bool = False
    final_only: bool = False
    discovery: DiscoveryConfig = DiscoveryConfig()
    reel_times: ReelTimes = ReelTimes()
    down_limit: int | None = None
    carry: CarryConfig = CarryConfig()
    track: tuple[TrackConfig, ...] = ()
    ci: CiConfig = CiConfig()
    follows: bool = False
    dht_bootstrap: tuple[str, ...] = ()
    dht_listen: tuple[str, ...] = DiscoveryOptions().dht_listen

    @property
    def found(self) -> DiscoveryOptions:
        """In which ways the node is found, and finds others."""
        says = self.discovery
        return DiscoveryOptions(
            says.dht, says.lan, says.map_port, self.dht_bootstrap, self.dht_listen
        )

    rates: tuple[RatesAt, ...] = ()
    max_pushed: int = MAX_PUSHED
    reserve: Reserve = DEFAULT_RESERVE

    def rates_at(self, weekday: int, minute: int) -> Rates:
        """Return the limits that hold at a minute of a day, 0 for Monday."""
        always = Rates(self.up_limit, self.peer_up_limit, self.down_limit)
        return LimitsConfig(always, self.rates).rates_at(weekday, minute)


class Node:
    """A node; make it inside a running event loop.

    Args:
        catalogue: what it serves.
        database: whom it knows; None lists no mirrors.
        home: where its name is kept.
        options: how it runs.
        server_timeouts: how long others are waited for.
        read_again: has the node go by its configuration as it is now; None where there is none.

    Raises:
        CertificateError: the node's certificate cannot be used.
        UsageError: it has none, and is to listen for HTTPS.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        database: Database | None,
        home: Home,
        options: Options,
        server_timeouts: ServerTimeouts = SERVER_TIMEOUTS,
        read_again: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._options = options
        self._catalogue = catalogue
        self._reachable = Reachable(options.url, is_given=options.url is not None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: list[asyncio.Task[None]] = []
        self._announcing: asyncio.Task[None] | None = None
        self._connection_limiter = ConnectionLimiter()
        self.limits = Limits(options.up_limit, options.down_limit, options.peer_up_limit)
        slots = SlotQueue()
        mirrors = None
        self._rechecks = None
        if database is not None:
            mirrors = MirrorTable(database, catalogue.threads)
            self._rechecks = Rechecks(mirrors, self._is_local)
            mirrors.on_told = self._rechecks.told
        lists = Lists(self._reachable, mirrors)
        notices = Notices(mirrors, self._is_local, server_timeouts)
        temporary = Path(tempfile.gettempdir())
        self._space = Watermarks(options.reserve, [home.root, temporary])
        self.git_processes = GitProcesses(
            options.git_processes, options.git_memory, home.views, options.git_wait,
            final_only=options.final_only, answers=options.git_answers, space=self._space,
        )  # fmt: skip
        self.readiness = Readiness(lambda: bool(self._space.short()))
        bringing = Bringing(database, home, self._space)
        self._live = Live(
            catalogue, database, home, home.node_id(), self.limits, bringing, options.reel_times,
            space=self._space,
        )  # fmt: skip
        self._pushes = Pushes(
            self._live.accepted, self._live.kept, self._live.catch_up, options.git_wait,
            space=self._space,
        )  # fmt: skip
        self._pushes.most = options.max_pushed
        self._webhooks = Webhooks()
        services = NodeServices(
            catalogue,
            lists,
            notices,
            self.git_processes,
            self.limits,
            self._pushes,
            server_timeouts,
            self._live,
            Tokens(database, catalogue.threads),
            self._webhooks,
        )
        self._conversations = Conversations(
            services, home.node_id(), slots, peer_exchange=options.discovery.peer_exchange
        )
        self._limit_callers(options.callers)
        self._git = GitListener(services, self._conversations, takes_pushes=options.git_push)
        self._http = HttpListener(
            services,
            self._conversations,
            _names(options.url),
            is_proxied=options.behind_proxy,
            lacks=lambda: self.readiness.lacks,
            ci=lambda: self._ci.http,
        )
        self._certificate = certificate_of(options)
        self._renewing: asyncio.Task[None] | None = None
        serve: dict[str, Serve] = {
            "git": self._git.serve,
            "http": self._http.serve,
            "https": self._serve_tls,
        }
        self._listeners = Listeners(self._connection_limiter, serve, self._tasks)
        self._snapshot = Snapshot(home.run, "node")
        self._catalogue = catalogue
        self._writing = catalogue.threads.executor(STOP_SECONDS)
        self._announcer = MirrorAnnouncer(catalogue, self._reachable)
        self._local_clones = LocalCloneService(
            home, database, catalogue, options.keep, self.limits, slots, space=self._space
        )
        self._discovering = Discovering(
            catalogue, self._reachable, options.found, home.routing_table
        )
        self._follower = self._make_follower(database, home) if options.follows else None
        self._tracker = self._make_tracker(database, home) if options.follows else None
        self._webhooks.tracker = self._tracker
        self._ci = CiJobs(
            home, options.ci, self.limits, self._space, lambda: self._listeners.endpoints
        )
        self._control = ControlSocket(
            home.control,
            self._local_clones,
            self._discovering,
            server_timeouts,
            self._follower,
            self._tracker,
            read_again,
            LocalConversations(catalogue, self._conversations),
        )

    def _make_follower(self, database: Database | None, home: Home) -> Follower | None:
        if database is None:
            return None
        made = Follower(
            self._catalogue, database, home, self.limits, self._options.carry,
            self._live.is_talking, self._space,
        )  # fmt: skip
        self._live.is_paused, made.on_paused = made.is_paused, self._live.note_paused
        return made

    def _make_tracker(self, database: Database | None, home: Home) -> Tracker | None:
        if database is None:
            return None
        track, at_once = self._options.track, self._options.carry.at_once
        current = self._live.current
        return Tracker(
            self._catalogue, database, home, self.limits, track, at_once, current, self._space
        )

    @property
    def addresses(self) -> list[str]:
        """Where it listens, with real ports, such as ``git://127.0.0.1:40123``."""
        return self._listeners.addresses

    @property
    def callers(self) -> int:
        """How many connections of callers there are."""
        return self._connection_limiter.open

    def ended_conversations(self) -> list[EndedConversation]:
        """Return the conversations that ended lately, the last one first."""
        return self._conversations.ended()

    @property
    def mapped_port(self) -> int | None:
        """The port at which strangers reach it over git://, as far as it knows."""
        return self._discovering.announced_port

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            CannotListenError: at one of the addresses; nothing listens then.
        """
        await self._listen(self._options)
        loop = asyncio.get_running_loop()
        self._accepting.append(loop.create_task(self._catalogue.follow()))
        self._accepting.append(loop.create_task(self._live.run()))
        self._accepting.append(loop.create_task(self._discovering.run(self._listeners.endpoints)))
        self._follow_certificate(self._certificate)
        self._accepting.append(loop.create_task(self._keep_rates()))
        self._accepting.append(loop.create_task(self._watch_disks()))
        self._accepting.append(loop.create_task(self._keep_out()))
        self._set_announcing()
        if self._follower is not None:
            self._accepting.append(loop.create_task(self._follower.run()))
        if self._tracker is not None:
            self._accepting.append(loop.create_task(self._tracker.run()))
        await self._ci.start()
        if await self._control.start():
            self._accepting.append(loop.create_task(self._local_clones.run()))
        self.readiness.phase = Phase.RUNNING
        self._accepting.append(loop.create_task(self._report()))

    async def _listen(self, options: Options) -> None:
        """Listen where options say, and tell others so.

        Raises:
            CannotListenError: at one of the addresses; all stays as it was then.
        """
        before = self.addresses
        wanted = {"git": options.git, "http": options.http, "https": options.https}
        await self._listeners.change(wanted)
        self._reachable.listening = [
            each
            for each in self._listeners.endpoints
            # A certificate is for a name, which is said with --url.
            if each.scheme != "https" and not is_wildcard(each.host)
        ]
        for address in self.addresses:
            if address not in before:
                _log.info("listening", "listening at {address}", address=address)

    @property
    def ci_place(self) -> Path | None:
        """Socket at which CI jobs are answered; None where none are."""
        return self._ci.place

    async def reload(self, options: Options) -> None:
        """Go by other options from now on; nobody who is served notices, but for the limits.

        Args:
            options: all of them; when reels are made counts from the next start.

        Raises:
            CannotListenError: at one of the addresses; all stays as it was then.
            CertificateError, UsageError: there is no certificate, or no secret of a fleet, that can
                be used; likewise.
        """
        secret_of(options.ci)
        is_other = options.certificate != self._options.certificate
        former = self._certificate
        if is_other or former is None:  # none may not do any longer
            self._certificate = certificate_of(options)
        try:
            await self._listen(options)
        except BaseException:
            self._certificate = former
            raise
        if is_other:
            self._follow_certificate(self._certificate)
        else:
            self.reload_certificate()
        if options.url is not None or self._reachable.is_given:
            self._reachable.public, self._reachable.is_given = options.url, options.url is not None
        self._options = options
        self._git.take_pushes(takes=options.git_push)
        self._http.go_by_names(_names(options.url), is_proxied=options.behind_proxy)
        self._pushes.most = options.max_pushed
        self._space.change(options.reserve)
        self.git_processes.change(
            options.git_processes, options.git_memory, options.git_answers,
            final_only=options.final_only,
        )  # fmt: skip
        self._conversations.introduce(introduces=options.discovery.peer_exchange)
        self._local_clones.change(options.keep)
        self._limit_callers(options.callers)
        self._set_rates()
        self._set_announcing()
        if self._follower is not None:
            self._follower.configure(options.carry)
        if self._tracker is not None:
            self._tracker.configure(options.track, options.carry.at_once)
        await self._ci.change(options.ci)
        await self._discovering.change(options.found, self._listeners.endpoints)

    def _limit_callers(self, limits: CallerLimits) -> None:
        """Have as many callers from now on, as far as this process may open files for them."""
        connections = allow_open_files(limits.connections)
        self._connection_limiter.change(connections, limits.per_address)
        self._conversations.sharing.change(limits.conversations, limits.conversations_per_address)

    def _set_announcing(self) -> None:
        """Announce mirrors, or do not, as the options say."""
        if self._options.announce == (self._announcing is not None):
            return
        if self._announcing is not None:
            self._announcing.cancel()
            self._announcing = None
        else:
            self._announcing = asyncio.get_running_loop().create_task(self._announcer.run())
            self._accepting.append(self._announcing)

    async def _keep_out(self) -> None:
        """End conversations, downloads and fetches of those who may not read any more."""
        while True:
            await asyncio.sleep(KEEP_OUT_SECONDS)
            try:
                await self._conversations.audience.end_unauthorised()
            except GitTorrentError as error:
                _log.warning("database-slow", "cannot look at tokens: {reason}", reason=error)

    async def _keep_rates(self) -> None:
        """Let other rates hold at other times of the day."""
        while True:
            self._set_rates()
            await asyncio.sleep(RATES_SECONDS)

    def _set_rates(self) -> None:
        now = time.localtime()
        rates = self._options.rates_at(now.tm_wday, now.tm_hour * 60 + now.tm_min)
        if self.limits.set_rates(rates.up, rates.down, rates.peer_up):
            _log.info(
                "rates",
                "sends at most {up}, to one address {peer_up}, and takes at most {down} bytes/s",
                up=rates.up,
                peer_up=rates.peer_up,
                down=rates.down,
            )

    def reload_certificate(self) -> None:
        """Take the certificate anew if its files have changed, without waiting until it is due."""
        if self._certificate is not None:
            self._certificate.reload()

    def _follow_certificate(self, certificate: Certificate | None) -> None:
        """Use a certificate from now on, and take it anew when its files change."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        self._certificate = certificate
        if certificate is not None:
            following = certificate.follow(self._catalogue.threads.executor())
            self._renewing = asyncio.get_running_loop().create_task(following)
            self._accepting.append(self._renewing)

    async def _serve_tls(self, sock: socket.socket, slot: ConnectionSlot) -> None:
        # Without one, HTTPS was given up while this caller was let in; whoever let it in hangs up.
        if self._certificate is not None:
            await self._http.serve(sock, slot, self._certificate.context)

    async def stop(self) -> None:
        """Stop listening, say goodbye, end git processes; takes a few seconds at most."""
        self.readiness.phase = Phase.STOPPING
        await self._control.stop()
        await self._ci.stop()
        for task in self._accepting:
            task.cancel()
        if self._accepting:
            # What hangs in the system must not keep the node from ending.
            await asyncio.wait(self._accepting, timeout=STOP_SECONDS)
        self._accepting.clear()
        await self._listeners.stop()
        self._conversations.goodbye("the node is shutting down")
        self._pushes.stop()
        endings = [self.git_processes.stop(), self._http.stop(), self._announcer.goodbye()]
        endings += [self._live.stop(), self._discovering.stop()]
        if self._rechecks is not None:
            endings.append(self._rechecks.stop())
        await asyncio.gather(*endings)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for served in list(self._tasks):
            served.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.git_processes.stop()
        _log.info("stopped", "stopped")

    async def _watch_disks(self) -> None:
        """Look at the disks that are written to: a full one is said of before somebody pushes."""
        known: frozenset[Path] = frozenset()
        changes, failure = None, ""
        while True:
            if changes != self._catalogue.changes:
                changes = self._catalogue.changes
                known = frozenset(each.carried.layout.git_dir.parent for each in self._catalogue)
            try:
                await self._writing(partial(self._space.look, *known))
                known, failure = frozenset(), ""
            except (LocalError, SlowError) as error:
                if str(error) != failure:
                    failure = str(error)
                    _log.warning("disk-unknown", "cannot tell how full disks are: {reason}",
                                 reason=error)  # fmt: skip
            self.git_processes.answers.tidy(is_short=bool(self._space.short()))
            await asyncio.sleep(DISK_SECONDS)

    async def _report(self) -> None:
        """Write down once a second what the node is doing, for ``gittorrent status``."""
        try:
            while True:
                described = self._describe()  # here: the thread that writes must not look at us
                with contextlib.suppress(SlowError):  # nobody learns of it, and that is all
                    await self._writing(partial(self._snapshot.write, described))
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            with contextlib.suppress(SlowError):
                await self._writing(self._snapshot.remove)

    def _describe(self) -> NodeProcess:
        turns, public = self.git_processes.turns, self._options.url
        answers = self.git_processes.answers.figures
        return NodeProcess(
            listening=self.addresses,
            url=None if public is None else public.url.rstrip("/"),
            serves=self._catalogue.names,
            callers=self._connection_limiter.open,
            git=GitLoad(turns.taken, turns.waiting, answers),
            conversations=self._conversations.figures(),
            talks=self._conversations.count,
            ended=self.ended_conversations(),
            cache=self._local_clones.report(),
            keeping=self._live.keeping(),
            following=None if self._follower is None else self._follower.report(),
            discovery=self._discovering.figures(),
            current=self._live.current(),
            short=list(self._space.short()),
            lacks=self.readiness.lacks,
            ci=self._ci.figures(),
        )

    async def run_until_interrupted(self, stopping: Callable[[], None] = lambda: None) -> None:
        """Serve until a signal, or whatever cancels this, then stop.

        Args:
            stopping: called in between.
        """
        await until_interrupted()
        stopping()
        _log.info("stopping", "stopping")
        await self.stop()

    def _is_local(self) -> bool:
        """Tell whether callers at loopback and private addresses are what this node is for.

        A node at loopback with a public URL sits behind a proxy, through which strangers come.
        """
        if self._options.lan:
            return True
        if self._options.url is not None and not _is_at_loopback(self._options.url.host):
            return False
        return all(map(is_loopback, self._listeners.hosts))


def certificate_of(options: Options) -> Certificate | None:
    """Return the node's certificate, None where it needs none.

    Raises:
        CertificateError: its files cannot be used.
        UsageError: there is none, and the node is to listen for HTTPS.
    """
    if options.https and options.certificate is None:
        raise UsageError(
            "for HTTPS the node needs a certificate",
            hint="name its files with --tls-certificate FILE and --tls-key FILE, or below [listen]"
            " in node.toml",
        )
    return None if options.certificate is None else Certificate(options.certificate)


def _names(public: Endpoint | None) -> set[str]:
    """Return what this node is called besides by its addresses: its machine, and its public URL."""
    return {socket.gethostname().lower()} | ({public.host} if public else set())


def _is_at_loopback(host: str) -> bool:
    try:
        return is_loopback(host)
    except ValueError:
        return False  # a name
