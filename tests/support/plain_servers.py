"""Plain git servers, which know nothing of this program: over HTTP, git:// and ssh."""

from __future__ import annotations

import base64
import contextlib
import getpass
import gzip
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from support.ports import free_port
from support.programs import PATIENCE, wait_until
from support.running_servers import running
from support.sshd import running_sshd
from support.web_servers import answers

_BATCH = "/info/lfs/objects/batch"
_LARGE = "/large/"
_LFS_JSON = "application/vnd.git-lfs+json"


@dataclass
class WebServer:
    """``git http-backend`` behind a small web server.

    ``requests`` are the paths asked for, ``fetched`` the bytes sent to each request for objects of
    protocol 2; ``moved`` maps the beginning of a path to where it has
    gone; ``password`` is asked for where there is one, of ``user``. ``shown`` are the
    ``Authorization`` headers that came, ``sent`` the bytes of all answers' bodies. In the middle of
    answers with objects it calls ``halfway``, which tells whether the rest may follow. Requests for
    objects are told to ``asking`` before git; all that is answered goes through ``spoil`` first.
    ``large`` are objects of Git LFS, by their SHA-256.
    """

    base: str
    requests: list[str] = field(default_factory=list)
    fetched: list[int] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    password: str = ""
    user: str = "me"
    shown: list[str] = field(default_factory=list)
    sent: int = 0
    halfway: Callable[[], bool] = lambda: True
    spoil: Callable[[bytes], bytes] = bytes
    asking: Callable[[bytes], object] = bytes
    large: dict[str, bytes] = field(default_factory=dict)

    def begin_again(self) -> None:
        """Forget who asked for what so far."""
        self.requests.clear()
        self.shown.clear()
        self.sent = 0


@contextlib.contextmanager
def git_over_http(root: Path, git: str = "git", address: str = "127.0.0.1") -> Iterator[WebServer]:
    """Serve the bare repositories below ``root`` as git's own CGI program does."""
    made = WebServer("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            del format, args

        def do_GET(self) -> None:
            _answer(self, made, root, git)

        do_POST = do_GET

    server = ThreadingHTTPServer((address, 0), Handler)
    made.base = f"http://{address}:{server.server_port}"
    with running(server):
        yield made


def _answer(handler: BaseHTTPRequestHandler, made: WebServer, root: Path, git: str) -> None:
    parts = urlsplit(handler.path)
    made.requests.append(handler.path)
    length = int(handler.headers.get("Content-Length") or 0)
    body = (
        _chunks(handler) if "Transfer-Encoding" in handler.headers else handler.rfile.read(length)
    )
    for beginning, target in made.moved.items():
        if parts.path.startswith(beginning):
            rest = handler.path.removeprefix(beginning)
            _reply(handler, "301 Moved", {"Location": target + rest}, b"")
            return
    given = handler.headers.get("Authorization", "")
    if given:
        made.shown.append(given)
    wanted = base64.b64encode(f"{made.user}:{made.password}".encode()).decode()
    if made.password and given.partition(" ")[::2] not in (("Basic", wanted), ("basic", wanted)):
        _reply(handler, "401 Who?", {"WWW-Authenticate": 'Basic realm="x"'}, b"")
        return
    if parts.path.endswith(_BATCH) or parts.path.startswith(_LARGE):
        _reply_of_lfs(handler, made, parts.path, body)
        return
    environ = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_PROTOCOL": handler.headers.get("Git-Protocol", ""),
        "REQUEST_METHOD": handler.command,
        "PATH_INFO": parts.path,
        "QUERY_STRING": parts.query,
        "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""),
    }
    plain = gzip.decompress(body) if environ["HTTP_CONTENT_ENCODING"] == "gzip" else body
    is_fetch = b"command=fetch" in plain
    if is_fetch:
        made.asking(plain)
    done = subprocess.run(
        [git, "-c", "safe.directory=*", "http-backend"],
        input=body, capture_output=True, env=environ, check=False,
    )  # fmt: skip
    head, _, data = done.stdout.partition(b"\r\n\r\n")
    if is_fetch:
        data = made.spoil(data)
        made.fetched.append(len(data))
    lines = head.decode("ascii").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    made.sent += len(data)
    halfway = made.halfway if is_fetch else None
    _reply(handler, headers.pop("Status", "200 OK"), headers, data, halfway)


def _reply_of_lfs(handler: BaseHTTPRequestHandler, made: WebServer, path: str, body: bytes) -> None:
    """Answer as a server of Git LFS: where objects are, or one of them."""
    if path.startswith(_LARGE):
        data, kind = made.large[path.removeprefix(_LARGE)], "application/octet-stream"
    else:
        wanted = [each["oid"] for each in json.loads(body)["objects"]]
        found = [
            {
                "oid": oid,
                "size": len(made.large[oid]),
                "actions": {"download": {"href": f"{made.base}{_LARGE}{oid}"}},
            }
            for oid in wanted
        ]
        data, kind = json.dumps({"transfer": "basic", "objects": found}).encode(), _LFS_JSON
    _reply(handler, "200 OK", {"Content-Type": kind}, data)


def _chunks(handler: BaseHTTPRequestHandler) -> bytes:
    data = b""
    while size := int(handler.rfile.readline(), 16):
        data += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return data


def _reply(
    handler: BaseHTTPRequestHandler,
    status: str,
    headers: dict[str, str],
    data: bytes,
    halfway: Callable[[], bool] | None = None,
) -> None:
    number, _, words = status.partition(" ")
    handler.send_response(int(number), words)
    for name, value in headers.items():
        if name != "Content-Length":
            handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    middle = len(data) // 2
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        handler.wfile.write(data[:middle])
        handler.wfile.flush()
        if halfway is not None and not halfway():
            handler.close_connection = True
            return
        handler.wfile.write(data[middle:])


@contextlib.contextmanager
def git_daemon(root: Path, git: str = "git") -> Iterator[str]:
    """Serve the bare repositories below ``root`` over git://; yields the base URL."""
    port = free_port()
    words = [
        git, "-c", "safe.directory=*", "daemon", f"--base-path={root}", "--export-all",
        "--reuseaddr", "--listen=127.0.0.1", f"--port={port}",
    ]  # fmt: skip
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: answers(port), "git daemon listens")
        yield f"git://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


@dataclass(frozen=True)
class Shell:
    """An account that one key opens."""

    port: int
    client: Path

    def url(self, path: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def git_over_ssh(folder: Path) -> Iterator[Shell]:
    """Run a real sshd that lets a key do as it likes; skips where there is none."""
    folder.mkdir()
    with running_sshd(folder, "", "PermitRootLogin yes\n") as (port, client):
        yield Shell(port, client)
