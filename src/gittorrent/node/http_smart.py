"""Git's smart HTTP protocol, for fetching: upload-pack behind two URLs.

Tracks nothing between requests. What is asked often is answered from what git said before
(`gittorrent.node.git_questions`). Otherwise request bodies (compressed or not) stream into git and
its answer streams out, each waiting for the other side, so memory stays flat whatever is asked.

Rules: only upload-pack; the version comes from the ``Git-Protocol`` header; git runs when it is
the caller's turn, and ends with the connection; refusals are ``ERR`` lines, which git shows to its
user. Source: gitprotocol-http(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from gittorrent.errors import ProtocolError
from gittorrent.node import upload_pack
from gittorrent.node.caller_watch import look_at
from gittorrent.node.git_questions import CAPABILITIES, PROTOCOL, REQUEST, Caller
from gittorrent.node.git_turns import BUSY, BusyError
from gittorrent.node.http_body import is_readable, read_body
from gittorrent.node.http_static import (
    PRIVATE,
    STALLED_SECONDS,
    caller_of,
    send_bytes,
    send_file,
)
from gittorrent.reel.pack import FilePiece
from gittorrent.transfer.static_files import BUNDLES, media_type
from gittorrent.wire import notify, pktline

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from gittorrent.node.answer_bytes import AnswerReader
    from gittorrent.node.caller_watch import Look
    from gittorrent.node.catalogue import Served
    from gittorrent.node.git_processes import GitProcesses
    from gittorrent.node.git_questions import Gathering
    from gittorrent.transfer.limiter import Limiter, Limits

CHUNK = 64 << 10
"""Bytes taken from git at a time."""

REQUEST_TYPE = "application/x-git-upload-pack-request"
RESULT_TYPE = "application/x-git-upload-pack-result"
ADVERTISEMENT_TYPE = "application/x-git-upload-pack-advertisement"

LATE = "the request did not come in time"

LOOK_SECONDS = 1.0
"""Seconds between two checks whether a caller is still there, while it waits for git."""

_NO_CACHE = {
    "Cache-Control": "no-cache, max-age=0, must-revalidate",
    "Expires": "Fri, 01 Jan 1980 00:00:00 GMT",
    "Pragma": "no-cache",
}


class SmartHttp:
    """Answers fetches.

    Args:
        git_processes: runs git.
        limits: of all sending, and of sending to each caller.
    """

    def __init__(self, git_processes: GitProcesses, limits: Limits) -> None:
        self._git_processes = git_processes
        self._questions = git_processes.questions
        self._limits = limits

    async def info_refs(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        """Answer ``GET info/refs?service=git-upload-pack``."""
        protocol = protocol_of(request)
        response = response_of(ADVERTISEMENT_TYPE, served)
        if protocol == PROTOCOL and self._questions.is_on:
            reading = await self._questions.capabilities(_asking(request, served))
            await self._answer(request, response, reading)
            return response
        prelude = b""
        if protocol != PROTOCOL:
            prelude = pktline.encode_lines([b"# service=git-upload-pack\n"])
        await self._run(request, response, served, CAPABILITIES, prelude, read_body(request))
        return response

    async def upload_pack(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        """Answer ``POST git-upload-pack``."""
        if media_type(request.headers.get("Content-Type")) != REQUEST_TYPE:
            return web.Response(status=415, text=f"the body must be {REQUEST_TYPE}\n")
        if not is_readable(request):
            return web.Response(status=415, text="the body must be plain or gzip\n")
        response = response_of(RESULT_TYPE, served)
        body = read_body(request)
        if protocol_of(request) == PROTOCOL and self._questions.is_on:
            with self._questions.gathering() as gathering:
                try:
                    is_whole = await _gather(gathering, body)
                except (ProtocolError, TimeoutError) as error:
                    await self._refuse(request, response, str(error) or LATE)
                    return response
                data = bytes(gathering.data)
                if is_whole:
                    reading = await self._questions.answer(_asking(request, served), data)
                    if reading is not None:
                        del data
                        await self._answer(request, response, reading, gathering)
                        return response
            body = _again(data, body)
        await self._run(request, response, served, REQUEST, b"", body)
        return response

    async def _answer(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        reading: AbstractAsyncContextManager[AnswerReader],
        gathering: Gathering | None = None,
    ) -> None:
        """Send an answer that others get as well."""
        try:
            async with reading as reader:
                if gathering is not None:
                    gathering.clear()
                await _send_answer(
                    request, response, reader, self._limits.sending_to(caller_of(request))
                )
        except BusyError:
            await self._refuse(request, response, BUSY)
            return
        await response.write_eof()

    async def _refuse(
        self, request: web.BaseRequest, response: web.StreamResponse, reason: str
    ) -> None:
        """Tell a caller, in place of an answer, why there is none."""
        limiter = self._limits.sending_to(caller_of(request))
        await response.prepare(request)
        await send_bytes(response, pktline.encode(notify.encode_refusal(reason)), limiter)
        await response.write_eof()

    async def _run(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        served: Served,
        options: tuple[str, ...],
        prelude: bytes,
        body: AsyncIterator[bytes],
    ) -> None:
        """Run upload-pack between the request's body and the response, when it is time."""
        address = caller_of(request)
        try:
            async with contextlib.AsyncExitStack() as turn:
                await turn.enter_async_context(self._git_processes.turns.turn(address))
                sent, refusal = await self._exchange(
                    request, response, served, options, prelude, body, turn
                )
        except BusyError:
            await self._refuse(request, response, BUSY)
            return
        if refusal is not None and sent == 0:
            limiter = self._limits.sending_to(address)
            await send_bytes(response, pktline.encode(notify.encode_refusal(refusal)), limiter)
        await response.write_eof()

    async def _exchange(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        served: Served,
        options: tuple[str, ...],
        prelude: bytes,
        body: AsyncIterator[bytes],
        turn: contextlib.AsyncExitStack,
    ) -> tuple[int, str | None]:
        """Let git answer; returns the bytes it sent, and what was wrong with the request.

        The ``turn`` is given back when git has ended: what it said last goes out without one.
        """
        prepared = await self._git_processes.prepare(
            served, protocol_of(request), *options, bundles_at=BUNDLES
        )
        loop = asyncio.get_running_loop()
        why_end = self._git_processes.judge(caller_of(request), lambda: look_at_caller(request))
        ours, process = self._git_processes.start_on_pair(prepared)

        async def watch() -> str | None:
            reason = await self._git_processes.wait(process, why_end)
            await turn.aclose()
            return reason

        with ours:
            feeding = loop.create_task(self._feed(body, ours, process))
            watching = loop.create_task(watch())
            try:
                limiter = self._limits.sending_to(caller_of(request))
                await response.prepare(request)
                await send_bytes(response, prelude, limiter)
                sent = await _pass_on(ours, response, limiter)
                reason = await watching
            finally:
                feeding.cancel()
                watching.cancel()
                await asyncio.gather(feeding, watching, return_exceptions=True)
                await self._git_processes.end(process)
        if reason is not None:
            raise ConnectionResetError(reason)
        return sent, feeding.result() if feeding.done() and not feeding.cancelled() else None

    async def _feed(
        self, body: AsyncIterator[bytes], ours: socket.socket, process: subprocess.Popen[bytes]
    ) -> str | None:
        """Pass a request's body on to git, then close that direction.

        Returns:
            What is wrong with the body; git has been made to end then.
        """
        loop = asyncio.get_running_loop()
        try:
            async for data in body:
                await loop.sock_sendall(ours, data)
        except (ProtocolError, TimeoutError) as error:
            self._git_processes.terminate(process)
            return str(error) or LATE
        except OSError:
            return None  # git wants no more of it
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_WR)
        return None


