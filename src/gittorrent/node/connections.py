"""Listening sockets, and how many callers they let in.

Tracks open connections, in all and for each address. A caller beyond its share is closed at once:
that costs the least, and whoever opens dozens of connections knows why.

Must not know what is spoken on a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
from collections import Counter
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError
from gittorrent.node.events import EventLog
from gittorrent.transfer.addresses import caller_group, is_loopback, plain_address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MAX_CONNECTIONS = 1024
"""Callers served at once: each costs a socket and perhaps a process, and both are bounded."""

MAX_PER_ADDRESS = 64
"""Callers from one address: a build farm behind one router, and no more."""

BACKLOG = 256
"""Connections that wait in the kernel to be accepted."""

PAUSE_SECONDS = 0.5
"""Wait after the system ran out of sockets, so that accepting does not spin."""

_log = EventLog(__name__)


OPEN_FILES = 8192
"""Open files that a full node may have: for each caller a socket, a pack, a process's pipe."""


class CannotListenError(LocalError):
    """An address cannot be listened at."""


class Gate:
    """Counts callers and says who may come in.

    Args:
        total: callers at once.
        per_address: callers of one address at once; loopback has no such bound, because proxies
            and tunnels come from there.
    """

    def __init__(self, total: int = MAX_CONNECTIONS, per_address: int = MAX_PER_ADDRESS) -> None:
        self._total = total
        self._per_address = per_address
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """How many callers are in."""
        return self._open.total()

    def enter(self, address: str) -> bool:
        """Let a caller in, or say that it may not."""
        group = caller_group(address)
        if self._open.total() >= self._total:
            return False
        if self._open[group] >= self._per_address and not is_loopback(address):
            return False
        self._open[group] += 1
        return True

    def leave(self, address: str) -> None:
        """Note that a caller that was let in has gone."""
        group = caller_group(address)
        self._open[group] -= 1
        if self._open[group] <= 0:
            del self._open[group]


def allow_open_files() -> None:
    """Let this process open the files that a full node needs, as far as the system lets it.

    Many systems allow 1,024 until a program asks for more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def open_listeners(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for every address of ``host``; port 0 takes a free one.

    Args:
        host: name or address; empty for all addresses of this machine.
        port: the same for all of them.

    Raises:
        CannotListenError: with the reason.
    """
    loop = asyncio.get_running_loop()
    shown = f"{host or '*'}:{port}"
    try:
        found = await loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise CannotListenError(f"cannot find {shown}: {error.strerror}") from error
    listeners: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            # With port 0 the first address chooses for the others.
            chosen = listeners[0].getsockname()[1] if listeners else port
            listener = _listen(family, (address[0], chosen, *address[2:]))
            if listener is not None:
                listeners.append(listener)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise CannotListenError(
            f"cannot listen at {shown}: {error.strerror}", hint="choose another port, or 0 for any"
        ) from error
    if not listeners:
        raise CannotListenError(f"cannot listen at {shown}: no such address here")
    return listeners


def _listen(family: socket.AddressFamily, address: tuple[str | int, ...]) -> socket.socket | None:
    """Return one listening socket; None when the system lacks the address family."""
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return None
        raise
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    return sock


async def accept_forever(
    listener: socket.socket,
    gate: Gate,
    serve: Callable[[socket.socket, str], Awaitable[None]],
    tasks: set[asyncio.Task[None]],
) -> None:
    """Accept callers and serve each in a task of its own, until cancelled.

    Args:
        listener: a listening socket, not blocking.
        gate: says who may come in.
        serve: owns the socket it is given, and closes it.
        tasks: holds the tasks under way.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock, peer = await loop.sock_accept(listener)
        except ConnectionError:
            continue  # the caller gave up while it waited to be accepted
        except OSError as error:
            _log.warning("cannot-accept", "cannot accept: {reason}", reason=error.strerror)
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        address = plain_address(str(peer[0]))
        if not gate.enter(address):
            _log.info(
                "turned-away",
                "turned away {peer}: {reason}",
                peer=address,
                reason="too many connections",
            )
            sock.close()
            continue
        task = loop.create_task(_serve_one(sock, address, gate, serve))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _serve_one(
    sock: socket.socket,
    address: str,
    gate: Gate,
    serve: Callable[[socket.socket, str], Awaitable[None]],
) -> None:
    try:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await serve(sock, address)
    except OSError as error:
        _log.info("lost", "lost {peer}: {reason}", peer=address, reason=error)
    except Exception:
        _log.exception("failed", "serving {peer} failed", peer=address)
    finally:
        sock.close()
        gate.leave(address)
