"""Bad lines to a server: connections that hesitate at first, or that break again and again."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

from support.liars import pass_on
from support.running_servers import running


@contextlib.contextmanager
def breaking_line(server: tuple[str, int], most: int) -> Iterator[tuple[str, list[int]]]:
    """Have a line to a server that breaks each time it has carried so much.

    Args:
        server: address that it leads to.
        most: bytes that come back on a connection before it ends.

    Yields:
        Its HOST:PORT, and a list that gets the bytes that came back on each connection.
    """
    carried: list[int] = []

    class Line(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), socket.create_connection(server) as far:
                threading.Thread(target=pass_on, args=(self.request, far), daemon=True).start()
                left = most
                while left and (data := far.recv(min(left, 1 << 14))):
                    self.request.sendall(data)
                    left -= len(data)
                carried.append(most - left)
                for sock in (self.request, far):
                    sock.shutdown(socket.SHUT_RDWR)

    class Lines(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    lines = Lines(("127.0.0.1", 0), Line)
    with running(lines):
        yield f"127.0.0.1:{lines.server_address[1]}", carried


@contextlib.contextmanager
def slow_line(server: tuple[str, int], seconds: float) -> Iterator[str]:
    """Have a line to a server while the block runs; yields its HOST:PORT.

    Args:
        server: address that it leads to.
        seconds: before what a caller says on a new connection is passed on.
    """
    ended = threading.Event()

    class Line(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if ended.wait(seconds):
                return
            with contextlib.suppress(OSError), socket.create_connection(server) as far:
                back = threading.Thread(target=pass_on, args=(far, self.request), daemon=True)
                back.start()
                pass_on(self.request, far)
                back.join()

    class Lines(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    lines = Lines(("127.0.0.1", 0), Line)
    with running(lines):
        try:
            yield f"127.0.0.1:{lines.server_address[1]}"
        finally:
            ended.set()