def look_at_caller(request: web.BaseRequest) -> Look | None:
    """Return what the kernel tells of a request's connection; None where it does not."""
    sock = request.transport and request.transport.get_extra_info("socket")
    return look_at(sock) if sock else None


def _asking(request: web.BaseRequest, served: Served) -> Caller:
    """Return who asks."""

    def is_gone() -> bool:
        return request.transport is None or request.transport.is_closing()

    return Caller(served, caller_of(request), BUNDLES, is_gone)


async def _gather(gathering: Gathering, body: AsyncIterator[bytes]) -> bool:
    """Gather a body; tells whether that is all of it, since it may be too long."""
    async for data in body:
        gathering.add(data)
        if not gathering.has_room:
            return False
    return True


async def _again(first: bytes, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what was gathered of a body, and the rest of it."""
    yield first
    async for data in body:
        yield data


async def _send_answer(
    request: web.BaseRequest,
    response: web.StreamResponse,
    reader: AnswerReader,
    limiter: Limiter,
) -> None:
    """Send an answer as it comes; by sendfile where its length is known and nothing encrypts it."""

    async def wait() -> None:
        await reader.wait(LOOK_SECONDS)
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the caller has gone")

    while not reader.ready and not reader.is_done:  # so that what fails at once is an error
        await wait()
    response.content_length = reader.length
    await response.prepare(request)
    while not reader.is_done:
        count = min(reader.ready, limiter.chunk)
        if not count:
            await wait()
            continue
        file, transport = reader.file, request.transport
        is_plain = transport is not None and transport.get_extra_info("ssl_object") is None
        if file is None or not is_plain or response.content_length is None:
            await limiter.take(count)
            async with asyncio.timeout(STALLED_SECONDS):
                with reader.giving():
                    await response.write(reader.peek(count))
            reader.took(count)
        else:
            piece = FilePiece(reader.at, count)
            await send_file(request, file, piece, limiter, STALLED_SECONDS)
            reader.took(count)


async def _read(ours: socket.socket) -> bytes:
    """Return what git says next; nothing when it has ended."""
    try:
        return await asyncio.get_running_loop().sock_recv(ours, CHUNK)
    except ConnectionResetError:
        return b""  # it ended without reading all of the request


async def _pass_on(ours: socket.socket, response: web.StreamResponse, limiter: Limiter) -> int:
    """Send what git says; returns how many bytes that was."""
    sent = 0
    while data := await _read(ours):
        await send_bytes(response, data, limiter)
        sent += len(data)
    return sent


def protocol_of(request: web.BaseRequest) -> str | None:
    words = request.headers.get("Git-Protocol", "").encode("ascii", "replace").split(b":")
    return upload_pack.protocol_of(tuple(words))


def response_of(content_type: str, served: Served) -> web.StreamResponse:
    """Return an answer to begin, of which caches keep nothing that is private."""
    headers = {**_NO_CACHE, "Content-Type": content_type}
    if served.is_private:
        # "must-revalidate" would allow shared caches to keep it (RFC 9111, 3.5).
        headers["Cache-Control"] = PRIVATE
    return web.StreamResponse(headers=headers)
