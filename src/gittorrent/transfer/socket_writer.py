"""Writes to a non-blocking socket: bytes, and pieces of files by sendfile.

A node spends most of its time here, so this waits for the socket itself: asyncio's own
``sock_sendfile`` and a timeout around each piece cost several times what the kernel needs for the
bytes. How long a chunk takes is for the owner to look at, `SocketWriter.chunk_since`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from gittorrent.transfer.limiter import CHUNK
from gittorrent.transfer.off_loop import at_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from gittorrent.transfer.limiter import Limiter
    from gittorrent.transfer.off_loop import Reading

_MORE = getattr(socket, "MSG_MORE", 0)
"""Flag by which the system keeps bytes until those that follow, where there is such a thing."""


class SocketWriter:
    """The sending side of one connection; used by one task at a time.

    ``sent`` counts bytes. ``chunk_since`` is the loop's time at which the chunk that is being sent
    was begun, None between chunks: whoever takes a byte now and then does not take a chunk.

    Args:
        sock: connected and non-blocking; stays the caller's.
        limiter: paces what is sent.
        reading: where files are opened.
    """

    def __init__(
        self, sock: socket.socket, limiter: Limiter, reading: Reading | None = None
    ) -> None:
        self.sent = 0
        self.chunk_since: float | None = None
        self._socket = sock
        self._limiter = limiter
        self._reading = reading or at_once
        self._loop = asyncio.get_running_loop()
        self._file: tuple[Path, BinaryIO] | None = None
        self._is_closed = False

    async def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            OSError: the connection is lost.
        """
        view = memoryview(data)
        await self._send_all(len(view), lambda at, end: self._socket.send(view[at:end]))

    async def send_file(self, path: Path, offset: int, count: int, before: bytes = b"") -> None:
        """Send ``count`` bytes of a file, from byte ``offset`` on.

        Args:
            path: of the file.
            offset: of the first byte.
            count: of bytes.
            before: bytes to send together with them, in front.

        Raises:
            OSError: the connection is lost, or the file is not there or shorter than that.
        """
        file = self._file[1] if self._file and self._file[0] == path else await self._opened(path)
        source, sink = file.fileno(), self._socket.fileno()
        if before:
            view = memoryview(before)
            send = self._socket.send
            await self._send_all(len(view), lambda at, end: send(view[at:end], _MORE))

        def push(at: int, end: int) -> int:
            sent = os.sendfile(sink, source, offset + at, end - at)
            if sent == 0:
                raise OSError(f"{path} is shorter than its manifest says")
            return sent

        await self._send_all(count, push)

    def close(self) -> None:
        """Close the file that was sent last; nothing is sent after that."""
        self._is_closed = True
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file[1].close()
            self._file = None

    async def _send_all(self, count: int, push: Callable[[int, int], int]) -> None:
        """Call ``push(at, end)``, which tells how many of these bytes it sent, until all are."""
        at, is_open = 0, self._limiter.is_open
        while at < count:
            end = min(count, at + (CHUNK if is_open else self._limiter.chunk))
            if not is_open:
                await self._limiter.take(end - at)
            at = self._push(at, end, push)
            if at < end:
                self.chunk_since = self._loop.time()
                await self._send_chunk(at, end, push)
                self.chunk_since = None
                at = end

    async def _send_chunk(self, at: int, end: int, push: Callable[[int, int], int]) -> None:
        """Push, now that the socket was full, until all is sent, as it takes it.

        The loop's callback goes on where the socket was full: waking this task for each of the few
        bytes that a slow link takes at a time would cost more than sending them.
        """
        done: asyncio.Future[None] = self._loop.create_future()

        def go_on() -> None:
            nonlocal at
            if done.done():
                return
            try:
                at = self._push(at, end, push)
            except Exception as error:
                # The loop would only log it, and call again and again.
                done.set_exception(error)
            else:
                if at == end:
                    done.set_result(None)

        self._loop.add_writer(self._socket, go_on)
        try:
            await done
        finally:
            self._loop.remove_writer(self._socket)

    def _push(self, at: int, end: int, push: Callable[[int, int], int]) -> int:
        """Push once, which takes all that there is room for; returns how far that came."""
        try:
            sent = push(at, end)
        except (BlockingIOError, InterruptedError):
            return at
        self.sent += sent
        return at + sent

    async def _opened(self, path: Path) -> BinaryIO:
        if self._file is None or self._file[0] != path:
            self._close_file()
            return await self._reading(lambda: self._open(path))
        return self._file[1]

    def _open(self, path: Path) -> BinaryIO:
        """Open a file, perhaps in a thread, and close it if the task that waited was cancelled."""
        file = path.open("rb")
        self._file = (path, file)
        if self._is_closed:
            file.close()
        return file
