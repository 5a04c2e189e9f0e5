"""Lanes and loops apart: order, turns, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from gittorrent.transfer.off_loop import SlowError, Threads, apart, settle
from support.programs import PATIENCE

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(PATIENCE):
            return await work

    return asyncio.run(bounded())


def test_an_executor_keeps_its_order_and_has_one_thread_at_a_time() -> None:
    done: list[int] = []
    inside = threading.Semaphore(1)

    def work(number: int) -> int:
        assert inside.acquire(blocking=False), "two at once"
        done.append(number)
        inside.release()
        return number

    async def scenario() -> list[int]:
        executor = Threads().executor()
        return await asyncio.gather(*(executor(lambda n=n: work(n)) for n in range(200)))  # type: ignore[misc]

    assert run(scenario()) == list(range(200)) == done


def test_an_executor_that_hangs_holds_up_nobody_else() -> None:
    release = threading.Event()
    hanging: list[int] = []

    def hang() -> bool:
        hanging.append(threading.get_ident())
        return release.wait()

    async def scenario() -> None:
        threads = Threads()
        slow, quick = threads.executor(), threads.executor()
        tasks = [asyncio.create_task(slow(hang)) for _ in range(100)]
        for _ in range(100):
            assert await quick(lambda: 7) == 7
        assert not any(task.done() for task in tasks)
        assert len(hanging) <= 1, "what hangs has one thread"
        release.set()
        assert all(await asyncio.gather(*tasks))

    run(scenario())
    assert len(hanging) == 100


def test_a_busy_executor_lets_others_have_their_turn() -> None:
    """With one thread for both, what comes later in another executor is not last."""
    done: list[str] = []

    def note(whose: str) -> bool:
        done.append(whose)
        return True

    async def scenario() -> None:
        threads = Threads(most=1)
        busy, other = threads.executor(), threads.executor()
        begin = threading.Event()
        tasks = [asyncio.create_task(busy(begin.wait))]
        tasks += [asyncio.create_task(busy(lambda: note("busy"))) for _ in range(10)]
        tasks.append(asyncio.create_task(other(lambda: note("other"))))
        await asyncio.sleep(0)
        begin.set()
        await asyncio.gather(*tasks)

    run(scenario())
    assert done.index("other") <= 1


def test_nobody_waits_for_ever_and_what_nobody_waits_for_is_not_begun() -> None:
    release, begun = threading.Event(), threading.Event()

    async def scenario() -> None:
        threads = Threads()
        executor = threads.executor(wait_seconds=0.01)
        with pytest.raises(SlowError, match="did not answer"):
            await executor(release.wait)
        with pytest.raises(SlowError):
            await executor(begun.set)
        release.set()
        await threads.executor()(lambda: None)
        patient = threads.executor()
        task = asyncio.create_task(patient(begun.set))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await patient(lambda: None)

    run(scenario())
    assert not begun.is_set()


def test_errors_reach_whoever_waits() -> None:
    async def scenario() -> None:
        executor = Threads().executor()

        def fail(error: BaseException) -> None:
            raise error

        for error in (ValueError("x"), TimeoutError("of the disk"), KeyboardInterrupt()):
            with pytest.raises(type(error)):
                await executor(lambda error=error: fail(error))  # type: ignore[misc]
        assert await executor(lambda: 1) == 1

    run(scenario())


def test_threads_end_when_they_have_nothing_to_do() -> None:
    async def scenario() -> None:
        threads = Threads(idle_seconds=0.01)
        for _ in range(3):
            assert await threads.executor()(lambda: 1) == 1
            while len(threads):
                await asyncio.sleep(0)

    run(scenario())


def test_who_began_to_wait_last_gets_the_next_job() -> None:
    """A thread is not woken out of a long sleep while another one has just had its last job."""

    async def scenario() -> None:
        threads = Threads(idle_seconds=600.0)
        release = threading.Event()
        many = [asyncio.create_task(threads.executor()(release.wait)) for _ in range(5)]
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(*many)
        used = set()
        for _ in range(20):
            while threads.idle < 5:
                await asyncio.sleep(0)
            used.add(await threads.executor()(threading.get_ident))
        assert len(threads) == 5
        assert len(used) == 1

    run(scenario())


def test_threads_begin_anew_after_all_of_them_were_busy_and_ended() -> None:
    """What waited for a busy thread must not make a thread that has ended count as idle."""

    async def scenario() -> None:
        threads = Threads(most=1, idle_seconds=0.01)
        begin = threading.Event()
        busy = asyncio.create_task(threads.executor()(begin.wait))
        others = [asyncio.create_task(threads.executor()(lambda: 2)) for _ in range(3)]
        await asyncio.sleep(0)
        begin.set()
        assert await asyncio.gather(busy, *others) == [True, 2, 2, 2]
        while len(threads):
            await asyncio.sleep(0)
        assert await threads.executor()(lambda: 3) == 3

    run(scenario())


def test_a_loop_apart_may_block_and_gives_its_result() -> None:
    release = threading.Event()

    async def blocking() -> str:
        await asyncio.sleep(0)
        release.wait()
        return threading.current_thread().name

    async def scenario() -> None:
        task = asyncio.create_task(apart(blocking))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        release.set()
        assert await task != threading.current_thread().name

        async def failing() -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await apart(failing)

    run(scenario())


def test_cancelling_waits_until_the_work_has_cleaned_up() -> None:
    said: list[str] = []
    begun = threading.Event()

    async def long() -> None:
        try:
            begun.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            said.append("clean")

    async def scenario() -> None:
        task = asyncio.create_task(apart(long))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert said == ["clean"]

    run(scenario())


class Held:
    """Work in a thread that goes on until it is released, and that nobody waits for any more."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.is_done = False
        begun = threading.Event()

        def work() -> None:
            begun.set()
            self.release.wait()
            self.is_done = True

        async def scenario() -> None:
            task = asyncio.create_task(Threads().executor()(work))
            while not begun.is_set():
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run(scenario())


def test_the_end_waits_for_what_a_thread_is_at(caplog: pytest.LogCaptureFixture) -> None:
    held = Held()
    seen: list[bool] = []

    def end() -> None:
        settle(PATIENCE)
        seen.append(held.is_done)

    ending = threading.Thread(target=end)
    ending.start()
    held.release.set()
    ending.join()
    assert seen == [True]
    assert not caplog.records


def test_the_end_waits_once_for_what_hangs_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    hanging = Held()
    try:
        settle(0.01)
        assert [record.getMessage() for record in caplog.records] == [
            "ends although 1 thread(s) did not come back from a disk in 0.01 s"
        ]
        settle(PATIENCE)  # at once
        other = Held()
        settle(0.01)
        assert len(caplog.records) == 2, "the other one was waited for"
        other.release.set()
        another = Held()
        another.release.set()
        settle(PATIENCE)
        assert another.is_done
        assert len(caplog.records) == 2
    finally:
        hanging.release.set()
