"""Sends resources that never change over HTTP: whole or one range, by sendfile where files go out.

Rules: strong ETags made of ids, so that a part asked of two mirrors is the same part; one range
is honoured, several are answered with the whole, as RFC 9110 allows; a caller that does not take
what it asked for is cut off. Must not know repositories. Source: RFC 9110, sections 13 and 14;
docs/protocol/mirrorsync.md, HTTP resources.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from msgspec import Struct

from gittorrent.errors import ProtocolError
from gittorrent.node.http_connections import connection_of
from gittorrent.reel.pack import FilePiece
from gittorrent.transfer.addresses import is_loopback, plain_address
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS
from gittorrent.transfer.static_files import IMMUTABLE, PACK_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from io import FileIO
    from pathlib import Path
    from typing import IO

    from gittorrent.transfer.limiter import Limiter
    from gittorrent.transfer.off_loop import Reading

STALLED_SECONDS = SERVER_TIMEOUTS.taken
"""Time a caller may take to accept one chunk."""

FILE_CHUNK = 1 << 20
"""Bytes handed to one sendfile when there is no limit on sending."""

CALLER_HEADER = "X-Real-IP"
"""Where a web server before the node says who called it: one address, which it sets in any case."""

SCHEME_HEADER = "X-Forwarded-Proto"
"""Where a web server before the node says by which scheme it was called; it sets it in any case."""

PRIVATE = "private, no-store"
"""Cache-Control of what is for one caller: no cache on the way may give it to another one."""

_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})\Z", re.ASCII)


class Resource(Struct, frozen=True):
    """Something that can be sent whole or in part.

    Args:
        etag: strong entity tag, without quotes.
        size: bytes.
        pieces: gives what makes up bytes ``offset`` to ``offset + count``.
        path: the file that pieces of a file are taken from.
        content_type: of the whole.
        cache: Cache-Control.
    """

    etag: str
    size: int
    pieces: Callable[[int, int], Iterable[bytes | FilePiece]]
    path: Path | None = None
    content_type: str = PACK_TYPE
    cache: str = IMMUTABLE


def resource_of_bytes(
    data: bytes, etag: str, content_type: str, cache: str = IMMUTABLE
) -> Resource:
    """Return a resource for bytes in memory."""
    return Resource(
        etag,
        len(data),
        lambda offset, count: [data[offset : offset + count]],
        content_type=content_type,
        cache=cache,
    )


class RangeNotSatisfiable(Exception):
    """A range begins beyond the end."""


class UnknownCallerError(ProtocolError):
    """A web server before the node does not say who called."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return offset and count of the one range asked for; None to send the whole.

    Raises:
        RangeNotSatisfiable: nothing of the range is there.
    """
    found = None if header is None else _RANGE.match(header.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        count = min(int(found[2]), size)
        if count == 0:
            raise RangeNotSatisfiable
        return size - count, count
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if first >= size:
        raise RangeNotSatisfiable
    if found[2] and int(found[2]) < first:
        return None
    return first, last - first + 1


def peer_of(request: web.BaseRequest) -> str:
    """Return the address at the other end of a request's connection.

    Raises:
        ConnectionResetError: the caller has gone.
    """
    if request.transport is None:
        raise ConnectionResetError("the caller has gone")
    return plain_address(str(request.transport.get_extra_info("peername")[0]))


def caller_of(request: web.BaseRequest) -> str:
    """Return the address a request comes from.

    Where the node is behind a web server of its machine, that one says it; nobody else is believed.

    Raises:
        UnknownCallerError: it does not say it in a way that can be believed: a web server that adds
            a header leaves those there that its caller sent.
        ConnectionResetError: the caller has gone.
    """
    peer = peer_of(request)
    told = request.headers.getall(CALLER_HEADER, [])
    if not told or not is_loopback(peer) or not connection_of(request).is_proxied():
        return peer
    try:
        (address,) = told
        return plain_address(address.strip())
    except ValueError:
        raise UnknownCallerError(
            f"the web server of this node has to say who called, by one {CALLER_HEADER} with one"
            " address"
        ) from None


def is_confidential(request: web.BaseRequest) -> bool:
    """Tell whether nobody can listen in on a request, nor answer in this node's place.

    It came by TLS; by that of the node, or where the node is behind a web server of its machine, by
    that server's, which says so.
    """
    if request.transport is not None and request.transport.get_extra_info("ssl_object") is not None:
        return True
    if not is_loopback(peer_of(request)) or not connection_of(request).is_proxied():
        return False
    return request.headers.getall(SCHEME_HEADER, []) == ["https"]


async def send_resource(
    request: web.BaseRequest,
    resource: Resource,
    limiter: Limiter,
    reading: Reading,
    stalled: float = STALLED_SECONDS,
) -> web.StreamResponse:
    """Answer GET or HEAD for a resource.

    Args:
        request: for it.
        resource: what to send.
        limiter: paces sending.
        reading: where its file is opened.
        stalled: seconds a caller may take to accept one chunk.
    """
    etag = f'"{resource.etag}"'
    headers = {
        "ETag": etag,
        "Cache-Control": resource.cache,
        "Accept-Ranges": "bytes",
        "Content-Type": resource.content_type,
    }
    if _names_tag(request.headers.get("If-None-Match"), etag):
        return web.Response(status=304, headers=headers)
    asked = request.headers.get("Range") if request.method == "GET" else None
    if request.headers.get("If-Range", etag) != etag:
        asked = None
    try:
        part = parse_range(asked, resource.size)
    except RangeNotSatisfiable:
        headers["Content-Range"] = f"bytes */{resource.size}"
        return web.Response(status=416, headers=headers)
    offset, count = part or (0, resource.size)
    if part is not None:
        headers["Content-Range"] = f"bytes {offset}-{offset + count - 1}/{resource.size}"
    response = web.StreamResponse(status=200 if part is None else 206, headers=headers)
    response.content_length = count
    if request.method == "HEAD":
        return response
    # Opened before the headers go out, so that a vanished file is an error and not a short answer.
    opened = None if resource.path is None else await reading(partial(_open, resource.path))
    try:
        async with asyncio.timeout(stalled):
            await response.prepare(request)
        for piece in resource.pieces(offset, count):
            if isinstance(piece, bytes):
                await send_bytes(response, piece, limiter, stalled)
            elif opened is not None:
                await send_file(request, opened, piece, limiter, stalled)
    finally:
        if opened is not None:
            opened.close()
    return response


def _open(path: Path) -> FileIO:
    return path.open("rb", buffering=0)


def _names_tag(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


async def send_bytes(
    response: web.StreamResponse,
    data: bytes,
    limiter: Limiter,
    stalled: float = STALLED_SECONDS,
) -> None:
    """Send bytes at the pace of the limiter."""
    chunk = limiter.chunk
    for at in range(0, len(data), chunk):
        piece = data[at : at + chunk]
        await limiter.take(len(piece))
        async with asyncio.timeout(stalled):
            await response.write(piece)


async def send_file(
    request: web.BaseRequest,
    opened: IO[bytes],
    piece: FilePiece,
    limiter: Limiter,
    stalled: float,
) -> None:
    """Send a piece of a file at the pace of the limiter."""
    loop = asyncio.get_running_loop()
    offset, left = piece.offset, piece.count
    while left:
        count = min(left, FILE_CHUNK if limiter.rate is None else limiter.chunk)
        await limiter.take(count)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the caller has gone")
        async with asyncio.timeout(stalled):
            sent = await loop.sendfile(transport, opened, offset, count)
        if sent == 0:
            raise OSError(f"{opened.name} is shorter than its manifest says")
        offset += sent
        left -= sent
