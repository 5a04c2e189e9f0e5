"""Answers of git's that are given again: many ask the same, as the runners of a CI do.

Git answers a question once. Whoever asks the same while it does, or later, reads what it said
(`gittorrent.node.answer_bytes`), without a process and without a turn. Tracks the answers by what
they answer, those used last at the end, and what all of them take.

Rules: git begins on an answer when any of those who ask for it has a turn, so that nobody waits in
somebody else's queue; it ends when nobody reads any more, unless it is done; failed answers go to
whoever waits for them, and to nobody else. What was not asked for in a while goes, and all that
nobody reads when the disk is short. Must not know what makes an answer right for somebody: a key
says all of it. Source: docs/decisions/0060-answers-of-git-are-given-again.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.node.answer_bytes import AnswerBytes
from gittorrent.node.caller_watch import PATIENCE
from gittorrent.store.processes import AnswerFigures
from gittorrent.transfer.off_loop import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from gittorrent.disk_space import Space
    from gittorrent.node.answer_bytes import AnswerReader
    from gittorrent.node.caller_watch import Patience
    from gittorrent.node.git_turns import GitTurns

MAX_BYTES = 1 << 30
"""Bytes of all answers: one commit of a large repository, and refs and commits of some hundred."""

MAX_ANSWERS = 1024
"""Answers at once: refs of as many repositories. Those in memory come to 32 MiB at most."""

MAX_FILES = 128
"""Of these, how many are open files: half of what is left of them beside callers'."""

MAX_SHARE = 2
"""A single answer may take one part in so many of the room."""

MAX_AGE = 3600.0
"""Seconds since an answer was last asked for after which it goes."""


class _Entry:
    """An answer, and whether git has begun on it."""

    def __init__(self, answer: AnswerBytes) -> None:
        self.answer = answer
        self.begun = asyncio.Event()
        self.maker: asyncio.Task[None] | None = None
        self.used_at = 0.0
        self.is_shared = False

    @property
    def is_idle(self) -> bool:
        """Tell whether nobody needs it just now."""
        return not self.answer.readers and self.answer.is_ended


