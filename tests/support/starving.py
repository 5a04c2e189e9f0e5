"""Mirrors that starve those who ask them: honest up to one step, and then silent or very slow.

They run in the test's own event loop, on loopback ports, over git:// or HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum

from msgspec.structs import replace

from gittorrent.ids import PushId
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_LOG_PIECE
from gittorrent.wire.mirrorlist import Untaken
from gittorrent.wire.urls import Endpoint
from support.logs import MAIN, Writer, oid

QUICK = ClientTimeouts(look_up=5.0, connect=5.0, answer=0.3, notice=0.3)
"""Times short enough for a test, with what needs no answer of a liar left as it is."""

PACE = 0.01
"""Seconds between two bytes of a trickle: a tenth of the rate that counts."""

MANIFEST = "ab" * 32

INDEXES = ("pushes/index", "pushes/short")


class Step(Enum):
    """Where a mirror stops to be honest."""

    LIST = "list"
    READY = "ready"
    LOG = "log"
    ENTRY = "entry"
    OFFERS = "offers"
    MANIFEST = "manifest"
    PARTS = "parts"
    NOTICE = "notice"
    JUNK = "junk"  # sends a log of entries that do not hold, without end
    NEVER = "never"


JUNK_ID = PushId("cd" * 20)


JUNK_ENTRIES = 16
"""Entries of a deflated log of junk, which has an end."""


def junk_of(writer: Writer, size: int) -> bytes:
    """Return a push object that would continue a log, with ``size`` bytes that nobody signed."""
    push = writer.certificate({MAIN: oid(99)})
    return replace(push, text=push.text + b"x" * size).encode()


class Manner(Enum):
    """How it does."""

    SILENT = "silent"
    TRICKLE = "trickle"
    SLOW_HEAD = "slow head"  # HTTP: its header lines trickle
    ENDLESS_HEAD = "endless head"  # HTTP: header lines at full speed
    ENDLESS = "endless"  # at full speed
    SLOW = "slow"  # faster than what counts as a trickle


@dataclass
class Starver:
    """One such mirror."""

    writer: Writer
    step: Step
    manner: Manner
    scheme: str
    port: int = 0
    sent: int = 0
    junk: bytes = b""
    pack: bytes = b""
    part_size: int = 1 << 12
    hesitates: float = 0.0  # seconds before it ends a log
    deflates: bool = False  # logs, where it is asked to
    cut: int | None = None  # bytes of such a log after which it hangs up
    logs: int = 0  # that it was asked for
    _stream: bytes = b""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.scheme, "127.0.0.1", self.port, "/x")

    @property
    def head(self) -> str:
        return str(self.writer.head)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Starver]:
        """Listen while the block runs."""
        serve = self._git if self.scheme == "git" else self._http

        async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            with contextlib.suppress(OSError, EOFError, ValueError, asyncio.CancelledError):
                await serve(reader, writer)
            writer.transport.abort()

        server = await asyncio.start_server(attend, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _starve(self, writer: asyncio.StreamWriter, data: bytes, *, http: bool) -> None:
        """Send ``data``, and whatever else, as the manner says."""
        if http and self.manner in (Manner.TRICKLE, Manner.ENDLESS, Manner.SLOW):
            status = b"206 Partial Content" if self.step is Step.PARTS else b"200 OK"
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: 9000000000\r\n\r\n" % status)
        elif http and self.manner is not Manner.SILENT:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            data = b"X: " + b"y" * 100 + b"\r\n"
        await writer.drain()
        at = 0
        while True:
            if self.manner is Manner.SILENT:
                await asyncio.get_running_loop().create_future()
            elif self.manner in (Manner.TRICKLE, Manner.SLOW_HEAD):
                writer.write(data[at % len(data) :][:1])
                self.sent += 1
                await asyncio.sleep(PACE)
            elif self.manner is Manner.SLOW:
                writer.write(data[:1] * 100)
                self.sent += 100
                await asyncio.sleep(PACE)
            else:
                writer.write(data * 100)
                self.sent += len(data) * 100
            at += 1
            await writer.drain()

    # git://

    async def _git(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(pktline.encode(f"{line}\n".encode()))

        request = await _packet(reader)
        if request.startswith(b"mirror-list"):
            if self.step is Step.LIST:
                await self._starve(writer, b"0010try x 9 yyy\n", http=False)
            for line in self._list():
                say(line)
            writer.write(b"0000")
            await writer.drain()
            return
        if request.startswith(b"mirror-notify"):
            await self._starve(writer, b"0020ok 600", http=False)
        if self.step is Step.READY:
            await self._starve(writer, b"0020alive is nothing to wait on", http=False)
        say("mirror-sync ready 1 starver")
        while True:
            words = (await _packet(reader)).decode().split()
            await self._answer(words, say, writer)
            await writer.drain()

    async def _answer(
        self, words: list[str], say: Callable[[str], None], writer: asyncio.StreamWriter
    ) -> None:
        match words[:2]:
            case ["fetch", "log"]:
                self.logs += 1
                if self.step is Step.LOG:
                    await self._starve(writer, pktline.encode(b"alive\n"), http=False)
                if self.deflates and words[-1] == "deflated":
                    await self._deflated_log(words[2], say, writer)
                    return
                for push, entry in self.writer.pushes if self.step is not Step.JUNK else ():
                    data = entry.encode()
                    if self.step is Step.ENTRY:
                        say(f"receive push {push} size {32 << 20}")
                        await self._starve(writer, data, http=False)
                    say(f"receive push {push} size {len(data)}")
                    writer.write(data)
                while self.step is Step.JUNK:
                    say(f"receive push {JUNK_ID} size {len(self.junk)}")
                    writer.write(self.junk)
                    await writer.drain()
                    self.sent += len(self.junk)
                await asyncio.sleep(self.hesitates)
                say(f"end log {words[2]}")
            case ["want", "bundle"]:
                if self.step is Step.OFFERS:
                    offer = f"have bundle :{self.head} {MANIFEST} 1000 all\n".encode()
                    await self._starve(writer, pktline.encode(offer), http=False)
                say(f"end want {words[2]}")
            case ["fetch", "manifest"]:
                if self.step is Step.MANIFEST:
                    say(f"receive manifest {words[2]} size 60000")
                    await self._starve(writer, b"gittorrent manifest 1\n", http=False)
                say(f"missing manifest {words[2]}")
            case ["fetch", "bundle"]:
                await self._send_parts(words, say, writer)

    async def _deflated_log(
        self, head: str, say: Callable[[str], None], writer: asyncio.StreamWriter
    ) -> None:
        """Send the log as a stream, or a bomb of it, or what its step and manner say instead."""
        if self.step is Step.ENTRY:
            begun = pktline.encode(f"receive push {self.head} size {32 << 20}\n".encode())
            deflate = zlib.compressobj()
            stream = deflate.compress(begun + bytes(64)) + deflate.flush(zlib.Z_SYNC_FLUSH)
            say(f"receive log {head} size {len(stream)}")
            writer.write(stream)
            say(f"receive log {head} size {MAX_LOG_PIECE}")
            await self._starve(writer, bytes(64), http=False)
        stream = self.made()[: self.cut]
        for at in range(0, len(stream), MAX_LOG_PIECE):
            piece = stream[at : at + MAX_LOG_PIECE]
            say(f"receive log {head} size {len(piece)}")
            writer.write(piece)
            self.sent += len(piece)
            await writer.drain()
        if self.cut is not None:
            raise EOFError
        say(f"end log {head}")

    def made(self) -> bytes:
        """Return the stream of its log, made once."""
        self._stream = self._stream or zlib.compress(self.undeflated())
        return self._stream

    def undeflated(self) -> bytes:
        """Return what the stream of a log inflates to."""
        if self.step is Step.JUNK:
            said = [(JUNK_ID, self.junk)] * JUNK_ENTRIES
        else:
            said = [(push, entry.encode()) for push, entry in self.writer.pushes]
        return b"".join(
            pktline.encode(f"receive push {push} size {len(data)}\n".encode()) + data
            for push, data in said
        )

    async def _send_parts(
        self, words: list[str], say: Callable[[str], None], writer: asyncio.StreamWriter
    ) -> None:
        numbers, total = words[5].split("/")
        first, _, last = numbers.partition("-")
        for part in range(int(first), int(last or first) + 1):
            data = self.pack[(part - 1) * self.part_size : part * self.part_size]
            say(f"receive bundle {words[2]} {words[3]} part {part}/{total} size {len(data)}")
            if self.step is Step.PARTS:
                await self._starve(writer, data, http=False)
            writer.write(data)

    # HTTP

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            name = head.split(b" ", 2)[1].decode().removeprefix("/x/")
            if self._step_of(name) is self.step:
                await self._starve(writer, b"z", http=True)
            self.logs += name in INDEXES
            if name.endswith(".pack"):
                found = re.search(rb"bytes=(\d+)-(\d+)", head)
                assert found is not None
                body = self.pack[int(found[1]) : int(found[2]) + 1]
            else:
                body = self._resource(name)
            is_junk = self.step is Step.JUNK and name.startswith("pushes/c")
            if is_junk:
                body = self.junk
            status = b"206 Partial Content" if name.endswith(".pack") else b"200 OK"
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
            writer.write(body)
            await writer.drain()
            self.sent += len(body) if is_junk else 0

    @staticmethod
    def _step_of(name: str) -> Step:
        if name.endswith(".pack"):
            return Step.PARTS
        steps = {"mirror-list": Step.LIST, "reels/index": Step.OFFERS}
        steps |= dict.fromkeys(INDEXES, Step.LOG)
        if name.endswith(".manifest"):
            return Step.MANIFEST
        return steps.get(name, Step.ENTRY)

    def _resource(self, name: str) -> bytes:
        if name == "mirror-list":
            return "".join(f"{line}\n" for line in self._list()).encode()
        if name in INDEXES:
            lines = [f"{push} {entry.kind.value}\n" for push, entry in self.writer.pushes]
            lines += [f"{JUNK_ID} checkpoint\n"] * 1000 if self.step is Step.JUNK else []
            return "".join(lines).encode()
        pushes = {f"pushes/{push}": entry.encode() for push, entry in self.writer.pushes}
        return pushes.get(name, b"")

    def _list(self) -> list[str]:
        untaken = Untaken.of([push.id for push in self.writer.state.unfinal])
        return [
            f"repo {self.writer.repository}",
            f"latest {self.head}",
            untaken.encode().decode().strip(),
        ]


async def _packet(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readexactly(4), 16)
    return await reader.readexactly(size - 4)
