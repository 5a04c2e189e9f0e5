"""What the kernel knows of a TCP connection: Linux's ``TCP_INFO`` (tcp(7)).

The one place that knows the layout of ``struct tcp_info`` (include/uapi/linux/tcp.h). Kernels
append to it, so each field may be missing from the answer of an older one.
"""

from __future__ import annotations

import socket
import struct

from msgspec import Struct

_SIZE = 160
"""Bytes that are asked for: up to the last field in use."""

_STATE = 0
_UNACKNOWLEDGED = 24
_LAST_SENT, _LAST_RECEIVED = 44, 52
_BYTES_ACKED, _BYTES_RECEIVED, _NOT_SENT, _MIN_RTT = 120, 128, 144, 148
"""Offsets of ``tcpi_state``, ``tcpi_unacked``, ``tcpi_last_data_sent``, ``tcpi_last_data_recv``,
``tcpi_bytes_acked``, ``tcpi_bytes_received``, ``tcpi_notsent_bytes`` and ``tcpi_min_rtt`` (the last
since Linux 4.6)."""

_NO_RTT = 0xFFFFFFFF

CLOSED, CLOSE_WAIT = 7, 8
"""TCP_CLOSE and TCP_CLOSE_WAIT (include/net/tcp_states.h)."""


class TcpInfo(Struct, frozen=True):
    """A connection as the kernel sees it; None where it does not tell.

    Args:
        state: such as `CLOSED`.
        in_flight: segments that were sent and not acknowledged yet.
        quiet: seconds since data was sent or received.
        acknowledged: bytes that the other end acknowledged.
        received: bytes that came, whether or not they were read here.
        not_sent: bytes that wait in the socket's buffer.
        least_round_trip: the shortest round trip seen, in seconds. What waits in queues along the
            way is left out as far as it was not there all the time.
    """

    state: int
    in_flight: int | None
    quiet: float | None
    acknowledged: int | None
    received: int | None
    not_sent: int | None
    least_round_trip: float | None


def tcp_info(sock: socket.socket) -> TcpInfo | None:
    """Ask the kernel about a connection; None if it is no TCP connection, or gone."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        told = sock.getsockopt(socket.IPPROTO_TCP, option, _SIZE)
    except OSError:
        return None
    if not told:
        return None
    sent, received = _read(told, _LAST_SENT), _read(told, _LAST_RECEIVED)
    rtt = _read(told, _MIN_RTT)
    return TcpInfo(
        state=told[_STATE],
        in_flight=_read(told, _UNACKNOWLEDGED),
        quiet=None if sent is None or received is None else min(sent, received) / 1000,
        acknowledged=_read(told, _BYTES_ACKED, "=Q"),
        received=_read(told, _BYTES_RECEIVED, "=Q"),
        not_sent=_read(told, _NOT_SENT),
        least_round_trip=None if rtt is None or rtt == _NO_RTT else rtt / 1e6,
    )


def _read(told: bytes, offset: int, form: str = "=I") -> int | None:
    """Return one field; None if the kernel's answer ends before it."""
    if len(told) < offset + struct.calcsize(form):
        return None
    (value,) = struct.unpack_from(form, told, offset)
    return int(value)
