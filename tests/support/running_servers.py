"""Servers of the standard library that run in a thread while a block does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from socketserver import BaseServer

from support.programs import PATIENCE


@contextlib.contextmanager
def running(server: BaseServer) -> Iterator[None]:
    """Let a server answer while the block runs, and close it."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(PATIENCE)
