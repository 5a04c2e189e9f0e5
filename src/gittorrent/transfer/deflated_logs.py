"""Deflated answers to ``fetch log``: made from entries, and kept while others ask for the same.

Whoever is new asks for the same log, and deflating that costs a server about as much as the rest of
a small clone. So an answer that was made in full is kept, deflated, until those that were asked for
since need the room. `KeptLogs` is shared by all repositories of a node, and bounds what they keep
together.

Must not know who asks, nor what entries say.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gittorrent.wire.log_stream import LogDeflater

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from gittorrent.ids import PushId

MAX_KEPT = 16 << 20
"""Bytes of answers that a node keeps, whatever it carries: those of 500 logs with 1,000 refs."""

MAX_KEPT_ONE = MAX_KEPT // 4
"""Bytes of one of them: a log with 100,000 refs."""


class EntryGoneError(Exception):
    """An entry is listed and cannot be read; those before it were sent."""


def deflated(ids: Iterable[PushId], read: Callable[[PushId], bytes | None]) -> Iterator[bytes]:
    """Yield the pieces of the stream of some entries.

    Raises:
        EntryGoneError: one cannot be read.
    """
    deflater = LogDeflater()
    for push in ids:
        data = read(push)
        if data is None:
            raise EntryGoneError(push)
        yield from deflater.add(push, data)
    yield from deflater.finish()


class KeptLogs:
    """Answers that were made lately, by what they answer; may be used in any thread.

    ``gathered`` is how many bytes of unfinished answers are held.

    Args:
        most: bytes that are kept, and as many of answers that are being made.
    """

    def __init__(self, most: int = MAX_KEPT) -> None:
        self._most = most
        self._guard = threading.Lock()
        self._kept: dict[Hashable, tuple[bytes, ...]] = {}  # asked for longest ago first
        self._size = 0
        self.gathered = 0

    def given(self, key: Hashable, make: Callable[[], Iterator[bytes]]) -> Iterable[bytes]:
        """Return the pieces of an answer, kept or made, in which case they are kept from then on.

        Args:
            key: whatever decides what the answer is.
            make: makes its pieces.
        """
        with self._guard:
            kept = self._kept.pop(key, None)
            if kept is not None:
                self._kept[key] = kept
                return kept
        return self._made(key, make())

    def _made(self, key: Hashable, pieces: Iterator[bytes]) -> Iterator[bytes]:
        made: list[bytes] = []
        size = 0
        is_kept = True
        try:
            for piece in pieces:
                if is_kept and self._gather(len(piece), size):
                    made.append(piece)
                    size += len(piece)
                else:
                    # Whoever reads slowly must not hold many large ones.
                    self._let_go(size)
                    is_kept, size = False, 0
                    made.clear()
                yield piece
            if is_kept:
                self._keep(key, tuple(made), size)
        finally:
            self._let_go(size)

    def _gather(self, more: int, size: int) -> bool:
        """Take note of a piece that is held until the answer is whole; tells if there is room."""
        with self._guard:
            if size + more > MAX_KEPT_ONE or self.gathered + more > self._most:
                return False
            self.gathered += more
            return True

    def _let_go(self, size: int) -> None:
        with self._guard:
            self.gathered -= size

    def _keep(self, key: Hashable, pieces: tuple[bytes, ...], size: int) -> None:
        with self._guard:
            if key in self._kept:
                return  # somebody else was as fast
            self._kept[key] = pieces
            self._size += size
            while self._size > self._most:
                oldest = self._kept.pop(next(iter(self._kept)))
                self._size -= sum(map(len, oldest))
