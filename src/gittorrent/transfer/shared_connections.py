"""Connections that the conversations of this node with one other node share.

Tracks one connection for each place that is called, as long as there are conversations on it, and
which places do not share. Rules: whoever was learned of from strangers shares no connection with
those that the user named, since each was judged by where it may lead; a place that does not know
of sharing, and a repository that is not given so, get a connection of their own. Must not know what
is said.
Source: docs/protocol/mirrorsync.md, mirror-mux.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from gittorrent.event_log import EventLog
from gittorrent.transfer.git_mirror import begin_conversation
from gittorrent.transfer.mirror import MirrorLostError, NoConversationError
from gittorrent.transfer.mux_channel import MuxChannel
from gittorrent.transfer.mux_connection import MuxConnection
from gittorrent.transfer.off_loop import at_once
from gittorrent.transfer.opening import converse
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS
from gittorrent.transfer.task_set import TaskSet
from gittorrent.transfer.transport import transport_of
from gittorrent.wire.mux import Mux
from gittorrent.wire.session import IN_MUX, Role, Timeouts

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from gittorrent.transfer.client_timeouts import ClientTimeouts
    from gittorrent.transfer.git_mirror import ConversationContext, GitMirror
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.stream import Stream
    from gittorrent.wire.urls import AddressClass, Endpoint

APART_SECONDS = 900.0
"""Time for which nothing is shared with a place that does not agree: it may get a newer version."""

MAX_APART = 1024
"""Places and repositories of which that is remembered."""

LINGER_SECONDS = 30.0
"""Time for which a connection without conversations is kept: the next call may come soon."""

_log = EventLog(__name__)


class _Place(NamedTuple):
    """What leads to one node, with the kind of address it was learned from."""

    scheme: str
    host: str
    port: int
    trusted: AddressClass | None


class SharedStream(Struct, frozen=True):
    """One conversation's share of a connection: what `GitMirror` needs of a stream.

    Args:
        sock: the share.
        own_address: IP address of ours that the connection leaves from.
        address: IP address that it leads to.
    """

    sock: MuxChannel
    own_address: str
    address: str

    @property
    def timeouts(self) -> Timeouts:
        """How long silence may last in it."""
        return IN_MUX

    async def let_end(self) -> None:
        """Nothing is to be waited for: the connection goes on."""


class _Line(Struct):
    """A connection, and where it leads."""

    stream: Stream
    connection: MuxConnection


class SharedConnections:
    """The connections; used inside a running event loop.

    Args:
        limits: of all sending.
        client_timeouts: how long others are waited for.
    """

    def __init__(self, limits: Limits, client_timeouts: ClientTimeouts) -> None:
        self._limits = limits
        self._client_timeouts = client_timeouts
        self._lines: dict[_Place, asyncio.Task[_Line]] = {}
        self._apart: dict[_Place | str, float] = {}
        self._tasks = TaskSet()

    def __len__(self) -> int:
        """Return how many connections there are, or will be."""
        return len(self._lines)

    async def converse(
        self, endpoint: Endpoint, context: ConversationContext, trusted: AddressClass | None
    ) -> GitMirror:
        """Begin a conversation with a mirror, on a connection with others if it agrees.

        Args:
            endpoint: where it is.
            context: what conversations share.
            trusted: kind of address the endpoint was learned from; None if the user named it.

        Raises:
            NoConversationError: what answers there serves files and nothing else.
            GitTorrentError: it cannot be reached, or does not speak this protocol.
        """
        stream = await self._share(endpoint, trusted)
        if stream is None:
            return await converse(endpoint, context, trusted)
        try:
            return await begin_conversation(endpoint.url, stream, context)
        except MirrorLostError:
            if not stream.sock.was_refused:
                raise
        # It may be given to those who prove something, which is done for a connection as a whole.
        self._note_apart(endpoint.url)
        return await converse(endpoint, context, trusted)

    async def stop(self) -> None:
        """Hang up all connections."""
        await self._tasks.stop()

    async def _share(self, endpoint: Endpoint, trusted: AddressClass | None) -> SharedStream | None:
        """Return a share of a connection; None where there is none to be had."""
        place = _Place(endpoint.scheme, endpoint.host, endpoint.port, trusted)
        if self._is_apart(place) or self._is_apart(endpoint.url):
            return None
        found = self._lines.get(place)
        if found is None:
            found = self._lines[place] = self._start(self._connect(place, endpoint))
        try:
            line = await asyncio.shield(found)
        except NoConversationError as error:
            _log.debug("not-shared", "{place} shares no connection: {reason}",
                       place=endpoint.url, reason=error)  # fmt: skip
            self._note_apart(place)
            return None
        connection = line.connection
        if connection.is_over or connection.is_full:
            return None
        channel = connection.open(unquote_to_bytes(endpoint.path))
        return SharedStream(channel, line.stream.own_address, line.stream.address)

    def _start(self, work: Coroutine[Any, Any, _Line]) -> asyncio.Task[_Line]:
        task = self._tasks.start(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _connect(self, place: _Place, endpoint: Endpoint) -> _Line:
        """Connect, and agree on sharing; forgets the connection when it is over."""
        try:
            stream = await transport_of(endpoint).call_mux(
                endpoint, place.trusted, self._client_timeouts
            )
            mux = Mux(Role.CALLER, asyncio.get_running_loop().time())
            limiter = self._limits.sending_to(stream.address)
            connection = MuxConnection(stream.sock, mux, limiter, at_once, SERVER_TIMEOUTS)
            running = self._tasks.start(self._run(place, _Line(stream, connection)))
            try:
                async with asyncio.timeout(self._client_timeouts.answer):
                    await connection.agreed
            except OSError as error:  # of which a time that is over is one
                running.cancel()
                await asyncio.wait([running])
                reason = connection.ended or str(error) or "it does not answer"
                raise NoConversationError(f"{endpoint.url}: {reason}") from error
        except BaseException:
            self._lines.pop(place, None)
            raise
        return _Line(stream, connection)

    async def _run(self, place: _Place, line: _Line) -> None:
        connection = line.connection
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def end_if_unused() -> None:
            if not connection.channels:
                connection.end("nobody uses it any more")

        def on_empty() -> None:
            nonlocal timer
            if timer is not None:
                timer.cancel()
            timer = loop.call_later(LINGER_SECONDS, end_if_unused)

        connection.on_empty = on_empty
        try:
            await connection.run()
        finally:
            if timer is not None:
                timer.cancel()
            if connection.agreed.done():
                self._lines.pop(place, None)
            await line.stream.let_end()

    def _is_apart(self, what: _Place | str) -> bool:
        until = self._apart.get(what)
        if until is not None and until <= asyncio.get_running_loop().time():
            del self._apart[what]
            until = None
        return until is not None

    def _note_apart(self, what: _Place | str) -> None:
        self._apart.pop(what, None)
        self._apart[what] = asyncio.get_running_loop().time() + APART_SECONDS
        while len(self._apart) > MAX_APART:
            del self._apart[next(iter(self._apart))]
