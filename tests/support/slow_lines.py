"""Lines on which all takes a while: connections are passed on, and each hesitates at first."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

from support.liars import pass_on
from support.running_servers import running


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
