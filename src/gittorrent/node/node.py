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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.disk_space import Watermarks
from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.interruptions import until_interrupted
from gittorrent.node.audience import KEEP_OUT_SECONDS
from gittorrent.node.bringing import Bringing
from gittorrent.node.ci_jobs import CiJobs, secret_of
from gittorrent.node.clock_watch import ClockWatch
from gittorrent.node.connection_limiter import CallerLimits, ConnectionLimiter
from gittorrent.node.connections import allow_open_files
from gittorrent.node.control import ControlSocket
from gittorrent.node.conversations import Conversations
from gittorrent.node.discovering import Discovering
from gittorrent.node.follower import Follower
from gittorrent.node.git_listener import GitListener
from gittorrent.node.git_processes import GitProcesses
from gittorrent.node.http_listener import HttpListener
from gittorrent.node.listeners import Listeners
from gittorrent.node.live import Live
from gittorrent.node.local_clones import LocalCloneService
from gittorrent.node.local_conversations import LocalConversations
from gittorrent.node.mirror_announcer import MirrorAnnouncer
from gittorrent.node.mirror_table import MirrorTable
from gittorrent.node.notices import Notices
from gittorrent.node.options import Options
from gittorrent.node.pushes import Pushes
from gittorrent.node.readiness import Phase, Readiness
from gittorrent.node.rechecks import Rechecks
from gittorrent.node.reel_mending import ReelMender
from gittorrent.node.rounds import next_round
from gittorrent.node.services import Lists, NodeServices, Reachable
from gittorrent.node.tls_in_use import TlsInUse
from gittorrent.node.tokens import Tokens
from gittorrent.node.tracker import Tracker
from gittorrent.node.upkeep import Upkeep
from gittorrent.node.webhooks import Webhooks
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

_log = EventLog(__name__)


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
        notices.on_current = self._live.heard_of_mirror
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
        self._mender = ReelMender(database, home, self.limits)
        self._conversations.on_damage = self._mender.begin
        self._limit_callers(options.callers)
        self._git = GitListener(
            services,
            self._conversations,
            takes_pushes=options.git_push,
            web=lambda: [each for each in self._listeners.endpoints if each.scheme == "http"],
        )
        self._http = HttpListener(
            services,
            self._conversations,
            _names(options.url),
            is_proxied=options.behind_proxy,
            lacks=lambda: self.readiness.lacks,
            ci=lambda: self._ci.http,
        )
        self._tls = TlsInUse(options, catalogue.threads.executor())
        serve: dict[str, Serve] = {
            "git": self._git.serve,
            "http": self._http.serve,
            "https": self._serve_tls,
        }
        self._listeners = Listeners(self._connection_limiter, serve, self._tasks)
        self._snapshot = Snapshot(home.run, "node")
        self._catalogue = catalogue
        self._writing = catalogue.threads.executor(STOP_SECONDS)
        self._upkeep = Upkeep(
            options, self.limits, catalogue, self._space, self.git_processes.answers, self._writing
        )
        querying = catalogue.threads.executor()
        self._clock_watch = None if database is None else ClockWatch(database, querying)
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
        self._live.on_silent = made.note_silent
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

    @property
    def held_of_shared(self) -> tuple[int, int]:
        """Bytes held for conversations on shared connections, and how many there may be."""
        shares = self._conversations.sharing
        return shares.held, shares.most_bytes

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
        self._accepting.append(loop.create_task(self._tls.follow()))
        self._accepting.append(loop.create_task(self._upkeep.keep_rates()))
        self._accepting.append(loop.create_task(self._upkeep.watch_disks()))
        self._accepting.append(loop.create_task(self._mender.watch(self._catalogue)))
        if self._clock_watch is not None:
            self._accepting.append(loop.create_task(self._clock_watch.run()))
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
        with self._tls.changing(options):
            await self._listen(options)
        if options.url is not None or self._reachable.is_given:
            self._reachable.public, self._reachable.is_given = options.url, options.url is not None
        self._options = options
        self._git.take_pushes(takes=options.git_push)
        self._http.go_by_names(_names(options.url), is_proxied=options.behind_proxy)
        self._pushes.most = options.max_pushed
        self.git_processes.change(
            options.git_processes, options.git_memory, options.git_answers,
            final_only=options.final_only,
        )  # fmt: skip
        self._conversations.introduce(introduces=options.discovery.peer_exchange)
        self._local_clones.change(options.keep)
        self._limit_callers(options.callers)
        self._upkeep.change(options)
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
            await next_round(KEEP_OUT_SECONDS)
            try:
                await self._conversations.audience.end_unauthorised()
            except GitTorrentError as error:
                _log.warning("database-slow", "cannot look at tokens: {reason}", reason=error)

    async def _serve_tls(self, sock: socket.socket, slot: ConnectionSlot) -> None:
        # Without one, HTTPS was given up while this caller was let in; whoever let it in hangs up.
        if self._tls.certificate is not None:
            await self._http.serve(sock, slot, self._tls.certificate.context)

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
        endings += [self._live.stop(), self._discovering.stop(), self._mender.stop()]
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

    async def _report(self) -> None:
        """Write down once a second what the node is doing, for ``gittorrent status``."""
        try:
            while True:
                described = self._describe()  # here: the thread that writes must not look at us
                if self._snapshot.has_news(described):
                    with contextlib.suppress(SlowError):  # nobody learns of it, and that is all
                        await self._writing(partial(self._snapshot.write, described))
                await next_round(INTERVAL_SECONDS)
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
            lacking=self._live.lacking(),
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


def _names(public: Endpoint | None) -> set[str]:
    """Return what this node is called besides by its addresses: its machine, and its public URL."""
    return {socket.gethostname().lower()} | ({public.host} if public else set())


def _is_at_loopback(host: str) -> bool:
    try:
        return is_loopback(host)
    except ValueError:
        return False  # a name
