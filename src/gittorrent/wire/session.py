"""The conversation of ``mirror-sync`` as a machine: bytes and time in, events and bytes out.

For the node, which moves the bytes; pure. The same class serves both ends, since both may ask.
Tracks the unread bytes of at most one packet, the payload being received, logs that come deflated
(`LogInflater`), the open questions of either end (`PendingRequests`), and when each end was last
heard.

States: *opening* until the first known message of the peer, which for the caller must be
``ready``; *open*; *closed* after a ``bye`` either way, an ``ERR``, a fault or a timeout. What
arrives when closed is dropped.

Rules: an announced payload is let in only if it was asked for, and its size is checked before
memory is set aside; then it is received straight into its own buffer. A log that comes deflated is
inflated a little at a time, and its entries are told of as if they had come as they are; while
there is more to inflate (`is_inflating`), nothing further is received. A fault raises SessionError,
whose text is fit for ``bye``. Time comes by ``tick``; silence is reckoned from the first tick after
the last byte. Must not know sockets, repositories, or whether a payload is true.
Source: docs/protocol/mirrorsync.md, mirror-sync.
"""

from __future__ import annotations

import contextlib
import math
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError, ProtocolError
from gittorrent.ids import ManifestId, PushId
from gittorrent.wire import limits, pktline
from gittorrent.wire.fields import (
    MessageError,
    RemoteRefusal,
    clean_reason,
    raise_if_refused,
)
from gittorrent.wire.intake import Event as Event
from gittorrent.wire.intake import IdleTimeout as IdleTimeout
from gittorrent.wire.intake import KeepAliveDue as KeepAliveDue
from gittorrent.wire.intake import MessageReceived as MessageReceived
from gittorrent.wire.intake import MessageTimeout as MessageTimeout
from gittorrent.wire.intake import Payload
from gittorrent.wire.intake import Receiving as Receiving
from gittorrent.wire.intake import Refused as Refused
from gittorrent.wire.log_stream import LogInflater
from gittorrent.wire.messages import (
    ALIVE_LINE,
    VERSION,
    Announcement,
    Answer,
    Bye,
    CancelParts,
    EndLog,
    FetchParts,
    Message,
    MissingLog,
    Question,
    Ready,
    ReceiveLog,
    ReceivePart,
    SendPushes,
    SentPush,
    Unknown,
    parse_message,
)
from gittorrent.wire.pending_requests import PendingRequestError, PendingRequests
from gittorrent.wire.reelname import PackShape, ReelName

if TYPE_CHECKING:
    from collections.abc import Iterator


class Role(Enum):
    """Which end this is: the one that connected, or the one that answers with ``ready``."""

    CALLER = "caller"
    ANSWERER = "answerer"


class Timeouts(Struct, frozen=True):
    """How long each kind of waiting may last, in seconds."""

    keepalive: float = limits.KEEPALIVE_SECONDS
    idle: float = limits.IDLE_SECONDS
    message: float = limits.MESSAGE_SECONDS


class SessionError(ProtocolError):
    """The peer broke the protocol; ``str()`` is fit for ``bye``, ``events`` came before it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(clean_reason(message), hint=hint)
        self.events: tuple[Event, ...] = ()


class SessionMisuse(GitTorrentError):
    """This end tried to say what the protocol does not allow: a mistake of this program."""


IN_MUX = Timeouts(keepalive=math.inf, idle=math.inf)
"""For a conversation on a connection with others: signs of life are the connection's."""


