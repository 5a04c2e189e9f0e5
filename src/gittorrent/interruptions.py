"""SIGINT and SIGTERM, which come in numbers: Ctrl-C reaches everybody, and git passes it on.

The first of them interrupts. What follows must not cut short the cleaning up that it began, unless
that takes so long that somebody insists.

Every command begins with this, and few need asyncio, which is slow to import: whoever brings a
coroutine has imported it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import warnings
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Iterator
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
        self._task: asyncio.Task[Any] | None = None
        self._is_interrupted = False
        self._is_held = False
        self._is_owed = False
        self._serves = False
        self.status = STATUS

    @property
    def is_interrupted(self) -> bool:
        """Tell whether a signal came, or nothing is to be interrupted any more."""
        return self._since is not None

    def serve(self) -> None:
        """Take SIGTERM for an orderly end: what serves or follows has no end of its own."""
        self._serves = True

    def install(self) -> None:
        """Take over both signals, for good; what the caller had us ignore stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.note)

    def settle(self) -> None:
        """Interrupt nothing from now on: what is left to do is cleaning up."""
        if self._since is None:
            self._since = self._clock()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let nothing interrupt the block.

        Raises:
            KeyboardInterrupt: after the block, for a first signal that came in it.
        """
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._is_owed:
            self._is_owed = False
            raise KeyboardInterrupt

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal.

        Raises:
            KeyboardInterrupt: it is the first, and no work is running that could be cancelled.
        """
        if self._since is not None:
            if self._clock() - self._since >= PATIENCE_SECONDS:
                self._leave(self.status)
            return
        self._since = self._clock()
        self._is_interrupted = True
        if number == signal.SIGTERM and self._serves:
            self.status = 0
        if self._is_held:
            self._is_owed = True
        elif self._task is None or not self._task.cancel():
            raise KeyboardInterrupt

    def run(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
        """Do ``work`` and return what it returns; the first signal cancels it.

        Raises:
            KeyboardInterrupt: it was cancelled, and has stopped what it started.
            GitTorrentError: it failed, and nothing had interrupted it before.
        """
        from asyncio import CancelledError

        with _woken_by_signals(loop):
            self._task = loop.create_task(work)
            try:
                return loop.run_until_complete(self._task)
            except CancelledError:
                raise KeyboardInterrupt from None
            except GitTorrentError as error:
                if not self._is_interrupted:
                    raise
                # Ctrl-C ends the git that works for us as well: it has not failed.
                raise KeyboardInterrupt from error
            finally:
                self._task = None


PROCESS = Interruptions()
"""Those of this process: it has one handler for each signal."""


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Do ``work`` in a loop of its own, as `asyncio.run` does; signals interrupt it in our way.

    Raises:
        KeyboardInterrupt: it was interrupted, and has stopped what it started.
    """
    import asyncio

    runner = asyncio.Runner()
    try:
        loop = runner.get_loop()
    except OSError:  # too many open files, say: what was to be done never begins
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        work.close()
        raise
    try:
        return PROCESS.run(loop, work)
    finally:
        with PROCESS.held():
            runner.close()
            finish()


_waits: list[Callable[[], object]] = []


def wait_at_end(wait: Callable[[], object]) -> None:
    """Have `finish` call something that waits, for a limited time, for what no loop waits for."""
    _waits.append(wait)


def finish() -> None:
    """Wait for what is still being done outside of the loop whose tasks have all ended.

    Threads that nobody waits for end with the process wherever they are, even between writing a
    file and giving it its name.
    """
    for wait in _waits:
        wait()


async def until_interrupted() -> None:
    """Wait for the first signal; the caller goes on, and is not interrupted again."""
    import asyncio

    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.get_running_loop().create_future()


@contextlib.contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let signals wake the loop: just before it falls asleep it would not notice one."""
    import socket
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are none of this thread's business
        return
    read, write = socket.socketpair()
    with read, write:
        read.setblocking(False)
        write.setblocking(False)
        loop.add_reader(read, read.recv, 1 << 12)
        former = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(former)
            loop.remove_reader(read)
