"""A WebSocket client that says what it likes, frame by frame (RFC 6455), on a plain socket."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from support.programs import PATIENCE

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x11\x22\x33\x44"

PATH = "/project.git/mirror-sync"


def request(path: str = PATH, **headers: str) -> bytes:
    """Return a request to upgrade; underscores in header names stand for dashes."""
    given = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def frame(kind: int, data: bytes = b"", *, last: bool = True, size: int | None = None) -> bytes:
    """Return a frame as clients send it; ``size`` is what it claims to have."""
    size = len(data) if size is None else size
    first = (0x80 if last else 0) | kind
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(data))


class Caller:
    """The calling end of a WebSocket, or of what does not become one."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._rest = b""

    def head(self) -> str:
        """Return status line and headers of the answer."""
        while b"\r\n\r\n" not in self._rest:
            more = self.sock.recv(65536)
            if not more:
                break
            self._rest += more
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def agreed(self) -> Caller:
        """Return itself once the other end has agreed."""
        head = self.head()
        assert head.startswith("HTTP/1.1 101 "), head
        assert "permessage-deflate" not in head.lower()
        return self

    def send(self, kind: int, data: bytes = b"", *, last: bool = True) -> None:
        """Send a frame."""
        self.sock.sendall(frame(kind, data, last=last))

    def _exactly(self, count: int) -> bytes:
        while len(self._rest) < count:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self._rest += more
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def receive(self) -> tuple[int, bytes]:
        """Return the next frame's kind and data; `EOFError` where there is none."""
        first, size = self._exactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", self._exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._exactly(8))
        return first & 0x0F, self._exactly(size)

    def hear(self, wanted: bytes) -> bytes:
        """Return what comes in binary messages until ``wanted`` is in it."""
        heard = b""
        while wanted not in heard:
            kind, data = self.receive()
            assert kind == BINARY, (kind, data, heard)
            heard += data
        return heard

    def rest(self) -> list[tuple[int, bytes]]:
        """Return the frames that come until the other end closes."""
        frames = []
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                frames.append(self.receive())
        return frames


@contextlib.contextmanager
def calling(address: tuple[str, int], data: bytes = b"") -> Iterator[Caller]:
    """Connect, ask for a conversation, and hang up at the end."""
    with socket.create_connection(address, timeout=PATIENCE) as sock:
        sock.sendall(data or request())
        yield Caller(sock)
