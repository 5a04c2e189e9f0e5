"""Which of the reels that another mirror has are to be built here, so that newcomers find them.

A mirror got its objects in whatever way: by other reels, by pushes over live conversations, by an
ordinary fetch. The reels that a newcomer takes, above all those that the keeper spliced, it makes
of what it has; only manifests travel (docs/protocol/reels.md, "Splicing").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.reel.splicing import lasting_chain, place, to_build

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.push.log import VerifiedLog
    from gittorrent.reel.path import ReelOffer
    from gittorrent.repository.carried import Carried

MAX_BUILT = 64
"""Reels that are built at one look: several times what a newcomer takes."""


def lacking_reels(
    carried: Carried, log: VerifiedLog, offers: Iterable[ReelOffer]
) -> list[ReelOffer]:
    """Return the offers for reels that are to be built in a repository; blocks.

    Args:
        carried: the repository.
        log: its log.
        offers: what another mirror says that it has.
    """
    places = {checkpoint: number for number, checkpoint in enumerate(log.ids)}
    own = carried.reels.offers(log.repository)
    held = [place(offer.start, offer.end, places) for offer in own]
    way = lasting_chain(list(offers), log.ids)
    return to_build(way, [at for at in held if at is not None], places)[:MAX_BUILT]
