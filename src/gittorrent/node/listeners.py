"""Where a node listens, which may change while it runs.

Tracks the listening sockets, by what asked for them, and the task that accepts at each. Rules: what
is new is opened before what is old is closed; if something cannot be opened, all stays as it was;
connections that were accepted go on, whatever becomes of the socket that let them in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.node.connections import CannotListenError, accept_forever, open_listeners
from gittorrent.transfer.addresses import show_address
from gittorrent.wire import pktline
from gittorrent.wire.fields import BUSY
from gittorrent.wire.urls import Endpoint

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Mapping, Sequence

    from gittorrent.node.config_values import Place
    from gittorrent.node.connection_limiter import ConnectionLimiter
    from gittorrent.node.connections import Serve


_WHY = f"{BUSY}: this node serves as many callers as it may"
_HEADERS = (
    "HTTP/1.1 503 Service Unavailable",
    "Retry-After: 2",
    "Content-Type: text/plain; charset=utf-8",
    f"Content-Length: {len(_WHY) + 1}",
    "Connection: close",
)
_REFUSALS = {
    "git": pktline.encode(f"ERR {_WHY}\n".encode()),
    "http": "\r\n".join([*_HEADERS, "", f"{_WHY}\n"]).encode(),
}
"""What callers hear for whom there is no room, by scheme; over TLS nothing can be said yet."""


class Asked(Struct, frozen=True):
    """What is listened at: a scheme, a host and a port, 0 for any."""

    scheme: str
    host: str
    port: int


class _Listener(Struct):
    """A listening socket, and the task that accepts at it; None until that has begun."""

    asked: Asked
    sock: socket.socket
    task: asyncio.Task[None] | None = None


class Listeners:
    """The listening sockets of a node.

    Args:
        limiter: says who is let in.
        serve: serves a caller, by scheme.
        served: tasks of the callers that were let in are kept there.
    """

    def __init__(
        self,
        limiter: ConnectionLimiter,
        serve: Mapping[str, Serve],
        served: set[asyncio.Task[None]],
    ) -> None:
        self._limiter = limiter
        self._serve = serve
        self._served = served
        self._open: list[_Listener] = []

    @property
    def hosts(self) -> list[str]:
        """The addresses that are listened at."""
        return [str(each.sock.getsockname()[0]) for each in self._open]

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where it is listened, with real ports."""
        return [_endpoint(each.asked.scheme, each.sock) for each in self._open]

    @property
    def addresses(self) -> list[str]:
        """The same as URLs with their ports in any case, such as ``git://127.0.0.1:40123``."""
        return [f"{e.scheme}://{show_address(e.host, e.port)}" for e in self.endpoints]

    async def change(self, wanted: Mapping[str, Sequence[Place]]) -> None:
        """Listen at these places from now on, and nowhere else.

        Args:
            wanted: hosts and ports, by scheme. One that was asked for before stays open, and keeps
                its port where that may be any.

        Raises:
            CannotListenError: at one of them; what was listened at before still is.
        """
        asked = [Asked(scheme, *place) for scheme, places in wanted.items() for place in places]
        doomed = [each for each in self._open if each.asked not in asked]
        known = {each.asked for each in self._open}
        made: list[_Listener] = []
        closed: list[_Listener] = []
        try:
            for each in dict.fromkeys(asked):
                if each not in known:
                    made += await self._open_at(each, doomed, closed)
        except BaseException:
            for listener in made:
                listener.sock.close()
            for each in dict.fromkeys(listener.asked for listener in closed):
                self._begin(await _listen(each))
            raise
        self._begin(made)
        for listener in doomed:
            if listener not in closed:
                await self._close(listener)

    async def _open_at(
        self, asked: Asked, doomed: Collection[_Listener], closed: list[_Listener]
    ) -> list[_Listener]:
        """Open sockets; one that is to be closed anyway and has the same port gives way.

        ``0.0.0.0:9418`` cannot be opened beside ``127.0.0.1:9418``.
        """
        try:
            return await _listen(asked)
        except CannotListenError:
            in_the_way = [
                each
                for each in doomed
                if each not in closed and each.sock.getsockname()[1] == asked.port
            ]
            if not in_the_way:
                raise
        for each in in_the_way:
            await self._close(each)
            closed.append(each)
        return await _listen(asked)

    def _begin(self, listeners: Sequence[_Listener]) -> None:
        loop = asyncio.get_running_loop()
        for each in listeners:
            serve = self._serve[each.asked.scheme]
            refusal = _REFUSALS.get(each.asked.scheme, b"")
            work = accept_forever(each.sock, self._limiter, serve, self._served, refusal)
            each.task = loop.create_task(work)
            self._open.append(each)

    async def _close(self, listener: _Listener) -> None:
        self._open.remove(listener)
        if listener.task is not None:
            listener.task.cancel()
            await asyncio.gather(listener.task, return_exceptions=True)
        listener.sock.close()

    async def stop(self) -> None:
        """Listen nowhere."""
        for listener in list(self._open):
            await self._close(listener)


async def _listen(asked: Asked) -> list[_Listener]:
    return [_Listener(asked, sock) for sock in await open_listeners(asked.host, asked.port)]


def _endpoint(scheme: str, sock: socket.socket) -> Endpoint:
    """Return where a socket listens."""
    name = sock.getsockname()
    return Endpoint(scheme, str(name[0]).partition("%")[0], int(name[1]), "/")
