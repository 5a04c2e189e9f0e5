"""Programs of this machine that wait until something was done for them, and hear how far it is.

Tracks who waits and who hears of progress. Whoever asked may leave at any time. Must not know what
is done.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from gittorrent.errors import GitTorrentError
from gittorrent.wire.control import Done, Failed, Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.wire.control import Answer

T = TypeVar("T")


class Waiters(Generic[T]):
    """Those who wait for one thing, whose result is a ``T``."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[T]] = []
        self._hearing: set[Callable[[Answer], None]] = set()

    def __bool__(self) -> bool:
        """Tell whether anybody waits."""
        return bool(self._waiting)

    def enter(self, tell: Callable[[Answer], None]) -> asyncio.Future[T]:
        """Take note of somebody who waits from now on, and hears of progress; see `outcome`."""
        waiting: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._hearing.add(tell)
        return waiting

    async def outcome(
        self, waiting: asyncio.Future[T], tell: Callable[[Answer], None]
    ) -> Sequence[Answer]:
        """Wait for what was entered, and return the last answers about it."""
        try:
            await waiting
        except GitTorrentError as error:
            hint = [Hint(error.hint)] if error.hint else []
            return [*hint, Failed(error.exit_code, str(error))]
        finally:
            self._hearing.discard(tell)
        return [Done(0)]

    def tell(self, answer: Answer) -> None:
        """Tell all of progress."""
        for tell in list(self._hearing):
            tell(answer)

    def take(self) -> list[asyncio.Future[T]]:
        """Return who waits now; what comes later is for others."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def done(self, result: T) -> None:
        """Give a result to all who wait."""
        give(self.take(), result)

    def failed(self, error: GitTorrentError) -> None:
        """Tell all who wait why it came to nothing."""
        fail(self.take(), error)


def give(waiting: Sequence[asyncio.Future[T]], result: T) -> None:
    """Give a result to some who wait, as far as they still do."""
    for each in waiting:
        if not each.done():
            each.set_result(result)


def fail(waiting: Sequence[asyncio.Future[T]], error: GitTorrentError) -> None:
    """Tell some who wait why it came to nothing, as far as they still do."""
    for each in waiting:
        if not each.done():
            each.set_exception(error)
