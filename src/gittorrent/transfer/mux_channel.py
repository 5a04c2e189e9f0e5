"""One conversation's share of a connection that several share: what it reads from and writes to.

Tracks what came and was not read, what is being sent, and how much is in memory for it. Rules: what
came is held until the conversation reads it; what is to be sent waits in the conversation's own
task. Must not know what is said.
Source: docs/protocol/mirrorsync.md, mirror-mux.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gittorrent.transfer.channel import GOODBYE_SECONDS
from gittorrent.wire.limits import STREAM_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from gittorrent.transfer.limiter import Limiter
    from gittorrent.transfer.mux_connection import MuxConnection
    from gittorrent.transfer.off_loop import Reading


class MuxChannel:
    """One conversation's share of a connection: a `gittorrent.transfer.channel.Channel`.

    Args:
        connection: it.
        number: of the conversation.
    """

    shares_connection = True

    def __init__(self, connection: MuxConnection, number: int) -> None:
        self.number = number
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._inbound = bytearray()
        self._on_readable: Callable[[], None] | None = None
        self._is_woken = False
        self._end: str | None = None
        self._has_heard = False
        self._writers: list[MuxWriter] = []
        self._on_held: Callable[[int], None] = lambda _size: None
        self._sending = 0
        self._held = 0

    # -- from the connection

    def arrived(self, data: bytes) -> None:
        """Take bytes for the conversation."""
        self._has_heard = True
        self._inbound += data
        self._count()
        self._wake()

    def note_end(self, reason: str) -> None:
        """Take note that no more bytes come, and that none are taken."""
        if self._end is None:
            self._end = reason
            self._wake()
            self.note_sent()

    def note_sent(self) -> None:
        """Let those who wait for room see whether there is some."""
        for writer in self._writers:
            writer.look()

    def count_with(self, on_held: Callable[[int], None]) -> None:
        """Have something told of the bytes that are in memory for the conversation, now and later.

        They are what was not read yet, what is being sent, and what it says it has itself.
        """
        self._on_held = on_held
        self._count()

    def note_sending(self, more: int) -> None:
        """Take note of bytes that wait to be sent; fewer than none when they were."""
        self._sending += more
        self._count()

    def _count(self) -> None:
        self._on_held(len(self._inbound) + self._sending + self._held)

    @property
    def was_refused(self) -> bool:
        """Whether the other end ended the conversation without having said anything in it."""
        return self._end is not None and not self._has_heard and not self._connection.is_over

    @property
    def lost(self) -> str | None:
        """Why nothing can be sent any more; None while it can."""
        return self._end

    # -- for the conversation

    def read_with(self, on_readable: Callable[[], None]) -> None:
        self._on_readable = on_readable
        self._wake()

    def stop_reading(self) -> None:
        self._on_readable = None

    def receive_into(self, space: memoryview) -> int:
        if not self._inbound:
            if self._end is None:
                raise BlockingIOError
            if self._end:
                raise ConnectionResetError(self._end)
            return 0
        count = min(len(space), len(self._inbound))
        space[:count] = self._inbound[:count]
        del self._inbound[:count]
        self._count()
        self._connection.note_read(self.number, count)
        return count

    def note_received(self, count: int, now: float) -> None:
        """Nothing follows from it here."""

    def gather(self, remaining: int) -> None:
        """Nothing follows from it here: who sends gathers."""

    def note_held(self, size: int) -> None:
        if size != self._held:
            self._held = size
            self._count()

    def writer(self, limiter: Limiter, reading: Reading) -> MuxWriter:
        made = MuxWriter(self, self._connection, limiter, reading)
        self._writers.append(made)
        return made

    async def send_last(self, data: bytes) -> None:
        for writer in self._writers:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await writer.send(data)

    def close(self, reason: str = "") -> None:
        self._inbound.clear()
        self._on_readable = None
        self._connection.close(self.number, reason)
        if self._end is None:
            self._end = "closed here"
        self.note_sent()

    def cut(self, reason: str) -> None:
        """End the conversation at once, whatever waits; both ends are told why."""
        self._inbound.clear()
        self._connection.close(self.number, reason)
        self.note_end(reason)

    def _wake(self) -> None:
        """Have the conversation read soon, as long as there is something to read."""
        if not self._is_woken and self._on_readable and (self._inbound or self._end is not None):
            self._is_woken = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._is_woken = False
        if self._on_readable is not None:
            self._on_readable()
            self._wake()


class MuxWriter:
    """The sending side of a `MuxChannel`: a `gittorrent.transfer.channel.Writer`."""

    def __init__(
        self, channel: MuxChannel, connection: MuxConnection, limiter: Limiter, reading: Reading
    ) -> None:
        self.sent = 0
        self.chunk_since: float | None = None
        self._channel = channel
        self._connection = connection
        self._limiter = limiter
        self._reading = reading
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[None] | None = None

    async def send(self, data: bytes | memoryview) -> None:
        self._channel.note_sending(len(data))
        try:
            await self._send_pieces(memoryview(data))
        finally:
            self._channel.note_sending(-len(data))

    async def _send_pieces(self, view: memoryview) -> None:
        for at in range(0, len(view), self._limiter.chunk):
            piece = view[at : at + self._limiter.chunk]
            await self._limiter.take(len(piece))
            self.chunk_since = self._loop.time()
            await self._send_piece(piece)
            self.chunk_since = None
            self.sent += len(piece)

    async def _send_piece(self, piece: memoryview) -> None:
        if self._channel.lost is not None:
            raise ConnectionResetError(self._channel.lost or "the other end closed it")
        self._connection.send(self._channel.number, piece)
        self._waiting = self._loop.create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def look(self) -> None:
        """See whether what waits was sent, or will never be."""
        waiting = self._waiting
        if waiting is None or waiting.done():
            return
        lost = self._channel.lost
        if lost is not None:
            waiting.set_exception(ConnectionResetError(lost or "the other end closed it"))
        elif not self._connection.unsent(self._channel.number):
            waiting.set_result(None)

    async def send_file(self, path: Path, offset: int, count: int, before: bytes = b"") -> None:
        if before:
            await self.send(before)
        file = await self._reading(lambda: path.open("rb"))
        try:
            at = offset
            while at < offset + count:
                most = min(STREAM_WINDOW, offset + count - at)
                data = await self._reading(lambda at=at, most=most: _read(file, at, most))  # type: ignore[misc]
                if not data:
                    raise OSError(f"{path} is shorter than its manifest says")
                await self.send(data)
                at += len(data)
        finally:
            file.close()

    def close(self) -> None:
        """There is nothing to close between files."""


def _read(file: BinaryIO, at: int, most: int) -> bytes:
    file.seek(at)
    return file.read(most)
