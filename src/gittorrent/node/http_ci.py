"""Gives answers for CI jobs to the nodes of other runners, over HTTP.

Tracks what is made for them, and who has got what. Rules: only for who knows the secret; only of
upstreams that are allowed here and that anybody may read; nobody waits in a request for longer
than a moment: whoever asks is told to ask again. A large answer goes to one runner at a time, and
who asks meanwhile is sent to those that have it by then, so that it spreads as fast as it can.
Source: `gittorrent.wire.ci_fleet`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from typing import TYPE_CHECKING

from aiohttp import web
from msgspec import Struct, field

from gittorrent.errors import GitTorrentError, ProtocolError
from gittorrent.event_log import EventLog
from gittorrent.node.http_body import read_body
from gittorrent.node.http_connections import connection_of
from gittorrent.node.http_static import caller_of, send_bytes
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.ci_fleet import (
    ANSWER_HEADER,
    ANSWER_PATH,
    AT_HEADER,
    KEPT_HEADER,
    MEMBER_PATH,
    REFS_PATH,
    REQUEST_HEADER,
    NotAMemberError,
    check_request,
    parse_body,
    parse_refs_body,
    sign_answer,
)
from gittorrent.wire.ci_urls import CiUrlError, is_allowed
from gittorrent.wire.upload_requests import MAX_REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.node.ci_service import CiService
    from gittorrent.transfer.limiter import Limits
    from gittorrent.wire.ci_fleet import Signed
    from gittorrent.wire.upload_requests import UploadRequest

MOMENT_SECONDS = 2.0
"""Time that a request waits for an answer that is being made."""

BODY_SECONDS = 30.0
"""Time for a request to come whole."""

REFS_SECONDS = 15.0
"""Time for an upstream to list refs for another runner, which asks itself then."""

LARGE = 4 << 20
"""Bytes of an answer that goes to one runner at a time: a smaller one is gone in a moment."""

SLOW_SECONDS = 20.0
"""Time after which a runner that takes an answer keeps others waiting no more."""

MAX_KNOWN = 1000
"""Answers of which it is remembered who has them."""

_CHUNK = 1 << 20

_log = EventLog(__name__)


class _Spread(Struct):
    """Who has an answer, who is getting it since when, and who was sent to whom last."""

    holders: list[str] = field(default_factory=list)
    getting: dict[int, float] = field(default_factory=dict)
    next: int = 0


class HttpCi:
    """Answers the nodes of other runners; used inside a running event loop.

    Args:
        service: has the answers.
        secret: that the runners share.
        own: name of this node.
        address_of: returns where a node is reached, by its name.
        limits: of all sending.
    """

    def __init__(
        self,
        service: CiService,
        secret: bytes,
        own: str,
        address_of: Callable[[str], str | None],
        limits: Limits,
    ) -> None:
        self._service = service
        self._secret = secret
        self._own = own
        self._address_of = address_of
        self._limits = limits
        self._tasks = TaskSet()
        self._making: dict[str, asyncio.Task[None]] = {}
        self._spreads: dict[str, _Spread] = {}
        self._number = 0

    async def stop(self) -> None:
        """End what is made for others."""
        await self._tasks.stop()

    async def serve(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer a request for a path below ``/.gittorrent/ci/``."""
        connection = connection_of(request)
        connection.slot.mark_idle(asyncio.get_running_loop().time())
        try:
            body = b"".join([data async for data in read_body(request, MAX_BODY, BODY_SECONDS)])
            header = request.headers.get(REQUEST_HEADER, "")
            signed = check_request(self._secret, header, int(time.time()), path, body)
        except NotAMemberError as error:
            _log.info("ci-refused", "refused {peer}: {reason}", peer=caller_of(request),
                      reason=error)  # fmt: skip
            return _text(str(error), 403)
        except (ProtocolError, TimeoutError) as error:
            return _text(str(error) or "the request did not come in time", 400)
        connection.is_served()
        if path == MEMBER_PATH and request.method == "GET":
            return self._member(signed)
        if path == REFS_PATH and request.method == "POST":
            return await self._refs(signed, body)
        if path != ANSWER_PATH or request.method != "POST":
            return _text("not here", 404)
        try:
            url, wanted = parse_body(body)
        except (ProtocolError, CiUrlError) as error:
            return _text(str(error), 400)
        if not is_allowed(url, self._service.config.allow) or not wanted.is_from_nothing:
            return _text(f"{url} is not allowed here", 404)
        return await self._answer(request, signed, url, wanted)

    def _member(self, signed: Signed) -> web.Response:
        text = f"{self._own}\n".encode()
        digest = hashlib.sha256(text).hexdigest()
        headers = {ANSWER_HEADER: sign_answer(self._secret, signed.code, digest)}
        return web.Response(body=text, headers=headers)

    async def _refs(self, signed: Signed, body: bytes) -> web.Response:
        """Say what a public upstream says now, for a runner whose operator wants that shared."""
        try:
            url, wanted = parse_refs_body(body)
        except (ProtocolError, CiUrlError) as error:
            return _text(str(error), 400)
        try:
            async with asyncio.timeout(REFS_SECONDS):
                found = (await self._service.refs.for_others(url, wanted)).encode()
        except (GitTorrentError, OSError, TimeoutError) as error:
            return _text(str(error) or "the upstream takes too long", 502)
        digest = hashlib.sha256(found).hexdigest()
        headers = {ANSWER_HEADER: sign_answer(self._secret, signed.code, digest)}
        return web.Response(body=found, headers=headers | {"Cache-Control": "no-store"})

    async def _answer(
        self, request: web.BaseRequest, signed: Signed, url: str, wanted: UploadRequest
    ) -> web.StreamResponse:
        digest = wanted.digest(url)
        found = await self._service.kept(url, digest)
        if found is None and KEPT_HEADER in request.headers:
            return _text("not here any more", 404)
        if found is None:
            failure = await self._make(url, wanted, digest)
            if failure is not None:
                return failure
            found = await self._service.kept(url, digest)
        if found is None:
            return _later()
        try:
            return await self._spread(request, signed, digest, found)
        finally:
            os.close(found)

    async def _make(self, url: str, wanted: UploadRequest, digest: str) -> web.Response | None:
        """Have an answer made; returns what to say while it is not there, or if it failed."""
        task = self._making.get(digest)
        if task is None:
            task = self._tasks.start(self._service.make_for_others(url, wanted, digest))
            self._making[digest] = task
        await asyncio.wait([task], timeout=MOMENT_SECONDS)
        if not task.done():
            return _later()
        self._making.pop(digest, None)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return None
        if not isinstance(error, GitTorrentError | OSError):
            _log.error("failed", "answering another runner failed: {reason}", reason=repr(error))
        return _text(str(error), 502)

    async def _spread(
        self, request: web.BaseRequest, signed: Signed, digest: str, descriptor: int
    ) -> web.StreamResponse:
        """Send an answer, or say who has it."""
        size = os.fstat(descriptor).st_size
        spread = self._spreads.setdefault(digest, _Spread())
        while len(self._spreads) > MAX_KNOWN:
            del self._spreads[next(iter(self._spreads))]
        now = asyncio.get_running_loop().time()
        busy = [since for since in spread.getting.values() if now - since < SLOW_SECONDS]
        if size >= LARGE and busy:
            others = [each for each in spread.holders if each != self._address_of(signed.member)]
            spread.next += 1
            return _later(others[spread.next % len(others)] if others else "")
        self._number += 1
        number = self._number
        spread.getting[number] = now
        try:
            response = await self._send(request, signed, descriptor, size)
        finally:
            del spread.getting[number]
        address = self._address_of(signed.member)
        if address is not None and address not in spread.holders:
            spread.holders.append(address)
        return response

    async def _send(
        self, request: web.BaseRequest, signed: Signed, descriptor: int, size: int
    ) -> web.StreamResponse:
        digest = await self._service.digest_of(descriptor)
        headers = {
            ANSWER_HEADER: sign_answer(self._secret, signed.code, digest),
            "Cache-Control": "no-store",
            "Content-Type": "application/octet-stream",
        }
        response = web.StreamResponse(headers=headers)
        response.content_length = size
        await response.prepare(request)
        limiter = self._limits.sending_to(caller_of(request))
        at = 0
        while data := await self._service.read(descriptor, at, _CHUNK):
            await send_bytes(response, data, limiter)
            at += len(data)
        return response


MAX_BODY = MAX_REQUEST + 4096
"""Bytes of a request of another runner's: git's request, and a URL."""


def _later(address: str = "") -> web.Response:
    headers = {AT_HEADER: address} if address else {}
    return web.Response(status=202, text="ask again\n", headers=headers)


def _text(text: str, status: int) -> web.Response:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return web.Response(status=status, text=f"{text}\n", headers=headers)
