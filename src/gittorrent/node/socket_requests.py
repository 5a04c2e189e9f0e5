"""One caller on git:// who speaks version 2: its requests one by one, and their answers.

Tracks what of the stream belongs to the next request. What is asked often is answered from what
git said before (`gittorrent.node.git_questions`), with nobody's turn; every other request is git's,
which gets just that one and is done with it. So a caller that is silent between two requests holds
up nobody.

Rules: a request that is long goes to git as it comes; what is gathered of all callers is bounded.
Must not know processes. Source: gitprotocol-v2(5); docs/decisions/0060.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.errors import ProtocolError
from gittorrent.node.answer_bytes import LeftBehindError
from gittorrent.node.caller_watch import STALLED, STALLED_SECONDS, Watch, look_at
from gittorrent.node.upload_pack import IDLE_SECONDS
from gittorrent.transfer.packet_reader import ConnectionEndError
from gittorrent.wire.upload_requests import RequestCutter

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gittorrent.node.answer_bytes import AnswerReader
    from gittorrent.node.git_questions import Caller, Gathering, GitQuestions
    from gittorrent.transfer.limiter import Limits

LOOK_SECONDS = 1.0
"""Seconds between two checks whether a caller is still there, while it waits for git."""

_PIECE = 64 << 10
_END = b"0000"


class SocketRequests:
    """The requests of one caller.

    Args:
        sock: its connection, not blocking.
        caller: who asks.
        questions: answers what is asked often.
        limits: of all sending, and of sending to each caller.
        pass_on: lets git answer one request, given in pieces; returns what went wrong, or None.
    """

    def __init__(
        self,
        sock: socket.socket,
        caller: Caller,
        questions: GitQuestions,
        limits: Limits,
        pass_on: Callable[[socket.socket, Caller, AsyncIterator[bytes]], Awaitable[str | None]],
    ) -> None:
        self._sock = sock
        self._caller = caller
        self._questions = questions
        self._limiter = limits.sending_to(caller.address)
        self._pass_on = pass_on
        self._unread = b""

    async def serve(self) -> str | None:
        """Answer until the caller asks for no more; returns what went wrong, or None.

        Raises:
            BusyError: it waited in vain for its turn, and got no answer to what it asked.
            GitTorrentError: the repository cannot be served.
            OSError: the caller has gone.
        """
        async with await self._questions.capabilities(self._caller) as reader:
            ended = await self._send(reader)
        while ended is None:
            try:
                with self._questions.gathering() as gathering:
                    is_over, ended = await self._answer_next(gathering)
            except (ProtocolError, TimeoutError) as error:
                return str(error) or "it sent no request"
            if is_over:
                break
        return ended

    async def _answer_next(self, gathering: Gathering) -> tuple[bool, str | None]:
        """Answer one request; tells whether there was none, and what went wrong."""
        cutter = RequestCutter()
        is_whole = await self._gather(cutter, gathering)
        if gathering.data in (b"", _END):
            return True, None
        if is_whole:
            reading = await self._questions.answer(self._caller, bytes(gathering.data))
            if reading is not None:
                async with reading as reader:
                    gathering.clear()
                    return False, await self._send(reader)
        pieces = self._pieces(bytes(gathering.data), None if is_whole else cutter)
        gathering.clear()
        return False, await self._pass_on(self._sock, self._caller, pieces)

    async def _gather(self, cutter: RequestCutter, gathering: Gathering) -> bool:
        """Gather a request; tells whether all of it is there, since it may be too long for that."""
        while gathering.has_room:
            piece, is_end = await self._piece(cutter)
            if not piece:
                if gathering.data:
                    raise ConnectionEndError(is_clean=False)
                return True
            gathering.add(piece)
            if is_end:
                return True
        return False

    async def _piece(self, cutter: RequestCutter) -> tuple[bytes, bool]:
        """Return what comes next of a request, and whether it ends there; nothing at the end."""
        if not self._unread:
            async with asyncio.timeout(IDLE_SECONDS):
                self._unread = await asyncio.get_running_loop().sock_recv(self._sock, _PIECE)
        end = cutter.end_in(self._unread)
        piece, self._unread = self._unread[:end], b"" if end is None else self._unread[end:]
        return piece, end is not None

    async def _pieces(self, first: bytes, cutter: RequestCutter | None) -> AsyncIterator[bytes]:
        """Yield a request that is not, or not all, gathered; ``cutter`` knows what is to come."""
        yield first
        is_end = cutter is None
        while cutter is not None and not is_end:
            piece, is_end = await self._piece(cutter)
            if not piece:
                raise ConnectionEndError(is_clean=False)
            yield piece

    async def _send(self, reader: AnswerReader) -> str | None:
        """Send an answer as it comes; returns why that was ended, or None."""
        try:
            return await self._send_all(reader)
        except LeftBehindError as error:
            return str(error)

    async def _send_all(self, reader: AnswerReader) -> str | None:
        loop = asyncio.get_running_loop()
        watch = Watch(loop.time())
        while not reader.is_done:
            if not reader.ready:
                await reader.wait(LOOK_SECONDS)
                reason = watch.judge(loop.time(), look_at(self._sock), others_wait=False)
                if reason is not None:
                    return reason
                continue
            count = min(reader.ready, self._limiter.chunk)
            await self._limiter.take(count)
            try:
                async with asyncio.timeout(STALLED_SECONDS):
                    with reader.giving():
                        sent = await self._send_some(reader, count)
                reader.took(sent)
            except TimeoutError:
                return STALLED
        return reader.fault

    async def _send_some(self, reader: AnswerReader, count: int) -> int:
        loop, file = asyncio.get_running_loop(), reader.file
        if file is None:
            data = reader.peek(count)
            await loop.sock_sendall(self._sock, data)
            return len(data)
        return await loop.sock_sendfile(self._sock, file, reader.at, count, fallback=False)
