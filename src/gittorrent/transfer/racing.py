"""Staggered attempts: the next begins when one fails or has not answered for a while.

For the addresses of a name, the mirrors of a repository and the mirrors that offer a manifest: each
has a head start over the next, and one that does not answer holds up none of the others (compare
RFC 8305, Happy Eyeballs). Must not know what is attempted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

C = TypeVar("C")
T = TypeVar("T")


async def first_success(
    candidates: Iterable[C],
    attempt: Callable[[C], Awaitable[T]],
    stagger: float | Callable[[C], float],
    failed: Callable[[C, BaseException], None],
    let_go: Callable[[T], Awaitable[None]],
    joining: Callable[[], Iterable[C]] = tuple,
    more: Callable[[], Awaitable[Sequence[C]]] | None = None,
) -> tuple[C, T] | None:
    """Return the first attempt that succeeded, and its result; None if all failed.

    Args:
        candidates: the best first.
        attempt: makes an attempt with one of them.
        stagger: seconds that one gets before the next is tried too.
        failed: told of each failure; raises those that are no reason to go on.
        let_go: ends what came of an attempt that was not needed any more.
        joining: returns the candidates there are by now: others may come while some are tried.
        more: looks for further candidates, and returns none when there are no more. Asked when all
            others had their head start or failed, and again for as long as none succeeds.
    """
    waiting = list(candidates)
    tried: list[C] = []
    tasks: dict[asyncio.Future[T], C] = {}
    search = _Search(more)
    seconds, was_slow = 0.0, False
    try:
        while True:
            if waiting:
                candidate = waiting.pop(0)
                tried.append(candidate)
                tasks[asyncio.ensure_future(attempt(candidate))] = candidate
                seconds = stagger(candidate) if callable(stagger) else stagger
            elif was_slow or not tasks:
                search.go_on()
            if not tasks and not search.is_on:
                return None
            others_may_come = joining is not tuple or waiting or search.may_go_on
            awaited: set[asyncio.Future[Any]] = {*tasks, *search.tasks}
            done, _ = await asyncio.wait(
                awaited,
                timeout=seconds if others_may_come else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            was_slow = not done
            # In the order they were tried: of two at once the better one counts.
            for task in [task for task in tasks if task in done]:
                error = task.exception()
                candidate = tasks.pop(task)
                if error is None:
                    return candidate, task.result()
                failed(candidate, error)
            new = [*joining(), *search.found()]
            waiting += [c for c in new if not any(c is t for t in (*tried, *waiting))]
    finally:
        for task in tasks:
            task.cancel()
        for asked in search.tasks:
            asked.cancel()
        await asyncio.gather(*search.tasks, return_exceptions=True)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                await let_go(outcome)


class _Search(Generic[C]):
    """The search for further candidates: at most one question to it at a time.

    Args:
        more: asks; None if nobody can be asked.
    """

    def __init__(self, more: Callable[[], Awaitable[Sequence[C]]] | None) -> None:
        self._more = more
        self.tasks: set[asyncio.Future[Sequence[C]]] = set()

    @property
    def is_on(self) -> bool:
        """Whether an answer is to come."""
        return bool(self.tasks)

    @property
    def may_go_on(self) -> bool:
        """Whether there is somebody to ask who is not asked yet."""
        return self._more is not None and not self.tasks

    def go_on(self) -> None:
        """Ask, unless that is under way or in vain."""
        if self._more is not None and not self.tasks:
            self.tasks.add(asyncio.ensure_future(self._more()))

    def found(self) -> Sequence[C]:
        """Return what came since the last time."""
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.discard(task)
            if found := task.result():
                return found
            self._more = None
        return ()


async def keep(outcome: object) -> None:
    """Let nothing go: for what holds nothing."""
    del outcome
