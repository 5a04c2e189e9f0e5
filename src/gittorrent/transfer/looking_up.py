"""Name look-ups in threads of their own, so that a slow resolver blocks nothing.

The system's resolver cannot be called off, and a name server that says nothing holds it for a
minute. In the event loop's own threads that would keep the process from ending; a name that a
stranger made up must not. So each look-up has a thread that nobody waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, "tuple[Any, ...]"]
"""An address as `socket.getaddrinfo` gives it."""

MAX_ADDRESSES = 16
"""Addresses of one name that are looked at: who has more of them is reached at these too."""


def _resolve(host: str, port: int) -> list[Found]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _as_it_is(address: str, port: int) -> list[Found]:
    """Return what is found for an address; no resolver is asked for that."""
    flags = socket.AI_NUMERICHOST
    return list(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=flags))


async def look_up(
    host: str, port: int, seconds: float, resolve: Callable[[str, int], list[Found]] = _resolve
) -> list[Found]:
    """Return the addresses of a host for TCP.

    Args:
        host: its name, or an address.
        port: to put into the results.
        seconds: to wait.
        resolve: asks the system; may block for as long as it likes.

    Raises:
        OSError: it has none, or nobody said in time.
    """
    if _is_address(host):
        return _as_it_is(host, port)
    loop = asyncio.get_running_loop()
    coming: asyncio.Future[list[Found]] = loop.create_future()

    def settle(found: list[Found], error: OSError | None) -> None:
        if coming.done():
            return
        if error is None:
            coming.set_result(found)
        else:
            coming.set_exception(error)

    def work() -> None:
        found: list[Found] = []
        failure = None
        try:
            found = resolve(host, port)
        except OSError as error:
            failure = error
        except UnicodeError as error:
            failure = OSError(f"no host can have that name: {error}")
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, found[:MAX_ADDRESSES], failure)

    threading.Thread(target=work, name="look-up", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            return await coming
    except TimeoutError as error:
        raise TimeoutError(f"no name server answered in {seconds:g} seconds") from error


def _is_address(host: str) -> bool:
    """Tell whether a host is an IP address; one with a zone is left to the resolver."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host
