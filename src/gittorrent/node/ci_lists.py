"""Lists of refs that many ask for: few are begun, and each is for all who ask by then.

Tracks, for each upstream, the list that is under way and the one that comes next, and what those
who wait for it ask for. Rules: a list is never older than the question for it, and who asks before
its request leaves shares it; it asks for what all of them ask for together, and each gets what it
asked for; from one list's beginning to the next is a pause. What is asked for by one alone stays
alone, as does who asks again after the joint list failed, or could not be parted. Must not know
how upstreams are asked. Source: `gittorrent.wire.ref_lists`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from gittorrent.errors import UnreachableError
from gittorrent.git.ci_upstream import MayNotReadError
from gittorrent.wire.ci_fleet import Listed

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gittorrent.wire.ref_lists import RefRequest

Close = Callable[[], "RefRequest"]
"""Ends the time in which others may join, and returns what is to be asked for."""

Ask = Callable[[str, Close], Coroutine[Any, Any, Listed]]


class _List:
    """A list, from the first who asks for it to its end.

    Args:
        request: of who asked first.
        is_paced: whether the pause before the next one counts from it.
    """

    def __init__(self, request: RefRequest, *, is_paced: bool) -> None:
        self._guard = threading.Lock()
        self._is_closed = False
        self.request = request
        self.is_paced = is_paced
        self.waiting = 0
        self.task: asyncio.Task[Listed] | None = None

    def add(self, request: RefRequest) -> bool:
        """Have it ask for more; False if it is too late for that, or too much."""
        with self._guard:
            joined = None if self._is_closed else self.request.joined(request)
            if joined is None:
                return False
            self.request, self.is_paced = joined, True
            return True

    def close(self) -> RefRequest:
        """Let nobody join any more, and return what is asked for; called in any thread."""
        with self._guard:
            self._is_closed = True
            return self.request


class RefLists:
    """Lists of all upstreams; used inside a running event loop.

    Args:
        ask: asks an upstream, by its URL, for what its second argument returns.
        pause: seconds from the beginning of one list to that of the next.
    """

    def __init__(self, ask: Ask, pause: float = 0.0) -> None:
        self._ask = ask
        self._pause = pause
        self._newest: dict[Hashable, _List] = {}
        self._begun: dict[Hashable, float] = {}
        self._tasks: set[asyncio.Task[Listed]] = set()

    async def listing(self, url: str, request: RefRequest) -> Listed:
        """Return what an upstream says after this was called.

        Raises:
            GitTorrentError: it does not say.
        """
        # Who asks for all refs may ask for very much: nobody else waits for that.
        joint = self._open(url if request.prefixes else (url, request), url, request)
        try:
            found = await self._wait(joint)
        except MayNotReadError:
            raise
        except UnreachableError:
            if joint.request == request:
                raise
        else:
            refs = joint.request.pick(request, list(found.packets()))
            if refs is not None:
                return Listed(found.said, refs)
        return await self._wait(self._open((url, request), url, request))

    async def anything(self, url: str, request: RefRequest) -> None:
        """Have an upstream say something: in a list that is under way, or to this request.

        Raises:
            GitTorrentError: it does not say.
        """
        found = self._newest.get(url) or self._begin(url, url, request, is_paced=False)
        await self._wait(found)

    def _open(self, key: Hashable, url: str, request: RefRequest) -> _List:
        """Return a list that a request is part of, and that has not been asked for yet."""
        newest = self._newest.get(key)
        if newest is not None and newest.add(request):
            return newest
        return self._begin(key, url, request)

    def _begin(
        self, key: Hashable, url: str, request: RefRequest, *, is_paced: bool = True
    ) -> _List:
        made, before = _List(request, is_paced=is_paced), self._newest.get(key)
        self._newest[key] = made
        made.task = asyncio.get_running_loop().create_task(self._run(key, url, made, before))
        self._tasks.add(made.task)
        made.task.add_done_callback(lambda task: self._ended(key, made, task))
        return made

    async def _run(self, key: Hashable, url: str, made: _List, before: _List | None) -> Listed:
        if before is not None and before.task is not None:
            await asyncio.wait([before.task])
        if made.is_paced:
            await asyncio.sleep(max(0.0, self._rest(key)))

        loop = asyncio.get_running_loop()
        self._begun = {each: at for each, at in self._begun.items() if self._rest(each) > 0}
        began = loop.time()
        try:
            return await self._ask(url, made.close)
        finally:
            made.close()
            if made.is_paced and self._pause:
                self._begun[key] = began

    def _rest(self, key: Hashable) -> float:
        """Return how long the next list may not begin yet."""
        begun = self._begun.get(key)
        now = asyncio.get_running_loop().time()
        return 0.0 if begun is None else begun + self._pause - now

    async def _wait(self, made: _List) -> Listed:
        """Wait for a list; who leaves last ends it."""
        task = made.task
        assert task is not None
        made.waiting += 1
        try:
            return await asyncio.shield(task)
        finally:
            made.waiting -= 1
            if not made.waiting and not task.done():
                made.close()
                task.cancel()

    def _ended(self, key: Hashable, made: _List, task: asyncio.Task[Listed]) -> None:
        self._tasks.discard(task)
        if self._newest.get(key) is made:
            del self._newest[key]
        if not task.cancelled():
            task.exception()  # seen, were nobody to wait any more

    async def stop(self) -> None:
        """End all of them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
