"""The body of a git request over HTTP: uncompressed, bounded, and in time.

Tracks how much came. Git compresses its requests, and a few kilobytes of compressed zeros are
megabytes; so what a body comes to is counted as it is inflated, a piece at a time.

Rules: gzip or nothing; a body is at most so many bytes after inflating, and is there in time.
Must not know git. Source: gitprotocol-http(5); RFC 9110, section 8.4.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

from gittorrent.errors import ProtocolError
from gittorrent.node.http_static import STALLED_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

MAX_BODY = 32 << 20
"""Bytes of a request after inflating: 600,000 ids. Git asks for all files of a checkout at once."""

BODY_SECONDS = 300.0
"""Time for a whole body: the largest one at 100 kB a second."""

_PIECE = 64 << 10
_GZIP = 16 + zlib.MAX_WBITS
_ENCODINGS = {"": False, "identity": False, "gzip": True, "x-gzip": True}


def is_readable(request: web.BaseRequest) -> bool:
    """Tell whether a request's body is encoded in a way that is read here."""
    return _encoding(request) in _ENCODINGS


async def read_body(
    request: web.BaseRequest, most: int = MAX_BODY, seconds: float = BODY_SECONDS
) -> AsyncIterator[bytes]:
    """Yield a request's body.

    Args:
        request: whose.
        most: bytes of it, after inflating.
        seconds: time for all of it.

    Raises:
        ProtocolError: it is too long, not what it says it is, or encoded in another way.
        TimeoutError: it does not come in time.
    """
    if not is_readable(request):
        raise ProtocolError("the body must be plain or gzip")
    inflater = zlib.decompressobj(_GZIP) if _ENCODINGS[_encoding(request)] else None
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    total = 0
    while True:
        async with asyncio.timeout_at(min(ends, loop.time() + STALLED_SECONDS)):
            data = await request.content.readany()
        if not data:
            if inflater is not None and total and not inflater.eof:
                raise ProtocolError("the compressed request is cut short")
            return
        while data:
            piece = data if inflater is None else _inflate(inflater, data)
            data = b"" if inflater is None else inflater.unconsumed_tail
            total += len(piece)
            if total > most:
                raise ProtocolError(f"the request has more than {most >> 20} MiB")
            yield piece


def _inflate(inflater: zlib._Decompress, data: bytes) -> bytes:
    if inflater.eof:
        raise ProtocolError("the compressed request goes on after its end")
    try:
        return inflater.decompress(data, _PIECE)
    except zlib.error as error:
        raise ProtocolError(f"the request is not compressed as it says: {error}") from error


def _encoding(request: web.BaseRequest) -> str:
    return request.headers.get("Content-Encoding", "").strip().lower()
