"""Tasks that nobody waits for: they are held while they run, and ended with their owner."""

from __future__ import annotations

import asyncio
import socket

from gittorrent.transfer.task_set import TaskSet


def test_tasks_are_held_until_they_end() -> None:
    async def run() -> None:
        tasks, gate = TaskSet(), asyncio.Event()

        async def work() -> int:
            await gate.wait()
            return 5

        task = tasks.start(work())
        assert len(tasks) == 1
        assert list(tasks) == [task]
        gate.set()
        assert await task == 5
        await asyncio.sleep(0)  # its callbacks run
        assert not len(tasks)

    asyncio.run(run())


def test_stopping_ends_all_and_raises_nothing() -> None:
    async def run() -> None:
        tasks, ended = TaskSet(), list[str]()

        async def wait(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)
                raise ValueError(name)

        tasks.start(wait("one"))
        tasks.start(wait("two"))
        await asyncio.sleep(0)
        await tasks.stop()
        assert sorted(ended) == ["one", "two"]
        assert not len(tasks)

    asyncio.run(run())


def test_what_was_just_started_lets_go_of_what_it_was_given() -> None:
    async def run() -> None:
        tasks = TaskSet()
        ours, theirs = socket.socketpair()

        async def hold() -> None:
            with ours:
                await asyncio.Event().wait()

        with theirs:
            tasks.start(hold())
            await tasks.stop()
            assert ours.fileno() == -1

    asyncio.run(run())
