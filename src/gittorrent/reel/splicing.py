"""Which reels of a chain are replaced by one, so that a newcomer takes few of them.

Pure. Publications append small reels to a chain; a newcomer asks for each of them, and a chain as
long as the history of publications is no use to anybody. So the sizes of a chain are kept
geometric, as those of git's packs are by ``git repack --geometric=2``: where a reel is less than
twice as large as the next one, it and all after it are made one, which is then compared with the
one before. Hence a chain has no more than `LEFT_ALONE` reels, or one for each time that its bytes
can be halved; and a byte is encoded again only when the reel that it is in is new, or becomes half
as large again.
Source: docs/protocol/reels.md, "Splicing".
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.reel.path import ReelOffer, best_path

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gittorrent.ids import ManifestId, PushId

FACTOR = 2
"""How many times larger than the next one a reel is to be: git's own choice for packs."""

LEFT_ALONE = 4
"""Reels up to which nothing is replaced: asking for so few costs less than encoding them anew."""

GRACE_SECONDS = 24 * 3600.0
"""Time for which a reel is kept and given to others after one that covers it came: whoever began
to download it, on a slow line too, or heard of it from a mirror that has no other, can finish."""


class Range(Struct, frozen=True):
    """Where a reel lies in a log, by the places of its checkpoints.

    Args:
        start: place of the checkpoint that it begins after; -1 for the beginning of history.
        end: place of the one that it completes.
    """

    start: int
    end: int

    def covers(self, other: Range) -> bool:
        """Tell whether this leads from there, or earlier, to there, or later, and is longer."""
        return self != other and self.start <= other.start and other.end <= self.end


def place(start: PushId | None, end: PushId, places: Mapping[PushId, int]) -> Range | None:
    """Return where a reel lies; None if the log, or a clone's part of it, does not say."""
    first = -1 if start is None else places.get(start)
    last = places.get(end)
    return None if first is None or last is None else Range(first, last)


def splice_from(sizes: Sequence[int]) -> int | None:
    """Return which reels of a chain to make one: from this one, counted from 0, to the last.

    Args:
        sizes: bytes of the packs of a chain, in its order.

    Returns:
        None if the chain is good as it is.
    """
    if len(sizes) <= LEFT_ALONE:
        return None
    pairs = enumerate(pairwise(sizes))
    found = next((n for n, (size, after) in pairs if size < FACTOR * after), None)
    if found is None:
        return None
    total = sum(sizes[found:])
    while found and sizes[found - 1] < FACTOR * total:
        found -= 1
        total += sizes[found]
    return found


def lasting_chain(offers: Collection[ReelOffer], log: Sequence[PushId]) -> list[ReelOffer]:
    """Return what a newcomer takes once the reels that others cover are gone.

    A spliced reel may be larger than its parts, so that who looks at bytes alone takes those as
    long as they are there.

    Args:
        offers: the reels that there are.
        log: ids of the log's checkpoints, oldest first.

    Returns:
        A chain to the newest checkpoint that any reaches.
    """
    places = {checkpoint: number for number, checkpoint in enumerate(log)}
    ranges = {offer: place(offer.start, offer.end, places) for offer in offers}
    known = [at for at in ranges.values() if at is not None]
    lasting = [
        offer
        for offer, at in ranges.items()
        if at is not None and not any(other.covers(at) for other in known)
    ]
    everything, chain = best_path(offers, (), log), best_path(lasting, (), log)
    # Reels of two makers may overlap, so that none leads to where another begins.
    reaches_as_far = [o.end for o in chain[-1:]] == [o.end for o in everything[-1:]]
    return chain if reaches_as_far else everything


def superseded(
    ranges: Mapping[ManifestId, Range], since: Mapping[ManifestId, float]
) -> dict[ManifestId, float]:
    """Return the reels that others cover, each with the time since when one does.

    Args:
        ranges: where the reels lie that can be served.
        since: when each of them came, in seconds since 1970.
    """
    found = {}
    for reel, at in ranges.items():
        times = [since[other] for other, over in ranges.items() if over.covers(at)]
        if times:
            found[reel] = min(times)
    return found


def to_build(
    path: Collection[ReelOffer], held: Collection[Range], places: Mapping[PushId, int]
) -> list[ReelOffer]:
    """Return the reels that a mirror lacks of those that a newcomer takes.

    Args:
        path: what a newcomer takes, by the offers of another mirror.
        held: where the reels lie that are here.
        places: of the log's checkpoints.

    Returns:
        Those that no reel here is as good as.
    """
    found = []
    for offer in path:
        at = place(offer.start, offer.end, places)
        if at is not None and not any(here == at or here.covers(at) for here in held):
            found.append(offer)
    return found
