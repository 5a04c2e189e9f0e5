"""Limits the git processes that run at once, in all and per address, with a fair queue.

A process of git's takes a processor and hundreds of megabytes; connections cost next to nothing. So
a node lets many callers in, and lets only some of them have git work for them at a time.

Tracks who has a turn and who waits. Rules: turns are given round robin by address, so that an
address with sixty connections does not hold up those with one; within an address the first comes
first; a caller that has waited too long is told so. As everywhere, loopback has no bound of its
own, and of IPv6 addresses those of one /64 network count as one. Must not know processes or
sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from typing import TYPE_CHECKING

from gittorrent.transfer.addresses import caller_group, is_loopback
from gittorrent.wire import fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PROCESSES = 24
"""Callers that git works for at once: most of them wait for their networks, not for processors."""

PER_ADDRESS = 8
"""Of those, how many from one address, so that three of them do not keep everybody else out."""

WAIT_SECONDS = 60.0
"""Wait after which a caller is sent away: another mirror serves it sooner."""

LOOK_SECONDS = 1.0
"""Seconds between two checks whether a waiting caller is still connected."""

BUSY = f"{fields.BUSY}: git works for others already; try again later, or another mirror"
"""What those are told who waited in vain."""


class BusyError(Exception):
    """Nobody's turn ended in time."""


class CallerGoneError(ConnectionError):
    """Whoever waited has gone."""


class GitTurns:
    """Gives turns.

    Args:
        total: turns at once.
        per_address: turns of one address at once.
        wait_seconds: the longest wait.
    """

    def __init__(
        self,
        total: int = PROCESSES,
        per_address: int = PER_ADDRESS,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._total = total
        self._per_address = per_address
        self._wait_seconds = wait_seconds
        self._taken: Counter[str] = Counter()
        # Addresses with somebody who waits; the one that is asked next comes first.
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}

    def change(self, total: int) -> None:
        """Give so many turns at once from now on; those that are taken are not cut short."""
        self._total = total
        self._hand_out()

    @property
    def taken(self) -> int:
        """How many turns are taken."""
        return self._taken.total()

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return sum(map(len, self._queues.values()))

    def others_wait(self, address: str) -> bool:
        """Tell whether a caller waits that would get the turn that ``address`` gave back."""
        group = caller_group(address)
        return any(name == group or self._may_have(name) for name in self._queues)

    @contextlib.asynccontextmanager
    async def turn(
        self, address: str, is_gone: Callable[[], bool] = lambda: False
    ) -> AsyncIterator[None]:
        """Have a turn while the block runs.

        Args:
            address: where the caller comes from.
            is_gone: asked now and then while it waits.

        Raises:
            BusyError: there was none in time.
            CallerGoneError: the caller did not wait for it.
        """
        group = caller_group(address)
        if self._queues or not self._has_room(group):
            await self._wait(group, is_gone)
        else:
            self._taken[group] += 1
        try:
            yield
        finally:
            self._give_back(group)

    async def _wait(self, group: str, is_gone: Callable[[], bool]) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(group, deque()).append(mine)
        self._hand_out()
        try:
            async with asyncio.timeout(self._wait_seconds):
                while not mine.done():
                    await asyncio.wait([mine], timeout=LOOK_SECONDS)
                    if not mine.done() and is_gone():
                        raise CallerGoneError("the caller did not wait for its turn")
        except BaseException as error:
            self._leave(group, mine)
            if isinstance(error, TimeoutError):
                raise BusyError from error
            raise

    def _leave(self, group: str, mine: asyncio.Future[None]) -> None:
        """Give up a place in the queue, or the turn that came in the same moment."""
        if mine.done():
            self._give_back(group)
            return
        self._queues[group].remove(mine)
        if not self._queues[group]:
            del self._queues[group]

    def _give_back(self, group: str) -> None:
        self._taken[group] -= 1
        if self._taken[group] <= 0:
            del self._taken[group]
        self._hand_out()

    def _hand_out(self) -> None:
        """Give turns to those who wait, one address after the other."""
        while (group := next(filter(self._has_room, self._queues), None)) is not None:
            queue = self._queues.pop(group)
            queue.popleft().set_result(None)
            self._taken[group] += 1
            if queue:
                self._queues[group] = queue

    def _has_room(self, group: str) -> bool:
        return self.taken < self._total and self._may_have(group)

    def _may_have(self, group: str) -> bool:
        return _is_unbounded(group) or self._taken[group] < self._per_address


def _is_unbounded(group: str) -> bool:
    """Tell whether an address has no bound of its own."""
    return "/" not in group and is_loopback(group)
