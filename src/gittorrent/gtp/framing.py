"""Messages out of a stream of bytes, and into it.

Pure. Tracks the bytes of the message under way, no more. Rules: the length is checked as soon as
it is known, with the id where that decides the limit; a message of an unknown kind, or one that
nobody waits for, is skipped without being kept; in a dialect without keep-alives a length too
short for an id is an error.
Source: docs/protocol/gtp01.md, Frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.fields import number
from gittorrent.gtp.messages import KeepAlive, MessageId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.gtp.codec import Codec
    from gittorrent.gtp.messages import Message

_LENGTH = 4


def encode_frame(codec: Codec, message: Message) -> bytes:
    """Return a message as it goes onto the wire.

    Raises:
        MessageError: the dialect has no such message.
    """
    if isinstance(message, KeepAlive):
        if not codec.keepalives:
            raise MessageError("this dialect has no keep-alives")
        return bytes(_LENGTH)
    kind, payload = codec.encode(message)
    if kind not in codec.ids:
        raise MessageError(f"this dialect has no message {kind.name.lower()}")
    if len(payload) > codec.limit(kind):
        raise MessageError(f"{kind.name.lower()} message of {len(payload)} bytes is too long")
    size = codec.id_size
    return number(size + len(payload)) + number(kind, size) + payload


class FrameReader:
    """Takes bytes in any pieces and yields whole messages.

    Args:
        codec: of the dialect spoken.
        is_wanted: tells of a kind and the bytes of its payload whether to read such a message now;
            may raise MessageError.
    """

    def __init__(
        self, codec: Codec, is_wanted: Callable[[MessageId, int], bool] = lambda _kind, _size: True
    ) -> None:
        self._codec = codec
        self._is_wanted = is_wanted
        self._buffer = bytearray()
        self._skip = 0

    @property
    def held(self) -> int:
        """Bytes kept of messages that are not whole."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete with ``data``.

        Raises:
            MessageError: a length, an id or a payload is not allowed.
        """
        self._buffer += data
        while True:
            if self._skip:
                dropped = min(self._skip, len(self._buffer))
                del self._buffer[:dropped]
                self._skip -= dropped
                if self._skip:
                    return
            if len(self._buffer) < _LENGTH:
                return
            length = int.from_bytes(self._buffer[:_LENGTH], "big")
            if length == 0 and self._codec.keepalives:
                del self._buffer[:_LENGTH]
                yield KeepAlive()
                continue
            message, complete = self._message(length)
            if message is not None:
                yield message
            if not complete:
                return

    def _message(self, length: int) -> tuple[Message | None, bool]:
        """Take the message at the buffer's beginning; returns it, and whether to go on."""
        id_size = self._codec.id_size
        if length < id_size:
            raise MessageError(f"a message of {length} bytes has no room for its id")
        start = _LENGTH + id_size
        if len(self._buffer) < start:
            return None, False
        number_ = int.from_bytes(self._buffer[_LENGTH:start], "big")
        kind = MessageId(number_) if number_ in self._known() else None
        payload_size = length - id_size
        if payload_size > self._codec.limit(kind):
            raise MessageError(f"message {number_} of {payload_size} bytes is too long")
        if kind is None or not self._is_wanted(kind, payload_size):
            self._skip = _LENGTH + length
            return None, True
        if len(self._buffer) < start + payload_size:
            return None, False
        payload = bytes(self._buffer[start : start + payload_size])
        del self._buffer[: start + payload_size]
        return self._codec.parse(kind, payload), True

    def _known(self) -> frozenset[int]:
        return frozenset(int(kind) for kind in self._codec.ids)
