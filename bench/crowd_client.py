"""A crowd of clients in one process, for `crowd.py`: they ask, count what comes, and keep nothing.

``crowd_client.py download HOST PORT COUNT REQUEST-FILE BYTES`` opens COUNT connections at once,
sends each the content of a file, and reads each until so many bytes came. Prints JSON: for each
connection the seconds from the beginning to its last byte, and how many failed.

``crowd_client.py idle HOST PORT CONNECTIONS EACH PATH`` holds that many connections, with that many
conversations on each (0: a connection that is one conversation), says a line when all have been
greeted, and keeps them until its standard input ends.
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from gittorrent.wire import pktline
from gittorrent.wire.mux import Arrived, Closed, Mux
from gittorrent.wire.session import Role

BUFFER = bytearray(256 << 10)
LONGEST_SECONDS = 240.0
"""Time after which those who have not everything yet count as failed."""


@dataclass(slots=True)
class Download:
    """One client: what is left to send and to come."""

    sock: socket.socket
    unsent: bytes
    left: int
    end: float = 0.0


def connect(host: str, port: int) -> socket.socket:
    """Begin to connect."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex((host, port))
    return sock


def download(host: str, port: int, count: int, request: bytes, size: int) -> dict[str, object]:
    """Download side by side."""
    selector = selectors.DefaultSelector()
    begun = time.monotonic()
    for _ in range(count):
        one = Download(connect(host, port), request, size)
        selector.register(one.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, one)
    ends: list[float] = []
    failed = 0
    while selector.get_map() and time.monotonic() - begun < LONGEST_SECONDS:
        for key, events in selector.select(10.0):
            one = key.data
            try:
                over = step(one, events, selector)
            except OSError:
                over, failed = True, failed + 1
            if over:
                if one.left <= 0:
                    ends.append(time.monotonic() - begun)
                selector.unregister(one.sock)
                one.sock.close()
    return {"seconds": ends, "failed": count - len(ends), "errors": failed}


def step(one: Download, events: int, selector: selectors.BaseSelector) -> bool:
    """Send or receive once; tells whether this client is done."""
    if events & selectors.EVENT_WRITE and one.unsent:
        one.unsent = one.unsent[one.sock.send(one.unsent) :]
        if not one.unsent:
            selector.modify(one.sock, selectors.EVENT_READ, one)
    if events & selectors.EVENT_READ:
        count = one.sock.recv_into(BUFFER)
        one.left -= count
        return count == 0 or one.left <= 0
    return False


def idle(host: str, port: int, connections: int, each: int, path: str) -> None:
    """Hold idle conversations."""
    selector = selectors.DefaultSelector()
    service = "mirror-mux" if each else "mirror-sync"
    request = pktline.encode(f"{service} {path}\0host=127.0.0.1\0".encode())
    greeted: set[tuple[int, int]] = set()
    for number in range(connections):
        sock = socket.create_connection((host, port))
        sock.sendall(request)
        mux = Mux(Role.CALLER, 0.0)
        for _ in range(each):
            mux.open(path.encode())
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, (sock, number, mux, each))
    wanted = connections * max(each, 1)
    while len(greeted) < wanted:
        for key, _ in selector.select(10.0):
            sock, number, mux, each = key.data
            hear(sock, number, mux, each, greeted)
    print("ready", flush=True)
    sys.stdin.read()


def hear(
    sock: socket.socket, number: int, mux: Mux, each: int, greeted: set[tuple[int, int]]
) -> None:
    """Hear what a connection says."""
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("the server hung up")
    if not each:
        greeted.add((number, 0))
        return
    for event in mux.received(data):
        if isinstance(event, Arrived):
            greeted.add((number, event.number))
        elif isinstance(event, Closed):
            raise ConnectionError(f"conversation {event.number} was refused: {event.reason}")
    output = mux.output(1 << 20)
    if output:
        sock.setblocking(True)
        sock.sendall(output)
        sock.setblocking(False)


def main() -> None:
    """Run as a program."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kind, host, port, count, what, last = sys.argv[1:]
    if kind == "download":
        request = Path(what).read_bytes()
        print(json.dumps(download(host, int(port), int(count), request, int(last))))
    else:
        idle(host, int(port), int(count), int(what), last)


if __name__ == "__main__":
    main()
