"""Gives answers for CI jobs to the nodes of other runners, over HTTP.

Tracks what is made for them, and who has got what. Rules: only for who knows the secret; only of
upstreams that are allowed here and that anybody may read, by the upstream's word of a moment ago,
whatever is kept here; each request counts once; nobody waits in a request for longer
than a moment before it gets some of the answer: whoever asks is told to ask again. A large answer
goes to few runners at a time, while it comes here, and who asks meanwhile is sent to those that
get it or have it by then, so that it spreads as fast as it can.
Source: `gittorrent.wire.ci_fleet`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from typing import TYPE_CHECKING

from aiohttp import web
from msgspec import Struct, field

from gittorrent.errors import GitTorrentError, ProtocolError
from gittorrent.event_log import EventLog
from gittorrent.node.ci_flow import BrokenOffError
from gittorrent.node.ci_owners import OWNER
from gittorrent.node.ci_promised import Promised
from gittorrent.node.http_body import read_body
from gittorrent.node.http_connections import connection_of
from gittorrent.node.http_static import caller_of, send_bytes
from gittorrent.wire.ci_fleet import (
    ANOTHER_START,
    ANSWER_HEADER,
    ANSWER_PATH,
    ANSWER_SIZE,
    ANY_START,
    AT_HEADER,
    BROKEN_OFF,
    KEPT_HEADER,
    MAX_SKEW,
    MEMBER_PATH,
    REFS_PATH,
    REQUEST_HEADER,
    Asked,
    NotAMemberError,
    check_request,
    encode_member,
    parse_body,
    parse_refs_body,
    sign_answer,
)
from gittorrent.wire.ci_replays import Replays
from gittorrent.wire.ci_urls import CiUrlError, is_allowed
from gittorrent.wire.upload_requests import MAX_REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.node.ci_flow import Reader
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

LARGE = 256 << 10
"""Bytes of an answer that goes to few runners at a time: a smaller one is gone in a moment."""

AT_ONCE = 2
"""Runners to which a large answer goes at once; others take it from these, while it comes."""

SLOW_SECONDS = 20.0
"""Time after which a runner that takes an answer keeps others waiting no more."""

MAX_KNOWN = 1000
"""Answers of which it is remembered who has them."""

_CHUNK = 1 << 20

_log = EventLog(__name__)


class _Getting(Struct):
    """Since when a node gets an answer, and where others get it from that node; empty: nowhere."""

    since: float
    address: str


class _Spread(Struct):
    """Who has an answer, who is getting it, and who was sent to whom last."""

    holders: list[str] = field(default_factory=list)
    getting: dict[int, _Getting] = field(default_factory=dict)
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
        self._start = secrets.token_hex(16)
        self._replays = Replays(2 * MAX_SKEW)
        self._address_of = address_of
        self._limits = limits
        self._promised = Promised()
        self._spreads: dict[str, _Spread] = {}
        self._number = 0

    async def stop(self) -> None:
        """End what is made for others."""
        await self._promised.stop()

    async def serve(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer a request for a path below ``/.gittorrent/ci/``."""
        connection = connection_of(request)
        connection.slot.mark_idle(asyncio.get_running_loop().time())
        asked = Asked(request.method, path, is_kept=KEPT_HEADER in request.headers)
        is_first = asked == Asked("GET", MEMBER_PATH)
        try:
            header = request.headers.get(REQUEST_HEADER, "")
            signed = check_request(self._secret, header, int(time.time()), asked)
            if signed.to != (ANY_START if is_first else self._start):
                return _text("this node was started anew: ask it what it is called", ANOTHER_START)
            # Of somebody who does not know the secret no body is read.
            body = b"".join([data async for data in read_body(request, MAX_BODY, BODY_SECONDS)])
            signed.require(body)
            if not is_first:
                self._require_new(signed)
        except NotAMemberError as error:
            _log.info("ci-refused", "refused {peer}: {reason}", peer=caller_of(request),
                      reason=error)  # fmt: skip
            return _text(str(error), 403)
        except (ProtocolError, TimeoutError) as error:
            return _text(str(error) or "the request did not come in time", 400)
        connection.is_served()
        OWNER.set(("fleet", signed.member, "", ""))
        if is_first:
            return self._member(signed)
        if asked == Asked("POST", REFS_PATH):
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

    def _require_new(self, signed: Signed) -> None:
        """Make sure that a request is made for the first time.

        Raises:
            NotAMemberError: somebody heard it, and makes it again.
        """
        sender, now = signed.sender, asyncio.get_running_loop().time()
        if not self._replays.is_new(sender.session, sender.number, now):
            raise NotAMemberError("this request was made before")

    def _member(self, signed: Signed) -> web.Response:
        text = encode_member(self._own, self._start)
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
        digest, is_sent = wanted.digest(url), KEPT_HEADER in request.headers
        try:
            async with asyncio.timeout(REFS_SECONDS):
                await self._service.refs.confirm(url)
        except (GitTorrentError, OSError, TimeoutError) as error:
            return _text(str(error) or "the upstream takes too long", 502)
        found = await self._service.kept(url, digest, only_own=not is_sent)
        if found is None and is_sent:
            return _text("not here any more", 404)
        if found is None:
            failure = await self._make(url, wanted, digest)
            if failure is not None:
                return failure
            found = await self._service.kept(url, digest, only_own=True)
        if found is None:
            return _later()
        with contextlib.closing(found):
            return await self._spread(request, signed, digest, found)

    async def _make(self, url: str, wanted: UploadRequest, digest: str) -> web.Response | None:
        """Have an answer made, and wait until some of it is there; returns what to say if not."""
        task = self._promised.make(
            digest, lambda: self._service.make_for_others(url, wanted, digest)
        )
        await self._service.until_begun(digest, task, MOMENT_SECONDS)
        if not task.done():
            return None
        self._promised.forget(digest, task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return None
        return _text(str(error), 502)

    async def _spread(
        self, request: web.BaseRequest, signed: Signed, digest: str, reader: Reader
    ) -> web.StreamResponse:
        """Send an answer, or say who has it, or gets it from here."""
        spread = self._spreads.setdefault(digest, _Spread())
        while len(self._spreads) > MAX_KNOWN:
            del self._spreads[next(iter(self._spreads))]
        now = asyncio.get_running_loop().time()
        asker = self._address_of(signed.member) or ""
        busy = [each for each in spread.getting.values() if now - each.since < SLOW_SECONDS]
        is_large = reader.size >= LARGE or not reader.is_whole
        if is_large and len(busy) >= AT_ONCE:
            known = [*spread.holders, *(each.address for each in busy)]
            others = [each for each in known if each and each != asker]
            spread.next += 1
            return _later(others[spread.next % len(others)] if others else "")
        self._number += 1
        number = self._number
        spread.getting[number] = _Getting(now, asker)
        try:
            response = await self._send(request, signed, reader)
        finally:
            del spread.getting[number]
        if asker and asker not in spread.holders:
            spread.holders.append(asker)
        return response

    async def _send(
        self, request: web.BaseRequest, signed: Signed, reader: Reader
    ) -> web.StreamResponse:
        """Send an answer as it comes, and at its end the code of it."""
        headers = {"Cache-Control": "no-store", "Content-Type": "application/octet-stream"}
        response = web.StreamResponse(headers=headers)
        if reader.is_whole:
            response.content_length = reader.size + ANSWER_SIZE
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        limiter = self._limits.sending_to(caller_of(request))
        at, code = 0, hashlib.sha256()
        try:
            while count := await reader.more(at):
                data = await self._service.read(reader.descriptor, at, min(count, _CHUNK))
                await send_bytes(response, data, limiter)
                code.update(data)
                at += len(data)
            end = sign_answer(self._secret, signed.code, code.hexdigest())
        except BrokenOffError:
            # It did not come here either; that this node is there is not in doubt.
            end = BROKEN_OFF
        await send_bytes(response, end.encode("ascii"), limiter)
        await response.write_eof()
        return response


MAX_BODY = MAX_REQUEST + 4096
"""Bytes of a request of another runner's: git's request, and a URL."""


def _later(address: str = "") -> web.Response:
    headers = {AT_HEADER: address} if address else {}
    return web.Response(status=202, text="ask again\n", headers=headers)


def _text(text: str, status: int) -> web.Response:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return web.Response(status=status, text=f"{text}\n", headers=headers)
