"""Tells the service manager how the node is: sd_notify(3), without a library for it.

systemd names a socket in the environment, and how often it wants to hear that the service is well.
Where nobody does, nothing is said. The signs of life come from the event loop, so that a loop which
hangs is noticed, and the node started again.

Rules: the variables are not passed on to other programs; a manager that does not take what it is
told is no reason to stop. Must not know the node.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from gittorrent.event_log import EventLog

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

SOCKET, INTERVAL, WATCHED = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
"""Variables of the service manager (sd_notify(3), sd_watchdog_enabled(3))."""

SIGNS = 3
"""Signs of life in the time after which the manager gives up: one or two may come late."""

STATUS_SECONDS = 10.0
"""How often the status is said where nobody waits for signs of life."""

_log = EventLog(__name__)


class ServiceManager:
    """Who started the node, if it wants to know how that is.

    Args:
        address: of its socket; empty for nobody.
        seconds: in which it wants a sign of life; None where it wants none.
    """

    def __init__(self, address: str = "", seconds: float | None = None) -> None:
        self._address = address
        self._seconds = seconds
        self._is_lost = False

    @classmethod
    def of(cls, environ: MutableMapping[str, str], pid: int) -> ServiceManager:
        """Return what an environment speaks of, and take it out of there.

        Args:
            environ: of this process.
            pid: its own.
        """
        address, interval = environ.pop(SOCKET, ""), environ.pop(INTERVAL, "")
        watched = environ.pop(WATCHED, str(pid))
        seconds = None
        if interval.isascii() and interval.isdigit() and int(interval) and watched == str(pid):
            seconds = int(interval) / 1_000_000
        return cls(address, seconds)

    def ready(self) -> None:
        """Say that the node has begun."""
        self._say("READY=1")

    def stopping(self) -> None:
        """Say that it ends."""
        self._say("STOPPING=1")

    async def follow(self, status: Callable[[], str]) -> None:
        """Say how it is, now and then, and give signs of life, until cancelled.

        Args:
            status: returns it in words.
        """
        if not self._address:
            return
        said = ""
        while True:
            lines = [] if self._seconds is None else ["WATCHDOG=1"]
            if (words := status()) != said:
                lines.append(f"STATUS={words}")
                said = words
            if lines:
                self._say(*lines)
            seconds = STATUS_SECONDS if self._seconds is None else self._seconds / SIGNS
            await asyncio.sleep(seconds)

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            try:
                sock.sendto("\n".join(lines).encode(), address)
            except OSError as error:
                if not self._is_lost:
                    self._is_lost = True
                    _log.warning(
                        "no-service-manager",
                        "the service manager cannot be told how the node is: {reason}",
                        reason=error,
                    )
