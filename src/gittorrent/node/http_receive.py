"""Git's smart HTTP protocol, for pushing: receive-pack behind two URLs.

Tracks nothing between requests: what was offered for signing says itself what it was. A request's
body (compressed or not, in chunks or whole) streams to where pushes are received, and the answer
streams back.

Rules: a body is bounded, and a caller that does not go on with it is cut off; refusals are lines
that git shows to its user. Source: gitprotocol-http(5); docs/protocol/push.md, Depot.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from gittorrent.errors import ProtocolError
from gittorrent.node.caller_watch import MAX_SECONDS
from gittorrent.node.git_turns import BusyError
from gittorrent.node.http_body import is_readable, read_body
from gittorrent.node.http_smart import CHUNK, look_at_caller, protocol_of, response_of
from gittorrent.node.http_static import caller_of, send_bytes
from gittorrent.node.pushes import BUSY
from gittorrent.push.depot.advertisement import SERVICE
from gittorrent.push.depot.report import encode_fatal
from gittorrent.push.depot.request import MAX_REQUEST
from gittorrent.repository.uploads import MAX_PUSHED
from gittorrent.transfer.static_files import media_type
from gittorrent.wire import pktline

if TYPE_CHECKING:
    from gittorrent.node.catalogue import Served
    from gittorrent.node.pushes import Pushes
    from gittorrent.transfer.limiter import Limits

MAX_BODY = MAX_PUSHED + 2 * MAX_REQUEST
"""Bytes of a request after inflating: a pack, and what is said before it with its framing."""

REQUEST_TYPE = "application/x-git-receive-pack-request"
RESULT_TYPE = "application/x-git-receive-pack-result"
ADVERTISEMENT_TYPE = "application/x-git-receive-pack-advertisement"


class HttpReceivePack:
    """Answers pushes.

    Args:
        pushes: takes them.
        limits: of all sending, and of sending to each caller.
    """

    def __init__(self, pushes: Pushes, limits: Limits) -> None:
        self._pushes = pushes
        self._limits = limits
        self.takes = pushes.takes

    async def info_refs(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        """Answer ``GET info/refs?service=git-receive-pack``."""
        said = await self._pushes.greeting(served, protocol_of(request))
        response = response_of(ADVERTISEMENT_TYPE, served)
        await response.prepare(request)
        limiter = self._limits.sending_to(caller_of(request))
        await send_bytes(response, pktline.encode_lines([SERVICE]) + said, limiter)
        await response.write_eof()
        return response

    async def receive_pack(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        """Answer ``POST git-receive-pack``."""
        if media_type(request.headers.get("Content-Type")) != REQUEST_TYPE:
            return web.Response(status=415, text=f"the body must be {REQUEST_TYPE}\n")
        if not is_readable(request):
            return web.Response(status=415, text="the body must be plain or gzip\n")
        response = response_of(RESULT_TYPE, served)
        address = caller_of(request)
        try:
            refusal = await self._pushes.in_turn(
                lambda: self._exchange(request, response, served, address),
                address,
                lambda: look_at_caller(request),
            )
        except BusyError:
            refusal = BUSY
        if not response.prepared:
            await response.prepare(request)
        if refusal:
            # What it can do was not heard; every git that signs pushes can do that.
            said = encode_fatal(refusal, {b"side-band-64k"})
            await send_bytes(response, said, self._limits.sending_to(address))
        await response.write_eof()
        return response

    async def _exchange(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        served: Served,
        address: str,
    ) -> str:
        """Pass body and answer on; returns what was wrong with the body, if nothing was answered.

        The answer begins when there is some: a caller that sends need not read meanwhile.
        """
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        limiter = self._limits.sending_to(address)
        with ours, theirs:
            receiving = loop.create_task(self._receive(served, theirs, address))
            feeding = loop.create_task(_feed(request, ours))
            has_answered = False
            try:
                while data := await loop.sock_recv(ours, CHUNK):
                    if not has_answered:
                        await response.prepare(request)
                        has_answered = True
                    await send_bytes(response, data, limiter)
                await receiving
            finally:
                feeding.cancel()
                receiving.cancel()
                await asyncio.gather(feeding, receiving, return_exceptions=True)
        if has_answered or feeding.cancelled():
            return ""
        return feeding.result()

    async def _receive(self, served: Served, theirs: socket.socket, address: str) -> None:
        """Hear a push to its end, and end the answer with it."""
        try:
            await self._pushes.receive(served, theirs, address)
        finally:
            with contextlib.suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)


async def _feed(request: web.BaseRequest, ours: socket.socket) -> str:
    """Pass a request's body on, then close that direction; returns what is wrong with the body."""
    loop = asyncio.get_running_loop()
    fault = ""
    try:
        async for data in read_body(request, MAX_BODY, MAX_SECONDS):
            await loop.sock_sendall(ours, data)
    except (ProtocolError, TimeoutError) as error:
        fault = str(error) or "the request did not come in time"
    except OSError:
        return ""  # no more of it is wanted
    with contextlib.suppress(OSError):
        ours.shutdown(socket.SHUT_WR)
    return fault
