"""One connection to a peer: bytes between the socket and the machine, answers one after another.

Tracks what waits to be answered, and how much is held for the peer. Answers go out one at a time
and wait for the socket, so a peer that does not read costs one answer; everything asked for goes
through one bounded queue.
Source: docs/protocol/gtp01.md, Ending a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.gtp import limits
from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.machine import Opened, Received
from gittorrent.gtp.messages import (
    DATA_REQUESTS,
    ObjectsAnswer,
    PlayAnswer,
    ScanAnswer,
    memory_of,
)
from gittorrent.gtp.node.addresses import Teller
from gittorrent.gtp.node.room import Room
from gittorrent.transfer.addresses import caller_group
from gittorrent.wire.urls import AddressClass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gittorrent.gtp.machine import Event, PeerMachine
    from gittorrent.gtp.messages import BlocksRequest, Message
    from gittorrent.transfer.limiter import Limiter

_log = logging.getLogger(__name__)

READ_SIZE = 256 << 10
DRAIN_SECONDS = 10.0
"""How long a peer may go on sending after we ended our side."""

LASTING_SECONDS = 60.0
"""A connection of this length is worth calling again, though nothing was there to be given."""

STALLED_SECONDS = 120.0
"""Time a peer may take to accept one chunk of what it asked for."""

MOST_UNREAD = 4 << 20
"""Bytes of short messages that wait for a peer to read; an honest one is never so far behind."""

MOST_QUEUED = 4096
"""Questions that wait for their answers, each a few bytes; more are a flood. A peer of 2008 asks
for all commits of a reel at once, so for its requests for data there is a bound of its own."""


class Link:
    """A connection; see the module.

    Args:
        key: its number.
        machine: speaks for us.
        reader: of the socket.
        writer: of the socket.
        address: IP address of the peer.
        limiter: paces what is sent.
        stalled: seconds that a peer may take to accept one chunk.
        trusted: the kind of address that it may send us to.
        room: counts what is held for all peers.
    """

    def __init__(
        self,
        key: int,
        machine: PeerMachine,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: str,
        limiter: Limiter,
        stalled: float = STALLED_SECONDS,
        trusted: AddressClass = AddressClass.PUBLIC,
        room: Room | None = None,
    ) -> None:
        self._stalled = stalled
        self._room = room or Room()
        self._trusted = trusted
        self.key = key
        self.machine = machine
        self.address = address
        self.port: int | None = None
        self.watching: dict[BlocksRequest, None] = {}
        self._telling: set[BlocksRequest] = set()
        self.received = 0
        self.sent = 0
        self._reader = reader
        self._writer = writer
        self._limiter = limiter
        self._questions: asyncio.Queue[Message] = asyncio.Queue()
        self._asked = {True: 0, False: 0}  # questions that wait, for data and others
        self._asked_bytes = {True: 0, False: 0}  # what they take
        self._ending = False
        self._reason = "closed here"
        self._unsent = bytearray()
        self._pacing = False
        self._listening: asyncio.Task[str] | None = None
        self._opened: float | None = None
        self._gave = False

    @property
    def is_useful(self) -> bool:
        """Tell whether the peer gave data, or has stayed for long."""
        lasted = 0.0 if self._opened is None else time.monotonic() - self._opened
        return self._gave or lasted >= LASTING_SECONDS

    def teller(self) -> Teller:
        """Return the peer as one who names others."""
        return Teller(caller_group(self.address), self._trusted)

    async def run(
        self,
        happen: Callable[[Link, Event], None],
        answer: Callable[[Link, Message], Awaitable[None]],
    ) -> str:
        """Speak until the connection ends; returns why it did.

        Args:
            happen: told each event.
            answer: answers one question; called one at a time.
        """
        worker = asyncio.create_task(self._answer_all(answer))
        self._listening = asyncio.create_task(self._listen(happen))
        try:
            self.flush()
            await asyncio.wait([self._listening])
            if self._listening.cancelled():
                return self._reason
            return self._listening.result()
        except (GitTorrentError, OSError) as error:
            return str(error) or type(error).__name__
        finally:
            for task in (self._listening, worker):
                task.cancel()
            await asyncio.gather(self._listening, worker, return_exceptions=True)
            await self._end()
            self._room.hold(self.key, 0, 0, self.give_up)

    def say(self, message: Message) -> None:
        """Send a message now."""
        if not self._ending:
            self.machine.send(time.monotonic(), message)
            self.flush()

    def ask(self, message: Message) -> None:
        """Put a question of the peer's into the queue.

        Raises:
            MessageError: it asks too much.
        """
        profile = self.machine.profile
        is_data = isinstance(message, DATA_REQUESTS)
        most = MOST_QUEUED
        if is_data and profile is not None and profile.blocks_are_commits:
            most = limits.MAX_BLOCKS
        if self._asked[is_data] >= most:
            raise MessageError("it asks faster than anybody could answer")
        self._put(message)

    def watch(self, question: BlocksRequest) -> None:
        """Note that a peer wants to be told again what it asked; the oldest such wish may go."""
        self.watching[question] = None
        while len(self.watching) > limits.MAX_WATCHED:
            del self.watching[next(iter(self.watching))]

    def tell(self, question: BlocksRequest) -> None:
        """Answer a question again, unless that answer waits to be given anyway."""
        if question not in self._telling:
            self._telling.add(question)
            self._put(question)

    def _put(self, question: Message) -> None:
        is_data = isinstance(question, DATA_REQUESTS)
        self._asked[is_data] += 1
        self._asked_bytes[is_data] += memory_of(question)
        self._questions.put_nowait(question)

    async def _next_question(self) -> Message:
        question = await self._questions.get()
        is_data = isinstance(question, DATA_REQUESTS)
        self._asked[is_data] -= 1
        self._asked_bytes[is_data] -= memory_of(question)
        return question

    def _note_held(self) -> None:
        """Say what is held for the peer: what it sent and asked, and what it has not read."""
        held = dict(self._asked_bytes)
        held[self._pacing] += len(self._unsent) + self._writer.transport.get_write_buffer_size()
        held[self.machine.is_answered] += self.machine.held
        self._room.hold(self.key, held[False], held[True], self.give_up)

    def give_up(self, reason: str) -> None:
        """End the connection at once, whatever is under way."""
        _log.info("%s is given up: %s", self.address, reason)
        self._reason = reason
        self._writer.transport.abort()
        self.close()

    def flush(self) -> None:
        """Write what the machine has to say, unless a long message is under way."""
        if self._pacing:
            return
        data = self.machine.output()
        if data and not self._writer.is_closing():
            self.sent += len(data)
            self._writer.write(data)
            if self._writer.transport.get_write_buffer_size() > MOST_UNREAD:
                _log.info("%s does not read what it is sent", self.address)
                self._writer.transport.abort()
            self._note_held()

    async def pace(self, message: Message) -> None:
        """Send a large message within the limit, and wait until the socket takes it."""
        if self._ending:
            return
        self.machine.send(time.monotonic(), message)
        self._unsent += self.machine.output()
        self._pacing = True
        try:
            while self._unsent and not self._writer.is_closing():
                piece = bytes(self._unsent[: self._limiter.chunk])
                await self._limiter.take(len(piece))
                del self._unsent[: len(piece)]
                self._writer.write(piece)
                self.sent += len(piece)
                self._note_held()
                async with asyncio.timeout(self._stalled):
                    await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()
            raise
        finally:
            self._pacing = False
            self._note_held()
        self.flush()

    def close(self) -> None:
        """End the connection soon; `run` returns then."""
        self._ending = True
        if self._listening is not None:
            self._listening.cancel()

    async def _listen(self, happen: Callable[[Link, Event], None]) -> str:
        while not self._ending:
            if self._room.is_behind(self.key):
                await self._room.caught_up(self.key)
                self.machine.renew(time.monotonic())
            wait = self.machine.next_deadline() - time.monotonic()
            try:
                reading = self._reader.read(READ_SIZE)
                data = await asyncio.wait_for(reading, None if wait == float("inf") else wait)
            except TimeoutError:
                self.machine.tick(time.monotonic())
                self.flush()
                continue
            if not data:
                return "closed"
            self.received += len(data)
            for event in self.machine.receive(time.monotonic(), data):
                self._note(event)
                happen(self, event)
                if self._ending:
                    break
            self.flush()
            self._note_held()
        return "closed here"

    def _note(self, event: Event) -> None:
        if isinstance(event, Opened):
            self._opened = time.monotonic()
            self.flush()
        elif isinstance(event, Received):
            # The machine lets through only what was asked for.
            match event.message:
                case PlayAnswer(_, _, data) | ScanAnswer(_, _, data) | ObjectsAnswer(data):
                    self._gave = self._gave or bool(data)
                case _:
                    pass

    async def _answer_all(self, answer: Callable[[Link, Message], Awaitable[None]]) -> None:
        while True:
            question = await self._next_question()
            self._telling -= {question}
            try:
                await answer(self, question)
            except (GitTorrentError, OSError) as error:
                _log.info("cannot answer %s: %s", self.address, error)
                self.close()
                return

    async def _end(self) -> None:
        """Close so that the peer sees whole messages and a clean end."""
        self.flush()
        self._ending = True
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            profile = self.machine.profile
            if profile is not None and profile.drains and self._writer.can_write_eof():
                # The peer of 2008 crashes when the connection breaks under its hands.
                async with asyncio.timeout(DRAIN_SECONDS):
                    self._writer.write(bytes(self._unsent))
                    await self._writer.drain()
                    self._writer.write_eof()
                    while await self._reader.read(READ_SIZE):
                        pass
        self._writer.close()
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), DRAIN_SECONDS)
