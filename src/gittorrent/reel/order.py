"""The canonical order of commits.

Pure. Parents come before children; among the commits whose parents (inside the set) are all
placed, the one with the smallest (committer time, object id) comes first. The order depends on
nothing but the set and its commits (docs/protocol/reels.md, "Order").
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.ids import Oid


class OrderError(GitTorrentError):
    """The commits given cannot be ordered: an ancestor relation runs in a circle."""


class Commit(Struct, frozen=True):
    """What ordering needs of a commit.

    Args:
        oid: its id.
        time: committer time in seconds, as git reads it.
        parents: its parents in its own order, inside the set or not.
    """

    oid: Oid
    time: int
    parents: tuple[Oid, ...]


def canonical_order(commits: Sequence[Commit]) -> list[Commit]:
    """Return ``commits`` (any order, no duplicates) in the canonical order.

    Raises:
        OrderError: some commits wait for each other, which no real history does.
    """
    waiting: dict[Oid, int] = {}
    children: dict[Oid, list[Commit]] = {}
    members = {commit.oid for commit in commits}
    ready: list[tuple[int, Oid, Commit]] = []
    for commit in commits:
        inside = {parent for parent in commit.parents if parent in members}
        waiting[commit.oid] = len(inside)
        for parent in inside:
            children.setdefault(parent, []).append(commit)
        if not inside:
            ready.append((commit.time, commit.oid, commit))
    heapq.heapify(ready)
    placed: list[Commit] = []
    while ready:
        _, oid, commit = heapq.heappop(ready)
        placed.append(commit)
        for child in children.get(oid, ()):
            waiting[child.oid] -= 1
            if waiting[child.oid] == 0:
                heapq.heappush(ready, (child.time, child.oid, child))
    if len(placed) != len(waiting):
        raise OrderError(f"{len(waiting) - len(placed)} commits are ancestors of themselves")
    return placed
