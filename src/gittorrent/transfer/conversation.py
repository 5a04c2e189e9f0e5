"""Runs a mirror-sync session over a socket, or a share of a connection, for either end.

A callback reads, one task writes, one watches the clock. Small messages overtake bulk: an answer's
parts are produced one at a time as the socket takes them, so memory stays bounded whatever a peer
asks.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING

from gittorrent.errors import UnreachableError
from gittorrent.reel.pack import FilePiece
from gittorrent.swarm.keys import ConversationKey
from gittorrent.transfer.answering import Answer, LastPack
from gittorrent.transfer.channel import channel_of
from gittorrent.transfer.conversation_roles import UNHEARD, ConversationHandlers
from gittorrent.transfer.off_loop import SlowError, at_once
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts
from gittorrent.transfer.unsolicited import UnsolicitedMessageLimit
from gittorrent.wire.fields import is_busy
from gittorrent.wire.limits import MAX_SENT_BYTES
from gittorrent.wire.messages import (
    Bye,
    CancelParts,
    HaveBundle,
    Message,
    Question,
    QueuedParts,
    ReceivePart,
)
from gittorrent.wire.session import (
    IdleTimeout,
    KeepAliveDue,
    MessageReceived,
    MessageTimeout,
    Refused,
    Session,
    SessionError,
    farewell,
)

if TYPE_CHECKING:
    import socket

    from gittorrent.ids import ManifestId
    from gittorrent.transfer.answering import Step
    from gittorrent.transfer.channel import Channel
    from gittorrent.transfer.conversation_roles import Upload
    from gittorrent.transfer.limiter import Limiter
    from gittorrent.transfer.slot_queue import SlotQueue
    from gittorrent.wire.reelname import PackShape
    from gittorrent.wire.session import Event

_KEYS = itertools.count(1)

MAX_UNREAD = 4 << 20
"""Bytes of small messages that wait for a peer to read; an honest one is never so far behind."""


MOST_ON_END = 1 << 20
"""Bytes of parts that a peer is sent on end, if it takes them at once, before others are seen to:
what that takes on a fast line is less than a millisecond."""


class ConversationEndedError(UnreachableError):
    """The conversation is over; says why."""


class Conversation:
    """A session on a connected, non-blocking socket, or another channel.

    ``is_at_fault`` tells that the peer broke the protocol: a cut connection, wherever that
    happens, is nobody's fault. ``has_refused`` tells that it does not want to converse,
    ``busy`` what it said if it had no room for us.
    ``is_paused`` tells that nothing is read just now.

    Args:
        end: the socket or channel; closed when the conversation ends.
        session: the protocol machine, from after the service request on.
        upload: what the peer is given.
        handlers: who hears of what it says and gets.
        intake: limits what is received.
        server_timeouts: how long the peer is waited for.
    """

    def __init__(
        self,
        end: socket.socket | Channel,
        session: Session,
        upload: Upload,
        handlers: ConversationHandlers = UNHEARD,
        intake: Limiter | None = None,
        server_timeouts: ServerTimeouts = SERVER_TIMEOUTS,
    ) -> None:
        self.session = session
        self.bytes_received = 0
        self.ended = ""
        self.is_at_fault = False
        self.has_refused = False
        self.busy = ""
        self._channel = channel_of(end)
        self._upload = upload
        self._handlers = handlers
        self._writer = self._channel.writer(upload.limiter, upload.reading or at_once)
        self._intake = intake
        self._server_timeouts = server_timeouts
        self._last_pack = LastPack()
        self._key = ConversationKey(next(_KEYS))
        self._loop = asyncio.get_running_loop()
        self._urgent: deque[bytes] = deque()
        self._claims: dict[ManifestId, bytes] = {}
        self._answers: deque[Answer] = deque()
        self._to_write = asyncio.Event()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._last_words = b""
        self._mid_payload = False
        self._under_way = 0
        self._on_end = 0
        self._announced = 0
        self._useful_at = self._loop.time()
        self._unsolicited_limit = UnsolicitedMessageLimit(self._useful_at)
        self.is_paused = False
        self._stirred: asyncio.Future[None] | None = None  # waited for while all is quiet

    @property
    def bytes_sent(self) -> int:
        """What went out so far."""
        return self._writer.sent

    @property
    def key(self) -> ConversationKey:
        """What this conversation is called among those that wait for upload slots."""
        return self._key

    @property
    def silent_since(self) -> float | None:
        """Since when neither end has been of use; None while a question waits for its answer."""
        return None if self._answers or self.session.pending_requests else self._useful_at

    @property
    def waiting(self) -> int:
        """How many questions of the peer wait for their answers."""
        return len(self._answers)

    @property
    def is_behind(self) -> bool:
        """Whether the peer has so much to read that nothing large is to be added to it."""
        return self._unread > MAX_SENT_BYTES

    @property
    def _unread(self) -> int:
        """Bytes of small messages that wait for the peer, with those that are being sent."""
        return self._under_way + sum(map(len, self._urgent))

    def pause(self) -> None:
        """Read nothing until `resume`: what came has to be digested first."""
        if not self.is_paused and not self._over.done():
            self.is_paused = True
            self._channel.stop_reading()

    def resume(self) -> None:
        """Read on."""
        if self.is_paused:
            self.is_paused = False
            self._read_on()

    def say(
        self,
        message: Message,
        shape: PackShape | None = None,
        most: int | None = None,
        payload: bytes = b"",
    ) -> None:
        """Send a message before any bulk that waits.

        Args:
            message: what to say.
            shape: of the pack whose parts are asked for.
            most: bytes that a manifest or push object asked for may have; None for what the
                protocol allows.
            payload: the raw bytes that follow, which are few.

        Raises:
            ConversationEndedError: the conversation is over.
            SessionMisuse: the protocol does not allow it now.
        """
        if self.session.closed:
            raise ConversationEndedError(self.ended or "the conversation is over")
        if self._unread > MAX_UNREAD:
            self.end("it does not read what it is sent")
            raise ConversationEndedError(self.ended)
        data = self.session.send(message, shape=shape, most=most) + payload
        if isinstance(message, HaveBundle):
            self._claims[message.manifest] = data  # in place of an older one that nobody read
        else:
            self._urgent.append(data)
        self._note_held()
        self._to_write.set()

    async def run(self) -> None:
        """Converse until either end is done; never raises for what the peer does.

        ``ended`` tells why it ended.
        """
        tasks = [
            self._loop.create_task(work) for work in (self._read(), self._write(), self._watch())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._note_end(task)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.session.bye()
            await self._say_goodbye()
            self._close()

    def end(self, reason: str) -> None:
        """End the conversation from this side, telling the peer why."""
        if not self.session.closed:
            self.ended = reason
            self._last_words = self.session.bye(reason)
            self._to_write.set()

    def fail(self, reason: str) -> None:
        """End the conversation because the peer broke a rule that its session does not know."""
        self.is_at_fault = True
        self.end(reason)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        error = task.exception()
        if isinstance(error, SessionError):
            self.ended = str(error)
            self.is_at_fault = True
            self._last_words = farewell(str(error))
        elif isinstance(error, SlowError):
            self.ended = self.ended or str(error)
            self._last_words = farewell("this end has a problem of its own")
        elif isinstance(error, (OSError, TimeoutError)):
            self.ended = self.ended or f"connection lost: {str(error) or 'timed out'}"
        elif error is not None:
            raise error

    async def _read(self) -> None:
        """Take in what the peer says until the conversation is over."""
        self._channel.read_with(self._on_readable)
        try:
            await self._over
        finally:
            self._channel.stop_reading()

    def _on_readable(self) -> None:
        """Read once; a socket that always has more does not keep others from their turn."""
        if self._over.done():
            return
        was_inflating = self.session.is_inflating
        try:
            wait = self._read_once()
        except Exception as error:
            self._over.set_exception(error)
            return
        if self.session.closed:
            self._over.set_result(None)
        elif wait > 0:
            self._channel.stop_reading()
            self._loop.call_later(wait, self._read_on)
        elif self.session.is_inflating:
            # There is more to be had without reading; others have their turn in between.
            self._channel.stop_reading()
            self._loop.call_soon(self._read_on)
        elif was_inflating:
            self._read_on()

    def _read_on(self) -> None:
        if self._over.done() or self.is_paused:
            return
        if self.session.is_inflating:
            self._on_readable()
        else:
            self._channel.read_with(self._on_readable)

    def _read_once(self) -> float:
        """Take in what is there; returns the seconds for which nothing more may be read."""
        if self.session.is_inflating:
            self._take_in(self.session.go_on())
            return 0.0
        space = self.session.writable()
        if self._intake is not None and self._intake.rate is not None:
            space = space[: self._intake.chunk]
        try:
            count = self._channel.receive_into(space)
        except (BlockingIOError, InterruptedError):
            return 0.0
        if count == 0:
            self._note_close()
            return 0.0
        self.bytes_received += count
        self._channel.note_received(count, self._loop.time())
        self._stir()
        wait = 0.0 if self._intake is None else self._intake.reserve(count)
        self._take_in(self.session.received(count))
        self._let_gather()
        return wait

    def _take_in(self, events: list[Event]) -> None:
        self._handle(events)
        self._note_announced()
        self._note_held()
        if self._unsolicited_limit.is_over(self.session.unasked, self._loop.time()):
            raise SessionError("unsolicited-message limit exceeded")

    def _note_held(self) -> None:
        """Tell the channel what is in memory here: what it sends just now it knows itself."""
        if self._channel.shares_connection:
            lines = sum(map(len, self._urgent)) + sum(map(len, self._claims.values()))
            answers = sum(answer.held for answer in self._answers)
            self._channel.note_held(lines + answers + self.session.held)

    def _note_announced(self) -> None:
        """Tell of a message that begins or ends to be on its way."""
        within = self.session.receiving
        size = self.session.entry_size + (0 if within is None else within.message.size)
        if size != self._announced:
            self._announced = size
            self._handlers.on_announced(size)

    def _note_close(self) -> None:
        """Note that the peer sends no more: whether or not it was in the middle of something."""
        try:
            self.session.end_of_stream()
        except SessionError as error:
            self.ended = self.ended or str(error)
        self.ended = self.ended or "the peer closed the connection"

    def _let_gather(self) -> None:
        """Within a payload, ask to be woken only when enough of it is there to be worth it."""
        within = self.session.receiving
        self._channel.gather(0 if within is None else within.message.size - within.received)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, MessageReceived):
                message = event.message
                if isinstance(message, Question):
                    self._useful_at = self._loop.time()
                    self._answers.append(self._answer_to(message))
                    self._handlers.on_request(message)
                    self._to_write.set()
                elif isinstance(message, CancelParts):
                    for answer in self._answers:
                        answer.cancel(message)
                    self._handlers.on_request(message)
                elif isinstance(message, Bye):
                    self.ended = message.reason or "the peer said goodbye"
                else:
                    if event.payload is not None:
                        self._useful_at = self._loop.time()
                    self._handlers.on_message(event)
            elif isinstance(event, Refused):
                self.ended = f"refused: {event.reason}"
                self.has_refused = not is_busy(event.reason)
                self.busy = "" if self.has_refused else event.reason
            elif isinstance(event, KeepAliveDue):
                self._urgent.append(event.data)
                self._to_write.set()
            elif isinstance(event, (IdleTimeout, MessageTimeout)):
                self.ended = f"silent for {event.seconds:.0f} seconds"

    def _answer_to(self, question: Question) -> Answer:
        upload = self._upload
        return Answer(question, upload.content, upload.reading, upload.show, self._last_pack)

    async def _watch(self) -> None:
        while not self.session.closed:
            is_quiet = (
                not self._answers
                and not self.session.is_mid_message
                and self._writer.chunk_since is None
            )
            if is_quiet and self._channel.shares_connection:
                # Whether the other end is there is found out for the connection as a whole.
                self._stirred = self._loop.create_future()
                await self._stirred
                continue
            await asyncio.sleep(
                self._server_timeouts.look_quiet if is_quiet else self._server_timeouts.look
            )
            now = self._loop.time()
            self._handle(self.session.tick(now))
            begun = self._writer.chunk_since
            if begun is not None and now - begun >= self._server_timeouts.taken:
                raise TimeoutError

    def _stir(self) -> None:
        """Take note that something is received, or sent: it is to be watched."""
        if self._stirred is not None and not self._stirred.done():
            self._stirred.set_result(None)

    async def _write(self) -> None:
        while True:
            if self._urgent or self._claims:
                await self._send_urgent()
            elif self.session.closed:
                return
            elif self._answers:
                await self._answer(self._answers[0])
            else:
                self._to_write.clear()
                await self._to_write.wait()

    async def _send_urgent(self) -> None:
        data = b"".join([*self._urgent, *self._claims.values()])
        self._under_way = sum(map(len, self._urgent))
        self._urgent.clear()
        self._claims.clear()
        self._note_held()
        if data:
            self._stir()
            await self._writer.send(data)
            self._under_way = 0

    async def _answer(self, answer: Answer) -> None:
        """Carry out the next step of the answer that is first in line."""
        step = await answer.next_step()
        if self.session.closed:
            return  # it ended while the disk was read
        if step is None:
            self._answers.popleft()
        self._note_held()
        if step is None:
            return
        if self._upload.slots is None or not isinstance(step.message, ReceivePart):
            await self._perform(step)
        else:
            await self._perform_in_turn(step, step.message, answer, self._upload.slots)

    async def _perform_in_turn(
        self, step: Step, message: ReceivePart, answer: Answer, slots: SlotQueue
    ) -> None:
        """Send a part when it is this peer's turn, and let the next one have it after that."""
        try:
            await self._await_turn(slots, message)
            if self.session.closed or answer.leaves_out(message.part):
                return
            await self._perform(step)
            slots.sent(message.size)
        finally:
            slots.done(self._key)
        self._handlers.on_sent(message)
        self._on_end += message.size
        if slots.is_waited_for or self._on_end >= MOST_ON_END:
            self._on_end = 0
            await asyncio.sleep(0)  # who takes all at once does not keep others from their turn

    async def _await_turn(self, slots: SlotQueue, part: ReceivePart) -> None:
        """Wait for an upload slot, and say now and then that this is what the part waits for.

        Small messages do not wait with it: our own questions, news, signs of life.
        """
        if slots.take(self._key):
            return
        turn = slots.turn(self._key)
        queued = QueuedParts(part.reel, part.manifest, part.part, part.part, part.total)
        due = self._loop.time() + self._server_timeouts.queue
        while not (turn.done() or self.session.closed):
            self._to_write.clear()
            if self._loop.time() >= due:
                self._urgent.append(self.session.send(queued))
                due = self._loop.time() + self._server_timeouts.queue
            await self._send_urgent()
            something = self._loop.create_task(self._to_write.wait())
            left = max(0.0, due - self._loop.time())
            await asyncio.wait((turn, something), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            something.cancel()

    async def _perform(self, step: Step) -> None:
        self._mid_payload = True
        self._stir()
        data = self.session.send(step.message) + step.payload
        for piece in step.pieces:
            if isinstance(piece, FilePiece):
                assert step.path is not None
                await self._writer.send_file(step.path, piece.offset, piece.count, data)
                data = b""
            else:
                data += piece
        if data:
            await self._writer.send(data)
        self._mid_payload = False
        self._announced = 0

    async def _say_goodbye(self) -> None:
        """Try to get last words out; a peer that does not take them misses them.

        Within a payload they would be taken for its bytes, so there they stay unsaid.
        """
        if self._mid_payload:
            return
        data = b"".join(self._urgent) + self._last_words
        if data:
            await self._channel.send_last(data)

    def _close(self) -> None:
        self._writer.close()
        self._channel.close()
        self.ended = self.ended or "done"
