"""Builds a reel: plans it, encodes its segments side by side and joins them.

The definition is in the pure modules beside this one; here it is carried out with git in a
scratch repository, so that nothing but the objects and the two sets of ids counts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING

from msgspec import Struct

from gittorrent.git import history, scratch
from gittorrent.git.runner import Stopper, stopper_of_thread
from gittorrent.reel import segments as cutting
from gittorrent.reel.encoder import ENCODER_VERSION
from gittorrent.reel.manifest import Manifest, Segment
from gittorrent.reel.object_listing import list_objects, tags_of, trailing_objects
from gittorrent.reel.order import Commit, canonical_order
from gittorrent.reel.pack import HEADER_SIZE, pack_header, parse_pack_header
from gittorrent.reel.packing import ReelError
from gittorrent.reel.parts import choose_part_size
from gittorrent.reel.selftest import find_encoder
from gittorrent.shapes import HISTORY, WHOLE, Shape, tip_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat, Oid, PushId, RepositoryId
    from gittorrent.reel.object_listing import ObjectListing

_COPY = 1 << 20


class Plan(Struct):
    """What goes into a reel, ready for encoding.

    Args:
        directory: holds one ``<n>.in`` file a segment, the input of pack-objects.
        segments: per segment its objects, raw size and frontier.
        target: raw bytes at which segments were cut.
        newest: commits that no other one of the reel is a child of.
        shape: of the reel.
    """

    directory: Path
    segments: list[PlannedSegment]
    target: int
    newest: tuple[Oid, ...]
    shape: Shape

    @property
    def objects(self) -> int:
        """Objects in the reel."""
        return sum(segment.objects for segment in self.segments)


class PlannedSegment(Struct, frozen=True):
    """One segment before encoding."""

    objects: int
    raw_size: int
    frontier: tuple[Oid, ...]


class ReelPack(Struct, frozen=True):
    """An encoded reel: the joined pack on disk and what its manifest says about it.

    ``newest`` are the commits that no other one of the reel is a child of, ``shape`` is which of
    the objects between its ends it has.
    """

    path: Path
    target: int
    objects: int
    size: int
    checksum: str
    segments: tuple[Segment, ...]
    part_size: int
    parts: tuple[str, ...]
    newest: tuple[Oid, ...]
    shape: Shape

    def manifest(
        self,
        repository: RepositoryId,
        object_format: ObjectFormat,
        start: PushId | None,
        end: PushId,
    ) -> Manifest:
        """Return the manifest of this pack as the reel between two pushes."""
        return Manifest(
            repository=repository,
            object_format=object_format,
            start=start,
            end=end,
            encoder=ENCODER_VERSION,
            target=self.target,
            part_size=self.part_size,
            objects=self.objects,
            pack_size=self.size,
            pack_checksum=self.checksum,
            segments=self.segments,
            parts=self.parts,
            shape=self.shape,
        )


def build_reel(
    objects: Path,
    object_format: ObjectFormat,
    start: Iterable[Oid],
    end: Iterable[Oid],
    work: Path,
    *,
    tips: Collection[Oid] | None = None,
    shape: Shape = WHOLE,
    processes: int | None = None,
    progress: Callable[[str, int, int], None] = lambda _phase, _done, _total: None,
    smallest_target: int = cutting.SMALLEST_TARGET,
) -> ReelPack | None:
    """Build the reel between two sets of ids.

    Args:
        objects: object directory to read.
        object_format: of the repository.
        start: what the refs of the start push point to; empty from the beginning of history.
        end: what the refs of the end push point to.
        work: empty directory for intermediate files and the pack, which stays there.
        tips: commits that reach the same commits as ``start``, where they are known and fewer;
            ``start`` is looked at only if need be then.
        shape: which of the objects between the two it is to have; a tip has no start.
        processes: segments encoded, or threads that deflate, at the same time; the number of
            cores by default.
        progress: called with the phase, and how many objects of how many are done.
        smallest_target: for tests only, see `gittorrent.reel.segments.choose_target`.

    Returns:
        The pack, or None when there is nothing between the two.

    Raises:
        MissingObjectError: the repository is incomplete.
        ReelError: git's output contradicts the plan.
    """
    with scratch.borrowing(objects, object_format) as git:
        plan = plan_reel(
            git, start, end, work,
            tips=tips, shape=shape, progress=progress, smallest_target=smallest_target,
        )  # fmt: skip
        if plan is None:
            return None
        meter = _Meter(plan, progress)
        packs = _encode(git, plan, object_format, processes or os.cpu_count() or 1, meter)
    progress("joining", 0, plan.objects)
    joined = _join(plan, packs, object_format, work / "reel.pack")
    progress("joining", plan.objects, plan.objects)
    return joined


def plan_reel(
    git: Git,
    start: Iterable[Oid],
    end: Iterable[Oid],
    work: Path,
    *,
    tips: Collection[Oid] | None = None,
    shape: Shape = WHOLE,
    progress: Callable[[str, int, int], None] = lambda _phase, _done, _total: None,
    smallest_target: int = cutting.SMALLEST_TARGET,
) -> Plan | None:
    """Write down what pack-objects is to be fed for each segment of a reel.

    Args:
        git: a scratch repository that borrows the objects.
        start: what the refs of the start push point to.
        end: what the refs of the end push point to.
        work: empty directory that receives ``<n>.in`` for each segment.
        tips: as for `build_reel`.
        shape: as for `build_reel`.
        progress: told how far it is.
        smallest_target: for tests only, see `gittorrent.reel.segments.choose_target`.

    Returns:
        The plan, or None when there is nothing between the two.

    Raises:
        MissingObjectError: the repository is incomplete.
        ReelError: git listed something else than it was asked for.
    """
    if shape.commit is not None:
        return _plan_tip(git, shape.commit, end, work)
    bare = shape == HISTORY
    after = set(end)
    if tips is None:
        start = tips = sorted(set(start))
        after.difference_update(start)
    walked = history.commits_between(git, tips, after)
    commits = canonical_order([Commit(c.oid, c.time, c.parents) for c in walked])
    progress("planning", 0, len(commits))
    listing = list_objects(git, commits, bool(tips), work / "objects", progress, without_blobs=bare)
    trailing = trailing_objects(git, start, sorted(after), listing, without_blobs=bare)
    if not commits and not trailing:
        return None
    trailing_size = sum(info.size for info in trailing)
    target = cutting.choose_target(sum(listing.sizes) + trailing_size, smallest_target)
    cuts = cutting.cut(listing.sizes, target)
    planned = _write_segments(work, cuts, commits, listing, trailing)
    listing.path.unlink()
    parents = {parent for commit in commits for parent in commit.parents}
    newest = tuple(commit.oid for commit in commits if commit.oid not in parents)
    return Plan(work, planned, target, newest, shape)


def _plan_tip(git: Git, tip: Oid, end: Iterable[Oid], work: Path) -> Plan:
    """Write down what pack-objects is fed for one commit; its parents are not there to build on."""
    commits = [Commit(tip, 0, ())]
    listing = list_objects(git, commits, False, work / "objects", lambda *_: None)
    trailing = tags_of(git, end, tip)
    raw_size = sum(listing.sizes) + sum(info.size for info in trailing)
    cuts = cutting.cut(listing.sizes, cutting.choose_target(raw_size))
    planned = _write_segments(work, cuts, commits, listing, trailing)
    listing.path.unlink()
    return Plan(work, planned, cutting.choose_target(raw_size), (tip,), tip_of(tip))


def _write_segments(
    work: Path,
    cuts: Sequence[cutting.SegmentCut],
    commits: Sequence[Commit],
    listing: ObjectListing,
    trailing: Sequence[history.ObjectInfo],
) -> list[PlannedSegment]:
    """Write the input of pack-objects for each segment; the last one takes the trailing objects."""
    planned = []
    with listing.path.open("rb") as spool:
        for number, piece in enumerate(cuts):
            members = commits[piece.first : piece.last]
            tail = trailing if number == len(cuts) - 1 else []
            with (work / f"{number}.in").open("wb") as out:
                for edge in cutting.edges(members):
                    out.write(f"-{edge}\n".encode("ascii"))
                _copy(spool, out, listing.starts[piece.last] - listing.starts[piece.first])
                out.writelines(f"{info.oid}\n".encode("ascii") for info in tail)
            counted = sum(listing.counts[piece.first : piece.last]) + len(tail)
            raw = sum(listing.sizes[piece.first : piece.last]) + sum(info.size for info in tail)
            planned.append(PlannedSegment(counted, raw, cutting.frontier(members)))
    return planned


class _Meter:
    """Adds up what the encoders of all segments say about their progress."""

    def __init__(self, plan: Plan, progress: Callable[[str, int, int], None]) -> None:
        self._lock = threading.Lock()
        self._done = [0.0] * len(plan.segments)
        self._plan = plan
        self._progress = progress

    def update(self, segment: int, share: float) -> None:
        """Note that ``share`` (0 to 1) of a segment is encoded."""
        with self._lock:
            self._done[segment] = share
            planned = self._plan.segments
            done = sum(s.objects * d for s, d in zip(planned, self._done, strict=True))
            self._progress("encoding", int(done), self._plan.objects)


def _encode(
    git: Git, plan: Plan, object_format: ObjectFormat, processes: int, meter: _Meter
) -> list[Path]:
    """Encode segments side by side, each into its own pack file; returns the paths in order.

    When this is interrupted, or one of them fails, the others are stopped: nobody wants them.
    """
    encoder = find_encoder()
    workers = min(processes, len(plan.segments))
    threads = max(1, processes // workers)

    def encode(number: int) -> Path:
        source, target = plan.directory / f"{number}.in", plan.directory / f"{number}.pack"

        def report(share: float) -> None:
            meter.update(number, share)

        with stopper.watching():
            encoder.pack(git, source, target, object_format, threads, report)
        report(1.0)
        source.unlink()
        return target

    # Threads of a pool know nothing of what may stop the one that waits for them.
    stopper = Stopper(above=stopper_of_thread())
    with ThreadPoolExecutor(workers) as pool:
        try:
            return list(pool.map(encode, range(len(plan.segments))))
        except BaseException:
            stopper.stop()
            raise


def _join(plan: Plan, packs: list[Path], object_format: ObjectFormat, path: Path) -> ReelPack:
    """Write the reel pack from its segments' packs, hashing parts on the way."""
    segments = []
    around = HEADER_SIZE + object_format.raw_size
    pack_size = around + sum(pack.stat().st_size - around for pack in packs)
    part_size = choose_part_size(pack_size)
    with path.open("wb") as file:
        out = _PartWriter(file, object_format, part_size)
        out.write(pack_header(plan.objects))
        for planned, pack in zip(plan.segments, packs, strict=True):
            segments.append(
                Segment(out.position, planned.objects, planned.raw_size, planned.frontier)
            )
            _append_entries(pack, planned.objects, object_format, out)
            pack.unlink()
        out.finish()
        file.flush()
        os.fsync(file.fileno())
    return ReelPack(
        path=path,
        target=plan.target,
        objects=plan.objects,
        size=out.position,
        checksum=out.checksum,
        segments=tuple(segments),
        part_size=part_size,
        parts=tuple(out.digests),
        newest=plan.newest,
        shape=plan.shape,
    )


