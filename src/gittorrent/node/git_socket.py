"""Git's upload-pack on a caller's own socket, as git:// is served.

Tracks nothing between callers. Git reads and writes the socket itself, and nothing of a clone
passes through this process, unless sending is limited; the kernel tells whether the caller is
there and takes what it is sent (`gittorrent.node.caller_watch`).

Must not know the catalogue or other services. Source: gitprotocol-pack(5), Git Transport.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from gittorrent.event_log import EventLog
from gittorrent.node import upload_pack
from gittorrent.node.caller_watch import STALLED, Watch, has_hung_up, look_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.node.catalogue import Served
    from gittorrent.node.git_processes import GitProcesses
    from gittorrent.transfer.limiter import Limiter, Limits

SEND_SECONDS = 120.0
"""Time a caller may take to accept one chunk of an answer."""

RELAY_CHUNK = 64 << 10
"""Bytes taken at a time from upload-pack when sending is limited."""

_log = EventLog(__name__)


class SocketUploadPack:
    """Answers fetches over git://.

    Args:
        git_processes: runs git.
        limits: of all sending, and of sending to each caller.
    """

    def __init__(self, git_processes: GitProcesses, limits: Limits) -> None:
        self._git_processes = git_processes
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
            BusyError: it waited in vain for its turn; nothing was sent.
            ConnectionError: it has gone.
        """
        turns = self._git_processes.turns
        async with turns.turn(address, lambda: has_hung_up(sock)):
            loop = asyncio.get_running_loop()
            watch = Watch(loop.time())

            def why_end() -> str | None:
                waiting = turns.others_wait(address)
                return watch.judge(loop.time(), look_at(sock), others_wait=waiting)

            status, reason = await self._run(sock, address, served, protocol, why_end)
        seen = look_at(sock)
        _log.info(
            "upload-pack",
            "upload-pack {repository} to {peer}: {sent} bytes, {ended}",
            repository=served.info.name,
            peer=address,
            sent=None if seen is None else seen.taken,
            ended=reason or upload_pack.describe_end(status),
        )

    async def _run(
        self,
        sock: socket.socket,
        address: str,
        served: Served,
        protocol: str | None,
        why_end: Callable[[], str | None],
    ) -> tuple[int, str | None]:
        """Run git and return its exit status, and why it was made to end."""
        limiter = self._limits.sending_to(address)
        prepared = await self._git_processes.prepare(served, protocol)
        if limiter.rate is None:
            # Git does blocking reads and writes; from here on the socket is git's alone.
            sock.setblocking(True)
            fileno = sock.fileno()
            process = self._git_processes.start(prepared, stdin=fileno, stdout=fileno)
            reason = await self._git_processes.wait(process, why_end)
            return process.returncode, reason
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs:
                process = self._git_processes.start(
                    prepared, stdin=sock.fileno(), stdout=theirs.fileno()
                )
            pumping = asyncio.get_running_loop().create_task(_pump(ours, sock, limiter))
            try:
                reason = await self._git_processes.wait(
                    process, lambda: _failure_of(pumping) or why_end()
                )
                if reason is None:
                    await pumping  # what git wrote last still has to go out
            finally:
                pumping.cancel()
                await asyncio.gather(pumping, return_exceptions=True)
        return process.returncode, reason


async def _pump(source: socket.socket, target: socket.socket, limiter: Limiter) -> None:
    """Pass bytes on at the pace of a limiter until there are no more."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, min(RELAY_CHUNK, limiter.chunk)):
        await limiter.take(len(data))
        async with asyncio.timeout(SEND_SECONDS):
            await loop.sock_sendall(target, data)


def _failure_of(task: asyncio.Task[None]) -> str | None:
    """Return why a task failed; None while it runs, and if it is done."""
    error = task.exception() if task.done() else None
    return None if error is None else str(error) or STALLED
