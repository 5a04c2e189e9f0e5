"""What a session makes of the bytes it is given: events, and the payloads on their way.

For ``session``, which re-exports the events; pure.

Rules: a payload is received straight into its own buffer, and memory follows the bytes that have
truly arrived, not the size announced. Source: docs/protocol/mirrorsync.md, mirror-sync.
"""

from __future__ import annotations

from msgspec import Struct

from gittorrent.wire.limits import FIRST_PAYLOAD_BUFFER
from gittorrent.wire.messages import Announcement, Message


class MessageReceived(Struct, frozen=True):
    """The peer said ``message``; ``payload`` holds its raw bytes if it announces any.

    The payload is the receiver's to keep: the session holds no reference to it any more.
    """

    message: Message
    payload: bytearray | None = None


class Refused(Struct, frozen=True):
    """The peer answered ``ERR``: it does not serve this; the session is closed."""

    reason: str


class KeepAliveDue(Struct, frozen=True):
    """Nothing was sent for a while: write ``data`` when no payload is half written."""

    data: bytes


class IdleTimeout(Struct, frozen=True):
    """The peer was silent for ``seconds``; the session is closed."""

    seconds: float


class MessageTimeout(Struct, frozen=True):
    """One message was on its way for ``seconds`` without an end; the session is closed."""

    seconds: float


Event = MessageReceived | Refused | KeepAliveDue | IdleTimeout | MessageTimeout


class Receiving(Struct, frozen=True):
    """A payload on its way: what announced it, and how many of its bytes are here."""

    message: Announcement
    received: int


class Payload:
    """The buffer of one payload; grows towards its size as bytes arrive, so lies cost no memory."""

    def __init__(self, message: Announcement) -> None:
        self.message = message
        self.received = 0
        self._buffer = bytearray(min(message.size, FIRST_PAYLOAD_BUFFER))

    @property
    def complete(self) -> bool:
        """Tell whether every byte is here."""
        return self.received == self.message.size

    def writable(self) -> memoryview:
        """Return where the next bytes go; never empty while incomplete."""
        if self.received == len(self._buffer):
            # A fresh buffer, since the old one cannot be resized while a view of it is in use.
            larger = bytearray(min(self.message.size, 2 * len(self._buffer)))
            larger[: self.received] = self._buffer
            self._buffer = larger
        return memoryview(self._buffer)[self.received :]

    def beginning(self) -> MessageReceived:
        """Hand over as much of the payload as is here."""
        return MessageReceived(self.message, self._buffer[: self.received])

    def event(self) -> MessageReceived:
        """Hand over the complete payload."""
        return MessageReceived(self.message, self._buffer)