class GitAnswers:
    """The answers of one node.

    Args:
        turns: of having git work.
        folder: where answers lie, in files without names.
        most: bytes of all of them; 0 keeps none.
        space: tells whether the disk has room.
        threads: that write.
        patience: how long those are waited for for whom git waits.
    """

    def __init__(
        self,
        turns: GitTurns,
        folder: Path,
        most: int = MAX_BYTES,
        space: Space | None = None,
        threads: Threads | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        self._patience = patience
        self._turns = turns
        self._folder = folder
        self._most = most
        self._space = space
        self._threads = Threads() if threads is None else threads
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._makers: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._files = 0
        self._hits = 0
        self._misses = 0
        self._is_stopped = False

    @property
    def is_on(self) -> bool:
        """Tell whether answers are kept at all."""
        return self._most > 0 and not self._is_stopped

    @property
    def figures(self) -> AnswerFigures:
        """How often git was spared."""
        return AnswerFigures(len(self._entries), self._bytes, self._hits, self._misses)

    def change(self, most: int) -> None:
        """Keep so many bytes at most from now on."""
        self._most = most
        self._make_room()

    @contextlib.asynccontextmanager
    async def reading(
        self,
        key: bytes,
        address: str,
        make: Callable[[AnswerBytes], Awaitable[bool]],
        is_gone: Callable[[], bool] = lambda: False,
    ) -> AsyncIterator[AnswerReader]:
        """Read an answer while the block runs.

        Args:
            key: everything that it follows from.
            address: where the caller comes from, whose turn may be needed.
            make: has git answer, and tells whether the answer may be given to others later.
            is_gone: asked now and then whether the caller has gone, while it waits for a turn.

        Raises:
            BusyError: there was no turn in time.
            CallerGoneError: the caller did not wait for it.
        """
        entry = self._entry(key)
        with entry.answer.reading() as reader:
            try:
                if not entry.begun.is_set():
                    await self._begin(entry, self._make(key, entry, address, make, is_gone))
                yield reader
            finally:
                await self._end_if_unwanted(key, entry, reader)

    def _entry(self, key: bytes) -> _Entry:
        now = asyncio.get_running_loop().time()
        entry = self._entries.get(key)
        # One that passes through memory is not there from its beginning any more.
        if entry is None or not entry.answer.is_whole:
            self._drop(key)
            self._make_room(answers=1)
            writing = self._threads.executor()
            answer = AnswerBytes(_Room(self), self._folder, writing, self._patience)
            entry = self._entries[key] = _Entry(answer)
            self._misses += 1
        else:
            self._hits += 1
            entry.is_shared = True
        entry.used_at = now
        self._entries.move_to_end(key)
        return entry

    async def _begin(self, entry: _Entry, making: Coroutine[Any, Any, None]) -> None:
        """Return when git works on an answer, by this caller's turn or another's."""
        loop = asyncio.get_running_loop()
        mine = loop.create_task(making)
        self._makers.add(mine)
        mine.add_done_callback(self._makers.discard)
        begun = loop.create_task(entry.begun.wait())
        try:
            await asyncio.wait([mine, begun], return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
            if entry.maker is not mine:
                mine.cancel()
                await asyncio.gather(mine, begun, return_exceptions=True)
        if not entry.begun.is_set():
            mine.result()

    async def _make(
        self,
        key: bytes,
        entry: _Entry,
        address: str,
        make: Callable[[AnswerBytes], Awaitable[bool]],
        is_gone: Callable[[], bool],
    ) -> None:
        """Have git answer when it is this caller's turn, unless it does so by then."""
        async with self._turns.turn(address, is_gone):
            if entry.begun.is_set():
                return
            entry.maker = asyncio.current_task()
            entry.answer.others_wait = lambda: self._turns.others_wait(address)
            entry.begun.set()
            is_right = False
            try:
                is_right = await make(entry.answer)
                entry.answer.finish()
            except (GitTorrentError, OSError) as error:
                entry.answer.fail(error)
            except BaseException:
                entry.answer.fail(ConnectionAbortedError("git was ended"))
                raise
            finally:
                if not is_right or not entry.answer.is_whole:
                    self._drop(key, entry)

    async def _end_if_unwanted(self, key: bytes, entry: _Entry, reader: AnswerReader) -> None:
        """End git's work on an answer that the last one who waited for it has left."""
        if not entry.answer.is_for(reader) or entry.answer.is_ended:
            return
        self._drop(key, entry)
        if entry.maker is not None:
            entry.maker.cancel()
            await asyncio.gather(entry.maker, return_exceptions=True)

    def _drop(self, key: bytes, entry: _Entry | None = None) -> None:
        """Give up an answer: nobody else gets it."""
        found = self._entries.get(key)
        if found is not None and (entry is None or found is entry):
            del self._entries[key]
            found.answer.drop()
        elif entry is not None:
            entry.answer.drop()

    def _make_room(self, count: int = 0, *, answers: int = 0, files: int = 0) -> bool:
        """Make room for bytes, answers and files; tells whether there is.

        Those go that nobody reads, the longest unused first; before them those that nobody asked
        for twice, so that whoever asks many questions once does not displace what many ask.
        """
        if self._has_room(count, answers, files):
            return True
        by_worth = sorted(self._entries.items(), key=lambda item: item[1].is_shared)
        for key, entry in by_worth:
            if self._has_room(count, answers, files):
                break
            if entry.is_idle:
                self._drop(key)
        return self._has_room(count, answers, files)

    def _has_room(self, count: int, answers: int, files: int) -> bool:
        return (
            self._bytes + count <= self._most
            and len(self._entries) + answers <= MAX_ANSWERS
            and self._files + files <= MAX_FILES
        )

    def tidy(self, *, is_short: bool) -> None:
        """Let go what was not asked for in a while.

        Args:
            is_short: whether the disk is, so that everything goes that nobody reads.
        """
        oldest = asyncio.get_running_loop().time() - MAX_AGE
        for key, entry in list(self._entries.items()):
            if entry.is_idle and (is_short or entry.used_at < oldest):
                self._drop(key)

    async def stop(self) -> None:
        """End git's work on all of them, and keep none from now on."""
        self._is_stopped = True
        for maker in list(self._makers):
            maker.cancel()
        await asyncio.gather(*self._makers, return_exceptions=True)
        for key in list(self._entries):
            self._drop(key)

    def _take(self, count: int, held: int) -> bool:
        fits = self._make_room(count)
        if held + count > self._most // MAX_SHARE or not fits:
            return False
        self._bytes += count
        return True

    def _take_file(self) -> bool:
        if not self._make_room(files=1):
            return False
        self._files += 1
        return True

    def _give_back(self, count: int, *, is_file: bool) -> None:
        self._bytes -= count
        self._files -= is_file

    def _require_disk(self, count: int) -> None:
        if self._space is not None:
            self._space.require(self._folder, size=count)


class _Room:
    """The room of one answer among all."""

    def __init__(self, answers: GitAnswers) -> None:
        self._answers = answers
        self._held = 0
        self._is_file = False

    def take(self, count: int) -> bool:
        """Count bytes that are about to be kept; False where there is no room for them."""
        if not self._answers._take(count, self._held):
            return False
        self._held += count
        return True

    def take_file(self) -> bool:
        """Count an open file; False where there may be no more of them."""
        self._is_file = self._answers._take_file()
        return self._is_file

    def give_back(self) -> None:
        """Count what the answer took no more."""
        self._answers._give_back(self._held, is_file=self._is_file)
        self._held, self._is_file = 0, False

    def require_disk(self, count: int) -> None:
        """Make sure that they fit on the disk."""
        self._answers._require_disk(count)
