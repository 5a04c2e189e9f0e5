"""Where a reel is cut into segments, and what each segment builds on.

Pure. A segment is a run of whole commits, each with the objects it is first to reach. Tracks
nothing; given the commits in canonical order and the raw size each brings, it returns the cuts
(docs/protocol/reels.md, "Segments" and "Edges").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.ids import Oid
    from gittorrent.reel.order import Commit

SMALLEST_TARGET = 1 << 30
"""A target is never below 1 GiB of raw objects: fewer segments mean shorter delta chains."""

MOST_TARGETS = 16
"""A reel's raw size makes at most this many targets, so that manifests stay short."""

MOST_EDGES = 10
"""As many bases as pack-objects' window looks at; more would cost time and change little."""


class SegmentCut(Struct, frozen=True):
    """A run of commits: ``first`` to ``last`` (exclusive) in the canonical order."""

    first: int
    last: int


def choose_target(raw_size: int, smallest_target: int = SMALLEST_TARGET) -> int:
    """Return the target raw size of a segment for a reel of ``raw_size`` bytes.

    Args:
        raw_size: sum of the uncompressed sizes of its objects, bytes.
        smallest_target: lower for tests only, which cut small repositories into segments; a
            reel made with any other than the default is nobody else's.
    """
    target = smallest_target
    while raw_size > target * MOST_TARGETS:
        target *= 2
    return target


def cut(sizes: Sequence[int], target: int) -> list[SegmentCut]:
    """Cut before each commit at which the current segment has reached ``target``.

    Args:
        sizes: raw bytes each commit brings, itself and the objects it is first to reach.
        target: raw bytes.

    Returns:
        At least one cut; a single empty one when there are no commits at all (a reel of
        trailing objects only).
    """
    cuts: list[SegmentCut] = []
    first = 0
    reached = 0
    for index, size in enumerate(sizes):
        if reached >= target:
            cuts.append(SegmentCut(first, index))
            first = index
            reached = 0
        reached += size
    cuts.append(SegmentCut(first, len(sizes)))
    return cuts


def edges(commits: Sequence[Commit]) -> list[Oid]:
    """Return the commits a segment's first deltas may build on: at most ten, in order.

    Args:
        commits: the segment's own, in canonical order.
    """
    inside = {commit.oid for commit in commits}
    found: dict[Oid, None] = {}
    for commit in reversed(commits):
        for parent in commit.parents:
            if parent not in inside and parent not in found:
                found[parent] = None
                if len(found) == MOST_EDGES:
                    return list(found)
    return list(found)


def frontier(commits: Sequence[Commit]) -> tuple[Oid, ...]:
    """Return a segment's commits that are no parent of another of its commits, sorted."""
    parents = {parent for commit in commits for parent in commit.parents}
    return tuple(sorted(commit.oid for commit in commits if commit.oid not in parents))
