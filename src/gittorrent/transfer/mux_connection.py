"""Several conversations over one connection: the shell around `gittorrent.wire.mux`.

A callback reads, one task writes, and wakes up for signs of life. Each conversation has a
`MuxChannel`, from which it reads as from a socket. Rules: what came is held until the conversation
reads it, which is no more than the other end was given room for; what is to be sent waits in the
conversation's own task. Must not know what is said.
Source: docs/protocol/mirrorsync.md, mirror-mux.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gittorrent.errors import ProtocolError
from gittorrent.event_log import EventLog
from gittorrent.transfer.channel import GOODBYE_SECONDS, UNSENT_BYTES, channel_of
from gittorrent.wire.mux import Agreed, Arrived, Closed, Life, Mux, Opened

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from gittorrent.transfer.channel import Channel
    from gittorrent.transfer.limiter import Limiter
    from gittorrent.transfer.off_loop import Reading
    from gittorrent.transfer.server_timeouts import ServerTimeouts

READ_BYTES = 64 << 10
"""Bytes that are read at a time, from a buffer that all conversations of a connection share."""

_log = EventLog(__name__)


class MuxConnection:
    """One connection; `run` it.

    ``ended`` tells why it is over; empty while it is not. ``on_empty`` is called when there is no
    conversation any more.

    Args:
        end: a connected and non-blocking socket, or a channel; closed when the connection is over.
        mux: the machine of this end.
        limiter: of what is sent, all conversations together; each has one of its own besides.
        reading: where files are opened.
        server_timeouts: how long the other end is waited for.
        on_open: called with each conversation that the other end begins, and its path.
    """

    def __init__(
        self,
        end: socket.socket | Channel,
        mux: Mux,
        limiter: Limiter,
        reading: Reading,
        server_timeouts: ServerTimeouts,
        on_open: Callable[[MuxChannel, bytes], None] | None = None,
    ) -> None:
        self.ended = ""
        self._leaving = ""
        self._channel = channel_of(end)
        self._writer = self._channel.writer(limiter, reading)
        self._mux = mux
        self._server_timeouts = server_timeouts
        self._on_open = on_open
        self._loop = asyncio.get_running_loop()
        self._channels: dict[int, MuxChannel] = {}
        self._sending: dict[int, MuxChannel] = {}
        self.on_empty: Callable[[], None] = lambda: None
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._to_write = asyncio.Event()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self.agreed: asyncio.Future[None] = self._loop.create_future()
        if mux.is_agreed:
            self.agreed.set_result(None)

    @property
    def channels(self) -> list[MuxChannel]:
        """The conversations that are open."""
        return list(self._channels.values())

    @property
    def is_full(self) -> bool:
        """Whether no more conversations can be begun just now."""
        return self._mux.is_full

    @property
    def is_over(self) -> bool:
        """Whether the connection is over, or about to be."""
        return self._over.done()

    def open(self, path: bytes) -> MuxChannel:
        """Begin a conversation; the connection is neither over nor full."""
        channel = MuxChannel(self, self._mux.open(path))
        self._channels[channel.number] = channel
        self._to_write.set()
        return channel

    def end(self, reason: str) -> None:
        """Hang up; conversations find that out."""
        if not self._over.done():
            self.ended = self.ended or reason
            self._over.set_result(None)

    def end_when_sent(self, reason: str) -> None:
        """Hang up as soon as all that is to be said was sent."""
        self._leaving = reason
        self._to_write.set()

    async def run(self) -> None:
        """Carry until either end hangs up; never raises for what the other end does."""
        writing = self._loop.create_task(self._write())
        watching = self._loop.create_task(self._watch())
        self._channel.read_with(self._on_readable)
        try:
            tasks = (self._over, writing, watching)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for each in tasks:
                self._note_end(each)
        finally:
            self._channel.stop_reading()
            for task in (writing, watching):
                task.cancel()
            await asyncio.gather(writing, watching, return_exceptions=True)
            self._writer.close()
            self._channel.close()
            self._let_go()

    def _note_end(self, over: asyncio.Future[None]) -> None:
        if not over.done() or over.cancelled() or (error := over.exception()) is None:
            return
        if isinstance(error, ProtocolError):
            self.ended = self.ended or str(error)
        elif isinstance(error, (OSError, TimeoutError)):
            self.ended = self.ended or f"connection lost: {str(error) or 'timed out'}"
        else:
            raise error

    def _let_go(self) -> None:
        self.ended = self.ended or "the other end closed the connection"
        if not self.agreed.done():
            self.agreed.set_exception(ConnectionResetError(self.ended))
            self.agreed.exception()  # nobody may be waiting for it
        for channel in self.channels:
            channel.note_end(self.ended)
        self._channels.clear()

    # -- reading

    def _on_readable(self) -> None:
        if self._over.done():
            return
        try:
            count = self._channel.receive_into(self._buffer)
            if count == 0:
                self._mux.end_of_stream()
                self._over.set_result(None)
            else:
                self._mux.heard(self._loop.time())
                self._take(self._buffer[:count])
        except (BlockingIOError, InterruptedError):
            return
        except Exception as error:
            if not self._over.done():
                self._over.set_exception(error)

    def _take(self, data: memoryview) -> None:
        for event in self._mux.received(data):
            if isinstance(event, Opened):
                self._begin(event)
            elif isinstance(event, Agreed):
                if not self.agreed.done():
                    self.agreed.set_result(None)
            elif isinstance(event, Arrived):
                if (channel := self._channels.get(event.number)) is not None:
                    channel.arrived(event.data)
            else:
                self._note_closed(event)
        self._to_write.set()

    def _begin(self, event: Opened) -> None:
        channel = MuxChannel(self, event.number)
        self._channels[event.number] = channel
        if self._on_open is None:
            channel.close()
        else:
            self._on_open(channel, event.path)

    def _note_closed(self, event: Closed) -> None:
        if (channel := self._channels.get(event.number)) is not None:
            channel.note_end(event.reason)

    # -- for channels

    def note_read(self, number: int, count: int) -> None:
        """Take note that a conversation read bytes."""
        self._mux.read(number, count)
        self._to_write.set()

    def send(self, number: int, data: bytes | memoryview) -> None:
        """Have bytes of a conversation sent."""
        self._mux.send(number, data)
        self._sending[number] = self._channels[number]
        self._to_write.set()

    def unsent(self, number: int) -> int:
        """Return how many bytes of a conversation wait."""
        return self._mux.unsent(number)

    def close(self, number: int, reason: str) -> None:
        """End a conversation from this side."""
        known = self._channels.pop(number, None)
        self._sending.pop(number, None)
        if not self._over.done():
            self._mux.close(number, reason)
            self._to_write.set()
            if known is not None and not self._channels:
                self.on_empty()

    # -- writing

    async def _write(self) -> None:
        while True:
            data = self._mux.output(UNSENT_BYTES)
            if data:
                await self._writer.send(data)
                self._mux.sent(self._loop.time())
                for number, channel in list(self._sending.items()):
                    if not self._mux.unsent(number):
                        del self._sending[number]
                        channel.note_sent()
            else:
                if self._leaving:
                    self.end(self._leaving)
                self._to_write.clear()
                await self._to_write.wait()

    async def _watch(self) -> None:
        """Send signs of life, and notice that the other end gives none, or takes nothing."""
        while True:
            now = self._loop.time()
            begun, taken = self._writer.chunk_since, self._server_timeouts.taken
            if begun is not None and now - begun >= taken:
                raise TimeoutError
            if self._mux.tick(now) is Life.LOST:
                raise TimeoutError("silent for too long")
            self._to_write.set()
            wait = self._mux.next_deadline - now
            await asyncio.sleep(max(0.0, min(wait, self._server_timeouts.look_quiet)))


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

    # -- from the connection

    def arrived(self, data: bytes) -> None:
        """Take bytes for the conversation."""
        self._has_heard = True
        self._inbound += data
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
        self._connection.note_read(self.number, count)
        return count

    def note_received(self, count: int, now: float) -> None:
        """Nothing follows from it here."""

    def gather(self, remaining: int) -> None:
        """Nothing follows from it here: who sends gathers."""

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
        view = memoryview(data)
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
                most = min(UNSENT_BYTES, offset + count - at)
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
