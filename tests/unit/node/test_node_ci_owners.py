"""What each of several CI jobs gets of places and turns, whatever one of them asks for."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gittorrent.node.ci_owners import NOBODY, OWNER, FairTurns, Owner, Place, Places, owner_of

JOB: Owner = ("user 1", "a", "10", "10")
SAME_SESSION: Owner = ("user 1", "a", "10", "11")
SAME_GROUP: Owner = ("user 1", "a", "11", "11")
SAME_USER: Owner = ("user 1", "b", "10", "10")
OTHER: Owner = ("user 2", "a", "10", "10")
OTHERS = (SAME_SESSION, SAME_GROUP, SAME_USER, OTHER)


def session(number: int, group: str = "a") -> Owner:
    """Return one of several sessions of a user."""
    return "user 1", group, f"{number}", f"{number}"


class Table:
    """Places, and who had to leave them."""

    def __init__(self, most: int) -> None:
        self.places = Places(most)
        self.ended: list[Place] = []

    def enter(self, owner: Owner, now: float = 0.0, *, is_idle: bool = True) -> Place | None:
        def end() -> None:
            assert place is not None
            self.ended.append(place)

        place = self.places.enter(owner, end, now)
        if place is not None and not is_idle:
            place.idle_since = None
        return place


@pytest.mark.parametrize("newcomer", OTHERS)
@pytest.mark.parametrize("is_idle", [True, False])
def test_who_has_all_places_makes_room(newcomer: Owner, is_idle: bool) -> None:
    table = Table(4)
    taken = [table.enter(JOB, float(at), is_idle=is_idle) for at in range(4)]
    assert table.enter(newcomer, is_idle=is_idle)
    assert table.ended == [taken[0] if is_idle else taken[3]]
    assert len(table.places) == 4
    assert table.enter(newcomer, is_idle=is_idle)
    # Half of them is a fair share, and nobody at work is ended for more.
    assert (table.enter(newcomer, is_idle=is_idle) is None) != is_idle


def test_a_job_makes_room_for_itself_while_it_asks_nothing() -> None:
    table = Table(2)
    idle = table.enter(JOB)
    table.enter(JOB, is_idle=False)
    assert table.enter(JOB, is_idle=False)
    assert table.ended == [idle]
    assert table.enter(JOB) is None


def test_those_who_ask_nothing_go_first() -> None:
    table = Table(3)
    table.enter(JOB, is_idle=False)
    late, early = table.enter(JOB, 5.0), table.enter(JOB, 3.0)
    assert table.enter(OTHER)
    assert table.ended == [early]
    assert late not in table.ended


@pytest.mark.parametrize("newcomer", [SAME_USER, OTHER])
def test_sessions_of_its_own_get_a_job_no_more(newcomer: Owner) -> None:
    """Nor do control groups, where another user comes."""
    table = Table(6)
    for number in range(6):
        group = f"{number}" if newcomer == OTHER else "a"
        assert table.enter(session(number, group), is_idle=False)
    for _ in range(3):
        assert table.enter(newcomer, is_idle=False)
    assert table.enter(newcomer, is_idle=False) is None


def test_among_equals_who_asks_nothing_makes_room() -> None:
    table = Table(2)
    table.enter(JOB, is_idle=False)
    idle = table.enter(SAME_GROUP)
    assert table.enter(session(12), is_idle=False)
    assert table.ended == [idle]
    assert table.enter(session(13)) is None


def test_places_are_given_back_once() -> None:
    table = Table(1)
    place = table.enter(JOB)
    assert place is not None
    table.places.leave(place)
    table.places.leave(place)
    assert len(table.places) == 0
    assert table.enter(JOB)


class Crowd:
    """Jobs that wait for turns, and have them until they are told to end."""

    def __init__(self, total: int) -> None:
        self.turns = FairTurns(total)
        self.served: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, owner: Owner, *names: str) -> None:
        async def have_turn(name: str) -> None:
            OWNER.set(owner)
            async with self.turns:
                self.served.append(name)
                await self._ends[name].wait()

        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(have_turn(name))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def cancel(self, *names: str) -> None:
        for name in names:
            self._tasks[name].cancel()
        await asyncio.gather(*map(self._tasks.__getitem__, names), return_exceptions=True)
        await asyncio.sleep(0)


def test_one_job_leaves_a_turn_to_another_one() -> None:
    async def main() -> None:
        crowd = Crowd(3)
        await crowd.come(JOB, "a", "b", "c", "d")
        assert crowd.served == ["a", "b"]
        await crowd.come(SAME_GROUP, "x")
        assert crowd.served == ["a", "b", "x"]
        await crowd.cancel("a", "b", "c", "d", "x")

    asyncio.run(main())


@pytest.mark.parametrize("other", OTHERS)
def test_turns_go_to_who_has_fewest(other: Owner) -> None:
    async def main() -> None:
        crowd = Crowd(2)
        await crowd.come(JOB, *(f"a{number}" for number in range(9)))
        await crowd.come(other, "x", "y")
        assert crowd.served == ["a0", "x"]
        await crowd.end("a0")
        assert crowd.served[-1] == "a1"  # each has one
        await crowd.end("x")
        assert crowd.served[-1] == "y"
        await crowd.cancel(*(f"a{number}" for number in range(1, 9)), "y")

    asyncio.run(main())


def test_sessions_of_its_own_get_a_job_no_more_turns() -> None:
    async def main() -> None:
        crowd = Crowd(2)
        for number in range(6):
            await crowd.come(session(number), f"a{number}")
        await crowd.come(OTHER, "x")
        assert crowd.served == ["a0", "a1"]
        await crowd.end("a0")
        assert crowd.served[-1] == "x"
        await crowd.cancel(*(f"a{number}" for number in range(1, 6)), "x")

    asyncio.run(main())


def test_who_leaves_leaves_no_trace() -> None:
    async def main() -> None:
        crowd = Crowd(1)
        await crowd.come(JOB, "a", "b", "c")
        await crowd.cancel("b")
        # Cancelled in the step in which its turn came.
        crowd._ends["a"].set()
        await crowd._tasks["a"]
        await crowd.cancel("c")
        await crowd.come(OTHER, "x")
        assert crowd.served[-1] == "x"
        assert "b" not in crowd.served
        await crowd.end("x")

    asyncio.run(main())


def test_what_a_task_starts_is_for_the_same_owner() -> None:
    async def main() -> None:
        OWNER.set(JOB)

        async def started() -> Owner:
            return OWNER.get()

        assert await asyncio.create_task(started()) == JOB

    assert OWNER.get() == NOBODY
    asyncio.run(main())
    assert OWNER.get() == NOBODY


SESSION_OF_ITS_OWN = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.recv(1)
"""


def test_the_kernel_tells_whose_a_connection_is(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        words = [sys.executable, "-c", SESSION_OF_ITS_OWN, str(path)]
        with subprocess.Popen(words, start_new_session=True) as child, listener.accept()[0] as sock:
            theirs = owner_of(sock)
            assert theirs[2:] == (str(child.pid), str(child.pid))
        with socket.socket(socket.AF_UNIX) as ours:
            ours.connect(str(path))
            with listener.accept()[0] as sock:
                own = f"user {os.geteuid()}", theirs[1], str(os.getsid(0)), str(os.getpgrp())
                assert owner_of(sock) == own
