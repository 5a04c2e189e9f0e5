"""Answers that are read while they are written: whole, broken off, and begun anew."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gittorrent.node.ci_flow import Answering, BrokenOffError, Flow, Reader
from gittorrent.node.ci_options import CiConfig
from gittorrent.node.ci_store import CiStore, Spool
from gittorrent.node.flights import Flights

Scene = Callable[["Flow", CiStore], Coroutine[Any, Any, None]]


def descriptors() -> int:
    """Return how many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scene], None]:
    """Runs a scene, after which nothing may be left."""

    def played(scene: Scene) -> None:
        store = CiStore(tmp_path / "ci", CiConfig())
        store.open()

        async def all_of_it() -> None:
            flow = Flow()
            await scene(flow, store)
            assert len(flow) == 0

        before = descriptors()
        asyncio.run(all_of_it())
        assert descriptors() == before
        assert not list((tmp_path / "ci" / "tmp").iterdir())

    return played


async def read(reader: Reader) -> bytes:
    """Return all that comes."""
    found = b""
    while count := await reader.more(len(found)):
        found += os.pread(reader.descriptor, count, len(found))
    return found


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def nothing() -> Reader | None:
    return None


async def never() -> Reader | None:
    await asyncio.Event().wait()
    return None


def answering(flow: Flow, work: Coroutine[Any, Any, Reader | None]) -> Answering:
    return Answering(flow.watch("x"), asyncio.get_running_loop().create_task(work))


async def half(flow: Flow, store: CiStore) -> Reader | None:
    """Be an attempt that breaks off."""
    with store.spool() as spool, flow.writing("x", spool):
        spool.write(b"half of")
        await settle()
        raise ValueError("the upstream hung up")


async def answer_of(answer: Answering) -> bytes:
    """Return an answer, of however many attempts."""
    found = b""
    while (reader := await answer.next()) is not None:
        with contextlib.closing(reader), contextlib.suppress(BrokenOffError):
            found = await read(reader)
    return found


def test_readers_get_what_there_is_while_it_comes(play: Callable[[Scene], None]) -> None:
    async def scene(flow: Flow, store: CiStore) -> None:
        with store.spool() as spool:
            early = answering(flow, never())
            with flow.writing("x", spool):
                await asyncio.to_thread(spool.write, b"first")
                reader = await early.next()
                assert reader is not None
                assert await reader.more(0) == 5
                late = asyncio.ensure_future(answer_of(answering_late := answering(flow, never())))
                await asyncio.to_thread(spool.write, b", second")
                assert await reader.more(5) == 8
                waiting = asyncio.ensure_future(reader.more(13))
                await settle()
                assert not waiting.done()
                assert not reader.is_whole
            assert await waiting == 0
            assert reader.is_whole
            assert await late == b"first, second"
            assert await early.next() is None
            reader.close()
            await early.close()
            await answering_late.close()

    play(scene)


def test_what_breaks_off_is_read_anew(play: Callable[[Scene], None]) -> None:
    async def scene(flow: Flow, store: CiStore) -> None:
        answer = answering(flow, never())
        found = asyncio.ensure_future(answer_of(answer))
        with pytest.raises(ValueError, match="the upstream hung up"):
            await half(flow, store)
        await settle()
        with store.spool() as spool, flow.writing("x", spool):
            spool.write(b"another answer")
        assert await found == b"another answer"
        await answer.close()

    play(scene)


def test_an_answer_that_no_attempt_made_whole_is_an_error(play: Callable[[Scene], None]) -> None:
    async def scene(flow: Flow, store: CiStore) -> None:
        answer = answering(flow, half(flow, store))
        with pytest.raises(ValueError, match="hung up"):
            await answer_of(answer)
        await answer.close()
        answer = answering(flow, nothing())
        with pytest.raises(BrokenOffError, match="gone already"):
            await answer.next()
        await answer.close()

    play(scene)


def test_what_is_kept_needs_no_attempt(play: Callable[[Scene], None]) -> None:
    async def scene(flow: Flow, store: CiStore) -> None:
        async def kept() -> Reader | None:
            with store.spool() as spool:
                spool.write(b"kept")
                return Reader(os.dup(spool.file.fileno()))

        answer = answering(flow, kept())
        assert await answer_of(answer) == b"kept"
        await answer.close()
        unread = answering(flow, kept())
        await settle()
        await unread.close()

    play(scene)


def test_who_goes_ends_what_nobody_else_waits_for(play: Callable[[Scene], None]) -> None:
    async def scene(flow: Flow, store: CiStore) -> None:
        flights = Flights[None]()

        async def write() -> None:
            with store.spool() as spool, flow.writing("x", spool):
                spool.write(b"some")
                await asyncio.Event().wait()

        async def joined() -> Reader | None:
            await flights.join("x", write)
            return None

        first, second = answering(flow, joined()), answering(flow, joined())
        for answer in (first, second):
            reader = await answer.next()
            assert reader is not None
            assert await reader.more(0) == 4
            reader.close()
        await first.close()
        assert "x" in flights
        await second.close()
        await settle()
        assert "x" not in flights

    play(scene)


def test_slow_readers_keep_nobody_and_read_what_was_removed(
    play: Callable[[Scene], None],
) -> None:
    async def scene(flow: Flow, store: CiStore) -> None:
        with store.spool() as spool, flow.writing("x", spool):
            slow = flow.reader("x")
            for _ in range(100):
                spool.write(b"x" * 1000)
        assert slow is not None
        assert len(await read(slow)) == 100_000
        slow.close()

    play(scene)


def test_what_another_runner_gives_does_not_count_for_all(play: Callable[[Scene], None]) -> None:
    async def scene(flow: Flow, store: CiStore) -> None:
        with store.spool() as spool, flow.writing("x", spool, is_own=False):
            assert flow.reader("x", only_own=True) is None
            watch = flow.watch("x", only_own=True)
            assert watch.take() is None
            reader = flow.reader("x")
            assert reader is not None
            reader.close()
            waiting = asyncio.ensure_future(watch.until_begun())
            with store.spool() as own, flow.writing("x", own):
                await settle()
                assert not waiting.done()
                own.write(b"x")
                await waiting
            watch.close()

    play(scene)


def test_spools_hold_no_more_than_they_may(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 10)
    spool.write(b"0123456789")
    assert (tmp_path / "spool").read_bytes() == b"0123456789"  # at once
    spool.close()