def _append_entries(
    pack: Path, objects: int, object_format: ObjectFormat, out: _PartWriter
) -> None:
    with pack.open("rb") as source:
        counted = parse_pack_header(source.read(HEADER_SIZE))
        if counted != objects:
            raise ReelError(f"git packed {counted} objects of a segment of {objects}")
        left = pack.stat().st_size - HEADER_SIZE - object_format.raw_size
        while left:
            chunk = source.read(min(_COPY, left))
            out.write(chunk)
            left -= len(chunk)


class _PartWriter:
    """Writes a pack while it takes the digests of parts and of the whole."""

    def __init__(self, file: IO[bytes], object_format: ObjectFormat, part_size: int) -> None:
        self.position = 0
        self._part_size = part_size
        self.digests: list[str] = []
        self.checksum = ""
        self._file = file
        self._whole = object_format.new_hash()
        self._part = hashlib.sha256()
        self._filled = 0

    def write(self, data: bytes) -> None:
        """Append bytes of the pack before its trailer."""
        self._whole.update(data)
        self._append(data)

    def finish(self) -> None:
        """Append the trailer and close the last part."""
        self._append(self._whole.digest())
        self.checksum = self._whole.hexdigest()
        if self._filled:
            self.digests.append(self._part.hexdigest())

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self.position += len(data)
        view = memoryview(data)
        while len(view):
            taken = view[: self._part_size - self._filled]
            self._part.update(taken)
            self._filled += len(taken)
            view = view[len(taken) :]
            if self._filled == self._part_size:
                self.digests.append(self._part.hexdigest())
                self._part = hashlib.sha256()
                self._filled = 0


def _copy(source: IO[bytes], target: IO[bytes], count: int) -> None:
    while count:
        chunk = source.read(min(_COPY, count))
        if not chunk:
            raise ReelError("the spooled object listing is shorter than it was written")
        target.write(chunk)
        count -= len(chunk)


def discard(work: Path) -> None:
    """Remove a build's directory with all that is left in it."""
    shutil.rmtree(work, ignore_errors=True)
