"""Mirrors whose upload-pack lies: everything else is an honest node's, which they pass on.

A `Front` listens on a port of its own before a node. Over git:// it answers ``git-upload-pack`` by
itself, as its manner says, and hands everything else through; over HTTP it does so with what git
asks for.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import os
import socket
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gittorrent.wire import pktline
from support import gitcmd
from support.programs import PATIENCE
from support.running_servers import running

Manner = Callable[["Front", socket.socket, bytes], None]
"""Answers a request for ``git-upload-pack``: given the socket and the first packet."""


@dataclass
class Front:
    """A mirror of which only the upload-pack lies, and which hears no questions that begin so."""

    node: tuple[str, int]
    manner: Manner
    tries: Sequence[str] = ()
    mute: str = ""
    asked: list[str] = field(default_factory=list)
    port: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def at(self) -> str:
        return f"127.0.0.1:{self.port}"

    def serve(self, sock: socket.socket) -> None:
        """Attend to one caller."""
        with sock, contextlib.suppress(OSError, EOFError, ValueError):
            first = read_packet(sock)
            service = first.split(b" ", 1)[0].decode()
            self.asked.append(service)
            if service == "git-upload-pack":
                self.manner(self, sock, first)
                return
            with socket.create_connection(self.node) as other:
                other.sendall(pktline.encode(first))
                if service == "mirror-list":
                    self._tell_of_others(other, sock)
                    return
                back = threading.Thread(target=pass_on, args=(other, sock), daemon=True)
                back.start()
                if service == "mirror-sync" and self.mute:
                    self._pass_questions_on(sock, other)
                pass_on(sock, other)
                back.join()

    def _pass_questions_on(self, caller: socket.socket, node: socket.socket) -> None:
        """Pass on what a caller asks who has nothing to give, but for what is not heard."""
        while not self.ended.is_set():
            line = read_packet(caller)
            if not line.startswith(self.mute.encode()):
                node.sendall(pktline.encode(line))

    def _tell_of_others(self, node: socket.socket, caller: socket.socket) -> None:
        """Pass a list on, with other mirrors in it than the node's."""
        while line := read_packet(node, flushes=True):
            if not line.startswith(b"try "):
                caller.sendall(pktline.encode(line))
        for url in self.tries:
            caller.sendall(pktline.encode(f"try {url} 3600 current\n".encode()))
        caller.sendall(b"0000")


@contextlib.contextmanager
def front(node: tuple[str, int], manner: Manner, *tries: str) -> Iterator[Front]:
    """Run a lying mirror before a node while the block runs; it tells of these other mirrors."""
    made = Front(node, manner, tries)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made.port = listener.getsockname()[1]

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=made.serve, args=(sock,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield made
        finally:
            made.ended.set()
            listener.shutdown(socket.SHUT_RDWR)


def silent(made: Front, sock: socket.socket, first: bytes) -> None:
    """Take the request and never answer."""
    del sock, first
    made.ended.wait()


def trickling(made: Front, sock: socket.socket, first: bytes) -> None:
    """Answer a few bytes a second, and mean nothing by it."""
    del first
    for byte in b"00ff" + b"a" * 250:
        sock.sendall(bytes([byte]))
        if made.ended.wait(0.2):
            return


def of_repository(git_dir: Path) -> Manner:
    """Answer honestly for another repository, such as a shallow copy of the right one."""

    def answer(made: Front, sock: socket.socket, first: bytes) -> None:
        del made
        environ = dict(gitcmd.ENVIRONMENT)
        if b"version=2" in first:
            environ["GIT_PROTOCOL"] = "version=2"
        settings = ["uploadpack.allowAnySHA1InWant=true", "uploadpack.allowFilter=true"]
        words = ["git", *(w for s in settings for w in ("-c", s)), "upload-pack", str(git_dir)]
        sock.setblocking(True)
        subprocess.run(words, stdin=sock.fileno(), stdout=sock.fileno(), env=environ, check=False)

    return answer


def of_pack(tip: str, entries: Callable[[], Iterator[tuple[str, bytes]]], count: int) -> Manner:
    """Answer whatever is wanted with a pack of these objects (type and content)."""

    def answer(made: Front, sock: socket.socket, first: bytes) -> None:
        del first
        able = b"side-band-64k ofs-delta allow-tip-sha1-in-want allow-reachable-sha1-in-want"
        sock.sendall(pktline.encode(b"%s refs/heads/main\0 %s\n" % (tip.encode(), able)) + b"0000")
        while b"done" not in read_packet(sock, flushes=True):
            pass
        sock.sendall(pktline.encode(b"NAK\n"))
        digest = hashlib.sha1()

        def send(data: bytes) -> None:
            digest.update(data)
            for at in range(0, len(data), 60000):
                sock.sendall(pktline.encode(b"\x01" + data[at : at + 60000]))

        send(b"PACK" + (2).to_bytes(4, "big") + count.to_bytes(4, "big"))
        for kind, content in entries():
            send(_entry(kind, content))
        sock.sendall(pktline.encode(b"\x01" + digest.digest()) + b"0000")
        made.ended.wait()

    return answer


def objects_of(git_dir: Path, names: Sequence[str]) -> list[tuple[str, bytes]]:
    """Return type and content of objects."""
    found = []
    for name in names:
        kind = gitcmd.text(git_dir, "cat-file", "-t", name)
        found.append((kind, gitcmd.git(git_dir, "cat-file", kind, name)))
    return found


def all_names(git_dir: Path, *tips: str) -> list[str]:
    """Return the names of all objects that tips reach."""
    listed = gitcmd.git(git_dir, "rev-list", "--objects", *tips).decode(errors="replace")
    return [line.split(" ")[0] for line in listed.splitlines()]


def junk(size: int) -> tuple[str, bytes]:
    """Return a blob that nobody asked for and that does not compress."""
    return "blob", os.urandom(size)


def read_packet(sock: socket.socket, *, flushes: bool = False) -> bytes:
    """Return the next packet; with ``flushes`` an empty one for packets without content."""
    size = int(_take(sock, 4), 16)
    if size < 4:
        if flushes:
            return b""
        raise EOFError
    return _take(sock, size - 4)


@dataclass
class WebFront:
    """An HTTP mirror that passes a node's resources on and redirects git."""

    port: int
    seen: list[tuple[str, dict[str, str]]]

    @property
    def at(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.contextmanager
def web_front(node: tuple[str, int] | None, redirect: str) -> Iterator[WebFront]:
    """Run an HTTP mirror before a node; without one it only listens, and has nothing."""
    seen: list[tuple[str, dict[str, str]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            del format, args

        def do_GET(self) -> None:
            seen.append((self.path, dict(self.headers)))
            if "/info/refs" in self.path and redirect:
                self.send_response(302)
                self.send_header("Location", redirect + self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            status, body = 404, b""
            if node is not None:
                connection = http.client.HTTPConnection(*node, timeout=PATIENCE)
                connection.request("GET", self.path)
                answer = connection.getresponse()
                status, body = answer.status, answer.read()
                connection.close()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with running(server):
        yield WebFront(server.server_port, seen)


def _entry(kind: str, content: bytes) -> bytes:
    """Return one object as it stands in a pack (gitformat-pack(5))."""
    size = len(content)
    byte = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}[kind] << 4 | size & 15
    size >>= 4
    head = bytearray()
    while size:
        head.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    head.append(byte)
    return bytes(head) + zlib.compress(content, 1)


def _take(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


def pass_on(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, up to its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
