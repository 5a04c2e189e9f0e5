"""Whose turn it is to have git work."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gittorrent.node.git_turns import BusyError, CallerGoneError, GitTurns

ONE, TWO, THREE = "198.51.100.1", "198.51.100.2", "198.51.100.3"


class Crowd:
    """Callers who each have a turn until they are told to end it."""

    def __init__(self, turns: GitTurns) -> None:
        self.turns = turns
        self.served: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str) -> None:
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.get_running_loop().create_task(self._call(name))
            await settle()

    async def _call(self, name: str) -> None:
        async with self.turns.turn(name.partition(" ")[0]):
            self.served.append(name)
            await self._ends[name].wait()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await settle()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tasks[name]
        await settle()

    async def close(self) -> None:
        for name in self._tasks:
            await self.cancel(name)
        assert (self.turns.taken, self.turns.waiting) == (0, 0)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_addresses_take_turns_whoever_came_first() -> None:
    async def main() -> None:
        crowd = Crowd(GitTurns(total=1))
        await crowd.come(f"{ONE} a", f"{ONE} b", f"{ONE} c", f"{TWO} a", f"{THREE} a", f"{TWO} b")
        for name in (f"{ONE} a", f"{ONE} b", f"{TWO} a", f"{THREE} a", f"{ONE} c"):
            assert crowd.served[-1] == name
            await crowd.end(name)
        assert crowd.served[-1] == f"{TWO} b"
        await crowd.close()

    asyncio.run(main())


def test_one_address_has_its_share_only() -> None:
    async def main() -> None:
        crowd = Crowd(GitTurns(total=4, per_address=2))
        await crowd.come(f"{ONE} a", f"{ONE} b", f"{ONE} c")
        assert crowd.served == [f"{ONE} a", f"{ONE} b"]
        assert crowd.turns.others_wait(ONE)
        assert not crowd.turns.others_wait(TWO)
        await crowd.come(f"{TWO} a")
        assert crowd.served[-1] == f"{TWO} a"
        await crowd.close()

    asyncio.run(main())


def test_networks_of_ipv6_count_as_one_and_loopback_as_many() -> None:
    async def main() -> None:
        crowd = Crowd(GitTurns(total=8, per_address=1))
        await crowd.come("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
        assert crowd.served == ["2001:db8::1", "2001:db8:0:1::1"]
        await crowd.come("127.0.0.1 a", "127.0.0.1 b", "::1 a", "::1 b")
        assert crowd.turns.taken == 6
        await crowd.close()

    asyncio.run(main())


def test_who_leaves_while_waiting_leaves_no_trace() -> None:
    async def main() -> None:
        crowd = Crowd(GitTurns(total=1))
        await crowd.come(f"{ONE} a", f"{TWO} a", f"{THREE} a")
        await crowd.cancel(f"{TWO} a")
        await crowd.end(f"{ONE} a")
        assert crowd.served[-1] == f"{THREE} a"
        await crowd.close()

    asyncio.run(main())


def test_a_turn_that_comes_too_late_goes_to_the_next() -> None:
    async def main() -> None:
        crowd = Crowd(GitTurns(total=1))
        await crowd.come(f"{ONE} a", f"{TWO} a", f"{THREE} a")
        # Cancelled in the same step in which its turn came.
        crowd._ends[f"{ONE} a"].set()
        await crowd._tasks[f"{ONE} a"]
        await crowd.cancel(f"{TWO} a")
        assert crowd.served[-1] == f"{THREE} a"
        await crowd.close()

    asyncio.run(main())


def test_waiting_has_an_end() -> None:
    async def main() -> None:
        turns = GitTurns(total=1, wait_seconds=0)
        async with turns.turn(ONE):
            with pytest.raises(BusyError):
                async with turns.turn(TWO):
                    raise AssertionError("nobody's turn ended")
        assert (turns.taken, turns.waiting) == (0, 0)

    asyncio.run(main())


def test_nobody_waits_for_a_caller_that_has_gone() -> None:
    async def main() -> None:
        turns = GitTurns(total=1)
        async with turns.turn(ONE):
            with pytest.raises(CallerGoneError):
                async with turns.turn(TWO, lambda: True):
                    raise AssertionError("nobody's turn ended")
        assert (turns.taken, turns.waiting) == (0, 0)

    asyncio.run(main())
