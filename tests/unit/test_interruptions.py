"""The first signal interrupts; those behind it only once somebody has waited long enough."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Never

import pytest

from gittorrent.errors import LocalError
from gittorrent.interruptions import (
    PATIENCE_SECONDS,
    STATUS,
    Interruptions,
    run,
    until_interrupted,
)


class _Left(BaseException):
    """Stands for the end of the process."""


class Scene:
    """Interruptions with a clock and an exit of their own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.interruptions = Interruptions(lambda: self.now, self._leave)

    def _leave(self, status: int) -> Never:
        raise _Left(status)

    def signal(self) -> None:
        self.interruptions.note(signal.SIGINT, None)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_without_work_the_first_interrupts_where_it_comes() -> None:
    scene = Scene()
    with pytest.raises(KeyboardInterrupt):
        scene.signal()
    scene.signal()


@pytest.mark.parametrize("is_interrupted", [True, False])
def test_what_fails_by_the_same_signal_was_interrupted(
    loop: asyncio.AbstractEventLoop, is_interrupted: bool
) -> None:
    """Ctrl-C reaches git too, and work that waits for it without a loop sees git end first."""
    scene = Scene()

    async def work() -> None:
        if is_interrupted:
            scene.signal()
        raise LocalError("git: exit status -2")

    with pytest.raises(KeyboardInterrupt if is_interrupted else LocalError):
        scene.interruptions.run(loop, work())


def test_work_is_cancelled_once_and_cleans_up(loop: asyncio.AbstractEventLoop) -> None:
    scene = Scene()
    done = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            for number in range(3):
                scene.signal()
                await asyncio.sleep(0)
                done.append(number)

    loop.call_later(0.01, scene.signal)
    with pytest.raises(KeyboardInterrupt):
        scene.interruptions.run(loop, work())
    assert done == [0, 1, 2]


def test_a_loop_that_sleeps_is_woken_by_a_real_signal(loop: asyncio.AbstractEventLoop) -> None:
    interruptions = Interruptions()
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGALRM, interruptions.note)
    try:
        interruptions.install()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            interruptions.run(loop, asyncio.Event().wait())
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_a_signal_that_finds_work_done_is_not_lost(loop: asyncio.AbstractEventLoop) -> None:
    scene = Scene()

    async def work() -> None:
        loop.call_soon(scene.signal)  # runs when this has returned, and before anybody is told

    with pytest.raises(KeyboardInterrupt):
        scene.interruptions.run(loop, work())


def test_what_is_ignored_stays_ignored() -> None:
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        Interruptions().install()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is not former[signal.SIGTERM]
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def test_whoever_insists_is_heard() -> None:
    scene = Scene()
    scene.interruptions.settle()
    scene.now += PATIENCE_SECONDS - 0.1
    scene.signal()
    scene.now += 0.1
    with pytest.raises(_Left, match=str(STATUS)):
        scene.signal()


def test_settling_again_does_not_ask_for_more_patience() -> None:
    scene = Scene()
    scene.interruptions.settle()
    scene.now += PATIENCE_SECONDS
    scene.interruptions.settle()
    with pytest.raises(_Left):
        scene.signal()


def test_work_that_fails_says_so(loop: asyncio.AbstractEventLoop) -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Scene().interruptions.run(loop, work())


def test_nothing_interrupts_a_held_block_but_its_end() -> None:
    scene, done = Scene(), []

    def held() -> None:
        with scene.interruptions.held():
            scene.signal()
            scene.signal()
            done.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        held()
    assert done
    with scene.interruptions.held():
        scene.signal()  # a later one; nothing is owed for it


def test_whoever_only_waits_for_a_signal_goes_on(loop: asyncio.AbstractEventLoop) -> None:
    scene = Scene()

    async def serve() -> str:
        await until_interrupted()
        scene.signal()
        await asyncio.sleep(0)
        return "stopped"

    loop.call_later(0.01, scene.signal)
    assert scene.interruptions.run(loop, serve()) == "stopped"


def test_what_a_run_left_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gittorrent.interruptions.PROCESS", Scene().interruptions)
    left: list[asyncio.Task[None]] = []

    async def work() -> int:
        left.append(asyncio.create_task(asyncio.sleep(60)))
        await asyncio.sleep(0)
        return 7

    assert run(work()) == 7
    assert left[0].cancelled()
