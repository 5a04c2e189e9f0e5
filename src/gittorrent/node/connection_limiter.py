"""Limits a node's open connections, in all and per address; idle ones make room for new ones.

Tracks each open connection as a `ConnectionSlot`, and how long it has asked for nothing. A
connection beyond its address's share is refused; so is one more than there are slots, unless an
idle one can be closed: the one that has been idle longest. Idle connections can thus not keep a
node full, and a new honest caller only has to send its request.

Rules: a connection that is being served is not closed. That is decided by what was asked and
answered, and where a git process has the socket, by the bytes that the kernel counted; so a caller
that neither asks nor reads counts as silent too. Must not know what is spoken.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.transfer.peer_admission import PeerAdmission
from gittorrent.transfer.tcp_info import tcp_info

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

MAX_CONNECTIONS = 1024
"""Callers served at once: each costs a socket and perhaps a process, and both are bounded."""

MAX_PER_ADDRESS = 64
"""Callers from one address: a build farm behind one router, and no more."""

MAX_SHARED = 8192
"""Conversations on shared connections, of all callers: some 96 MiB while they are idle."""

MAX_SHARED_PER_ADDRESS = 1024
"""The same of one address: as many as one connection may carry."""

LOOK_SECONDS = 0.25
"""Least time between two looks at all callers, each of which takes milliseconds."""

QUIET_SECONDS = 30.0
"""Time in which nothing comes or goes after which a caller that is being served counts as silent;
git's upload-pack is heard of every five seconds once it was asked for objects."""


class CallerLimits(Struct, frozen=True):
    """How many callers a node has at once.

    Args:
        connections: of all; fewer where this process may open too few files.
        per_address: of one address.
        conversations: on connections that several share, of all; idle ones count.
        conversations_per_address: of one address.
    """

    connections: int = MAX_CONNECTIONS
    per_address: int = MAX_PER_ADDRESS
    conversations: int = MAX_SHARED
    conversations_per_address: int = MAX_SHARED_PER_ADDRESS


class ConnectionSlot:
    """A caller that was let in.

    ``silent_since`` tells since when it has asked for nothing, None while it is being served;
    ``give_way`` is called to end it.

    Args:
        address: where it comes from.
        now: seconds; it has asked for nothing yet.
        on_wait: called when it asks for nothing any more, and at the beginning.
    """

    def __init__(
        self, address: str, now: float, on_wait: Callable[[ConnectionSlot, float], None]
    ) -> None:
        self.address = address
        self.silent_since: Callable[[float], float | None]
        self.give_way: Callable[[], None] = lambda: None
        self._on_wait = on_wait
        self.mark_idle(now)

    def mark_idle(self, now: float) -> None:
        """Note that everything it asked for is done, or that its request does not end."""
        self.silent_since = lambda _now: now
        self._on_wait(self, now)

    def is_served(
        self, sock: socket.socket | None = None, quiet_seconds: float = QUIET_SECONDS
    ) -> None:
        """Note that it asked for something.

        Args:
            sock: its connection, to watch whether anything comes or goes; None to trust that
                whoever serves it notices.
            quiet_seconds: time without anything after which it counts as silent.
        """
        if sock is None:
            self.silent_since = lambda _now: None
        else:
            self.silent_since = lambda now: _quiet_since(sock, now, quiet_seconds)


class ConnectionLimiter:
    """Counts callers and says who may come in.

    Args:
        total: callers at once.
        per_address: callers of one address at once; loopback has no such bound, because proxies
            and tunnels come from there.
    """

    def __init__(self, total: int = MAX_CONNECTIONS, per_address: int = MAX_PER_ADDRESS) -> None:
        self._total = total
        self._admission = PeerAdmission(total, per_address)
        self._slots: dict[ConnectionSlot, None] = {}
        # Who asks for nothing since when, the longest first; checked when due. Whoever left is not
        # kept here: a slot has hold of all that served its caller.
        self._silent: dict[ConnectionSlot, float] = {}
        self._looked = -math.inf

    @property
    def open(self) -> int:
        """How many callers are in."""
        return len(self._slots)

    def enter(self, address: str, now: float) -> ConnectionSlot | None:
        """Let a caller in, in place of another one if need be; None if it may not."""
        if self._admission.has_share(address):
            while len(self._slots) >= self._total and self._make_room(now):
                pass  # several where fewer may be in than before
        if not self._admission.enter(address):
            return None
        slot = ConnectionSlot(address, now, self._note)
        self._slots[slot] = None
        self._silent[slot] = now
        return slot

    def change(self, total: int, per_address: int) -> None:
        """Let in as many from now on; of those who are in only idle ones make room, as ever."""
        self._total = total
        self._admission.change(total, per_address)

    def leave(self, slot: ConnectionSlot) -> None:
        """Note that a caller has gone; nothing happens if it gave way before."""
        if slot in self._slots:
            del self._slots[slot]
            self._silent.pop(slot, None)
            self._admission.leave(slot.address)

    def _note(self, slot: ConnectionSlot, now: float) -> None:
        """Put a connection that became idle at the end of the queue of idle ones."""
        self._silent.pop(slot, None)
        if slot in self._slots:
            self._silent[slot] = now

    def _make_room(self, now: float) -> bool:
        """Close the connection that has been idle longest; tells whether there was one."""
        if now - self._looked >= LOOK_SECONDS:
            self._look(now)
        while self._silent:
            slot = next(iter(self._silent))
            since = self._silent.pop(slot)
            still = slot.silent_since(now)
            if still is not None and still <= since + LOOK_SECONDS:
                self.leave(slot)
                slot.give_way()
                return True
        return False

    def _look(self, now: float) -> None:
        """Line up everybody who asks for nothing, those too who did not say when that began."""
        self._looked = now
        found = [(slot.silent_since(now), slot) for slot in self._slots]
        silent = [(since, slot) for since, slot in found if since is not None]
        self._silent = {slot: since for since, slot in sorted(silent, key=lambda each: each[0])}


def _quiet_since(sock: socket.socket, now: float, enough: float) -> float | None:
    """Return since when nothing came or went on a connection; None if that is not long."""
    info = tcp_info(sock)
    if info is None or info.quiet is None or info.quiet < enough:
        return None
    return now - info.quiet
