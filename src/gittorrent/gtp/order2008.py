"""The commit order of the Perl implementation of 2008.

Pure. From the commits as ``git rev-list --date-order --reverse`` lists them: add commits to the
waiting group while it is empty, or their time is the group's and all their parents were placed;
place the one with the smallest id; repeat. Source: docs/protocol/gtp01.md, The dialect of 2008.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.ids import Oid
    from gittorrent.reel.order import Commit


def order_of_2008(listed: Sequence[Commit]) -> list[Commit]:
    """Return commits in the order in which a reel has them.

    Args:
        listed: in the order git lists them, oldest first; parents come before children.
    """
    members = {commit.oid for commit in listed}
    out: set[Oid] = set()
    placed: list[Commit] = []
    group: list[Commit] = []
    at = 0
    while at < len(listed) or group:
        while at < len(listed):
            commit = listed[at]
            same = not group or commit.time == group[0].time
            ready = all(parent in out or parent not in members for parent in commit.parents)
            if not (same and (ready or not group)):
                break
            group.append(commit)
            at += 1
        group.sort(key=lambda commit: commit.oid)
        first = group.pop(0)
        out.add(first.oid)
        placed.append(first)
    return placed
