"""Which reels lead from what one has to what one wants.

Pure. Reels are edges between checkpoints; a newcomer starts before the first. The best way reaches
the newest checkpoint it can and costs the fewest bytes on the way. Clones know the ids of lately
made checkpoints only: what they do not know is older, and may lie on the way.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.shapes import WHOLE, Shape

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from gittorrent.ids import ManifestId, PushId


REEL_BYTES = 32 << 10
"""What a reel costs beside its bytes: a manifest to be asked for and verified, another download to
begin and to index. So a chain of small reels gives way to one that was spliced from them."""


class ReelOffer(Struct, frozen=True):
    """A reel that somebody has.

    Args:
        manifest: id of its manifest.
        start: checkpoint it starts after, None for the beginning of history.
        end: checkpoint it completes.
        pack_size: bytes.
        shape: which of the objects between the two it has; chains are of one shape.
    """

    manifest: ManifestId
    start: PushId | None
    end: PushId
    pack_size: int
    shape: Shape = WHOLE


def cost_of(way: Iterable[ReelOffer]) -> int:
    """Return what a way costs in bytes, by which it is compared with others."""
    return sum(offer.pack_size + REEL_BYTES for offer in way)


def best_path(
    offers: Collection[ReelOffer],
    have: Collection[PushId],
    log: Sequence[PushId],
    *,
    begins_late: bool = False,
) -> list[ReelOffer]:
    """Return the reels to take, in order.

    Args:
        offers: what can be had.
        have: checkpoints whose objects are here already.
        log: ids of the log's checkpoints, oldest first.
        begins_late: whether there are older ones, unknown here, that a way may lead over.

    Returns:
        The cheapest chain from the beginning, or from a checkpoint in ``have``, to the newest one
        that any chain reaches; empty when nothing leads beyond what is here.
    """
    rank = {push: number for number, push in enumerate(log)}
    onward: dict[PushId | None, list[ReelOffer]] = {}
    for offer in offers:
        begins = offer.start is None or offer.start in rank
        if begins_late or (begins and offer.end in rank):
            onward.setdefault(offer.start, []).append(offer)
    starts: list[PushId | None] = [None, *(push for push in have if push in rank)]
    cost: dict[PushId | None, int] = dict.fromkeys(starts, 0)
    came: dict[PushId | None, ReelOffer] = {}
    queue = [(0, -1 if push is None else rank[push], push) for push in starts]
    heapq.heapify(queue)
    while queue:
        spent, _, push = heapq.heappop(queue)
        if spent > cost[push]:
            continue
        for offer in sorted(onward.get(push, []), key=lambda o: (o.pack_size, o.manifest)):
            total = spent + offer.pack_size + REEL_BYTES
            if offer.end not in cost or total < cost[offer.end]:
                cost[offer.end] = total
                came[offer.end] = offer
                heapq.heappush(queue, (total, rank.get(offer.end, -1), offer.end))
    reached = (push for push in cost if push is not None and push in rank)
    newest = max(reached, key=rank.__getitem__, default=None)
    chain = []
    at: PushId | None = newest
    while at is not None and at in came:
        chain.append(came[at])
        at = came[at].start
    return chain[::-1]


def reached(offers: Collection[ReelOffer]) -> list[ReelOffer]:
    """Return the reels that can be taken from the beginning on, each after one that it builds on.

    Args:
        offers: what can be had.
    """
    onward: dict[PushId | None, list[ReelOffer]] = {}
    for offer in offers:
        onward.setdefault(offer.start, []).append(offer)
    ordered: list[ReelOffer] = []
    there: set[PushId | None] = {None}
    waiting: list[PushId | None] = [None]
    for at in waiting:
        for offer in onward.get(at, []):
            ordered.append(offer)
            if offer.end not in there:
                there.add(offer.end)
                waiting.append(offer.end)
    return ordered
