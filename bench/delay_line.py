"""A line that takes its time: frames at one network interface appear at another, and back.

Arguments: the names of both interfaces, in the namespace this runs in, and the seconds each way.
Runs until it is killed. A frame comes with what the kernel left for hardware to do about it
(checksums, cutting up), and is passed on with that, so nothing has to be switched off. Nothing is
dropped: how much fits on the line is for others to say.
"""

from __future__ import annotations

import collections
import select
import socket
import sys
import time

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
FRAME_BYTES = 1 << 17
BUFFER_BYTES = 8 << 20


class End:
    """One interface, and the frames that are on their way to it.

    Args:
        name: of the interface.
    """

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.socket.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        self.socket.bind((name, 0))
        self.socket.setblocking(False)
        self.coming: collections.deque[tuple[float, bytes]] = collections.deque()

    def take(self, due: float, other: End) -> None:
        """Put what arrived here on the way to the other end."""
        while True:
            try:
                frame = self.socket.recv(FRAME_BYTES)
            except BlockingIOError:
                return
            other.coming.append((due, frame))

    def deliver(self, now: float) -> None:
        """Let what is due leave."""
        while self.coming and self.coming[0][0] <= now:
            self.socket.send(self.coming.popleft()[1])


def main() -> None:
    """Pass frames on until somebody kills this."""
    first, second = End(sys.argv[1]), End(sys.argv[2])
    delay = float(sys.argv[3])
    poll = select.epoll()
    for end in (first, second):
        poll.register(end.socket, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        dues = [end.coming[0][0] for end in (first, second) if end.coming]
        poll.poll(max(0.0, min(dues) - time.monotonic()) if dues else None)
        now = time.monotonic()
        first.take(now + delay, second)
        second.take(now + delay, first)
        for end in (first, second):
            end.deliver(time.monotonic())


if __name__ == "__main__":
    main()
