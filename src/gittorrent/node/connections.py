"""Listening sockets, and a task for each caller that they let in.

A connection that `gittorrent.node.connection_limiter` refuses is told so, in the words of whoever
listens, and closed; where many are refused at once nobody makes sure that they hear it.

Must not know what is spoken on a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from gittorrent.errors import LocalError
from gittorrent.event_log import EventLog
from gittorrent.node.connection_limiter import MAX_CONNECTIONS
from gittorrent.transfer.accepting import accept
from gittorrent.transfer.addresses import plain_address
from gittorrent.transfer.keepalive import notice_loss

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gittorrent.node.connection_limiter import ConnectionLimiter, ConnectionSlot
BACKLOG = 256
"""Connections that wait in the kernel to be accepted."""

PAUSE_SECONDS = 0.5
"""Wait after the system ran out of sockets, so that accepting does not spin."""

_log = EventLog(__name__)

_HINTS = {
    errno.EADDRNOTAVAIL: "that is no address of this machine: choose one of its own, or 0.0.0.0"
    " or [::] for all",
    errno.EACCES: "ports below 1024 need a right (CAP_NET_BIND_SERVICE, which the unit for systemd"
    " gives): choose another port, or give it",
}
"""What to do where it is not another port that helps."""

Serve: TypeAlias = "Callable[[socket.socket, ConnectionSlot], Awaitable[None]]"
"""Serves one caller on its connection."""


OPEN_FILES = 8192
"""Open files that a full node may have: for each caller a socket, a pack, a process's pipe."""

OWN_FILES = 256
"""Of those, how many are for what is no caller's: the node's own calls, logs, database, threads."""

FILES_EACH = 3
"""And how many for each caller."""

TURNED_AWAY = 256
"""Callers that are turned away at the same time, at each listening socket; of further ones nobody
waits for what they want."""

TURNING_AWAY_SECONDS = 2.0
"""Time that one of them has to say what it wants and to take the answer."""

_REQUEST_BYTES = 1 << 16


class CannotListenError(LocalError):
    """An address cannot be listened at."""


def allow_open_files(connections: int = MAX_CONNECTIONS) -> int:
    """Let this process open the files that a full node needs, as far as the system lets it.

    Many systems allow 1,024 until a program asks for more. Where that is all, say what it means.

    Args:
        connections: callers that are to be let in.

    Returns:
        How many can be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = open_files_allowed(connections)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    most = callers_with(wanted, connections)
    if most < connections:
        _log.warning(
            "few-files",
            "at most {callers} callers are let in instead of {wanted}: {reason}; {remedy}",
            callers=most,
            wanted=connections,
            reason=f"this process may open {wanted} files only",
            remedy=files_remedy(connections),
        )
    return most


def files_for(connections: int) -> int:
    """Return how many files a node may have open that lets so many callers in."""
    return max(OPEN_FILES, OWN_FILES + FILES_EACH * connections)


def files_remedy(connections: int = MAX_CONNECTIONS) -> str:
    """Return what to do where a process may open too few files for so many callers."""
    files = files_for(connections)
    return (
        f"let it open {files}, with 'LimitNOFILE={files}' in its systemd unit, or"
        f" 'ulimit -Hn {files}' by root before it starts"
    )


def open_files_allowed(connections: int = MAX_CONNECTIONS) -> int:
    """Return how many files a process of this user may open once it asked for more.

    Args:
        connections: callers that it asks for files for.
    """
    wanted = files_for(connections)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def callers_with(open_files: int, connections: int = MAX_CONNECTIONS) -> int:
    """Return how many callers a node lets in that may open so many files.

    With more, it could neither accept callers nor read its own logs; so idle ones make room before.

    Args:
        open_files: it may have.
        connections: callers that it may let in.
    """
    return max(1, min(connections, (open_files - OWN_FILES) // FILES_EACH))


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
        hint = _HINTS.get(error.errno or 0, "choose another port, or 0 for any")
        raise CannotListenError(f"cannot listen at {shown}: {error.strerror}", hint=hint) from error
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
    connection_limiter: ConnectionLimiter,
    serve: Serve,
    tasks: set[asyncio.Task[None]],
    refusal: bytes = b"",
) -> None:
    """Accept callers and serve each in a task of its own, until cancelled.

    Args:
        listener: a listening socket, not blocking.
        connection_limiter: says who may come in.
        serve: owns the socket it is given, and closes it; is cancelled when the caller has to
            make room, unless it arranges something else with the `ConnectionSlot`.
        tasks: holds the tasks under way.
        refusal: what a caller hears that may not come in; empty to say nothing.
    """
    loop = asyncio.get_running_loop()
    turned_away: set[asyncio.Task[None]] = set()
    while True:
        try:
            sock, peer = await accept(listener)
        except ConnectionError:
            continue  # the caller gave up while it waited to be accepted
        except OSError as error:
            _log.warning("cannot-accept", "cannot accept: {reason}", reason=error.strerror)
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        address = plain_address(peer[0])
        slot = connection_limiter.enter(address, loop.time())
        if slot is None:
            _log.info(
                "turned-away",
                "turned away {peer}: {reason}",
                peer=address,
                reason="too many connections",
            )
            if not refusal or len(turned_away) >= TURNED_AWAY:
                with sock, contextlib.suppress(OSError):
                    sock.send(refusal)  # which the kernel may take back
                continue
            refusing = loop.create_task(_turn_away(sock, refusal))
            for each in (tasks, turned_away):
                each.add(refusing)
                refusing.add_done_callback(each.discard)
            refusing.add_done_callback(partial(_close, sock))
            continue
        task = loop.create_task(_serve_one(sock, slot, serve))
        slot.give_way = partial(_give_way, slot, task)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(partial(_gone, sock, slot, connection_limiter))
        # A request that came with the connection is read before the next newcomer is let in.
        await asyncio.sleep(0)


async def _turn_away(sock: socket.socket, refusal: bytes) -> None:
    """Say that there is no room, once the caller has said what it wants.

    What it says is read to its end: where something is left unread, the kernel takes the answer
    back.
    """
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):  # a timeout is one
        async with asyncio.timeout(TURNING_AWAY_SECONDS):
            if await loop.sock_recv(sock, _REQUEST_BYTES):
                await loop.sock_sendall(sock, refusal)
                sock.shutdown(socket.SHUT_WR)
                while await loop.sock_recv(sock, _REQUEST_BYTES):
                    pass


def _close(sock: socket.socket, _task: asyncio.Task[None]) -> None:
    """Hang up on a caller, even if its task was cancelled before it began."""
    sock.close()


def _gone(
    sock: socket.socket,
    slot: ConnectionSlot,
    connection_limiter: ConnectionLimiter,
    _task: asyncio.Task[None],
) -> None:
    """Clean up after a caller, even one whose task was cancelled before it began."""
    sock.close()
    connection_limiter.leave(slot)


def _give_way(slot: ConnectionSlot, task: asyncio.Task[None]) -> None:
    _log.info(
        "gave-way",
        "dropped {peer}: {reason}",
        peer=slot.address,
        reason="it was silent longest, and others want in",
    )
    task.cancel()


async def _serve_one(sock: socket.socket, slot: ConnectionSlot, serve: Serve) -> None:
    address = slot.address
    try:
        notice_loss(sock)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await serve(sock, slot)
    except OSError as error:
        _log.info("lost", "lost {peer}: {reason}", peer=address, reason=error)
    except Exception:
        _log.exception("failed", "serving {peer} failed", peer=address)
    finally:
        sock.close()
