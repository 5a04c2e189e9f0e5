"""Rebuilds reels in a process of its own: ``python -m gittorrent.repository.rebuilding``.

Building runs git's encoders, several at a time, then joins, digests and indexes for as long again;
the process that asks for it may have to end within a second, or serve others meanwhile. So it is a
worker (`gittorrent.background`): it reads one line that says what to build, writes a line for each
step and each result, and dies with its starter.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from gittorrent.background import end_with_starter, worker
from gittorrent.durable import locked, temporary_directory
from gittorrent.errors import LocalError
from gittorrent.git.history import MissingObjectError
from gittorrent.git.runner import GitError
from gittorrent.ids import OBJECT_FORMATS, ManifestId, Oid
from gittorrent.permissions import explain_local_error
from gittorrent.reel.manifest import parse_manifest
from gittorrent.reel.packing import ReelError
from gittorrent.repository.carried import Carried
from gittorrent.repository.niceness import NICENESS
from gittorrent.repository.rebuild import first_missing, present, rebuild_reel
from gittorrent.repository.stale_files import clear_building
from gittorrent.trust.signature import split_signed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MODULE = "gittorrent.repository.rebuilding"


class RebuildOutcome(enum.Enum):
    """What came of one reel."""

    HELD = "held"
    """It was there when its turn came."""

    BUILT = "built"
    """It was built."""

    MISSING = "missing"
    """Not all of its objects are here."""

    DIFFERENT = "different"
    """Its objects are here, and the bytes came out otherwise: its maker used another zlib."""

    FAILED = "failed"
    """Git did not make it, or this machine can make none."""


class Job(Struct, frozen=True):
    """A reel to build.

    Args:
        manifest: verified text and signature, as they travel.
        start: what the refs of its start push point at; empty without one.
        end: what the refs of its end push point at.
    """

    manifest: bytes
    start: list[Oid]
    end: list[Oid]


class Order(Struct, frozen=True):
    """What a worker is to do.

    Args:
        git_dir: of the repository, as the system spells it.
        object_format: its name.
        jobs: the reels to build, in order.
        yielding: whether others should be given the processors first.
    """

    git_dir: bytes
    object_format: str
    jobs: list[Job]
    yielding: bool


class Step(Struct, frozen=True, tag="step"):
    """How far a worker is with one reel: ``done`` of ``total`` objects in ``phase``."""

    phase: str
    done: int
    total: int


class Result(Struct, frozen=True, tag="result"):
    """What came of one reel.

    Args:
        manifest: its id.
        outcome: what came of it.
        lacking: an object that it needs and that, or a part of whose past, is not here.
        reason: why it failed.
    """

    manifest: ManifestId
    outcome: RebuildOutcome
    lacking: Oid | None = None
    reason: str = ""


class WorkerFailure(Struct, frozen=True, tag="trouble"):
    """This machine let the worker down, which ends it: the error's text and hint."""

    text: str
    hint: str


async def rebuild_reels(
    carried: Carried,
    jobs: Sequence[Job],
    progress: Callable[[str, int, int], None],
    *,
    yielding: bool = False,
) -> list[Result]:
    """Build the packs of reels out of a repository's objects, as far as they are there.

    Cancelled, it leaves nothing running, and nothing but finished reels behind.

    Args:
        carried: the repository.
        jobs: the reels, in order.
        progress: told how far each is.
        yielding: whether others should be given the processors first.

    Raises:
        LocalError: this machine let it down.
    """
    where = os.fsencode(carried.layout.git_dir)
    order = Order(where, carried.object_format.name, list(jobs), yielding)
    results: list[Result] = []
    with temporary_directory("rebuild") as folder:
        try:
            async with worker(_MODULE, {"TMPDIR": str(folder)}) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(msgspec.json.encode(order) + b"\n")
                async for line in process.stdout:
                    said = msgspec.json.decode(line, type=Step | Result | WorkerFailure)
                    if isinstance(said, Step):
                        progress(said.phase, said.done, said.total)
                    elif isinstance(said, Result):
                        results.append(said)
                    else:
                        raise LocalError(said.text, hint=said.hint)
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


def _work(order: Order, say: Callable[[Step | Result], None]) -> None:
    """Build what is ordered, one reel after the other."""
    carried = Carried(Path(os.fsdecode(order.git_dir)), OBJECT_FORMATS[order.object_format])
    shown: tuple[str, int] = ("", -1)

    def progress(phase: str, done: int, total: int) -> None:
        nonlocal shown
        share = (phase, 100 * done // max(1, total))
        if share != shown:
            shown = share
            say(Step(phase, done, total))

    with locked(carried.layout.building_lock):
        clear_building(carried.layout)
        for job in order.jobs:
            say(_build(carried, job, progress))


def _build(carried: Carried, job: Job, progress: Callable[[str, int, int], None]) -> Result:
    text, signature = split_signed(job.manifest)
    manifest = parse_manifest(text)
    stored = carried.reels.get(manifest.id)
    if stored is not None and stored.is_available:
        return Result(manifest.id, RebuildOutcome.HELD)
    lacking = first_missing(carried.git, job.end)
    if lacking is not None:
        return Result(manifest.id, RebuildOutcome.MISSING, lacking)
    # A branch that is gone since may be missing at the start. What is reachable from it only is no
    # part of the reel, and most often nothing else hangs on it; the manifest tells.
    start = present(carried.git, job.start)
    held = frozenset(start)
    lost = next((oid for oid in job.start if oid not in held), None)
    try:
        if rebuild_reel(carried, manifest, signature, start, job.end, progress):
            return Result(manifest.id, RebuildOutcome.BUILT)
    except MissingObjectError as error:
        return Result(manifest.id, RebuildOutcome.MISSING, lost, str(error))
    except (GitError, ReelError) as error:
        if isinstance(error, GitError) and error.is_own_trouble:
            raise
        return Result(manifest.id, RebuildOutcome.FAILED, lost, str(error))
    if lost is not None:
        return Result(manifest.id, RebuildOutcome.MISSING, lost)
    return Result(manifest.id, RebuildOutcome.DIFFERENT)


def main() -> None:
    """Work for the process at the other ends of standard input and output."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    end_with_starter()
    if order.yielding:
        os.nice(NICENESS)

    def say(said: Step | Result | WorkerFailure) -> None:
        os.write(1, msgspec.json.encode(said) + b"\n")

    try:
        _work(order, say)
    except LocalError as error:
        say(WorkerFailure(str(error), error.hint))
    except OSError as error:
        trouble = explain_local_error(error)
        if trouble is None:
            raise
        say(WorkerFailure(str(trouble), trouble.hint))


if __name__ == "__main__":
    main()
