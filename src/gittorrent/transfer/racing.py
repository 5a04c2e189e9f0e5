"""Staggered attempts: the next begins when one fails or has not answered for a while.

For the addresses of a name, the mirrors of a repository and the mirrors that offer a manifest: each
has a head start over the next, and one that does not answer holds up none of the others (compare
RFC 8305, Happy Eyeballs). Must not know what is attempted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

C = TypeVar("C")
T = TypeVar("T")


async def first_success(
    candidates: Iterable[C],
    attempt: Callable[[C], Awaitable[T]],
    stagger: float,
    failed: Callable[[C, BaseException], None],
    let_go: Callable[[T], Awaitable[None]],
    joining: Callable[[], Iterable[C]] = tuple,
) -> tuple[C, T] | None:
    """Return the first attempt that succeeded, and its result; None if all failed.

    Args:
        candidates: the best first.
        attempt: makes an attempt with one of them.
        stagger: seconds that one gets before the next is tried too.
        failed: told of each failure; raises those that are no reason to go on.
        let_go: ends what came of an attempt that was not needed any more.
        joining: returns the candidates there are by now: others may come while some are tried.
    """
    waiting = list(candidates)
    tried: list[C] = []
    tasks: dict[asyncio.Future[T], C] = {}
    try:
        while waiting or tasks:
            if waiting:
                candidate = waiting.pop(0)
                tried.append(candidate)
                tasks[asyncio.ensure_future(attempt(candidate))] = candidate
            done, _ = await asyncio.wait(
                tasks,
                timeout=None if joining is tuple and not waiting else stagger,
                return_when=asyncio.FIRST_COMPLETED,
            )
            # In the order they were tried: of two at once the better one counts.
            for task in [task for task in tasks if task in done]:
                error = task.exception()
                candidate = tasks.pop(task)
                if error is None:
                    return candidate, task.result()
                failed(candidate, error)
            waiting += [c for c in joining() if not any(c is t for t in (*tried, *waiting))]
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                await let_go(outcome)
    return None


async def keep(outcome: object) -> None:
    """Let nothing go: for what holds nothing."""
    del outcome
