"""The node's control socket: takes the requests of this user's programs on this machine.

Each connection brings one request; whoever hangs up has no use for the answer any more, and what is
done for nobody else stops. Must not know how requests are carried out (that is
`gittorrent.node.local_clones` and `gittorrent.node.discovering`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.node.config_table import ConfigError
from gittorrent.node.local_listener import LocalListener
from gittorrent.store import control_socket
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts
from gittorrent.wire.control import (
    MAX_LINE,
    Alive,
    Converse,
    Done,
    Failed,
    Fetch,
    Find,
    Follow,
    Greeting,
    Keep,
    LookAt,
    No,
    Problem,
    Reload,
    parse_request,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from gittorrent.node.discovering import Discovering
    from gittorrent.node.follower import Follower
    from gittorrent.node.local_clones import LocalCloneService
    from gittorrent.node.local_conversations import LocalConversations
    from gittorrent.node.tracker import Tracker
    from gittorrent.wire.control import Answer, Request

MAX_HELPERS = 256
"""Requests under way at once: a build farm on one machine."""

ALIVE_SECONDS = 5.0
"""How often a helper that waits hears that the node is there."""

MAX_UNREAD = 64 << 10
"""Bytes a helper may leave unread before it is told no more of the progress."""

_log = EventLog(__name__)


class ControlSocket:
    """Listens at the control socket, unless another node of this user does.

    Args:
        path: of the socket.
        local_clones: carries requests out.
        discovering: looks for mirrors.
        server_timeouts: how long programs are waited for.
        follower: carries and follows what it is asked to; None where this node does not.
        tracker: looks at what it tracks; likewise.
        read_again: has the node go by its configuration as it is now; None where there is none.
        conversations: holds those that are handed over; None holds none.
    """

    def __init__(
        self,
        path: Path,
        local_clones: LocalCloneService,
        discovering: Discovering,
        server_timeouts: ServerTimeouts = SERVER_TIMEOUTS,
        follower: Follower | None = None,
        tracker: Tracker | None = None,
        read_again: Callable[[], Awaitable[None]] | None = None,
        conversations: LocalConversations | None = None,
    ) -> None:
        self._listener = LocalListener(path, self._serve, MAX_LINE)
        self._local_clones = local_clones
        self._discovering = discovering
        self._server_timeouts = server_timeouts
        self._follower = follower
        self._tracker = tracker
        self._read_again = read_again
        self._conversations = conversations

    async def start(self) -> bool:
        """Begin to listen; tells whether this is the node that does."""
        try:
            is_here = await self._listener.start()
        except OSError as error:
            # Serving does not depend on it.
            _log.warning("no-control", "takes no requests of clones: {reason}", reason=error)
            return False
        if not is_here:
            reason = "another node with this home does"
            _log.info("no-control", "takes no requests of clones: {reason}", reason=reason)
        return is_here

    async def stop(self) -> None:
        """Stop listening, and hang up on everybody."""
        await self._listener.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock: socket.socket = writer.get_extra_info("socket")
        try:
            if not control_socket.is_own(sock):
                return
            writer.write(Greeting().encode())
            if self._listener.callers > MAX_HELPERS:
                writer.write(No("too many ask at once").encode())
                return
            async with asyncio.timeout(self._server_timeouts.control):
                line = await reader.readline()
            if not line:
                return  # who looks whether a node answers asks for nothing more
            request = parse_request(line)
            if isinstance(request, Converse):
                await self._converse(request, reader, writer)
            else:
                await self._answer(request, reader, writer)
        except (GitTorrentError, ValueError, TimeoutError) as error:
            _log.info(
                "request-refused",
                "refused a request of this machine: {reason}",
                reason=str(error) or "it did not come",
            )
            writer.write(No(str(error)).encode())
        except OSError as error:
            _log.debug("lost", "a helper went away: {reason}", reason=error)
        finally:
            writer.close()

    async def _carry_out(
        self, request: Request, tell: Callable[[Answer], None]
    ) -> Sequence[Answer]:
        if isinstance(request, Fetch):
            return await self._local_clones.fetch(request, tell)
        if isinstance(request, Keep):
            return await self._local_clones.keep(request)
        if isinstance(request, Find):
            return await self._discovering.find(request, tell)
        if isinstance(request, Follow) and self._follower is not None:
            return await self._follower.follow(request, tell)
        if isinstance(request, LookAt) and self._tracker is not None:
            return await self._tracker.look_at(request, tell)
        if isinstance(request, Reload):
            return await self._reload()
        return [No("it serves the repositories it was started with, and follows none")]

    async def _converse(
        self, request: Converse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._conversations is None:
            writer.write(No("it holds no conversations for others").encode())
        else:
            await self._conversations.hold(request, reader, writer)

    async def _reload(self) -> Sequence[Answer]:
        if self._read_again is None:
            return [No("it goes by no configuration")]
        try:
            await self._read_again()
        except ConfigError as error:
            *others, last = error.problems
            return [*map(Problem, others), Failed(error.exit_code, last)]
        except GitTorrentError as error:
            return [Failed(error.exit_code, str(error))]
        return [Done(0)]

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry a request out while its sender stays."""

        def tell(answer: Answer) -> None:
            # Progress is for whoever reads it; what a helper misses of it is no loss.
            if writer.transport.get_write_buffer_size() < MAX_UNREAD:
                writer.write(answer.encode())

        loop = asyncio.get_running_loop()
        work = loop.create_task(self._carry_out(request, tell))
        gone = loop.create_task(reader.read(1))
        try:
            while not work.done() and not gone.done():
                await asyncio.wait(
                    {work, gone}, timeout=ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                tell(Alive())
            if work.done():
                writer.write(b"".join(answer.encode() for answer in work.result()))
                async with asyncio.timeout(self._server_timeouts.control):
                    await writer.drain()
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
