"""Answers for CI jobs that are read while they are written, each by any number of readers.

An answer lies in a file from its first byte, and whoever reads has a descriptor of its own. So
nobody waits for a slow reader, nothing is held in memory, and what is removed is read to its end.
Tracks who waits for an answer, and what is being written of it. Rules: an attempt at an answer ends
whole or broken off; what was read of one that broke off counts for nothing, and who reads goes on
with the next attempt from its beginning. Used inside one event loop, but for what writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from gittorrent.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from gittorrent.node.ci_store import Spool


class BrokenOffError(UnreachableError):
    """An answer that was being read goes no further."""


class _Attempt:
    """How far an attempt at an answer is."""

    def __init__(self, spool: Spool, *, is_own: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._spool = spool
        self._change = asyncio.Event()
        self.is_own = is_own
        self.is_ended = False
        self.is_whole = False
        self.size = 0

    def reader(self) -> Reader:
        return Reader(os.dup(self._spool.file.fileno()), self)

    def grew(self) -> None:
        """Note that more is there; called by whatever thread writes."""
        self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        # What was written after the end was no part of it.
        if not self.is_ended:
            self.size = self._spool.size
            self._changed()

    def end(self, *, is_whole: bool) -> None:
        if is_whole:
            self.size = self._spool.size
        self.is_ended, self.is_whole = True, is_whole
        self._changed()

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    async def changed(self) -> None:
        """Wait until more is there, or it has ended."""
        await self._change.wait()


class Reader:
    """One who reads an answer; close it afterwards.

    Args:
        descriptor: of the file, which is closed with this.
        attempt: at the answer; None for one that is whole already.
    """

    def __init__(self, descriptor: int, attempt: _Attempt | None = None) -> None:
        self.descriptor = descriptor
        self._attempt = attempt

    @property
    def is_whole(self) -> bool:
        """Whether all of the answer is there."""
        return self._attempt is None or self._attempt.is_whole

    @property
    def size(self) -> int:
        """Bytes that are there."""
        found = self._attempt
        return os.fstat(self.descriptor).st_size if found is None else found.size

    async def more(self, at: int) -> int:
        """Return how many bytes are there from an offset on, once there are any; 0 at the end.

        Raises:
            BrokenOffError: no more comes, and it is not whole.
        """
        found = self._attempt
        while found is not None and found.size <= at and not found.is_ended:
            await found.changed()
        if found is not None and found.is_ended and not found.is_whole:
            raise BrokenOffError("the answer broke off")
        return self.size - at

    def close(self) -> None:
        """Have done with it."""
        os.close(self.descriptor)


class Watch:
    """Somebody who waits for attempts at an answer; begun by `Flow.watch`."""

    def __init__(
        self, topics: dict[Hashable, _Topic], key: Hashable, *, only_own: bool = False
    ) -> None:
        self._topics = topics
        self._key = key
        self._only_own = only_own
        self._found: Reader | None = None
        self.changed = asyncio.Event()

    def begins(self, attempt: _Attempt) -> None:
        """Note an attempt; one that was not taken before it is past."""
        if self._only_own and not attempt.is_own:
            return
        if self._found is not None:
            self._found.close()
        self._found = attempt.reader()
        self.changed.set()

    def take(self) -> Reader | None:
        """Return a reader of the newest attempt; None if none has begun since the last one."""
        found, self._found = self._found, None
        self.changed.clear()
        return found

    async def until_begun(self) -> None:
        """Wait until the newest attempt has some bytes, and no longer than any attempt goes on."""
        while True:
            await self.changed.wait()
            reader = self.take()
            if reader is None:
                continue
            with contextlib.closing(reader), contextlib.suppress(BrokenOffError):
                await reader.more(0)
                return

    def close(self) -> None:
        """Wait no more."""
        if self._found is not None:
            self._found.close()
            self._found = None
        topic = self._topics.get(self._key)
        if topic is not None:
            topic.watches.discard(self)
            topic.remove_unused(self._topics, self._key)


class _Topic:
    """What is being written of an answer, and who waits for it."""

    def __init__(self) -> None:
        self.attempts: list[_Attempt] = []
        self.watches: set[Watch] = set()

    def remove_unused(self, topics: dict[Hashable, _Topic], key: Hashable) -> None:
        if not self.attempts and not self.watches and topics.get(key) is self:
            del topics[key]


class Flow:
    """All answers that are being written, by key."""

    def __init__(self) -> None:
        self._topics: dict[Hashable, _Topic] = {}

    def __len__(self) -> int:
        return len(self._topics)

    @contextlib.contextmanager
    def writing(self, key: Hashable, spool: Spool, *, is_own: bool = True) -> Iterator[None]:
        """Let readers have what is written to a spool while the block runs.

        Args:
            key: of the answer.
            spool: that is written to by whatever thread; whole after the block, unless it fails.
            is_own: whether it is made here, rather than taken from another runner.
        """
        attempt = _Attempt(spool, is_own=is_own)
        topic = self._topics.setdefault(key, _Topic())
        topic.attempts.append(attempt)
        for watch in topic.watches:
            watch.begins(attempt)
        spool.grew = attempt.grew
        is_whole = False
        try:
            yield
            is_whole = True
        finally:
            attempt.end(is_whole=is_whole)
            topic.attempts.remove(attempt)
            topic.remove_unused(self._topics, key)

    def watch(self, key: Hashable, *, only_own: bool = False) -> Watch:
        """Wait for attempts at an answer, from the newest of those under way on; close it.

        Args:
            key: of the answer.
            only_own: whether those that are taken from another runner do not count.
        """
        made = Watch(self._topics, key, only_own=only_own)
        topic = self._topics.setdefault(key, _Topic())
        topic.watches.add(made)
        for attempt in topic.attempts:
            made.begins(attempt)
        return made

    def reader(self, key: Hashable, *, only_own: bool = False) -> Reader | None:
        """Return a reader of an answer that is being written; None if it is not.

        Args:
            key: of the answer.
            only_own: whether one that is taken from another runner does not count.
        """
        topic = self._topics.get(key)
        found = [] if topic is None else topic.attempts
        for attempt in reversed(found):
            if attempt.is_own or not only_own:
                return attempt.reader()
        return None


class Answering:
    """One caller's answer, attempt by attempt; close it afterwards.

    Args:
        watch: for attempts at it.
        task: that makes it, or finds it made: what it returns is the reader of one that is whole.
    """

    def __init__(self, watch: Watch, task: asyncio.Task[Reader | None]) -> None:
        self._watch = watch
        self.task = task
        self._last: Reader | None = None

    async def next(self) -> Reader | None:
        """Return what is to be read, from its beginning; None once the last one was whole.

        The caller closes it.

        Raises:
            GitTorrentError, OSError: there is no answer here.
        """
        if self._last is not None and self._last.is_whole:
            return None
        while True:
            found = self._watch.take()
            if found is None and self.task.done():
                found = self.task.result()
                if found is None:
                    raise BrokenOffError("the answer is gone already")
            if found is not None:
                self._last = found
                return found
            changed = asyncio.ensure_future(self._watch.changed.wait())
            await asyncio.wait([changed, self.task], return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()

    async def close(self) -> None:
        """Have done with it; what nobody else waits for ends."""
        self._watch.close()
        if not self.task.done():
            self.task.cancel()
        done = (await asyncio.gather(self.task, return_exceptions=True))[0]
        if isinstance(done, Reader) and done is not self._last:
            done.close()
