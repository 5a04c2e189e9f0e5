"""Runs blocking work in threads so that a cancelled caller still waits for its end.

A lock or a staging repository that is held around such work is released only after that, so that no
other process sees half of it, and its files are not removed under it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from gittorrent.git.runner import Stopper

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

P = ParamSpec("P")
T = TypeVar("T")


async def stoppable(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run something that may take long in a thread and return what it gives.

    When this is cancelled, the git that it runs is ended; the thread clears away what it was at,
    and only then is this over.
    """
    stopper = Stopper()

    def watched() -> T:
        with stopper.watching():
            return work(*args, **kwargs)

    return await _ended(watched, stopper.stop)


async def stoppable_by(executor: Executor, work: Callable[[], T]) -> T:
    """Do as `stoppable` in threads of ``executor``, where much of it keeps others from theirs."""
    stopper = Stopper()

    def watched() -> T:
        with stopper.watching():
            return work()

    return await _ended(watched, stopper.stop, executor)


async def unbroken(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run something short in a thread, and to its end: a step that is not to be done by halves.

    When this is cancelled, it is over once the step is done.
    """
    return await _ended(lambda: work(*args, **kwargs), lambda: None)


async def abortable(
    abort: Callable[[], None], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run something in a thread that ``abort``, called in another thread, brings to an end.

    When this is cancelled, it is over once both have returned.
    """
    loop = asyncio.get_running_loop()
    return await _ended(lambda: work(*args, **kwargs), lambda: loop.run_in_executor(None, abort))


async def _ended(
    work: Callable[[], T],
    stop: Callable[[], asyncio.Future[None] | None],
    executor: Executor | None = None,
) -> T:
    running = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopping = stop()
        waited: list[asyncio.Future[Any]] = [running] if stopping is None else [running, stopping]
        while not all(each.done() for each in waited):
            with contextlib.suppress(asyncio.CancelledError):  # once is enough
                await asyncio.wait(waited)
        if not running.cancelled():
            running.exception()  # of no interest: it was stopped
        if stopping is not None:
            stopping.result()
        raise
