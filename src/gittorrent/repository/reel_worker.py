"""A worker that makes reels: what it is told, what it says, and how it ends.

Building runs git's encoders, several at a time, then joins, digests and indexes for as long again;
the process that asks for it may have to end within a second, or serve others meanwhile. So it is a
worker (`gittorrent.background`): it reads one line that says what to do, writes a line for each
step and each result, and dies with its starter. Which reels it makes the modules say that it runs:
`gittorrent.repository.rebuilding` and `gittorrent.repository.making`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Struct

from gittorrent.background import end_with_starter, worker
from gittorrent.durable import locked, temporary_directory
from gittorrent.errors import GitTorrentError, LocalError
from gittorrent.permissions import explain_local_error
from gittorrent.repository.niceness import NICENESS
from gittorrent.repository.stale_files import clear_building

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.repository.carried import Carried


class Step(Struct, frozen=True, tag="step"):
    """How far a worker is with one reel: ``done`` of ``total`` objects in ``phase``."""

    phase: str
    done: int
    total: int


class WorkerFailure(Struct, frozen=True, tag="trouble"):
    """This machine let the worker down, which ends it: the error's text and hint."""

    text: str
    hint: str


YIELDING_AT_ONCE = max(2, (os.cpu_count() or 1) // 2)
"""Workers of one process that yield and work side by side: a node has many repositories, and what
each has to build may be due at one moment. Two, so that a long one does not keep all others out."""

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

ResultT = TypeVar("ResultT", bound=Struct)
OrderT = TypeVar("OrderT", bound=Struct)


async def ask_worker(
    carried: Carried,
    module: str,
    order: Struct,
    result: type[ResultT],
    progress: Callable[[str, int, int], None],
    heard: Callable[[ResultT], None] = lambda _result: None,
    *,
    yielding: bool,
) -> list[ResultT]:
    """Have a worker do something, and return the results that it told of.

    Cancelled, it leaves nothing running, and nothing but finished reels behind. Of those that yield
    `YIELDING_AT_ONCE` work side by side; the others wait until they are through.

    Args:
        carried: the repository whose reels it makes.
        module: that it runs.
        order: what it is told.
        result: a struct with a tag of its own, one for each reel.
        progress: told how far each is.
        heard: told of each result at once.
        yielding: whether others should be given the processors first; its order has to say so.

    Raises:
        LocalError: this machine let it down.
    """
    async with _turn() if yielding else contextlib.nullcontext():
        return await _ask(carried, module, order, result, progress, heard)


def _turn() -> asyncio.Semaphore:
    loop = asyncio.get_running_loop()
    return _turns.setdefault(loop, asyncio.Semaphore(YIELDING_AT_ONCE))


async def _ask(
    carried: Carried,
    module: str,
    order: Struct,
    result: type[ResultT],
    progress: Callable[[str, int, int], None],
    heard: Callable[[ResultT], None],
) -> list[ResultT]:
    results: list[ResultT] = []
    with temporary_directory("rebuild") as folder:
        try:
            async with worker(module, {"TMPDIR": str(folder)}) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(msgspec.json.encode(order) + b"\n")
                decoder: msgspec.json.Decoder[Step | WorkerFailure | ResultT]
                decoder = msgspec.json.Decoder(Step | WorkerFailure | result)
                async for line in process.stdout:
                    said = decoder.decode(line)
                    if isinstance(said, Step):
                        progress(said.phase, said.done, said.total)
                    elif isinstance(said, WorkerFailure):
                        raise LocalError(said.text, hint=said.hint)
                    else:
                        results.append(said)
                        heard(said)
                status = await process.wait()
        finally:
            _clear(carried)
    if status:
        raise LocalError(f"building reels in {carried.layout.git_dir} ended with status {status}")
    return results


def _clear(carried: Carried) -> None:
    """Remove what a worker that was ended had begun, unless another builds there."""
    if carried.layout.building.is_dir():
        with (
            contextlib.suppress(BlockingIOError),
            locked(carried.layout.building_lock, wait=False),
        ):
            clear_building(carried.layout)


def serve_order(
    order_type: type[OrderT],
    work: Callable[[OrderT, Callable[[Struct], None]], None],
    is_yielding: Callable[[OrderT], bool],
) -> None:
    """Work for the process at the other ends of standard input and output.

    Args:
        order_type: what that sends.
        work: does what is ordered, and says each `Step` and result.
        is_yielding: whether others should be given the processors first.
    """
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=order_type)
    end_with_starter()
    if is_yielding(order):
        os.nice(NICENESS)

    def say(said: Struct) -> None:
        os.write(1, msgspec.json.encode(said) + b"\n")

    try:
        work(order, say)
    except GitTorrentError as error:
        say(WorkerFailure(str(error), error.hint))
    except OSError as error:
        trouble = explain_local_error(error)
        if trouble is None:
            raise
        say(WorkerFailure(str(trouble), trouble.hint))


def each_percent(say: Callable[[Struct], None]) -> Callable[[str, int, int], None]:
    """Return what is told of progress, and says a `Step` for each percent."""
    shown: tuple[str, int] = ("", -1)

    def progress(phase: str, done: int, total: int) -> None:
        nonlocal shown
        share = (phase, 100 * done // max(1, total))
        if share != shown:
            shown = share
            say(Step(phase, done, total))

    return progress
