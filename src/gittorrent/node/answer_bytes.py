"""What git answered to one question: bytes that grow while git says them, read by any number.

Small answers are kept in memory, longer ones in a file without a name, of which a crash leaves
nothing and which nobody can open. An answer for which there is no room any more passes through
memory instead: git waits then until all readers have taken what there is, and it cannot be read
from its beginning any more.

Tracks how far each reader has come. Rules: what is kept is counted (`AnswerRoom`) until its last
reader is done; a reader gets all bytes in order, or the error that ended the making. Where git
waits for readers, somebody's turn lasts as long: one that is too slow is left behind, sooner while
others wait, be it for the turn or for the rest of the same answer. Must not know questions or
processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
from typing import IO, TYPE_CHECKING, Protocol

from gittorrent.errors import LocalError
from gittorrent.node.caller_watch import GIVES_WAY, LEAST_BYTES, PATIENCE, STALLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gittorrent.node.caller_watch import Patience
    from gittorrent.transfer.off_loop import Reading

IN_MEMORY = 32 << 10
"""Bytes up to which an answer is kept in memory: refs of small repositories, and refusals."""


class AnswerRoom(Protocol):
    """Counts what all answers take."""

    def take(self, count: int) -> bool:
        """Count bytes that are about to be kept; False where there is no room for them."""
        ...

    def take_file(self) -> bool:
        """Count an open file; False where there may be no more of them."""
        ...

    def give_back(self) -> None:
        """Count what the answer took no more."""
        ...

    def require_disk(self, count: int) -> None:
        """Make sure that they fit on the disk; called where the disk is written to.

        Raises:
            LocalError: they do not.
        """
        ...


class LeftBehindError(ConnectionError):
    """A reader was too slow, and what it did not take is gone; the text says why."""


class AnswerBytes:
    """One answer.

    Args:
        room: counts it.
        folder: where its file is made.
        writing: where its file is written.
        patience: how long readers are waited for.

    ``others_wait`` tells whether somebody waits for the turn in which git makes it.
    """

    def __init__(
        self, room: AnswerRoom, folder: Path, writing: Reading, patience: Patience = PATIENCE
    ) -> None:
        self.others_wait: Callable[[], bool] = lambda: False
        self._patience = patience
        self._room = room
        self._folder = folder
        self._writing = writing
        self._memory = b""
        self._memory_at = 0
        self._file: _AnswerFile | None = None
        self._readers: dict[AnswerReader, int] = {}
        self._change = asyncio.Event()
        self._is_kept = True
        self._error: BaseException | None = None
        self.size = 0
        self.is_whole = True
        self.is_ended = False
        self.fault: str | None = None

    @property
    def readers(self) -> int:
        """How many read it."""
        return len(self._readers)

    def is_for(self, reader: AnswerReader) -> bool:
        """Tell whether nobody else reads it."""
        return not self._readers.keys() - {reader}

    async def append(self, data: bytes) -> None:
        """Add what git said next; waits for the readers where there is no room to keep it.

        Raises:
            LeftBehindError: all of them were too slow.
        """
        if self.is_whole and not await self._keep(data):
            self.is_whole = False
        if not self.is_whole:
            await self._until_taken()
            self._forget()
            self._memory, self._memory_at = data, self.size
        self.size += len(data)
        self._changed()

    async def _keep(self, data: bytes) -> bool:
        """Keep more; False if that cannot be done."""
        if not self._room.take(len(data)):
            return False
        if self._file is None and self.size + len(data) <= IN_MEMORY:
            self._memory += data
            return True
        if self._file is None:
            if not self._room.take_file():
                return False
            self._file = _AnswerFile(self._room, self._folder)
        file, at = self._file, self.size - len(self._memory)
        all_of_it = self._memory + data
        try:
            await self._writing(lambda: file.write(at, all_of_it))
        except (OSError, LocalError):
            return False  # it passes through memory
        self._memory = b""
        return True

    async def _until_taken(self) -> None:
        """Wait until all readers have taken what there is, but for those who are too slow."""
        while late := [each for each, taken in self._readers.items() if taken < self.size]:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience.look):
                    await self._change.wait()
            is_awaited = len(late) < len(self._readers) or self.others_wait()
            for reader in late:
                self._leave_behind(reader, is_awaited=is_awaited)

    def _leave_behind(self, reader: AnswerReader, *, is_awaited: bool) -> None:
        """Wait no more for a reader if it is too slow."""
        slow = reader.slow_for(asyncio.get_running_loop().time())
        if slow >= self._patience.stalled:
            reader.left = STALLED
        elif is_awaited and slow >= self._patience.quiet:
            reader.left = GIVES_WAY
        else:
            return
        self._readers.pop(reader, None)
        if not self._readers:
            raise LeftBehindError(reader.left)

    def finish(self) -> None:
        """Note that git has said all."""
        self.is_ended = True
        self._changed()

    def fail(self, error: BaseException) -> None:
        """Note that no more comes, and why."""
        self._error, self.is_ended = error, True
        self._changed()

    def drop(self) -> None:
        """Give up what is kept once nobody reads it."""
        self._is_kept = False
        self._close_if_unused()

    @contextlib.contextmanager
    def reading(self) -> Iterator[AnswerReader]:
        """Read it from its beginning while the block runs."""
        reader = AnswerReader(self)
        self._readers[reader] = 0
        try:
            yield reader
        finally:
            self._readers.pop(reader, None)
            self._changed()
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if not self._is_kept and not self._readers:
            self._forget()

    def _forget(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._memory = b""
        self._room.give_back()

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()


class AnswerReader:
    """One who reads an answer; begun by `AnswerBytes.reading`."""

    def __init__(self, answer: AnswerBytes) -> None:
        self._answer = answer
        self.at = 0
        self.left = ""
        self._mark = 0
        self._blocked = 0.0
        self._giving_at: float | None = None

    @property
    def fault(self) -> str | None:
        """How git ended, if not well; whatever it said before was given."""
        return self._answer.fault

    @property
    def length(self) -> int | None:
        """Bytes of all of it; None while it is not known."""
        answer = self._answer
        return answer.size if answer.is_ended and answer._error is None else None

    @property
    def ready(self) -> int:
        """Bytes that can be taken now."""
        return self._answer.size - self.at

    @property
    def is_done(self) -> bool:
        """Tell whether all was taken.

        Raises:
            LeftBehindError: it was too slow.
            BaseException: what ended the making before all was said.
        """
        answer = self._answer
        if self.left:
            raise LeftBehindError(self.left)
        if self.ready or not answer.is_ended:
            return False
        if answer._error is not None:
            raise answer._error
        return True

    async def wait(self, seconds: float) -> None:
        """Wait until there is more, or no more will come, but not longer than that."""
        if self.ready or self._answer.is_ended:
            return
        change = self._answer._change
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await change.wait()

    @property
    def file(self) -> IO[bytes] | None:
        """The file to send what is ready from, at offset `at`; None where it is in memory."""
        answer = self._answer
        return None if answer._memory or answer._file is None else answer._file.opened

    def peek(self, most: int) -> bytes:
        """Return what comes next, without taking it."""
        answer, count, file = self._answer, min(most, self.ready), self.file
        if file is not None:
            return os.pread(file.fileno(), count, self.at)
        start = self.at - answer._memory_at
        return answer._memory[start : start + count]

    @contextlib.contextmanager
    def giving(self) -> Iterator[None]:
        """Give it bytes while the block runs: it alone decides how long that takes."""
        loop = asyncio.get_running_loop()
        self._giving_at = loop.time()
        try:
            yield
        finally:
            self._blocked += loop.time() - self._giving_at
            self._giving_at = None

    def slow_for(self, now: float) -> float:
        """Return the seconds for which it was given less than `LEAST_BYTES`."""
        return self._blocked + (0.0 if self._giving_at is None else now - self._giving_at)

    def took(self, count: int) -> None:
        """Note that so many bytes were taken."""
        if self.left:
            return
        self.at += count
        if self.at - self._mark >= LEAST_BYTES:
            self._mark, self._blocked = self.at, 0.0
        self._answer._readers[self] = self.at
        if not self._answer.is_whole:
            self._answer._changed()


class _AnswerFile:
    """A file without a name, which may be closed while a thread writes to it."""

    def __init__(self, room: AnswerRoom, folder: Path) -> None:
        self._room = room
        self._folder = folder
        self._guard = threading.Lock()
        self._is_busy = False
        self._is_closed = False
        self.opened: IO[bytes] | None = None

    def write(self, at: int, data: bytes) -> None:
        """Write at an offset, in a thread; makes the file where there is none yet.

        Raises:
            LocalError: the disk has no room for it.
            OSError: it cannot be written.
        """
        with self._guard:
            if self._is_closed:
                return
            self._is_busy = True
        try:
            self._room.require_disk(len(data))
            if self.opened is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self.opened = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            view = memoryview(data)
            while view:
                done = os.pwrite(self.opened.fileno(), view, at)
                view, at = view[done:], at + done
        finally:
            with self._guard:
                self._is_busy = False
                is_closed = self._is_closed
            if is_closed:
                self._close()

    def close(self) -> None:
        """Close it now, or when the thread has written."""
        with self._guard:
            self._is_closed = True
            is_busy = self._is_busy
        if not is_busy:
            self._close()

    def _close(self) -> None:
        if self.opened is not None:
            self.opened.close()
