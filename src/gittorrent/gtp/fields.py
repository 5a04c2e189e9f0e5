"""Fixed-width fields of a message, read in order and bounded.

Pure. Integers are big-endian; ids have 20 bytes.
"""

from __future__ import annotations

from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.messages import ReelName

ID = 20


class Fields:
    """A cursor over a payload; `MessageError` whenever something is missing.

    Args:
        payload: what to read.
        what: name of the message, for errors.
    """

    def __init__(self, payload: bytes, what: str) -> None:
        self._payload = payload
        self._what = what
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._payload) - self._at

    def take(self, count: int) -> bytes:
        """Take ``count`` bytes."""
        if count > self.left:
            raise MessageError(
                f"{self._what} message is cut off: {count} bytes wanted, {self.left} left"
            )
        found = self._payload[self._at : self._at + count]
        self._at += count
        return found

    def integer(self, width: int = 4) -> int:
        """Take an unsigned integer of ``width`` bytes."""
        return int.from_bytes(self.take(width), "big")

    def oid(self) -> bytes:
        """Take an id."""
        return self.take(ID)

    def reel(self) -> ReelName:
        """Take the two ids of a reel."""
        return ReelName(self.oid(), self.oid())

    def bounded(self, what: str, low: int, high: int, width: int = 4) -> int:
        """Take an integer from ``low`` to ``high``; raises `MessageError` naming ``what``."""
        value = self.integer(width)
        if not low <= value <= high:
            raise MessageError(f"{self._what} message: {what} {value} is not {low} to {high}")
        return value

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(self.left)

    def end(self) -> None:
        """Make sure that nothing is left."""
        if self.left:
            raise MessageError(f"{self._what} message: {self.left} bytes too many")


def number(value: int, width: int = 4) -> bytes:
    """Write an unsigned integer; raises `MessageError` when it does not fit."""
    try:
        return value.to_bytes(width, "big")
    except OverflowError:
        raise MessageError(f"{value} does not fit into {width} bytes") from None
