"""Watches a caller's TCP connection while git serves it, and says when to end git.

Where git has a caller's socket to itself this process does not see what comes and goes, but the
kernel does (`gittorrent.transfer.tcp_info`). `Watch` is fed one look after the other and says when
to end git.

Rules: git is ended when its caller closed the connection. A caller that only closed its sending
side, as some proxies do when a request is over, is served as long as it reads what it is sent. One
that does not read is cut off, as over HTTP, and sooner while others wait for their turn. Must not
know processes.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.transfer.tcp_info import CLOSE_WAIT, CLOSED, tcp_info

if TYPE_CHECKING:
    import socket

GONE_SECONDS = 3.0
"""Time in which whoever closed its sending side has to acknowledge something; upload-pack sends
something every second once it was asked for objects."""

STALLED_SECONDS = 120.0
"""Time in which a caller has to take `LEAST_BYTES` of what waits for it."""

LEAST_BYTES = 256 << 10
"""The same as is asked of callers over HTTP: 2 KiB a second."""

QUIET_SECONDS = 30.0
"""Silence that ends a caller's turn while others wait for theirs, and the time in which it has to
take `LEAST_BYTES` then: half of what these wait at most."""

LEAST_REQUEST = 16 << 10
"""Bytes of a request that whoever goes on with it for `QUIET_SECONDS` has to send while others
wait: what clients of git's old protocols say in some round trips about what they have."""

MAX_SECONDS = 6 * 3600.0
"""The longest that git works for one caller: 10 GB at 500 kB a second."""

HUNG_UP = "it hung up"
STALLED = "it does not read the answer it asked for"
GIVES_WAY = "it was silent or slow, and others wait for their turn"
TOO_LONG = "it took too long"


class Patience(Struct, frozen=True):
    """How long whoever has a turn is waited for.

    Args:
        look: seconds between two looks at a caller.
        quiet: seconds for which it may be silent, or do too little, while others wait.
        stalled: seconds for which it may take too little of what is there for it.
    """

    look: float = 1.0
    quiet: float = QUIET_SECONDS
    stalled: float = STALLED_SECONDS


PATIENCE = Patience()


class Look(Struct, frozen=True):
    """What the kernel tells of a connection.

    Args:
        is_open: whether data can go to the other end.
        is_half: whether the other end sends no more.
        taken: bytes that the other end acknowledged.
        is_owed: whether there are bytes that it did not acknowledge yet.
        quiet: seconds since data came or went.
        received: bytes that came from the other end.
        is_unread: whether some of these were not read here yet.
    """

    is_open: bool
    is_half: bool
    taken: int
    is_owed: bool
    quiet: float
    received: int = 0
    is_unread: bool = False


def look_at(sock: socket.socket) -> Look | None:
    """Return what the kernel tells of a connection; None where it does not."""
    info = tcp_info(sock)
    if (
        info is None
        or info.in_flight is None
        or info.not_sent is None
        or info.acknowledged is None
        or info.quiet is None
        or info.received is None
    ):
        return None
    return Look(
        is_open=info.state != CLOSED,
        is_half=info.state == CLOSE_WAIT,
        taken=info.acknowledged,
        is_owed=bool(info.in_flight or info.not_sent),
        quiet=info.quiet,
        received=info.received,
        is_unread=_unread(sock) > 0,
    )


def _unread(sock: socket.socket) -> int:
    """Return the bytes that wait to be read; none where the system does not tell (tcp(7))."""
    try:
        (count,) = struct.unpack("=i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))
    except OSError:
        return 0
    return int(count)


def has_hung_up(sock: socket.socket) -> bool:
    """Tell whether a caller closed its sending side before git did anything for it."""
    look = look_at(sock)
    return look is not None and (look.is_half or not look.is_open)


class Watch:
    """Judges one caller that git works for.

    Args:
        now: seconds; git has just begun.
        least_sent: bytes that it has to send in `Patience.quiet` as long as it sends any, while
            others wait.
        patience: how long it is waited for.
    """

    def __init__(
        self, now: float, least_sent: int = LEAST_REQUEST, patience: Patience = PATIENCE
    ) -> None:
        self._began = now
        self._patience = patience
        self._taken = 0
        self._took_at = now
        self._mark = 0
        self._marked_at = now
        self._least_sent = least_sent
        self._received = 0
        self._received_at = now
        self._heard = 0
        self._heard_at = now

    def judge(self, now: float, look: Look | None, *, others_wait: bool) -> str | None:
        """Return why git should end now, or None.

        Args:
            now: seconds.
            look: what the kernel tells; None when it tells nothing.
            others_wait: whether somebody waits for this caller's turn.
        """
        if now - self._began >= MAX_SECONDS:
            return TOO_LONG
        if look is None:
            return None
        if look.taken > self._taken:
            self._taken, self._took_at = look.taken, now
        if not look.is_owed or look.taken - self._mark >= LEAST_BYTES:
            self._mark, self._marked_at = look.taken, now
        is_trickling = self._is_trickling(now, look)
        if not look.is_open or (look.is_half and now - self._took_at >= GONE_SECONDS):
            return HUNG_UP
        slow = now - self._marked_at
        if slow >= self._patience.stalled:
            return STALLED
        quiet = self._patience.quiet
        if others_wait and (look.quiet >= quiet or slow >= quiet or is_trickling):
            return GIVES_WAY
        return None

    def _is_trickling(self, now: float, look: Look) -> bool:
        """Tell whether a caller sends something all the time, and too little.

        Only when something came: whoever sends nothing waits for git, or is silent.
        """
        if look.received == self._received:
            return False
        if now - self._received_at >= self._patience.quiet:
            self._heard, self._heard_at = self._received, now
        self._received, self._received_at = look.received, now
        # What was not read yet is more than was needed: it is here that things are slow.
        if look.is_unread or look.received - self._heard >= self._least_sent:
            self._heard, self._heard_at = look.received, now
        return now - self._heard_at >= self._patience.quiet
