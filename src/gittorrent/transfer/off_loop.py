"""Runs blocking work off the event loop: in serial executors, or in an event loop of its own.

A `SerialExecutor` does one thing after another, so what belongs together keeps its order and needs
no lock. However much waits in it, it holds one thread at a time: a slow disk, or a database that
somebody has locked, delays its own executor only. Executors take turns, so a busy one does not keep
others from the threads.

Rules: no wait for an executor is without end; threads are daemons, since one that hangs in the
system must not keep the process from ending. Whoever ends the process in order waits for them for a
few seconds (`settle`). Must not know what is done in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gittorrent.errors import LocalError
from gittorrent.event_log import EventLog
from gittorrent.interruptions import wait_at_end

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

MOST_THREADS = 64
"""Threads at once: so many repositories may hang in the system before others wait for them."""

WAIT_SECONDS = 60.0
"""Time after which a wait for an executor is given up."""

IDLE_SECONDS = 20.0
"""Time after which a thread that has nothing to do ends."""

END_SECONDS = 5.0
"""Time that threads get at the end of a process for what they are at."""

T = TypeVar("T")

_log = EventLog(__name__)


class SlowError(LocalError):
    """A disk or database of this machine did not answer in time."""


class Reading(Protocol):
    """Calls something that may have to wait for the disk, and returns what it returns."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """See the class."""
        ...


class _UnderWay:
    """Knows the jobs of this process that were given to threads and are not done."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Have none: not yet, or not any more in a process that was forked."""
        self._changed = threading.Condition()
        self._jobs: set[object] = set()
        self._given_up: set[object] = set()

    def watched(self, job: Callable[[], None]) -> Callable[[], None]:
        """Note a job, and return what does it and notes its end."""
        token = object()

        def work() -> None:
            try:
                job()
            finally:
                with self._changed:
                    self._jobs.discard(token)
                    self._given_up.discard(token)
                    self._changed.notify_all()

        with self._changed:
            self._jobs.add(token)
        return work

    def wait(self, seconds: float) -> int:
        """Wait until all are done; returns how many are not, and are waited for no more."""
        with self._changed:
            if self._changed.wait_for(lambda: self._jobs <= self._given_up, seconds):
                return 0
            left = self._jobs - self._given_up
            self._given_up |= left
            return len(left)


_under_way = _UnderWay()
os.register_at_fork(after_in_child=_under_way.begin)


def settle(seconds: float = END_SECONDS) -> None:
    """Wait until no thread has anything to do, once nobody gives them more: the process ends.

    Cut short, a thread would leave the file that it is writing under a temporary name. One that
    does not end in time is logged, and waited for once only.

    Args:
        seconds: after which to go on all the same.
    """
    if left := _under_way.wait(seconds):
        text = "ends although {threads} thread(s) did not come back from a disk in {seconds:g} s"
        _log.warning("threads-left", text, threads=left, seconds=seconds)


wait_at_end(settle)


class _Worker:
    """A thread that waits for a job, and what it is given."""

    def __init__(self) -> None:
        self.job: Callable[[], None] | None = None
        self.given = threading.Semaphore(0)


