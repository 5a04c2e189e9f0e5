"""Rebuilds reels in a process of its own: ``python -m gittorrent.repository.rebuilding``.

A worker (`gittorrent.repository.reel_worker`) is told which reels to build, and says what came of
each.
"""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import locked
from gittorrent.git.history import MissingObjectError
from gittorrent.git.runner import GitError
from gittorrent.ids import OBJECT_FORMATS, ManifestId, Oid
from gittorrent.reel.manifest import parse_manifest
from gittorrent.reel.packing import ReelError
from gittorrent.repository.carried import Carried
from gittorrent.repository.rebuild import first_missing, present, rebuild_reel
from gittorrent.repository.reel_worker import ask_worker, each_percent, serve_order
from gittorrent.repository.stale_files import clear_building
from gittorrent.trust.signature import split_signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.receive import SignedManifest

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


def jobs_of(log: VerifiedLog, reels: Iterable[SignedManifest]) -> list[Job]:
    """Return what building reels takes; blocks, as lists of refs are read for each.

    Args:
        log: knows the checkpoints at their ends.
        reels: by their verified manifests.
    """
    jobs = []
    for signed in reels:
        manifest = signed.manifest
        start = () if manifest.start is None else log.refs_at(manifest.start).values()
        end = log.refs_at(manifest.end).values()
        jobs.append(Job(signed.file, sorted(set(start)), sorted(set(end))))
    return jobs


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
    return await ask_worker(carried, _MODULE, order, Result, progress, yielding=yielding)


def _work(order: Order, say: Callable[[Struct], None]) -> None:
    """Build what is ordered, one reel after the other."""
    carried = Carried(Path(os.fsdecode(order.git_dir)), OBJECT_FORMATS[order.object_format])
    progress = each_percent(say)
    with locked(carried.layout.building_lock):
        clear_building(carried.layout)
        for job in order.jobs:
            say(_build(carried, job, progress))


def _build(carried: Carried, job: Job, progress: Callable[[str, int, int], None]) -> Result:
    text, signature = split_signed(job.manifest)
    manifest = parse_manifest(text)
    stored = carried.reels.get(manifest.id) or carried.shapes.get(manifest.id)
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
    serve_order(Order, _work, lambda order: order.yielding)


if __name__ == "__main__":
    main()
