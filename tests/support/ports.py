"""Ports that a test names before anybody listens there, or where nobody ever shall."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000


def free_port() -> int:
    """Return a port of this machine that nothing listens at, and that nobody is given by chance.

    It lies below those that the system hands out to whoever asks for any port, or connects: one of
    these, closed and named later, may be another test's by then.
    """
    limit = int(_RANGE.read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(_LOWEST, limit)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody has it
        return port
