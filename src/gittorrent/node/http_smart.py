"""Git's smart HTTP protocol, for fetching: upload-pack behind two URLs.

Tracks nothing between requests. Request bodies (compressed or not) stream into git and its answer
streams out, each waiting for the other side, so memory stays flat whatever is asked.

Rules: only upload-pack; the version comes from the ``Git-Protocol`` header; git ends with the
connection. Source: gitprotocol-http(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from gittorrent.node import upload_pack
from gittorrent.node.http_static import STALLED_SECONDS, caller_of, send_bytes
from gittorrent.wire import pktline

if TYPE_CHECKING:
    import subprocess

    from gittorrent.node.catalogue import Served
    from gittorrent.node.children import Children
    from gittorrent.transfer.limiter import Limiter, Limits

CHUNK = 64 << 10
"""Bytes taken from git at a time."""

REQUEST_TYPE = "application/x-git-upload-pack-request"
RESULT_TYPE = "application/x-git-upload-pack-result"
ADVERTISEMENT_TYPE = "application/x-git-upload-pack-advertisement"

_NO_CACHE = {
    "Cache-Control": "no-cache, max-age=0, must-revalidate",
    "Expires": "Fri, 01 Jan 1980 00:00:00 GMT",
    "Pragma": "no-cache",
}


class SmartHttp:
    """Answers fetches.

    Args:
        children: runs git.
        limits: of all sending, and of sending to each caller.
    """

    def __init__(self, children: Children, limits: Limits) -> None:
        self._children = children
        self._limits = limits

    async def info_refs(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        """Answer ``GET info/refs?service=git-upload-pack``."""
        protocol = _protocol(request)
        response = _response(ADVERTISEMENT_TYPE)
        prelude = b""
        if protocol != "version=2":
            prelude = pktline.encode_lines([b"# service=git-upload-pack\n"])
        options = ("--stateless-rpc", "--http-backend-info-refs")
        await self._run(request, response, served, options, prelude)
        return response

    async def upload_pack(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        """Answer ``POST git-upload-pack``."""
        if request.content_type != REQUEST_TYPE:
            return web.Response(status=415, text=f"the body must be {REQUEST_TYPE}\n")
        response = _response(RESULT_TYPE)
        await self._run(request, response, served, ("--stateless-rpc",), b"")
        return response

    async def _run(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        served: Served,
        options: tuple[str, ...],
        prelude: bytes,
    ) -> None:
        """Run upload-pack between the request's body and the response."""
        git = upload_pack.git_for(served, _protocol(request))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs:
                process = self._children.start(
                    git,
                    *upload_pack.arguments(served, *options),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                )
            feeding = asyncio.get_running_loop().create_task(_feed(request, ours))
            try:
                limiter = self._limits.sending_to(caller_of(request))
                await response.prepare(request)
                await send_bytes(response, prelude, limiter)
                await _pass_on(ours, response, limiter)
                await response.write_eof()
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
                await self._end(process)

    async def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._children.terminate(process)
        await self._children.wait(process)


async def _pass_on(ours: socket.socket, response: web.StreamResponse, limiter: Limiter) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(ours, CHUNK):
        await send_bytes(response, data, limiter)


async def _feed(request: web.BaseRequest, ours: socket.socket) -> None:
    """Pass a request's body on to git, then close that direction."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, TimeoutError):
        while True:
            async with asyncio.timeout(STALLED_SECONDS):
                data = await request.content.readany()
                if not data:
                    break
                await loop.sock_sendall(ours, data)
    with contextlib.suppress(OSError):
        ours.shutdown(socket.SHUT_WR)


def _protocol(request: web.BaseRequest) -> str | None:
    words = request.headers.get("Git-Protocol", "").encode("ascii", "replace").split(b":")
    return upload_pack.protocol_of(tuple(words))


def _response(content_type: str) -> web.StreamResponse:
    return web.StreamResponse(headers={**_NO_CACHE, "Content-Type": content_type})
