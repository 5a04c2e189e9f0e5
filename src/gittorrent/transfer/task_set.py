"""Tasks that somebody starts and nobody waits for, until whoever started them stops.

The event loop itself remembers running tasks only weakly. Must not know what they do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from typing import Any

T = TypeVar("T")


class TaskSet:
    """The tasks of one owner that are still running; used inside a running event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """Return how many run."""
        return len(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        """Go through those that run now; they may end meanwhile."""
        return iter(list(self._tasks))

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """Cancel all of them, and wait until they ended, however they do.

        Each takes its first step before: one that never begins closes nothing that it was given.
        """
        try:
            await asyncio.sleep(0)
        finally:
            tasks = list(self)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
