"""Carries a stream through a WebSocket (RFC 6455), for either end.

What passes are the bytes of a conversation in binary messages, cut anywhere. Rules: one message in
each direction is held at a time, and a sender that is not read waits; messages that are text, empty
or too long end the stream, and so do more pings than anybody needs. Nothing is compressed. Must not
know what is spoken.
Source: docs/protocol/mirrorsync.md, WebSocket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, TypeAlias

from aiohttp import WSMsgType

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse
    from aiohttp.web import WebSocketResponse

MESSAGE_BYTES = 128 << 10
"""Bytes in one message that is sent: what there is between a conversation and its carrier."""

FIRST_BYTES = 16 << 10
"""Bytes in the first messages; later ones have an eighth of what was sent before. What has come of
a message is of no use before its end, so a line that breaks soon and often would bring nothing."""

MAX_MESSAGE = 256 << 10
"""Bytes in one message that is taken, all its frames together: each caller may have a node hold as
many, and need send no more to be held. Twice what is sent here."""

PING_SECONDS = 30.0
"""Silence after which the caller pings: proxies give up connections after a minute of it."""

PINGS_PER_SECOND = 1.0
"""Pings that are answered, on average; whoever keeps a connection open needs far fewer."""

MAX_PINGS = 30
"""Pings that are answered when they come at once."""


AnyWebSocket: TypeAlias = "ClientWebSocketResponse | WebSocketResponse"


async def carry(websocket: AnyWebSocket, sock: socket.socket, *, pings: bool = False) -> None:
    """Carry bytes between a WebSocket and a socket until either ends, and close both.

    Args:
        websocket: open, with ``autoping`` off, `MAX_MESSAGE` as the largest that it takes, and a
            short time for the handshake that closes it.
        sock: non-blocking, one end of a pair; who has the other end sees the end as usual.
        pings: whether we ping when nothing is said.
    """
    await _Carrier(websocket, sock).run(pings=pings)


class _Carrier:
    """Carries one stream."""

    def __init__(self, websocket: AnyWebSocket, sock: socket.socket) -> None:
        self._websocket = websocket
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._is_quiet = True
        self._pings = float(MAX_PINGS)
        self._pinged_at = self._loop.time()

    async def run(self, *, pings: bool) -> None:
        """Carry both ways."""
        inward = self._loop.create_task(self._take())
        outward = self._loop.create_task(self._give())
        tasks = [inward, outward]
        if pings:
            tasks.append(self._loop.create_task(self._ping()))
        try:
            await asyncio.wait((inward, outward), return_when=asyncio.FIRST_COMPLETED)
            if inward.done():
                # The conversation reads to the end, and closes its end of the pair then.
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_WR)
                await asyncio.wait((outward,))
            await self._websocket.close()
        finally:
            for task in tasks:
                task.cancel()
            try:
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            finally:  # whoever cancels this twice leaves no socket open
                self._sock.close()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _take(self) -> None:
        """Take messages until the other end closes, breaks a rule, or nobody wants them."""
        with contextlib.suppress(OSError):
            while True:
                message = await self._websocket.receive()
                if message.type is WSMsgType.BINARY and message.data:
                    await self._loop.sock_sendall(self._sock, message.data)
                elif message.type in (WSMsgType.PING, WSMsgType.PONG) and self._may_ping():
                    if message.type is WSMsgType.PING:
                        await self._websocket.pong(message.data)
                else:
                    return

    def _may_ping(self) -> bool:
        """Count a sign of life of the other end; tells whether there were not too many."""
        now = self._loop.time()
        earned = (now - self._pinged_at) * PINGS_PER_SECOND
        self._pings = min(float(MAX_PINGS), self._pings + earned) - 1
        self._pinged_at = now
        return self._pings >= 0

    async def _give(self) -> None:
        """Send what is said until the conversation closes its end, or the other end is gone."""
        sent = 0
        with contextlib.suppress(OSError):
            while data := await self._loop.sock_recv(self._sock, _message_bytes(sent)):
                self._is_quiet = False
                await self._websocket.send_bytes(data)
                sent += len(data)

    async def _ping(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._is_quiet = True
                await asyncio.sleep(PING_SECONDS)
                if self._is_quiet:
                    await self._websocket.ping()


def _message_bytes(sent: int) -> int:
    """Return how large a message may be after so many bytes."""
    return min(MESSAGE_BYTES, max(FIRST_BYTES, sent // 8))
