"""Fetches a log from a mirror reached by HTTP: by its index, and an object for each entry.

Each object takes as long as the way there and back, so short ones, which most are, are asked for
some at a time. Must not know how entries are verified.
Source: docs/protocol/mirrorsync.md, HTTP resources.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from typing import TYPE_CHECKING

from gittorrent.errors import ProtocolError
from gittorrent.ids import PushId, format_of
from gittorrent.printable import decoded
from gittorrent.push.object import PushKind
from gittorrent.transfer.http_client import TooLongError
from gittorrent.transfer.mirror import NotThereError
from gittorrent.transfer.questions import BATCH_BYTES, ENTRY_BYTES
from gittorrent.transfer.static_files import MAX_INDEX_BYTES
from gittorrent.wire.limits import MAX_LOG_ENTRIES, MAX_PUSH_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

    from gittorrent.transfer.http_client import HttpClient
    from gittorrent.transfer.mirror import Admit, LogEntry
    from gittorrent.wire.messages import FetchLog

ENTRIES_AHEAD = 8
"""Push objects asked for at a time."""

SHORT_ENTRY_BYTES = 128 << 10
"""Bytes up to which they are: most have some hundred, and those ahead are held together."""


async def fetch_log(
    client: HttpClient,
    url: str,
    question: FetchLog,
    is_held: Callable[[PushId], bool],
    admit: Admit,
) -> None:
    """Hand push objects over, each after those that it names, in batches.

    Args:
        client: of the mirror.
        url: of the mirror.
        question: which log, from where on.
        is_held: tells of an entry whether it is here, and need not come.
        admit: takes each batch; what it raises ends the fetch.

    Raises:
        NotThereError: the mirror does not have the head asked for.
        MirrorLostError: it does not answer, or too slowly.
        ProtocolError: its index breaks the grammar, or an answer is too long.
    """
    ids = await _ids_of(client, url, question, is_held)
    batch: list[LogEntry] = []
    size = 0
    async with contextlib.aclosing(_entries(client, ids)) as entries:
        async for push, data in entries:
            batch.append((push, data))
            size += len(data) + ENTRY_BYTES
            if size >= BATCH_BYTES:
                await admit(batch)
                batch, size = [], 0
    if batch:
        await admit(batch)


async def _entries(client: HttpClient, ids: Iterable[PushId]) -> AsyncGenerator[LogEntry, None]:
    """Yield push objects in order."""
    loop = asyncio.get_running_loop()
    ahead: deque[tuple[PushId, asyncio.Task[bytearray | None]]] = deque()
    left = iter(ids)
    try:
        while True:
            for push in itertools.islice(left, ENTRIES_AHEAD - len(ahead)):
                ahead.append((push, loop.create_task(_short_entry(client, push))))
            if not ahead:
                return
            push, reading = ahead[0]
            data = await reading
            if data is None:
                data = await client.read(f"pushes/{push}", MAX_PUSH_BYTES)
            ahead.popleft()
            yield push, data
    finally:
        for _, reading in ahead:
            reading.cancel()
        await asyncio.gather(*(reading for _, reading in ahead), return_exceptions=True)


async def _short_entry(client: HttpClient, push: PushId) -> bytearray | None:
    """Return a push object if it is short: long ones are not held before their turn."""
    try:
        return await client.read(f"pushes/{push}", SHORT_ENTRY_BYTES)
    except TooLongError:
        return None


async def _ids_of(
    client: HttpClient, url: str, question: FetchLog, is_held: Callable[[PushId], bool]
) -> _Ids:
    """Return what to fetch, in order.

    A clone that is older than what newcomers are given takes the checkpoints from the index of all;
    so does one that finds no other, and goes without the pushes that no checkpoint has taken.
    """
    ids = _Ids(question, is_held)
    if question.short:
        with contextlib.suppress(NotThereError):
            await client.each_line("pushes/short", MAX_INDEX_BYTES, ids.take)
    if not question.short or not ids or (question.base is not None and not ids.has_base):
        older = _Ids(question, is_held, without_pushes=question.short)
        await client.each_line("pushes/index", MAX_INDEX_BYTES, older.take)
        older.add(ids)
        ids = older
    if not ids.has_head:
        raise NotThereError(f"{url} does not have checkpoint {question.head}")
    return ids


class _Ids:
    """The ids that an index of pushes names and that are not held, as bytes: it may be long.

    Args:
        question: the log asked for.
        is_held: tells of an entry whether it is here.
        without_pushes: whether to leave out pushes.
    """

    def __init__(
        self, question: FetchLog, is_held: Callable[[PushId], bool], *, without_pushes: bool = False
    ) -> None:
        self._question = question
        self._is_held = is_held
        self._left_out = PushKind.CERTIFICATE.value if without_pushes else None
        self._size = len(question.head)
        self._found = bytearray()
        self._is_empty = True
        self.has_head = False
        self.has_base = False

    def take(self, line: bytes) -> None:
        """Note one line of the index: an id, its kind, and what later versions may add."""
        words = line.decode("ascii", "replace").split()
        if not words:
            return
        push = words[0]
        is_id = len(push) == self._size and format_of(push) is not None
        if not is_id or len(words) < 2 or len(self._found) > MAX_LOG_ENTRIES * self._size:
            raise ProtocolError(f"the index of pushes has the line {decoded(line[:80])!r}")
        self._is_empty = False
        self.has_head |= push == self._question.head
        self.has_base |= push == self._question.base
        if words[1] != self._left_out and not self._is_held(PushId(push)):
            self._found += push.encode("ascii")

    def __bool__(self) -> bool:
        return not self._is_empty

    def add(self, others: _Ids) -> None:
        """Let others follow, as far as they are not there."""
        known = set(self)
        self._found += b"".join(push.encode("ascii") for push in others if push not in known)

    def __iter__(self) -> Iterator[PushId]:
        for at in range(0, len(self._found), self._size):
            yield PushId(self._found[at : at + self._size].decode("ascii"))
