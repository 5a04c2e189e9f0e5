"""A server of buckets on this machine: moto, which speaks S3's protocol."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.ports import free_port
from support.programs import PATIENCE
from support.running_servers import running as running_server
from support.web_servers import answers, running

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}
"""What its callers say; it believes everybody."""

PUBLIC = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject", "s3:PutObject"],
            "Resource": "arn:aws:s3:::mirrors/*",
        }
    ],
}
"""Everybody may read what is in the bucket, and tests may change it."""


@dataclass(frozen=True)
class BucketServer:
    """A server with one bucket.

    Args:
        endpoint: its URL.
        bucket: name of the bucket.
    """

    endpoint: str
    bucket: str = "mirrors"

    def ask(self, method: str, key: str = "", data: bytes | None = None) -> tuple[int, bytes]:
        """Do one request about an object, or about the bucket."""
        host, _, port = self.endpoint.partition("://")[2].partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, f"/{self.bucket}/{key}", data)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def read(self, key: str) -> bytes:
        """Return an object."""
        status, data = self.ask("GET", key)
        assert status == 200, (key, status)
        return data

    def has(self, key: str) -> bool:
        """Tell whether an object is there."""
        return self.ask("GET", key)[0] == 200


@contextlib.contextmanager
def bucket_server(folder: Path) -> Iterator[BucketServer]:
    """Run a server of buckets while the block runs; skips the test where there is none.

    Args:
        folder: an empty place.
    """
    for library in ("moto", "flask", "obstore"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not here")
    folder.mkdir()
    port = free_port()
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(words, port, folder):
        assert answers(port)
        server = BucketServer(f"http://127.0.0.1:{port}")
        assert server.ask("PUT")[0] == 200
        status, answer = server.ask("PUT", "?policy", json.dumps(PUBLIC).encode())
        assert status < 300, answer
        yield server


class _Losing(http.server.BaseHTTPRequestHandler):
    """Passes requests on, and loses the first answer to one."""

    protocol_version = "HTTP/1.1"
    far: tuple[str, int]
    line: str
    status: int
    lost: list[str]

    def do_PUT(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        headers = {
            name: value
            for name, value in self.headers.items()
            if name not in ("Host", "Connection")
        }
        connection = http.client.HTTPConnection(*self.far, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, self.rfile.read(size), headers)
            answer = connection.getresponse()
            data, said = answer.read(), dict(answer.getheaders())
        if self.line in f"{self.command} {self.path}" and not self.lost:
            self.lost.append(self.path)
            self.close_connection = True
            if self.status:
                self.send_response(self.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            return
        self.send_response(answer.status)
        for name in said.keys() & {"ETag", "Content-Type", "Last-Modified"}:
            self.send_header(name, said[name])
        length = said.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = do_HEAD = do_PUT

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextlib.contextmanager
def losing_an_answer(server: BucketServer, line: str, status: int) -> Iterator[BucketServer]:
    """Have a way to a server on which one answer is lost while the block runs.

    Args:
        server: it.
        line: method and path of the request, or a piece of that, which is carried out all the same.
        status: that is answered; 0 to hang up.
    """
    host, _, port = server.endpoint.partition("://")[2].partition(":")
    lost: list[str] = []
    fields = {"far": (host, int(port)), "line": line, "status": status, "lost": lost}
    way = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Way", (_Losing,), fields))
    way.daemon_threads = True
    with running_server(way):
        yield BucketServer(f"http://127.0.0.1:{way.server_port}", server.bucket)
    assert lost
