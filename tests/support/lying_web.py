"""Web servers that serve the files of an export, but for those that they lie about."""

from __future__ import annotations

import contextlib
import fnmatch
import http.server
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.running_servers import running

Lie = Callable[["Answering", bytes], None]
"""Answers for a file, given what it is in truth."""


@dataclass
class WebLiar:
    """A web server of files; ``lies`` says by patterns of their paths what it answers instead."""

    folder: Path
    lies: Mapping[str, Lie] = field(default_factory=dict)
    url: str = ""
    asked: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def lie_about(self, path: str) -> Lie | None:
        """Return how it lies about a file, if it does."""
        found = (lie for kind, lie in self.lies.items() if fnmatch.fnmatch(path, kind))
        return next(found, None)


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    liar: WebLiar

    def do_GET(self) -> None:
        path = self.path.split("?")[0].removeprefix("/")
        self.liar.asked.append(path)
        lie = self.liar.lie_about(path)
        file = self.liar.folder / path
        data = file.read_bytes() if file.is_file() else b""
        if lie is not None:
            with contextlib.suppress(OSError):
                lie(self, data)
            return
        if not file.is_file():
            self.say(404, b"")
            return
        self.say(200, data)

    def do_POST(self) -> None:
        self.say(501, b"")

    def say(
        self, status: int, data: bytes, *, length: int | None = None, most: int | None = None
    ) -> None:
        """Answer with a status and bytes, or with the range of them that was asked for.

        Args:
            status: of a whole answer.
            data: all of it.
            length: that is announced, where it is another one.
            most: bytes that are sent, and announced, of what was asked for.
        """
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        headers = {}
        if wanted and status == 200:
            first, last = int(wanted[1]), int(wanted[2])
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            status, data = 206, data[first : last + 1]
        data = data[:most]
        self.send_response(status)
        headers["Content-Length"] = str(len(data) if length is None else length)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


def instead(data: bytes) -> Lie:
    """Send something else."""
    return lambda answering, _true: answering.say(200, data)


def changed(change: Callable[[bytes], bytes]) -> Lie:
    """Send what is made of the truth."""
    return lambda answering, true: answering.say(200, change(true))


def status(code: int) -> Lie:
    """Answer with a status alone."""
    return lambda answering, _true: answering.say(code, b"")


def cut_off(answering: Answering, true: bytes) -> None:
    """Send half of what is announced, and hang up."""
    answering.say(200, true[: len(true) // 2], length=len(true))
    answering.close_connection = True


def endless(piece: bytes) -> Lie:
    """Send the same piece for ever."""

    def answer(answering: Answering, true: bytes) -> None:
        answering.send_response(200)
        answering.end_headers()
        answering.wfile.write(true)
        pieces = piece * ((1 << 16) // len(piece) + 1)
        while not answering.liar.ended.is_set():
            answering.wfile.write(pieces)

    return answer


def silent(answering: Answering, true: bytes) -> None:
    """Take the request and never answer."""
    del true
    answering.liar.ended.wait()
    answering.close_connection = True


@contextlib.contextmanager
def serving(liar: WebLiar) -> Iterator[WebLiar]:
    """Run such a server while the block does."""
    kind = type("One", (Answering,), {"liar": liar})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    liar.url = f"http://127.0.0.1:{server.server_port}"
    with running(server):
        try:
            yield liar
        finally:
            liar.ended.set()
