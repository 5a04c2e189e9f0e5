"""Attempts in order, the next as soon as one fails or says nothing for a while.

For the addresses of a name, the mirrors of a repository and those who offer a manifest alike: who
is named first has a head start, and nobody who is silent holds up the others. Must not know what
is attempted.
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
) -> tuple[C, T] | None:
    """Return whose attempt succeeded, and what it gave; None if nobody's did.

    Args:
        candidates: the best first.
        attempt: makes an attempt with one of them.
        stagger: seconds that one gets before the next is tried too.
        failed: told of each failure; raises those that are no reason to go on.
        let_go: ends what came of an attempt that was not needed any more.
    """
    waiting = list(candidates)
    tasks: dict[asyncio.Future[T], C] = {}
    try:
        while waiting or tasks:
            if waiting:
                candidate = waiting.pop(0)
                tasks[asyncio.ensure_future(attempt(candidate))] = candidate
            done, _ = await asyncio.wait(
                tasks,
                timeout=stagger if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            # In the order they were tried: of two at once the better one counts.
            for task in [task for task in tasks if task in done]:
                error = task.exception()
                candidate = tasks.pop(task)
                if error is None:
                    return candidate, task.result()
                failed(candidate, error)
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
