"""HTTP on connections that were let in: one request after another, none of them without end.

Tracks each connection's `ConnectionSlot` and since when it has had nothing under way. Rules: a
connection that sends no whole request in time is dropped, the first time and between requests, and
so is one that does not take the rest of an answer. Must not know what is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gittorrent.event_log import EventLog
from gittorrent.node.access import STRANGER
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable

    from gittorrent.node.connection_limiter import ConnectionSlot

STOP_SECONDS = 1.0
"""Time requests under way get when the node stops; the HTTP server takes it up to twice."""

MAX_LINE = 8190
"""Bytes of a request's first line that the HTTP parser takes."""

_log = EventLog(__name__)


class Connection(web.RequestHandler):
    """A connection that can be waited for."""

    __slots__ = ("access", "asked", "gone", "idle_since", "is_proxied", "slot", "sock")

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        slot: ConnectionSlot,
        keepalive: float,
        is_proxied: Callable[[], bool],
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=keepalive,
            access_log=None,  # type: ignore[arg-type]
            max_line_size=MAX_LINE,
            auto_decompress=False,  # it inflates without a bound
        )
        self.access = STRANGER  # of the request under way
        self.asked = False
        self.gone = asyncio.Event()
        self.idle_since: float | None = loop.time()
        self.is_proxied = is_proxied
        self.sock = sock
        self.slot = slot

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note the end."""
        super().connection_lost(exc)
        self.gone.set()

    def log_exception(self, *args: object, **kw: object) -> None:
        """Note what aiohttp could not do; what is no HTTP is the caller's fault, and told apart.

        Neither a traceback nor what was sent: anybody can send it, and it may hold a token. Who was
        lost is in the log already.
        """
        if isinstance(kw.get("exc_info"), ConnectionError):
            return
        if not isinstance(kw.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **kw)
            return
        self.asked = True
        reason = "what it sent is no HTTP request"
        _log.info("dropped", "dropped {peer}: {reason}", peer=self.slot.address, reason=reason)

    def is_served(self) -> None:
        """Note that a request is being carried out."""
        self.asked = True
        self.idle_since = None
        self.slot.is_served(self.sock)

    def mark_idle(self, now: float) -> None:
        """Note that it asks for nothing, or that its request is not whole yet."""
        self.idle_since = now
        self.slot.mark_idle(now)


def connection_of(request: web.BaseRequest) -> Connection:
    """Return the connection a request came on."""
    connection = request.protocol
    assert isinstance(connection, Connection)
    return connection


class HttpConnections:
    """Serves one connection after another; ``serve`` is run in a task for each.

    Args:
        handle: answers one request.
        server_timeouts: how long others are waited for.
        is_proxied: tells whether callers from this machine are a web server's, which says for whom.
    """

    def __init__(
        self,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        server_timeouts: ServerTimeouts = SERVER_TIMEOUTS,
        is_proxied: Callable[[], bool] = lambda: False,
    ) -> None:
        self._handle = handle
        self._is_proxied = is_proxied
        self._server_timeouts = server_timeouts
        self._server: web.Server | None = None
        self._answering: set[asyncio.Task[object]] = set()

    async def stop(self) -> None:
        """End all connections, and wait for what requests on those that are gone still do."""
        if self._server is not None:
            await self._server.shutdown(STOP_SECONDS)
        if self._answering:
            await asyncio.wait(self._answering, timeout=STOP_SECONDS)
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def serve(
        self, sock: socket.socket, slot: ConnectionSlot, tls: ssl.SSLContext | None = None
    ) -> None:
        """Serve one connection until it ends.

        Args:
            sock: the connection, not blocking.
            slot: the caller's; told when it is being served.
            tls: how TLS is spoken there; None for plain HTTP.
        """
        loop = asyncio.get_running_loop()
        server = self._server or web.Server(self._answer, handler_cancellation=True)
        self._server = server
        transport, connection = await loop.connect_accepted_socket(
            lambda: Connection(
                server, loop, sock, slot, self._server_timeouts.request, self._is_proxied
            ),
            sock,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else self._server_timeouts.request,
            ssl_shutdown_timeout=None if tls is None else STOP_SECONDS,
        )
        try:
            await self._until_idle(connection)
            if not connection.asked:
                _log.info(
                    "dropped",
                    "dropped {peer}: {reason}",
                    peer=slot.address,
                    reason="it sent no request",
                )
        finally:
            transport.abort()

    async def _until_idle(self, connection: Connection) -> None:
        """Wait until a connection is gone, or has had nothing under way for too long.

        aiohttp closes idle ones itself, but waits until the other end has taken what is left.
        """
        loop = asyncio.get_running_loop()
        while not connection.gone.is_set():
            since = connection.idle_since
            left = self._server_timeouts.request
            if since is not None:
                left += since - loop.time()
                if left <= 0:
                    return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await connection.gone.wait()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = connection_of(request)
        connection.is_served()
        if (task := asyncio.current_task()) is not None:
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        try:
            return await self._handle(request)
        finally:
            connection.mark_idle(asyncio.get_running_loop().time())

    async def finish(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Send what is left of an answer.

        Raises:
            TimeoutError: its caller does not take it.
        """
        async with asyncio.timeout(self._server_timeouts.taken):
            if not response.prepared:
                await response.prepare(request)
            await response.write_eof()
