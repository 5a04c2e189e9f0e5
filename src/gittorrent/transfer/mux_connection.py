"""Several conversations over one connection: the shell around `gittorrent.wire.mux`.

A callback reads, one task writes, and wakes up for signs of life. Each conversation has a
`MuxChannel`, from which it reads as from a socket. Rules: what came is held until the conversation
reads it, which is no more than the other end was given room for; what is to be sent waits in the
conversation's own task. Must not know what is said.
Source: docs/protocol/mirrorsync.md, mirror-mux.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.errors import ProtocolError
from gittorrent.event_log import EventLog
from gittorrent.transfer.channel import UNSENT_BYTES, channel_of
from gittorrent.transfer.mux_channel import MuxChannel
from gittorrent.wire.mux import Agreed, Arrived, Closed, Life, Mux, Opened

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gittorrent.transfer.channel import Channel
    from gittorrent.transfer.limiter import Limiter
    from gittorrent.transfer.off_loop import Reading
    from gittorrent.transfer.server_timeouts import ServerTimeouts

READ_BYTES = 64 << 10
"""Bytes that are read at a time, from a buffer that all conversations of a connection share."""

UNSENT_LINES = 256 << 10
"""Bytes of lines about conversations that may wait for a caller; beyond that nothing more of it is
read, since each line that it sends may call for one. As many as refuse 1,024 conversations fit."""

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
        self._is_held_up = False
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
        if self._on_open is not None and self._mux.unsent_lines > UNSENT_LINES:
            self._is_held_up = True
            self._channel.stop_reading()

    def _read_on(self) -> None:
        """Read again what was not read since the other end took nothing."""
        if self._is_held_up:
            self._is_held_up = False
            self._channel.read_with(self._on_readable)

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
                self._read_on()
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
