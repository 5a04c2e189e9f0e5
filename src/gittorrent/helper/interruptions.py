"""SIGINT and SIGTERM, which come in numbers: Ctrl-C reaches everybody, and git passes it on.

The first of them interrupts. What follows must not cut short the cleaning up that it began, unless
that takes so long that somebody insists.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType
    from typing import Any, Never

PATIENCE_SECONDS = 3.0
"""How long cleaning up may take before one more signal ends the program where it is."""

STATUS = 130
"""Exit status of whoever was interrupted, as shells have it."""


class Interruptions:
    """What SIGINT and SIGTERM do to this program; works from the main thread.

    Args:
        clock: monotonic seconds.
        leave: ends the program at once with a status.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        leave: Callable[[int], Never] = os._exit,
    ) -> None:
        self._clock = clock
        self._leave = leave
        self._since: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def install(self) -> None:
        """Take over both signals, for good; what the caller had us ignore stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.note)

    def settle(self) -> None:
        """Interrupt nothing from now on: what is done is cleaning up."""
        if self._since is None:
            self._since = self._clock()

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """Take a signal.

        Raises:
            KeyboardInterrupt: it is the first, and no work is running that could be cancelled.
        """
        if self._since is not None:
            if self._clock() - self._since >= PATIENCE_SECONDS:
                self._leave(STATUS)
            return
        self._since = self._clock()
        if self._loop is None or self._task is None:
            raise KeyboardInterrupt
        self._task.cancel()
        # The loop may be asleep: a signal that Python handles does not wake it.
        self._loop.call_soon_threadsafe(_nothing)

    def run(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
        """Do ``work`` and return what it returns; the first signal cancels it.

        Raises:
            KeyboardInterrupt: it was cancelled, and has stopped what it started.
        """
        task = loop.create_task(work)
        self._loop, self._task = loop, task
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            self._loop = self._task = None


def _nothing() -> None:
    """Wake the loop."""
