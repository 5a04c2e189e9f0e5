"""Git's upload-pack on a caller's own socket, as git:// is served.

Tracks nothing between callers. Where git has to be asked it writes the socket itself, and nothing
of what it says passes through this process, unless sending is limited; the kernel tells whether the
caller is there and takes what it is sent (`gittorrent.node.caller_watch`). Requests of version 2
are cut apart before (`gittorrent.node.socket_requests`): most are answered without git.

Must not know the catalogue or other services. Source: gitprotocol-pack(5), Git Transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from gittorrent.event_log import EventLog
from gittorrent.node import upload_pack
from gittorrent.node.caller_watch import STALLED, STALLED_SECONDS, has_hung_up, look_at
from gittorrent.node.git_questions import PROTOCOL, REQUEST, Caller
from gittorrent.node.socket_requests import SocketRequests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Self

    from gittorrent.node.catalogue import Served
    from gittorrent.node.git_processes import GitProcesses
    from gittorrent.transfer.limiter import Limiter, Limits

RELAY_CHUNK = 64 << 10
"""Bytes taken at a time from upload-pack when sending is limited."""

_log = EventLog(__name__)


class SocketUploadPack:
    """Answers fetches over git://.

    Args:
        git_processes: runs git.
        limits: of all sending, and of sending to each caller.
        bundles_at: returns what URIs of a repository's bundles begin with for an address.
    """

    def __init__(
        self,
        git_processes: GitProcesses,
        limits: Limits,
        bundles_at: Callable[[Served, str], str | None] = lambda _served, _address: None,
    ) -> None:
        self._git_processes = git_processes
        self._bundles_at = bundles_at
        self._limits = limits

    async def serve(
        self, sock: socket.socket, address: str, served: Served, protocol: str | None
    ) -> None:
        """Let git answer one caller.

        Args:
            sock: its connection, not blocking.
            address: where it comes from.
            served: the repository.
            protocol: as ``upload_pack.protocol_of`` returned it.

        Raises:
            BusyError: it waited in vain for its turn, and got no answer to what it asked.
            OSError: it has gone.
        """
        bundles_at = self._bundles_at(served, address)
        caller = Caller(served, address, bundles_at, is_gone=lambda: has_hung_up(sock))
        if protocol == PROTOCOL and self._git_processes.questions.is_on:
            questions = self._git_processes.questions
            requests = SocketRequests(sock, caller, questions, self._limits, self._pass_on)
            ended = await requests.serve()
        else:
            ended = await self._run(sock, caller, protocol)
        seen = look_at(sock)
        _log.info(
            "upload-pack",
            "upload-pack {repository} to {peer}: {sent} bytes, {ended}",
            repository=served.info.name,
            peer=address,
            sent=None if seen is None else seen.taken,
            ended=ended or upload_pack.describe_end(0),
        )

    async def _pass_on(
        self, sock: socket.socket, caller: Caller, pieces: AsyncIterator[bytes]
    ) -> str | None:
        """Let git answer one request of version 2; as `_run`.

        Args:
            sock: the caller's; not blocking, and so again afterwards.
            caller: who asks.
            pieces: of the request; git does not answer before it has the last one.
        """
        try:
            return await self._run(sock, caller, PROTOCOL, pieces)
        finally:
            sock.setblocking(False)

    async def _run(
        self,
        sock: socket.socket,
        caller: Caller,
        protocol: str | None,
        pieces: AsyncIterator[bytes] | None = None,
    ) -> str | None:
        """Run git when it is the caller's turn; returns why it did not end well, or None."""
        processes, loop = self._git_processes, asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as turn:
            await turn.enter_async_context(processes.turns.turn(caller.address, caller.is_gone))
            why_end = processes.judge(caller.address, lambda: look_at(sock))
            options = () if pieces is None else REQUEST
            prepared = await processes.prepare(
                caller.served, protocol, *options, bundles_at=caller.bundles_at
            )
            limiter = self._limits.sending_to(caller.address)
            with _Ends(sock, is_fed=pieces is not None, is_paced=limiter.rate is not None) as ends:
                process = processes.start(
                    prepared, stdin=ends.stdin.fileno(), stdout=ends.stdout.fileno()
                )
                ends.started()
                tasks = [
                    *([] if pieces is None else [loop.create_task(_feed(ends, pieces))]),
                    *([loop.create_task(_pump(ends.said, sock, limiter))] if ends.said else []),
                ]
                try:
                    reason = await processes.wait(process, lambda: _failure_of(tasks) or why_end())
                    await turn.aclose()
                    if reason is None and ends.said:
                        await tasks[-1]  # what git wrote last still has to go out
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        status = process.returncode
        return reason or (upload_pack.describe_end(status) if status else None)


class _Ends:
    """What git reads and writes for one caller: its socket, or pairs of sockets in between.

    Args:
        sock: the caller's.
        is_fed: whether git is given its input here.
        is_paced: whether its output passes here.
    """

    def __init__(self, sock: socket.socket, *, is_fed: bool, is_paced: bool) -> None:
        self._sock = sock
        self._is_paced = is_paced
        self.stdin = self.stdout = sock
        self.given: socket.socket | None = None
        self.said: socket.socket | None = None
        if is_fed:
            self.given, self.stdin = socket.socketpair()
            self.given.setblocking(False)
        if is_paced:
            self.said, self.stdout = socket.socketpair()
            self.said.setblocking(False)

    def started(self) -> None:
        """Git has its ends now."""
        for end in (self.stdin, self.stdout):
            if end is not self._sock:
                end.close()
        if self.given is None:
            self.leave_to_git()

    def leave_to_git(self) -> None:
        """Let git do blocking writes, and reads: from here on the socket is git's alone."""
        if not self._is_paced:
            self._sock.setblocking(True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self.stdin, self.stdout, self.given, self.said):
            if end is not None and end is not self._sock:
                end.close()


async def _feed(ends: _Ends, pieces: AsyncIterator[bytes]) -> None:
    """Give git a request; before it can answer, the socket is left to it."""
    loop, given = asyncio.get_running_loop(), ends.given
    assert given is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # git wants no more of it
        last = b""
        async for piece in pieces:
            await loop.sock_sendall(given, last)
            last = piece
        ends.leave_to_git()
        await loop.sock_sendall(given, last)


async def _pump(source: socket.socket, target: socket.socket, limiter: Limiter) -> None:
    """Pass bytes on at the pace of a limiter until there are no more."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, min(RELAY_CHUNK, limiter.chunk)):
        await limiter.take(len(data))
        async with asyncio.timeout(STALLED_SECONDS):
            await loop.sock_sendall(target, data)


def _failure_of(tasks: list[asyncio.Task[None]]) -> str | None:
    """Return why one of several tasks failed; None while they run, and if they are done."""
    for task in tasks:
        error = task.exception() if task.done() else None
        if error is not None:
            return str(error) or STALLED
    return None
