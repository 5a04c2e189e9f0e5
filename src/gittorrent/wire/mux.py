"""Several conversations over one connection: one end of it, fed with bytes and time.

Pure: bytes, numbers and time come in, events and bytes come out. Tracks for each conversation the
bytes that wait to be sent, the room that the other end gave for them, and the room that it has for
its own.

Rules: an end sends no more of a conversation than the other one has room for, so one that nobody
reads holds up nobody else, and memory is bounded by the number of conversations; those that have
something to say take turns, a few bytes each; what concerns the connection itself waits for none.
Numbers are given by the caller, upwards, and used once. Must not know what the conversations say.
Source: docs/protocol/mirrorsync.md, mirror-mux.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from msgspec import Struct, field

from gittorrent.errors import ProtocolError
from gittorrent.wire import pktline
from gittorrent.wire.fields import clean_reason, raise_if_refused
from gittorrent.wire.limits import (
    IDLE_SECONDS,
    KEEPALIVE_SECONDS,
    MAX_STREAM_DATA,
    MAX_STREAM_NUMBER,
    MAX_STREAMS,
    STREAM_WINDOW,
)
from gittorrent.wire.mux_lines import (
    VERSION,
    Alive,
    Close,
    Data,
    Line,
    MuxReady,
    Open,
    Room,
    parse_mux_line,
)
from gittorrent.wire.session import Role


class MuxError(ProtocolError):
    """The other end broke a rule of connections that carry several conversations."""


class Agreed(Struct, frozen=True):
    """The one who answers carries several conversations."""


class Opened(Struct, frozen=True):
    """The caller began a conversation about the repository at ``path``."""

    number: int
    path: bytes


class Arrived(Struct, frozen=True):
    """Bytes of a conversation came."""

    number: int
    data: bytes


class Closed(Struct, frozen=True):
    """The other end says nothing more in a conversation; after all its bytes."""

    number: int
    reason: str


Event = Agreed | Opened | Arrived | Closed


class _Stream(Struct):
    """One conversation.

    Args:
        waiting: what is to be sent.
        credit: bytes that the other end has room for.
        room: bytes that it may send.
        eaten: bytes that were read and that it was not told of.
        is_over: whether we closed it.
        has_ended: whether the other end did.
    """

    waiting: deque[memoryview] = field(default_factory=deque)
    credit: int = STREAM_WINDOW
    room: int = STREAM_WINDOW
    eaten: int = 0
    is_over: bool = False
    has_ended: bool = False


class Life(Enum):
    """What `Mux.tick` found."""

    GOOD = "good"
    LOST = "lost"


class Mux:
    """One end of a connection.

    Args:
        role: which end.
        now: seconds on a clock that never runs backwards.
        most: conversations that may be open at once.
    """

    def __init__(self, role: Role, now: float, most: int = MAX_STREAMS) -> None:
        self._role = role
        self._most = most
        self._streams: dict[int, _Stream] = {}
        self._turns: deque[int] = deque()  # those that may send something, each once
        self._queued: set[int] = set()
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._last = 0
        self._in = bytearray()
        self._data: Data | None = None
        self._is_agreed = False
        self._heard_at = self._sent_at = now
        if role is Role.ANSWERER:
            self._say(MuxReady(VERSION))
            self._is_agreed = True

    def __len__(self) -> int:
        """Return how many conversations are open."""
        return len(self._streams)

    @property
    def is_agreed(self) -> bool:
        """Whether the one who answers agreed."""
        return self._is_agreed

    @property
    def is_full(self) -> bool:
        """Whether no more conversations can be opened just now, or none with this connection."""
        return len(self._streams) >= self._most or self._last >= MAX_STREAM_NUMBER

    @property
    def unsent_lines(self) -> int:
        """Bytes of lines that wait to be sent, other than what conversations say."""
        return self._control_bytes

    # -- what this end says

    def open(self, path: bytes) -> int:
        """Begin a conversation and return its number; the connection is not `is_full`."""
        self._last += 1
        self._streams[self._last] = _Stream()
        self._say(Open(self._last, path))
        return self._last

    def send(self, number: int, data: bytes | memoryview) -> None:
        """Send bytes of a conversation as the other end has room for them."""
        stream = self._streams[number]
        stream.waiting.append(memoryview(data))
        self._queue(number, stream)

    def unsent(self, number: int) -> int:
        """Return how many bytes of a conversation wait to be sent."""
        stream = self._streams.get(number)
        return 0 if stream is None else sum(map(len, stream.waiting))

    def close(self, number: int, reason: str = "") -> None:
        """Say nothing more in a conversation; what waits is not sent."""
        stream = self._streams.get(number)
        if stream is None or stream.is_over:
            return
        stream.is_over = True
        stream.waiting.clear()
        self._say(Close(number, clean_reason(reason)))
        self._forget(number, stream)

    def read(self, number: int, count: int) -> None:
        """Take note that so many bytes of a conversation were read; more may come for them."""
        stream = self._streams.get(number)
        if stream is None or stream.is_over or stream.has_ended:
            return
        stream.eaten += count
        if 2 * stream.eaten >= STREAM_WINDOW:
            self._say(Room(number, stream.eaten))
            stream.room += stream.eaten
            stream.eaten = 0

    def output(self, most: int) -> bytes:
        """Return what is to be sent next: about ``most`` bytes, nothing if nothing waits."""
        found: list[bytes | memoryview] = list(self._control)
        self._control.clear()
        self._control_bytes = 0
        size = sum(map(len, found))
        while self._turns and size < most:
            number = self._turns.popleft()
            self._queued.discard(number)
            stream = self._streams.get(number)
            if stream is not None:
                size += self._take(number, stream, found)
        return b"".join(found)

    def _take(self, number: int, stream: _Stream, found: list[bytes | memoryview]) -> int:
        """Take one turn's bytes of a conversation; returns how many."""
        if not stream.waiting or not stream.credit:
            return 0
        data = stream.waiting[0][: min(MAX_STREAM_DATA, stream.credit)]
        rest = stream.waiting[0][len(data) :]
        if rest:
            stream.waiting[0] = rest
        else:
            stream.waiting.popleft()
        stream.credit -= len(data)
        head = pktline.encode(Data(number, len(data)).encode())
        found += [head, data]
        self._queue(number, stream)
        return len(head) + len(data)

    def _queue(self, number: int, stream: _Stream) -> None:
        if stream.waiting and stream.credit and number not in self._queued:
            self._queued.add(number)
            self._turns.append(number)

    def _say(self, line: Line) -> None:
        data = pktline.encode(line.encode())
        self._control.append(data)
        self._control_bytes += len(data)

    # -- what the other end says

    def received(self, data: bytes | memoryview) -> list[Event]:
        """Take bytes, and return what they mean.

        Raises:
            MuxError, MessageError, PktLineError: the other end breaks the protocol.
            RemoteRefusal: it does not serve this.
        """
        self._in += data
        events: list[Event] = []
        at = 0
        while (end := self._step(at, events)) is not None:
            at = end
        del self._in[:at]
        return events

    def _step(self, at: int, events: list[Event]) -> int | None:
        """Take what begins at ``at``; returns where it ends, None if it is not whole."""
        left = len(self._in) - at
        if self._data is not None:
            size = min(left, self._data.size)
            if size == 0:
                return None
            self._take_data(self._data, bytes(self._in[at : at + size]), events)
            rest = self._data.size - size
            self._data = Data(self._data.number, rest) if rest else None
            return at + size
        if left < pktline.HEADER_SIZE:
            return None
        size_or_special = pktline.parse_length(self._in[at : at + pktline.HEADER_SIZE])
        if not isinstance(size_or_special, int):
            raise MuxError("a flush has no meaning in a connection of several conversations")
        end = at + pktline.HEADER_SIZE + size_or_special
        if end > len(self._in):
            return None
        line = bytes(self._in[at + pktline.HEADER_SIZE : end])
        if not self._is_agreed:
            raise_if_refused(line)
        parsed = parse_mux_line(line)
        if parsed is not None:
            self._hear(parsed, events)
        return end

    def _take_data(self, data: Data, payload: bytes, events: list[Event]) -> None:
        stream = self._streams[data.number]
        if not stream.is_over:  # it was on its way when we closed
            events.append(Arrived(data.number, payload))

    def _hear(self, line: Line, events: list[Event]) -> None:
        if isinstance(line, MuxReady):
            if self._role is Role.ANSWERER or self._is_agreed:
                raise MuxError("an unexpected 'mirror-mux ready'")
            self._is_agreed = True
            events.append(Agreed())
        elif not self._is_agreed:
            raise MuxError("the other end does not say 'mirror-mux ready' first")
        elif isinstance(line, Open):
            self._hear_open(line, events)
        elif not isinstance(line, Alive):
            self._hear_of_stream(line, events)

    def _hear_open(self, line: Open, events: list[Event]) -> None:
        if self._role is Role.CALLER:
            raise MuxError("only the caller opens conversations")
        if line.number <= self._last:
            raise MuxError(f"conversation {line.number} is opened after {self._last}")
        if len(self._streams) >= self._most:
            raise MuxError(f"more than {self._most} conversations are open")
        self._last = line.number
        self._streams[line.number] = _Stream()
        events.append(Opened(line.number, line.path))

    def _hear_of_stream(self, line: Data | Room | Close, events: list[Event]) -> None:
        stream = self._streams.get(line.number)
        if stream is None or stream.has_ended:
            if isinstance(line, Room) and 0 < line.number <= self._last:
                return  # we had closed it, and so had the other end
            raise MuxError(f"conversation {line.number} is not open")
        if isinstance(line, Data):
            if line.size > stream.room:
                raise MuxError(f"more of conversation {line.number} than there is room for")
            stream.room -= line.size
            self._data = line
        elif isinstance(line, Room):
            stream.credit += line.size
            if stream.credit > STREAM_WINDOW:
                raise MuxError(f"more room in conversation {line.number} than it ever has")
            self._queue(line.number, stream)
        else:
            stream.has_ended = True
            stream.waiting.clear()
            if not stream.is_over:
                events.append(Closed(line.number, line.reason))
            self._forget(line.number, stream)

    def _forget(self, number: int, stream: _Stream) -> None:
        if stream.is_over and stream.has_ended:
            del self._streams[number]

    def end_of_stream(self) -> None:
        """Take note that the other end says nothing more.

        Raises:
            MuxError: it ended in the middle of something.
        """
        if self._in or self._data is not None:
            raise MuxError("the connection ended in the middle of something")

    # -- time

    def heard(self, now: float) -> None:
        """Take note that something came."""
        self._heard_at = now

    def sent(self, now: float) -> None:
        """Take note that something was sent."""
        self._sent_at = now

    @property
    def next_deadline(self) -> float:
        """When `tick` is due."""
        return min(self._heard_at + IDLE_SECONDS, self._sent_at + KEEPALIVE_SECONDS)

    def tick(self, now: float) -> Life:
        """Take note of the time; a sign of life may be to be sent after that."""
        if now - self._heard_at >= IDLE_SECONDS:
            return Life.LOST
        if now - self._sent_at >= KEEPALIVE_SECONDS:
            self._sent_at = now
            self._say(Alive())
        return Life.GOOD