class Session:
    """One end of a ``mirror-sync`` conversation, from after the service request on.

    ``role``: which end this is. ``now``: seconds on any steady clock, the one ``tick`` gets too.
    """

    def __init__(self, role: Role, now: float, timeouts: Timeouts | None = None) -> None:
        self.role = role
        self._timeouts = timeouts or Timeouts()
        self._asked = PendingRequests(limits.MAX_PIPELINED)
        self._to_answer = PendingRequests(limits.MAX_INCOMING)
        self._buffer = bytearray(limits.FIRST_LINE_BUFFER)
        self._start = 0
        self._end = 0
        self._payload: Payload | None = None
        self._cut_short: Payload | None = None
        self._logs: dict[PushId, LogInflater] = {}
        self._inflating: LogInflater | None = None
        self._spoke_first = False
        self._heard_first = False
        self._closed = False
        self._unasked = 0
        self._answered = 0
        self._may_be_sent = self._may_send = 0
        self._part_said_of: tuple[ReelName, ManifestId, int] | None = None
        self._heard_at = self._sent_at = now
        self._heard = self._sent = False
        self._message_since: float | None = None
        self._entry_since: tuple[int, float] | None = None

    @property
    def closed(self) -> bool:
        """Tell whether the conversation is over."""
        return self._closed

    @property
    def pending_requests(self) -> int:
        """How many of our questions are open."""
        return self._asked.open

    @property
    def held(self) -> int:
        """Bytes in memory for what the peer sent, as far as an idle session does without them."""
        logs = sum(log.held for log in self._logs.values())
        return len(self._buffer) - limits.FIRST_LINE_BUFFER + self._to_answer.held + logs

    @property
    def room(self) -> int:
        """How many more questions ``send`` would take now."""
        return self._asked.room

    @property
    def unasked(self) -> int:
        """How many lines came that answer no question of ours, unknown ones included.

        Long ones count as many.
        """
        return self._unasked

    @property
    def answered(self) -> int:
        """How many bytes came in answer to our questions, with those of a payload on its way."""
        payload = self._payload
        return self._answered + (0 if payload is None else payload.received)

    @property
    def receiving(self) -> Receiving | None:
        """The payload on its way, for measuring a slow but flowing peer."""
        payload = self._payload
        return None if payload is None else Receiving(payload.message, payload.received)

    def take_cut_short(self) -> MessageReceived | None:
        """Hand over what had come of the payload that the conversation's end cut short, once."""
        payload, self._cut_short = self._cut_short, None
        return None if payload is None else payload.beginning()

    @property
    def entry_size(self) -> int:
        """How many bytes the push objects will have that come deflated and are not whole yet."""
        return sum(log.entry_size for log in self._logs.values())

    @property
    def is_inflating(self) -> bool:
        """Whether `go_on` is due before more is received."""
        return self._inflating is not None

    # Intake

    def writable(self) -> memoryview:
        """Return where to receive the next bytes; never empty, valid until ``received``.

        Within a payload it is the rest of that payload's own buffer, so nothing is copied.
        """
        if self._payload is not None:
            return self._payload.writable()
        if self._closed or self._start == self._end:
            self._start = self._end = 0
            if len(self._buffer) > limits.FIRST_LINE_BUFFER:
                self._buffer = bytearray(limits.FIRST_LINE_BUFFER)
        elif self._start and self._end > len(self._buffer) // 2:
            size = self._end - self._start
            self._buffer[:size] = self._buffer[self._start : self._end]
            self._start, self._end = 0, size
        elif self._end == len(self._buffer):
            # A long line; the old buffer cannot be resized while a view of it is in use.
            larger = bytearray(limits.MAX_PKT_LINE)
            larger[: self._end] = self._buffer
            self._buffer = larger
        return memoryview(self._buffer)[self._end :]

    def received(self, n: int) -> list[Event]:
        """Take note that ``n`` bytes were put into ``writable()``, and return what they mean.

        Raises SessionError when the peer broke the protocol, with the events before that in its
        ``events``; ValueError for an ``n`` that did not fit. Source: docs/protocol/mirrorsync.md.
        """
        if not 0 <= n <= len(self.writable()):
            raise ValueError(f"{n} bytes do not fit where they were to be received")
        if self._closed or not n:
            return []
        self._heard = True
        events: list[Event] = []
        with self._judging(events):
            if self._payload is not None:
                self._payload.received += n
                self._finish_payload(events)
            else:
                self._end += n
            self._take_lines(events)
        return events

    def go_on(self) -> list[Event]:
        """Inflate some more of what was received, and return what it means, as ``received`` does.

        While nobody calls this, what a log inflates to takes no memory.
        """
        events: list[Event] = []
        with self._judging(events):
            self._inflate(events)
            self._take_lines(events)
        return events

    @contextlib.contextmanager
    def _judging(self, events: list[Event]) -> Iterator[None]:
        """Let what breaks the protocol end the conversation, after the events before that."""
        try:
            yield
        except (pktline.PktLineError, MessageError, PendingRequestError) as error:
            raise self._fault(str(error), events) from error

    def _take_lines(self, events: list[Event]) -> None:
        while self._payload is None and self._inflating is None and not self._closed:
            line = self._next_line()
            if line is None:
                return
            self._handle(line, events)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Take in bytes that were received elsewhere; like ``received``, but copies them."""
        events: list[Event] = []
        view = memoryview(data)
        try:
            while not self._closed:
                if self.is_inflating:
                    events += self.go_on()
                    continue
                if not view:
                    break
                room = self.writable()
                n = min(len(room), len(view))
                room[:n] = view[:n]
                view = view[n:]
                events += self.received(n)
        except SessionError as error:
            error.events = (*events, *error.events)
            raise
        return events

    def end_of_stream(self) -> None:
        """Take note that the peer closed; raises SessionError if that cut a message short."""
        if not self._closed and self.is_mid_message:
            raise self._fault("connection ended in the middle of a message", [])
        self._closed = True

    @property
    def is_mid_message(self) -> bool:
        """Whether a message, or an entry of a log, is not whole yet."""
        return self._payload is not None or self._end > self._start or self._is_mid_entry

    @property
    def _is_mid_entry(self) -> bool:
        return any(log.is_mid_entry for log in self._logs.values())

    def _fault(self, reason: str, events: list[Event]) -> SessionError:
        self._close()
        error = SessionError(reason, hint="the peer is broken or hostile; another mirror may do")
        error.events = tuple(events)
        return error

    def _close(self) -> None:
        self._closed = True
        self._cut_short, self._payload = self._payload or self._cut_short, None
        self._inflating = None
        self._logs.clear()

    def _next_line(self) -> bytes | None:
        """Take the next whole packet out of the buffer; None if there is none yet."""
        if self._end - self._start < pktline.HEADER_SIZE:
            return None
        body = self._start + pktline.HEADER_SIZE
        size = pktline.parse_length(self._buffer[self._start : body])
        if isinstance(size, pktline.Special):
            raise MessageError(f"a {size.name.lower()} packet has no meaning in mirror-sync")
        if self._end < body + size:
            return None
        line = bytes(self._buffer[body : body + size])
        self._start = body + size
        self._message_since = None
        return line

    def _handle(self, line: bytes, events: list[Event]) -> None:
        try:
            raise_if_refused(line)
        except RemoteRefusal as refusal:
            self._close()
            events.append(Refused(refusal.reason))
            return
        message = parse_message(line)
        if self._asked.expects(message):
            self._answered += len(line)
        else:
            self._unasked += 1 + len(line) // limits.LONG_LINE
        if isinstance(message, Unknown):
            return
        self._check_order(message)
        if isinstance(message, Question):
            self._to_answer.ask(message)
        elif isinstance(message, CancelParts):
            self._to_answer.cancel(message)
        elif isinstance(message, Answer):
            self._asked.answer(message)
            if isinstance(message, EndLog | MissingLog):
                self._end_log(message)
        elif isinstance(message, SentPush):
            self._check_sent(message)
        elif isinstance(message, SendPushes):
            self._may_send = message.most
        if isinstance(message, Announcement):
            self._begin_payload(message, events)
            return
        if isinstance(message, Bye):
            self._close()
        events.append(MessageReceived(message))

    def _check_order(self, message: Message) -> None:
        """See to it that ``ready`` comes first, or not at all, and speaks our version."""
        first, self._heard_first = not self._heard_first, True
        if isinstance(message, Ready):
            if not first:
                raise MessageError("ready came again, or after other messages")
            if message.version != VERSION:
                raise MessageError(f"mirror-sync version {message.version}; we speak {VERSION}")
        elif first and self.role is Role.CALLER and not isinstance(message, Bye):
            raise MessageError("the answering end did not begin with ready")

    def _check_sent(self, message: SentPush) -> None:
        """See to it that a push was asked to be sent; its bytes count as lines do."""
        if message.size > self._may_be_sent:
            raise MessageError(f"push of {message.size} bytes sent, which was not asked for")
        self._unasked += message.size // limits.LONG_LINE

    def _begin_payload(self, message: Announcement, events: list[Event]) -> None:
        """Set up the payload's buffer and move in what arrived together with its announcement."""
        self._payload = Payload(message)
        while self._start < self._end and not self._payload.complete:
            room = self._payload.writable()
            n = min(len(room), self._end - self._start)
            room[:n] = memoryview(self._buffer)[self._start : self._start + n]
            self._start += n
            self._payload.received += n
        self._finish_payload(events)

    def _finish_payload(self, events: list[Event]) -> None:
        payload = self._payload
        if payload is None or not payload.complete:
            return
        self._answered += payload.received
        self._payload = None
        self._message_since = None
        event = payload.event()
        if isinstance(event.message, ReceiveLog):
            self._inflating = self._logs.setdefault(event.message.head, LogInflater())
            self._inflating.feed(event.payload or b"")
            self._inflate(events)
        else:
            events.append(event)

    def _inflate(self, events: list[Event]) -> None:
        """Inflate a little of the piece of a log that is at hand."""
        log = self._inflating
        if log is not None:
            events += log.read(self._asked.answer)
            if not log.is_busy:
                self._inflating = None

    def _end_log(self, message: EndLog | MissingLog) -> None:
        """See to it that a log that came deflated is whole, unless it is said not to be."""
        log = self._logs.pop(message.head, None)
        if log is not None and isinstance(message, EndLog):
            log.end()

    # Output

    def send(
        self, message: Message, *, shape: PackShape | None = None, most: int | None = None
    ) -> bytes:
        """Record that we say ``message`` and return its packet, to be written in this order.

        ``shape``: needed with FetchParts, how the pack is cut by its verified manifest; parts of
        another size are then refused on arrival. ``most``: with FetchManifest, bytes beyond which
        it is refused when it is announced. After a Receive* packet the caller writes exactly
        ``message.size`` raw bytes. Raises SessionMisuse for what the peer would have to refuse:
        unasked answers, more than MAX_PIPELINED open questions, malformed or unordered messages.
        """
        if self._closed:
            raise SessionMisuse(f"the session is closed; cannot send {message!r}")
        line = message.encode()
        try:
            if not self._carries(message, line):
                raise SessionMisuse(f"the wire cannot carry {message!r}")
            self._check_own_order(message)
            if isinstance(message, ReceivePart):  # an answer, too, and by far the most
                self._to_answer.answer(message)
            elif isinstance(message, Question):
                if isinstance(message, FetchParts) and shape is None:
                    raise SessionMisuse("parts are asked for without the shape of their pack")
                self._asked.ask(message, shape, most)
            elif isinstance(message, CancelParts):
                self._asked.cancel(message)
            elif isinstance(message, Answer):
                self._to_answer.answer(message)
            elif isinstance(message, SendPushes):
                # What was sent before the other end heard of less is right.
                self._may_be_sent = max(self._may_be_sent, message.most)
            elif isinstance(message, SentPush) and message.size > self._may_send:
                raise SessionMisuse("a push is sent along that was not asked for")
        except (MessageError, PendingRequestError) as error:
            raise SessionMisuse(f"cannot send {message!r}: {error}") from error
        self._spoke_first = self._sent = True
        if isinstance(message, Bye):
            self._close()
        return pktline.encode(line)

    def _carries(self, message: Message, line: bytes) -> bool:
        """Tell whether the wire carries a message; of the parts of a pack all but one are alike."""
        if not isinstance(message, ReceivePart):
            return parse_message(line) == message
        pack = (message.reel, message.manifest, message.total)
        is_in_bounds = message.part < message.total and message.size <= limits.MAX_PART_BYTES
        is_in_bounds &= 0 <= message.begun < limits.MAX_PART_BYTES
        if pack == self._part_said_of and message.part >= 0 < message.size and is_in_bounds:
            return True
        self._part_said_of = pack if parse_message(line) == message else None
        return self._part_said_of is not None

    def _check_own_order(self, message: Message) -> None:
        if isinstance(message, Ready):
            if self._spoke_first or message.version != VERSION:
                raise SessionMisuse(f"ready version {VERSION} is said once and first")
        elif self.role is Role.ANSWERER and not self._spoke_first and not isinstance(message, Bye):
            raise SessionMisuse("the answering end begins with ready")

    def bye(self, reason: str = "") -> bytes:
        """Close the conversation and return the packet that says so; b"" if it is closed.

        After a SessionError use ``farewell`` with the error's text instead.
        """
        return b"" if self._closed else self.send(Bye(clean_reason(reason)))

    # Time

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due at the latest; None when the session is closed."""
        if self._closed:
            return None
        deadlines = [
            self._heard_at + self._timeouts.idle,
            self._sent_at + self._timeouts.keepalive,
        ]
        for since in (self._message_since, self._entry_since and self._entry_since[1]):
            if since is not None:
                deadlines.append(since + self._timeouts.message)
        return min(deadlines)

    def tick(self, now: float) -> list[Event]:
        """Take note of the time and return what is due; more calls make reckoning finer."""
        if self._closed:
            return []
        if self._heard:
            self._heard_at, self._heard = now, False
        if self._sent:
            self._sent_at, self._sent = now, False
        if (self._payload is not None or self._end > self._start) and self._message_since is None:
            self._message_since = now
        if now - self._heard_at >= self._timeouts.idle:
            self._close()
            return [IdleTimeout(now - self._heard_at)]
        for since in (self._message_since, self._entry_under_way_since(now)):
            if since is not None and now - since >= self._timeouts.message:
                self._close()
                return [MessageTimeout(now - since)]
        if now - self._sent_at >= self._timeouts.keepalive:
            self._sent_at = now
            return [KeepAliveDue(pktline.encode(ALIVE_LINE))]
        return []

    def _entry_under_way_since(self, now: float) -> float | None:
        """Return when an entry was first seen on its way since the last one was whole."""
        if not self._is_mid_entry:
            self._entry_since = None
            return None
        finished = sum(log.finished for log in self._logs.values())
        if self._entry_since is None or self._entry_since[0] != finished:
            self._entry_since = (finished, now)
        return self._entry_since[1]


def farewell(reason: str) -> bytes:
    """Return the packet that tells a peer why its session was ended after a fault or timeout."""
    return pktline.encode(Bye(reason).encode())
