"""Which reels lead from what is here to a reference.

Pure. Reference objects are places, reels are ways between them; the best path costs the fewest
bytes, and of equal ones the better copied is taken.
Source: docs/protocol/gtp01.md, Path evaluation.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.gtp.messages import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gittorrent.gtp.messages import ReelName


class Way(Struct, frozen=True):
    """A reel that can be had: its size in uncompressed bytes, and how many peers have it."""

    reel: ReelName
    size: int
    copies: int


def best_path(ways: Iterable[Way], have: Collection[bytes], wanted: bytes) -> list[Way] | None:
    """Return the reels to take, in order.

    Args:
        ways: what can be had.
        have: ids of references whose objects are here.
        wanted: id of the reference to reach.

    Returns:
        The cheapest chain; empty when ``wanted`` is here; None when nothing leads there.
    """
    onward: dict[bytes, list[Way]] = {}
    for way in ways:
        if way.copies > 0 and way.reel.start != way.reel.end:
            onward.setdefault(way.reel.start, []).append(way)
    cost: dict[bytes, tuple[int, int]] = dict.fromkeys((BEGINNING, *have), (0, 0))
    came: dict[bytes, Way] = {}
    queue = [(0, 0, start) for start in cost]
    heapq.heapify(queue)
    while queue:
        spent, scarcity, place = heapq.heappop(queue)
        if (spent, scarcity) > cost[place]:
            continue
        if place == wanted:
            break
        for way in onward.get(place, []):
            # Every step costs a little, so that empty reels make no circles.
            total = (spent + way.size + 1, scarcity - way.copies)
            if way.reel.end not in cost or total < cost[way.reel.end]:
                cost[way.reel.end] = total
                came[way.reel.end] = way
                heapq.heappush(queue, (*total, way.reel.end))
    if wanted not in cost:
        return None
    chain = []
    at = wanted
    while at in came:
        chain.append(came[at])
        at = came[at].reel.start
    return chain[::-1]