class Threads:
    """Some threads, begun when they are needed.

    Who began to wait last gets the next job: a few threads do what little there is to do, and the
    others end, instead of being woken in turns.

    Args:
        most: at once.
        idle_seconds: after which one without work ends.
    """

    def __init__(self, most: int = MOST_THREADS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._most = most
        self._idle_seconds = idle_seconds
        self._jobs: deque[Callable[[], None]] = deque()  # none while anybody is idle
        self._lock = threading.Lock()
        self._count = 0
        self._idle: list[_Worker] = []

    def __len__(self) -> int:
        return self._count

    @property
    def idle(self) -> int:
        """How many have nothing to do."""
        return len(self._idle)

    def executor(self, wait_seconds: float = WAIT_SECONDS) -> SerialExecutor:
        """Return a new executor in these threads.

        Args:
            wait_seconds: time after which whoever waits in it gives up.
        """
        return SerialExecutor(self, wait_seconds)

    def submit(self, job: Callable[[], None]) -> None:
        """Have a thread do something soon; it may not raise anything."""
        job = _under_way.watched(job)
        with self._lock:
            if self._idle:
                worker = self._idle.pop()
                worker.job = job
                worker.given.release()
            elif self._count < self._most:
                threading.Thread(
                    target=self._work, args=(job,), name="off-loop", daemon=True
                ).start()
                self._count += 1
            else:
                self._jobs.append(job)

    def _work(self, first: Callable[[], None]) -> None:
        worker, job = _Worker(), first
        del first  # or what it refers to would live as long as the thread
        while True:
            job()
            del job  # or it would live until the next one comes
            found = self._next(worker)
            if found is None:
                return
            job = found
            del found

    def _next(self, worker: _Worker) -> Callable[[], None] | None:
        """Wait for a job; None after too long without one, when the thread is to end."""
        with self._lock:
            if self._jobs:
                return self._jobs.popleft()
            self._idle.append(worker)
        in_time = worker.given.acquire(timeout=self._idle_seconds)
        with self._lock:
            job, worker.job = worker.job, None
            if job is None:
                self._idle.remove(worker)
                self._count -= 1
            elif not in_time:
                worker.given.acquire()  # it was given in the last moment
            return job


class SerialExecutor:
    """Does one thing after another in some thread; a `Reading`. Made by `Threads.executor`.

    Args:
        threads: that do it.
        wait_seconds: time after which whoever waits gives up.
    """

    def __init__(self, threads: Threads, wait_seconds: float) -> None:
        self._threads = threads
        self._wait_seconds = wait_seconds
        self._waiting: deque[_Job[Any]] = deque()
        self._lock = threading.Lock()
        self._busy = False

    async def __call__(self, work: Callable[[], T]) -> T:
        """Call ``work`` in a thread, after all that was submitted before.

        What is begun is carried out, were nobody to wait for it any more.

        Raises:
            SlowError: its turn did not come, or it is not done, within the time.
        """
        job = _Job(work, asyncio.get_running_loop())
        with self._lock:
            self._waiting.append(job)
            begin, self._busy = not self._busy, True
        if begin:
            self._threads.submit(self._next)
        try:
            async with asyncio.timeout(self._wait_seconds) as limit:
                return await job.future
        except TimeoutError:
            if not limit.expired():
                raise
            raise SlowError(
                f"a disk or the database did not answer within {self._wait_seconds:.0f} s",
                hint="look for a disk that hangs, or a program that holds the database locked",
            ) from None

    def _next(self) -> None:
        """Do what is first in line, then let other executors have their turn."""
        with self._lock:
            job = self._waiting.popleft() if self._waiting else None
        if job is not None:
            job.run()
        with self._lock:
            self._busy = bool(self._waiting)
            go_on = self._busy
        if go_on:
            self._threads.submit(self._next)


class _Job(Generic[T]):
    """A piece of work, and the future of the task that waits for it."""

    def __init__(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._loop = loop
        self.future: asyncio.Future[T] = loop.create_future()

    def run(self) -> None:
        """Do it, in a thread, unless the task that waited was cancelled."""
        if self.future.cancelled():
            return
        try:
            result = self._work()
        except BaseException as error:
            self._tell(self.future.set_exception, error)
        else:
            self._tell(self.future.set_result, result)

    def _tell(self, settle: Callable[[Any], None], value: object) -> None:
        def now() -> None:
            if not self.future.done():
                settle(value)

        # The loop may be gone, and whoever waited with it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(now)


async def at_once(work: Callable[[], T]) -> T:
    """Call ``work`` here: a `Reading` for what is in memory."""
    return work()


async def apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in a thread and a loop of its own, which it may hold up as it likes.

    Cancelled, this cancels the coroutine and waits until it has cleaned up.

    Args:
        work: makes the coroutine, in that thread.
    """
    loop = asyncio.get_running_loop()
    begun: asyncio.Future[Callable[[], None]] = loop.create_future()
    ended: asyncio.Future[T] = loop.create_future()
    thread = threading.Thread(target=_run_apart, args=(work, loop, begun, ended), daemon=True)
    thread.start()
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        # A thread that could not make its loop ends without having begun.
        signs: list[asyncio.Future[Any]] = [begun, ended]
        await asyncio.wait(signs, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            begun.result()()
            await asyncio.wait([ended])
            if not ended.cancelled():
                ended.exception()  # seen: whoever cancelled asks for no reasons
        raise


def _run_apart(
    work: Callable[[], Coroutine[Any, Any, T]],
    loop: asyncio.AbstractEventLoop,
    begun: asyncio.Future[Callable[[], None]],
    ended: asyncio.Future[T],
) -> None:
    """Do what `apart` says; it is told how to cancel, and then the end."""

    def tell(settle: Callable[[Any], object], value: object = None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(settle, value)

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        own = asyncio.get_running_loop()

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                own.call_soon_threadsafe(task.cancel)

        tell(begun.set_result, cancel)
        return await work()

    try:
        result = asyncio.run(main())
    except asyncio.CancelledError:
        tell(lambda _: ended.cancel())
    except BaseException as error:
        tell(ended.set_exception, error)
    else:
        tell(ended.set_result, result)
