"""How far away the other end of a connection is, as the kernel has measured it."""

from __future__ import annotations

import socket
import struct

_MIN_RTT_OFFSET = 148
"""Of ``tcpi_min_rtt`` in Linux's ``struct tcp_info``: microseconds, since Linux 4.6."""

_UNKNOWN = 0xFFFFFFFF


def least_round_trip(sock: socket.socket) -> float | None:
    """Return the shortest round trip seen on a TCP connection, in seconds.

    What waits in queues along the way is left out as far as it was not there all the time. None
    where this is not TCP, or the kernel does not tell.
    """
    option = getattr(socket, "TCP_INFO", None)
    if option is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        told = sock.getsockopt(socket.IPPROTO_TCP, option, _MIN_RTT_OFFSET + 4)
    except OSError:
        return None  # it is gone, and with it the question
    if len(told) < _MIN_RTT_OFFSET + 4:
        return None
    (found,) = struct.unpack_from("=I", told, _MIN_RTT_OFFSET)
    return None if found == _UNKNOWN else found / 1e6
