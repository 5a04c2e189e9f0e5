"""Where a node and the programs of its user meet: a UNIX socket in ``GITTORRENT_HOME/run``.

Only the user the node runs as may connect: the socket's mode says so, and both ends ask the kernel
who the other one is. The path may be longer than a socket address can be, so it is reached through
an open directory. A lock says whether a node is there; what a dead one left is in nobody's way.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BACKLOG = 64
"""Helpers that wait to be accepted."""


def take_place(path: Path) -> int | None:
    """Become the one node at a socket's path; the lock is held until the descriptor is closed.

    Returns:
        The descriptor, None if another node is there.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def listen(path: Path) -> socket.socket:
    """Return a listening, non-blocking socket at ``path``; the caller has taken the place."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            before = os.umask(0o177)
            try:
                sock.bind(name)
            finally:
                os.umask(before)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def connect(path: Path) -> socket.socket | None:
    """Return a connection to this user's own node at ``path``; None if there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        with _short(path) as name:
            sock.connect(name)
        if is_own(sock):
            return sock
    except OSError:
        # Nobody is there, or too many ask at once: for the caller that is the same.
        pass
    sock.close()
    return None


def is_own(sock: socket.socket) -> bool:
    """Tell whether the other end runs as the same user as this process."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    return bool(user == os.geteuid())


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name for ``path`` that fits into a socket address."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
