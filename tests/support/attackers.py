"""Peers that attack: they speak mirror-sync over real sockets and say what no honest end would.

A `Wire` is one connection, read and written line by line in the thread of whoever uses it. A
`Trap` listens like a downloader that others are introduced to, and plays a part to each caller.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gittorrent.wire import pktline
from gittorrent.wire.messages import (
    FetchParts,
    HaveBundle,
    Message,
    Try,
    Unknown,
    WantBundle,
    parse_message,
)
from support.packets import PacketStream
from support.programs import PATIENCE


class Wire:
    """One mirror-sync connection of an attacker.

    Args:
        sock: connected, blocking.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)
        self._reader = PacketStream()
        self._heard: list[bytes] = []

    @classmethod
    def call(
        cls, address: tuple[str, int], path: str, source: str = "", receive_buffer: int = 0
    ) -> Wire:
        """Connect and ask for mirror-sync of what is at ``path``.

        Args:
            address: to call.
            path: of the repository, or its id.
            source: address to call from; any by default.
            receive_buffer: bytes the kernel may hold for us; its own choice by default.
        """
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            sock.bind((source, 0))
        sock.settimeout(PATIENCE)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        sock.sendall(pktline.encode(f"mirror-sync /{path}\0host=attacker\0".encode()))
        return cls(sock)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def say(self, line: Message | str, raw: bytes = b"") -> None:
        """Send one line, with raw bytes after it."""
        data = f"{line}\n".encode() if isinstance(line, str) else line.encode()
        self.sock.sendall(pktline.encode(data) + raw)

    def lines(self) -> Iterator[bytes]:
        """Yield lines until the other end closes; raw bytes must not have been asked for."""
        with contextlib.suppress(OSError):
            while data := self.sock.recv(65536):
                for packet in self._reader.feed(data):
                    if isinstance(packet, bytes):
                        yield packet

    def messages(self) -> Iterator[Message | Unknown]:
        """Yield what the other end says until it closes."""
        for line in self.lines():
            yield parse_message(line)

    def told(self, url: str) -> Iterator[str]:
        """Say where we listen, again and again, and yield each address that we are told of."""
        seen = set()
        with contextlib.suppress(OSError):
            self.sock.settimeout(0.2)
            while True:
                self.say(f"try {url} 3600 partial")
                try:
                    for packet in self._reader.feed(self._receive()):
                        message = parse_message(packet) if isinstance(packet, bytes) else None
                        if isinstance(message, Try) and message.entry.url not in seen:
                            seen.add(message.entry.url)
                            yield message.entry.url
                except TimeoutError:
                    continue

    def _receive(self) -> bytes:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionResetError
        return data

    def is_over(self, seconds: float = PATIENCE) -> bool:
        """Tell whether the other end closes in time; what it says until then is passed over."""
        self.sock.settimeout(seconds)
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def flood(self, data: bytes, limit: int) -> int:
        """Send ``data`` again and again, ``limit`` bytes in all; returns what was taken.

        Stops when the other end hangs up.
        """
        sent = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            while sent < limit:
                self.sock.sendall(data)
                sent += len(data)
        return sent


Act = Callable[[Wire, "Trap"], None]
"""What an attacker does on one connection."""


@dataclass
class Trap:
    """A listening attacker.

    Args:
        act: what to do with each caller.
        host: address to listen at.
    """

    act: Act
    host: str = "127.0.0.1"
    port: int = 0
    calls: int = 0
    parts_sent: int = 0
    faults: list[str] = field(default_factory=list)

    def url(self, repository: str) -> str:
        return f"git://{self.host}:{self.port}/{repository}"

    @contextlib.contextmanager
    def open(self) -> Iterator[Trap]:
        """Listen while the block runs."""
        listener = socket.create_server((self.host, 0), backlog=256)
        self.port = listener.getsockname()[1]
        threads: list[threading.Thread] = []
        ending = threading.Event()

        def answer(sock: socket.socket) -> None:
            with contextlib.suppress(OSError, ValueError), sock:
                sock.settimeout(PATIENCE)
                size = int(sock.recv(4, socket.MSG_WAITALL), 16)
                sock.recv(size - 4, socket.MSG_WAITALL)
                wire = Wire(sock)
                wire.say("mirror-sync ready 1 attacker")
                self.act(wire, self)

        def run() -> None:
            while True:
                sock, _ = listener.accept()
                if ending.is_set():
                    sock.close()
                    return
                self.calls += 1
                threads.append(threading.Thread(target=answer, args=(sock,), daemon=True))
                threads[-1].start()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ending.set()
            socket.create_connection((self.host, self.port), timeout=PATIENCE).close()
            thread.join(PATIENCE)
            listener.close()


@dataclass(frozen=True)
class Pack:
    """What attackers know of the pack that honest ends download."""

    reel: str
    manifest: str
    size: int
    part_size: int
    parts: int
    path: Path

    def size_of(self, part: int) -> int:
        return min(self.part_size, self.size - part * self.part_size)

    def claim(self, bitmap: str = "all") -> str:
        return f"have bundle {self.reel} {self.manifest} {self.size} {bitmap}"

    def announce(self, part: int, size: int | None = None) -> str:
        shown = self.size_of(part) if size is None else size
        return (
            f"receive bundle {self.reel} {self.manifest} part {part + 1}/{self.parts} size {shown}"
        )


def claiming(pack: Pack, answer: Callable[[Wire, Trap, FetchParts], None]) -> Act:
    """Return an act that claims the whole pack and answers requests for parts with ``answer``."""

    def act(wire: Wire, trap: Trap) -> None:
        for message in wire.messages():
            if isinstance(message, WantBundle):
                wire.say(pack.claim())
                wire.say(f"end want {message.reel}")
            elif isinstance(message, FetchParts):
                answer(wire, trap, message)
            elif isinstance(message, HaveBundle):
                continue

    return act


def memory(pid: int, what: str = "VmHWM") -> int:
    """Return bytes of memory a process uses: at most so far, or now with ``VmRSS``."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"{what}:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def faults_of(said: str) -> dict[str, str]:
    """Return who a clone left out and why, by what it told its user."""
    found = re.findall(r"gittorrent: (\S+) is (?:out|left out): (.+)", said)
    return dict(found)
