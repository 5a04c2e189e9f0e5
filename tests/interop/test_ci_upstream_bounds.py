"""Servers of CI jobs that say too much: git's helper for HTTP, as the node runs it, has bounds."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gittorrent.git.ci_upstream import CiUpstream, UpstreamFailedError
from support.programs import PATIENCE

CHUNK = b"x" * (1 << 20)
MOST = 1024
"""Chunks that are sent at most."""

MEMORY = 64 << 20


@contextlib.contextmanager
def babbling(status: int, kind: str, begin: bytes) -> Iterator[tuple[str, list[int]]]:
    """Run a server whose answers have no end; yields its URL and the lengths that it sent."""
    sent: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            del format, args

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(begin)
                for _ in range(MOST):
                    self.wfile.write(CHUNK)
                    sent.append(len(CHUNK))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/x.git", sent
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()


@pytest.mark.parametrize(
    ("status", "kind", "begin"),
    [
        (200, "application/x-git-upload-pack-advertisement", b"000eversion 2\n"),
        (403, "text/plain", b"no"),
    ],
    ids=["capabilities", "reason"],
)
def test_what_has_no_end_takes_little_memory(status: int, kind: str, begin: bytes) -> None:
    with babbling(status, kind, begin) as (url, sent):
        with pytest.raises(UpstreamFailedError), CiUpstream(url, "", max_memory=MEMORY):
            pass
        assert sum(sent) < 4 * MEMORY
