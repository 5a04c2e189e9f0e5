"""TCP keep-alive: the kernel finds out that the other end's host is gone.

A host that loses its power or its line says nothing, and a connection on which nothing is said
stays open for two hours then. Probes cost this process nothing. Source: tcp(7).
"""

from __future__ import annotations

import contextlib
import socket

PROBE_AFTER_SECONDS = 30
"""Silence after which the kernel asks whether the other end is there."""

PROBE_SECONDS = 10
"""Time between two of these."""

PROBES = 3
"""Probes without an answer after which the connection is lost: a minute after the last word."""


def notice_loss(sock: socket.socket) -> None:
    """Have a connection fail a minute after its other end was lost; nothing if it is no TCP."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
