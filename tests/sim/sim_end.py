"""One end of a simulated connection: what it sends, in which order, and what it takes in.

As the program's conversations do: messages overtake parts that wait, not the one being sent; a
part waits for an upload slot and is then sent whole; questions are answered in order; withdrawn
parts are left out if they are not under way. In byte mode a real ``wire.Session`` writes and reads
everything.

Must not know: which part is asked for next, or what becomes of one that arrived.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gittorrent.ids import ManifestId, PushId
from gittorrent.swarm import events as ev
from gittorrent.swarm.keys import ConversationKey, ParticipantKey
from gittorrent.wire import messages as msg
from gittorrent.wire.reelname import ReelName
from gittorrent.wire.session import MessageReceived, Role, Session

if TYPE_CHECKING:
    from sim_network import Stream
    from sim_node import Node

REEL = ReelName(None, PushId("ab" * 20))
MANIFEST = ManifestId("cd" * 32)


class End:
    """One end of a connection."""

    def __init__(self, node: Node, key: int, caller: bool, byte_mode: bool) -> None:
        self.node = node
        self.key = key
        self.peer = ev.PeerKey(key)
        self.conversation = ConversationKey(key)
        self.participant = ParticipantKey(key)
        self.caller = caller
        self.other: End
        self.out: Stream
        self.open = True
        self.session: Session | None = None
        if byte_mode:
            role = Role.CALLER if caller else Role.ANSWERER
            self.session = Session(role, node.clock.now)
        self.joined = False  # the other end takes part in our download
        # as a sender
        self.urgent: deque[msg.Message] = deque()
        self.answers: deque[tuple[msg.FetchParts, set[int]]] = deque()
        self.at = 0  # position in the first answer
        self.sending: int | None = None
        self.waiting_slot = False
        # as a receiver
        self.waiting: deque[tuple[int, int]] = deque()
        self.open_parts = 0
        self.incoming: msg.ReceivePart | None = None
        self.received = 0
        self.asked: set[int] = set()

    # Sending

    def say(self, message: msg.Message) -> None:
        """Send a message, after the part being sent but before all others."""
        if not self.open:
            return
        if self.sending is None:
            self._transmit(message)
        else:
            self.urgent.append(message)

    def _transmit(self, message: msg.Message) -> None:
        if self.session is None:
            self.out.send(message)
            return
        shape = self.node.shape if isinstance(message, msg.FetchParts) else None
        data = self.session.send(message, shape=shape)
        self.node.control_bytes += len(data)
        self.out.send(data)

    def next_part(self) -> int | None:
        """Return the next part to send, refusing what is not here; None if there is none."""
        while self.answers:
            run, cancelled = self.answers[0]
            while run.first + self.at <= run.last:
                part = run.first + self.at
                if part in cancelled:
                    self.at += 1
                elif self.node.can_give(part):
                    return part
                else:
                    self.at += 1
                    self.say(msg.MissingParts(REEL, MANIFEST, part, part, run.total))
            self.answers.popleft()
            self.at = 0
        return None

    def pump(self) -> None:
        """Ask for a slot if there is a part to send."""
        idle = self.open and self.sending is None and not self.waiting_slot
        if idle and self.next_part() is not None:
            self.waiting_slot = True
            self.node.begin(self.node.slots.ask(self.conversation, self.node.clock.now))

    def begin(self) -> None:
        """It is our turn: send the next part."""
        self.waiting_slot = False
        part = self.next_part()
        if part is None:
            self.node.begin(self.node.slots.done(self.conversation, self.node.clock.now))
            return
        self.at += 1
        size = self.node.shape.size_of(part)
        self._transmit(msg.ReceivePart(REEL, MANIFEST, part, self.node.shape.parts, size))
        self.sending = part
        self.out.send_payload(size)

    def sent(self) -> None:
        """The last byte of a part has left."""
        part, self.sending = self.sending, None
        assert part is not None
        while self.urgent:
            self._transmit(self.urgent.popleft())
        node = self.node
        size = node.shape.size_of(part)
        node.given_bytes += size
        if node.super_seeder is not None:
            node.super_seeder.sent(self.participant, part)
        node.slots.sent(size, node.clock.now)
        node.begin(node.slots.done(self.conversation, node.clock.now))
        self.pump()

    # Receiving

    def deliver(self, item: object) -> None:
        """Take what comes out of the other end's stream."""
        if not self.open:
            return
        if isinstance(item, int):
            self._chunk(item)
        elif isinstance(item, bytes):
            assert self.session is not None
            for event in self.session.feed(item):
                if isinstance(event, MessageReceived):
                    self.node.take(self, event.message)
            if self.session.receiving is not None:
                announced = self.session.receiving.message
                assert isinstance(announced, msg.ReceivePart)
                self._head(announced)
        elif isinstance(item, msg.ReceivePart):
            self._head(item)
        else:
            self.node.take(self, item)

    def _head(self, message: msg.ReceivePart) -> None:
        self.incoming, self.received = message, 0

    def _chunk(self, size: int) -> None:
        assert self.incoming is not None
        self.received += size
        if self.session is not None:
            left = size
            while left:
                step = min(left, len(self.session.writable()))
                self.session.received(step)
                left -= step
        if self.received == self.incoming.size:
            part, self.incoming = self.incoming.part, None
            self.node.part_arrived(self, part)

    # Asking

    def ask(self, first: int, last: int) -> None:
        """Ask for a run of parts, at once or when the pipeline has room."""
        self.waiting.append((first, last))
        self.send_waiting()

    def send_waiting(self) -> None:
        while self.waiting:
            if self.session is not None and self.session.room == 0:
                return
            first, last = self.waiting.popleft()
            self.say(msg.FetchParts(REEL, MANIFEST, first, last, self.node.shape.parts))

    def cancel(self, first: int, last: int) -> None:
        if (first, last) in self.waiting:
            self.waiting.remove((first, last))
            return
        self.say(msg.CancelParts(REEL, MANIFEST, first, last, self.node.shape.parts))
