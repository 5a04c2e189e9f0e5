"""Whose a conversation with a CI job is, as far as the kernel tells, and what each gets.

Jobs of one machine do not know each other, and one of them may ask for all there is. Tracks who
talks to the node and who waits for something of which there is little. An owner is a path: the
user, the control group (of a container, or of a service), the session and the group of processes
(of a job's script). Shares are fair on each level: so a job gets no more by making groups or
sessions of its own, where another user's or container's job is beside it.

Rules: who has more than others makes room for newcomers; a conversation in which nothing is asked
goes first; nothing a caller says about itself counts. Must not know what is asked.
Source: unix(7), SO_PEERCRED; cgroups(7); proc_pid_stat(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Owner = tuple[str, str, str, str]
"""User, control group, session and process group; empty for what is not known."""

NOBODY: Owner = ("", "", "", "")

OWNER: ContextVar[Owner] = ContextVar("owner", default=NOBODY)
"""For whom the task at hand works: what it starts works for the same."""

_GROUP, _SESSION = 2, 3
"""Places of both among the fields that follow the name in ``/proc/PID/stat``."""


def owner_of(sock: socket.socket) -> Owner:
    """Return whose the other end of a Unix socket is."""
    said = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, user, _ = struct.unpack("3i", said)
    if pid <= 0:  # of another namespace of processes
        return f"user {user}", "", "", ""
    place = Path("/proc") / str(pid)
    container = session = group = ""
    with contextlib.suppress(OSError):  # it has gone, or is nobody's business
        container = (place / "cgroup").read_text(errors="replace")
        said_of_it = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()
        session, group = said_of_it[_SESSION], said_of_it[_GROUP]
    return f"user {user}", container, session, group


class Place:
    """A conversation's place; has ``idle_since`` while nothing is asked in it, in seconds."""

    def __init__(self, owner: Owner, end: Callable[[], object], now: float) -> None:
        self.owner = owner
        self.end = end
        self.idle_since: float | None = now


class Places:
    """The places of all conversations.

    Args:
        most: how many there are.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: list[Place] = []

    def __len__(self) -> int:
        """Return how many are taken."""
        return len(self._taken)

    def enter(self, owner: Owner, end: Callable[[], object], now: float) -> Place | None:
        """Take a place, if need be that of somebody who has more; None if there is none.

        Args:
            owner: whose the conversation is.
            end: ends it, when it has to make room for another one.
            now: seconds.
        """
        if len(self._taken) >= self._most:
            leaving = self._leaving(owner)
            if leaving is None:
                return None
            self.leave(leaving)
            leaving.end()
        place = Place(owner, end, now)
        self._taken.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Give a place back; may be called again."""
        with contextlib.suppress(ValueError):
            self._taken.remove(place)

    def _leaving(self, owner: Owner) -> Place | None:
        """Return who makes room for a newcomer: one of those who have most, level by level."""
        found, is_own, lead = self._taken, True, 0
        for level in range(1, len(owner) + 1):
            counts = Counter(each.owner[:level] for each in found)
            most, own = max(counts.values()), counts[owner[:level]]
            if is_own and own == most:
                found = [each for each in found if each.owner[:level] == owner[:level]]
                continue
            if is_own:
                is_own, lead = False, most - own
            found = [each for each in found if counts[each.owner[:level]] == most]
        idle = [each for each in found if each.idle_since is not None]
        if idle:
            return min(idle, key=lambda each: each.idle_since or 0.0)
        return found[-1] if lead > 1 else None


class FairTurns:
    """Turns of which there are few, each for the task at hand's `OWNER`; used as a semaphore is.

    When one is free, of those who wait it goes to whose user has the fewest, then whose control
    group, session, process group, then to who came first. A process group has all but one of them
    at most, so that another one's job waits for nobody.

    Args:
        total: turns at once.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._of_one = max(1, total - 1)
        self._taken: Counter[Sequence[str]] = Counter()
        self._free = total
        self._waiting: dict[asyncio.Future[None], Owner] = {}

    async def acquire(self) -> None:
        """Wait for a turn, and take it; `release` must follow, for the same owner."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[mine] = owner = OWNER.get()
        self._hand_out()
        try:
            await mine
        except BaseException:
            if self._waiting.pop(mine, None) is None:
                self._give_back(owner)
            raise

    def release(self) -> None:
        """Give a turn back."""
        self._give_back(OWNER.get())

    async def __aenter__(self) -> None:
        """Take a turn for a block."""
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        """Give it back."""
        self.release()

    def _give_back(self, owner: Owner) -> None:
        for part in _levels(owner):
            self._taken[part] -= 1
            if not self._taken[part]:
                del self._taken[part]
        self._free += 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free and (may := self._who_may()):
            ranked = {
                mine: tuple(self._taken[part] for part in _levels(self._waiting[mine]))
                for mine in may
            }
            mine = min(may, key=ranked.__getitem__)
            owner = self._waiting.pop(mine)
            for part in _levels(owner):
                self._taken[part] += 1
            self._free -= 1
            mine.set_result(None)

    def _who_may(self) -> list[asyncio.Future[None]]:
        """Return those who wait and may have a turn, in the order in which they came."""
        return [
            mine
            for mine, owner in self._waiting.items()
            if not mine.done() and self._taken[owner] < self._of_one
        ]


def _levels(owner: Owner) -> Iterable[Sequence[str]]:
    """Return a user, its control group, and so on, as keys of their own."""
    return [owner[:level] for level in range(1, len(owner) + 1)]
