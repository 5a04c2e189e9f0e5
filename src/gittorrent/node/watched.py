"""Works for a caller as long as nothing speaks against it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from gittorrent.node.caller_watch import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

T = TypeVar("T")


class CallerEndedError(ConnectionAbortedError):
    """A caller is served no longer; the text says why."""


async def watched(
    work: Coroutine[Any, Any, T],
    why_end: Callable[[], str | None],
    look_seconds: float = PATIENCE.look,
) -> T:
    """Do something for a caller; returns what it comes to.

    Args:
        work: is cancelled, and seen to its end, when it has to stop.
        why_end: asked now and then; tells why the caller is served no longer, or None.
        look_seconds: how often.

    Raises:
        CallerEndedError: ``why_end`` told why.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=look_seconds)
            reason = None if task.done() else why_end()
            if reason is not None:
                raise CallerEndedError(reason)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
