"""Work that several wait for and that is done once; nobody left to wait ends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.waiting = 0


class Flights(Generic[T]):
    """What is under way, by key; used inside a running event loop.

    Args:
        pause: seconds from one beginning to the next of what is done by `join_next`.
    """

    def __init__(self, pause: float = 0.0) -> None:
        self._pause = pause
        self._flights: dict[Hashable, _Flight[T]] = {}
        self._begun: dict[Hashable, float] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._flights

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something, or wait for whoever is at it already; returns what it comes to.

        Args:
            key: what is done.
            work: does it, called only if nobody is at it.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.get_running_loop().create_task(work()))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda task: self._ended(key, task))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                flight.task.cancel()
                if self._flights.get(key) is flight:
                    del self._flights[key]  # who comes now begins anew

    async def join_next(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do as `join`, but wait for nothing that began before: whoever came meanwhile shares it.

        What it comes to is as new as this call.
        """
        following = (key, "next")
        if key in self._flights or following in self._flights or self._rest(key) > 0:
            return await self.join(following, lambda: self._after(key, work))
        self._note(key)
        return await self.join(key, work)

    def _rest(self, key: Hashable) -> float:
        """Return how long something may not begin yet."""
        begun = self._begun.get(key)
        now = asyncio.get_running_loop().time()
        return 0.0 if begun is None else begun + self._pause - now

    def _note(self, key: Hashable) -> None:
        """Note that something begins."""
        self._begun = {each: at for each, at in self._begun.items() if self._rest(each) > 0}
        if self._pause:
            self._begun[key] = asyncio.get_running_loop().time()

    async def _after(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        before = self._flights.get(key)
        if before is not None:
            await asyncio.wait([before.task])
        await asyncio.sleep(max(0.0, self._rest(key)))
        # It begins: whoever comes from now on is not to join it.
        flight = self._flights.pop((key, "next"), None)
        if flight is not None and key not in self._flights:
            self._flights[key] = flight
        self._note(key)
        return await work()

    def _ended(self, key: Hashable, task: asyncio.Task[T]) -> None:
        places = [key, key[0]] if isinstance(key, tuple) and key[1:] == ("next",) else [key]
        for place in places:
            flight = self._flights.get(place)
            if flight is not None and flight.task is task:
                del self._flights[place]
        if not task.cancelled():
            task.exception()  # seen, were nobody to wait any more

    async def stop(self) -> None:
        """End all of it."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
