"""Waits for upload slots: the asyncio side of `gittorrent.swarm.slots`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.swarm.slots import SLOTS, Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.swarm.keys import ConversationKey


class SlotQueue:
    """Lets a few conversations send parts at a time, in fair turns.

    Args:
        slots: how many at a time.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self._machine = Slots(slots)
        self._waiting: dict[ConversationKey, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._time: Callable[[], float] | None = None

    @property
    def line(self) -> set[ConversationKey]:
        """Who is being sent a part or waits for that."""
        return self._machine.line

    @property
    def is_waited_for(self) -> bool:
        """Whether anybody waits for its turn, or was just given it and has not begun."""
        return bool(self._waiting) or len(self._machine) > 0

    @property
    def waiting(self) -> set[ConversationKey]:
        """Who waits for its turn."""
        return set(self._waiting)

    def take(self, peer: ConversationKey) -> bool:
        """Take a slot if one is free and nobody waits; `done` must follow if so."""
        return self._machine.take(peer, self._now())

    def turn(self, peer: ConversationKey) -> asyncio.Future[None]:
        """Ask for a slot; `done` must follow, whether or not it was waited for.

        Returns:
            What is done when ``peer`` may be sent a part: at once, or when its turn has come.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting[peer] = future
        self._wake(self._machine.ask(peer, loop.time()))
        return future

    def done(self, peer: ConversationKey) -> None:
        """Note that ``peer``'s part is sent, or that it is gone."""
        self._waiting.pop(peer, None)
        self._wake(self._machine.done(peer, self._now()))

    def sent(self, count: int) -> None:
        """Note that ``count`` bytes left: the number of slots follows what they bring."""
        self._machine.sent(count, self._now())

    def _wake(self, peers: Iterable[ConversationKey]) -> None:
        for peer in peers:
            future = self._waiting.pop(peer, None)
            if future is not None and not future.done():
                future.set_result(None)
        if self._timer is not None or self._machine.waiting:
            self._set_timer()

    def _now(self) -> float:
        """Return the loop's time; to ask which loop runs is a system call, for each part thrice."""
        if self._time is None:
            self._time = asyncio.get_running_loop().time
        return self._time()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._machine.next_deadline()
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._wake(self._machine.tick(asyncio.get_running_loop().time()))
