"""Work in a thread that ends when whoever waits for it is cancelled, with every git it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from gittorrent.git.runner import Stopper

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


async def stoppable(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run something that blocks in a thread and return what it gives.

    When this is cancelled, the git that it runs is ended; the thread clears away what it was at,
    and only then is this over, so that nobody comes across half of it.
    """
    stopper = Stopper()

    def watched() -> T:
        with stopper.watching():
            return work(*args, **kwargs)

    running = asyncio.get_running_loop().run_in_executor(None, watched)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopper.stop()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # of no interest: it was stopped
        raise
