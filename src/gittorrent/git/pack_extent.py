"""Where a pack ends that comes as a stream: nothing but its objects says so (gitformat-pack(5)).

Pure. Fed with the bytes after the header, however they are cut. Objects are inflated to find their
ends and dropped at once; what they are is for git to judge. Must not be used for large packs: git
does that with less.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from gittorrent.git.pack_sizes import unpacked_size
from gittorrent.git.small_pack import SmallPackError
from gittorrent.reel.pack import HEADER_SIZE

if TYPE_CHECKING:
    from gittorrent.ids import ObjectFormat

_OFFSET_DELTA, _ID_DELTA = 6, 7
_KINDS = frozenset({1, 2, 3, 4, _OFFSET_DELTA, _ID_DELTA})
_AT_ONCE = 64 << 10
_MAX_NUMBER = 10
"""Bytes of a number of 64 bits, seven in each."""


class PackExtent:
    """Finds the end of one pack.

    Args:
        objects: how many its header says it has.
        object_format: of the repository.
        max_bytes: of it, header and trailer left out.
        max_inflated: bytes that its objects may have.
    """

    def __init__(
        self, objects: int, object_format: ObjectFormat, max_bytes: int, max_inflated: int
    ) -> None:
        self._left = objects
        self._format = object_format
        self._id_size = object_format.raw_size
        self._max_bytes = max_bytes
        self._room = max_inflated
        self._at = 0
        self._stream: zlib._Decompress | None = None
        self._missing = 0
        self._offsets: list[int] = []
        self.data = bytearray()

    def unpacked_size(self) -> int:
        """Return the bytes that the objects come to, once all of the pack is there.

        Raises:
            SmallPackError: a delta does not say.
        """
        pack = bytes(HEADER_SIZE) + self.data
        try:
            return unpacked_size(pack, self._offsets, self._format)
        except (IndexError, zlib.error) as error:
            raise SmallPackError("the pack has a delta that is damaged") from error

    def feed(self, data: bytes) -> bool:
        """Take the bytes that follow; tells whether all of the pack is there.

        Raises:
            SmallPackError: it is too large, or no pack goes on like this.
        """
        self.data += data
        while self._left:
            if self._stream is None and not self._begin_object():
                return self._may_go_on()
            if not self._inflate():
                return self._may_go_on()
        end = self._at + self._id_size
        if len(self.data) < end:
            return self._may_go_on()
        if len(self.data) > end:
            raise SmallPackError("there is something after the pack")
        return True

    def _may_go_on(self) -> bool:
        if len(self.data) > self._max_bytes:
            raise SmallPackError(f"the pack has more than {self._max_bytes} bytes")
        return False

    def _begin_object(self) -> bool:
        """Read an object's header; false if a part of it is to come."""
        at = self._number_end(self._at)
        if at is None:
            return False
        first, *rest = self.data[self._at : at]
        kind, size = first >> 4 & 7, first & 15
        for place, byte in enumerate(rest):
            size |= (byte & 0x7F) << (4 + 7 * place)
        if kind not in _KINDS or size > self._room:
            raise SmallPackError("the pack has an object that is too large, or none of git's")
        end: int | None = at
        if kind == _OFFSET_DELTA:
            end = self._number_end(at)
        elif kind == _ID_DELTA:
            end = at + self._id_size
        if end is None or end > len(self.data):
            return False
        self._offsets.append(self._at + HEADER_SIZE)
        self._room -= size
        self._at, self._missing, self._stream = end, size, zlib.decompressobj()
        return True

    def _number_end(self, at: int) -> int | None:
        """Return where a number ends, whose last byte is the first below 128."""
        for end in range(at, min(at + _MAX_NUMBER, len(self.data))):
            if not self.data[end] & 0x80:
                return end + 1
        if len(self.data) - at >= _MAX_NUMBER:
            raise SmallPackError("the pack has a number that is too long")
        return None

    def _inflate(self) -> bool:
        """Pass an object's content; false if a part of it is to come."""
        stream = self._stream
        assert stream is not None
        rest = bytes(self.data[self._at :])
        try:
            while not stream.eof and rest:
                made = stream.decompress(rest, _AT_ONCE)
                rest = stream.unconsumed_tail
                self._missing -= len(made)
                if self._missing < 0:
                    raise SmallPackError("the pack has an object that is larger than it says")
                if not made and not rest:
                    break
        except zlib.error as error:
            raise SmallPackError(f"the pack has an object that is damaged: {error}") from error
        if not stream.eof:
            self._at = len(self.data)
            return False
        self._at = len(self.data) - len(stream.unused_data)
        self._stream = None
        self._left -= 1
        return True
