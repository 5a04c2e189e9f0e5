"""The tracker: one HTTP resource in front of a `TrackerTable`, kept in a `TrackerStore`.

Refusals are bencoded failures with status 200, as clients of 2008 expect them; an address that asks
too often gets 503 and when to come back. Source: docs/protocol/gtp01.md, Tracker.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from gittorrent.errors import LocalError
from gittorrent.gtp.believed import ReferenceBook
from gittorrent.gtp.errors import TrackerError
from gittorrent.gtp.limits import MAX_TRACKER_REFERENCES
from gittorrent.gtp.messages import PeerAddress
from gittorrent.gtp.metainfo import MIME_TYPE
from gittorrent.gtp.tracker_messages import (
    NOBODY,
    TrackerAnswer,
    encode_failure,
    parse_request,
)
from gittorrent.gtp.tracker_table import TooManyRequestsError, TrackerTable
from gittorrent.node.connection_limiter import MAX_CONNECTIONS, ConnectionLimiter
from gittorrent.node.connections import accept_forever, open_listeners
from gittorrent.node.http_connections import HttpConnections
from gittorrent.node.http_pages import FROM_PAGE, is_from_page
from gittorrent.transfer.addresses import caller_group, plain_address, show_address
from gittorrent.transfer.off_loop import Threads
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts
from gittorrent.wire.urls import AddressClass, address_class

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from gittorrent.gtp.metainfo import Metainfo
    from gittorrent.gtp.node.tracker_store import TrackerStore

_log = logging.getLogger(__name__)

EXPIRE_SECONDS = 60.0
"""Time between two looks for peers whose time is over."""

WRITE_SECONDS = 2.0
"""Time an answer waits until its peer is written down."""


class TrackerServer:
    """A running tracker.

    Args:
        store: keeps the table over restarts.
        metainfos: repositories to track; none for any that is announced.
        clock: seconds since 1970.
        behind_proxy: whether the last address of X-Forwarded-For, which the proxy itself appends,
            counts as the client's; believed from loopback and private addresses only.
        server_timeouts: how long callers are waited for.
    """

    def __init__(
        self,
        store: TrackerStore,
        metainfos: Sequence[Metainfo] = (),
        clock: Callable[[], float] = time.time,
        *,
        behind_proxy: bool = False,
        server_timeouts: ServerTimeouts = SERVER_TIMEOUTS,
    ) -> None:
        self._store = store
        self._writing = Threads(1).executor(WRITE_SECONDS)
        self._clock = clock
        self._behind_proxy = behind_proxy
        known = frozenset(info.repo_hash for info in metainfos) or None
        self.table = TrackerTable(secrets.randbelow, caller_group, known)
        for info in metainfos:
            self.table.references[info.repo_hash] = newest_bodies(info)
        for entry in store.load(clock()):
            self.table.restore(entry)
        self._connections = HttpConnections(self._answer, server_timeouts)
        # Through a proxy all come from one address.
        self._connection_limiter = (
            ConnectionLimiter(per_address=MAX_CONNECTIONS) if behind_proxy else ConnectionLimiter()
        )
        self._listeners: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._callers: set[asyncio.Task[None]] = set()
        self.addresses: list[str] = []

    async def start(self, places: Sequence[tuple[str, int]]) -> None:
        """Begin to listen.

        Raises:
            CannotListenError: at one of the places.
        """
        try:
            for host, port in places:
                self._listeners += await open_listeners(host, port)
        except BaseException:
            for sock in self._listeners:
                sock.close()
            raise
        for sock in self._listeners:
            work = accept_forever(
                sock, self._connection_limiter, self._connections.serve, self._callers
            )
            self._tasks.append(asyncio.create_task(work))
            name = sock.getsockname()
            self.addresses.append(f"http://{show_address(str(name[0]), int(name[1]))}/")
        self._tasks.append(asyncio.create_task(self._expire_forever()))

    async def stop(self) -> None:
        """Stop listening."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._listeners:
            sock.close()
        await self._connections.stop()
        for caller in list(self._callers):
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method in ("GET", "HEAD"):
            response = await self._announce(request)
        else:
            response = _document(encode_failure("only GET means something"), 405)
        await self._connections.finish(request, response)
        return response

    async def _announce(self, request: web.BaseRequest) -> web.Response:
        if is_from_page(request.headers):
            # Or a page would have its readers' browsers announce them as peers.
            return _document(encode_failure(FROM_PAGE), 403)
        now = self._clock()
        try:
            source = self._source(request)
            self.table.admit(now, source)
            wanted = parse_request(request.rel_url.raw_query_string)
            answer, entry = self.table.announce(now, wanted, source)
        except TooManyRequestsError as error:
            headers = {"Retry-After": str(error.seconds)}
            return _document(encode_failure(str(error)), 503, headers)
        except TrackerError as error:
            return _document(encode_failure(str(error)))
        await self._write(
            partial(self._store.remove, wanted.repo_hash, wanted.peer_id)
            if entry is None
            else partial(self._store.put, entry)
        )
        return _document(answer.encode())

    async def _write(self, work: Callable[[], None]) -> None:
        """Have something written; where that fails, a restart forgets it, and that is all."""
        try:
            await self._writing(work)
        except LocalError as error:
            _log.warning("cannot keep a peer: %s", error)

    def _source(self, request: web.BaseRequest) -> str:
        """Return the address a request comes from.

        Raises:
            TrackerError: the proxy in front of us does not say it.
        """
        address = plain_address(request.remote or "127.0.0.1")
        if not self._behind_proxy:
            return address
        if address_class(address) not in (AddressClass.LOOPBACK, AddressClass.PRIVATE):
            return address  # that is no proxy of ours, so its header is a stranger's word
        return last_hop(request.headers.getall("X-Forwarded-For", []))

    async def _expire_forever(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_SECONDS)
            now = self._clock()
            for repo_hash in self.table.swarms():
                for gone in self.table.expire(now, repo_hash):
                    await self._write(partial(self._store.remove, repo_hash, gone.peer.peer_id))


def last_hop(headers: Sequence[str]) -> str:
    """Return the address that a proxy appended to X-Forwarded-For; the rest is the client's word.

    Args:
        headers: values of the header, as often as it was sent.

    Raises:
        TrackerError: the last one ends with no IP address.
    """
    last = headers[-1].rpartition(",")[2].strip() if headers else ""
    try:
        return plain_address(last)
    except ValueError:
        raise TrackerError(
            "the proxy of this tracker does not say who asks: no address ends X-Forwarded-For"
        ) from None


def newest_bodies(info: Metainfo) -> tuple[bytes, ...]:
    """Return the reference objects of a metainfo file, newest first."""
    return tuple(r.body for r in ReferenceBook(info).newest_first()[:MAX_TRACKER_REFERENCES])


def static_answer(info: Metainfo, peers: Sequence[tuple[str, int]]) -> bytes:
    """Return the content of a file that any web server can serve as a tracker.

    Args:
        info: of the repository.
        peers: that are always there.
    """
    known = tuple(PeerAddress(NOBODY, host, port) for host, port in peers)
    return TrackerAnswer(0, known, newest_bodies(info)).encode()


def _document(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type=MIME_TYPE)
