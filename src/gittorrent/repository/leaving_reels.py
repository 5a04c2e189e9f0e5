"""Reels that leave a repository: those that others have covered for long, and what crashes left.

A reel is kept for a while after one that covers it came (`gittorrent.reel.splicing`), for those who
began to download it. Then its manifest goes, and with it what keeps its pack from being repacked.
Rules: nothing is removed that holds objects; the caller holds the repository's lock.
Source: docs/protocol/reels.md, "Splicing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.reel.splicing import GRACE_SECONDS, lasting_chain, place, superseded
from gittorrent.repository.receive import KEEP_REASON

if TYPE_CHECKING:
    from gittorrent.ids import ManifestId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.reel.splicing import Range
    from gittorrent.repository.carried import Carried


def drop_superseded(carried: Carried, log: VerifiedLog, now: float) -> bool:
    """Forget the reels that others have covered for long enough; the caller holds the lock.

    Their objects stay: git may pack them anew, as the repository's housekeeping does. So do those
    of packs that were to become reels when whoever put them there was killed.

    Args:
        carried: the repository.
        log: its log.
        now: seconds since 1970.

    Returns:
        Whether packs were among them that housekeeping is to take up.
    """
    places = {checkpoint: number for number, checkpoint in enumerate(log.ids)}
    ranges: dict[ManifestId, Range] = {}
    since: dict[ManifestId, float] = {}
    for reel in carried.reels.readable():
        found = place(reel.manifest.start, reel.manifest.end, places)
        if found is None or reel.manifest.repository != log.repository or not reel.is_available:
            continue
        ranges[reel.id] = found
        since[reel.id] = carried.layout.manifest(reel.id).stat().st_mtime
    needed = {
        offer.manifest for offer in lasting_chain(carried.reels.offers(log.repository), log.ids)
    }
    has_packs = False
    for reel_id, at in superseded(ranges, since).items():
        dropped = carried.reels.get(reel_id)
        if dropped is not None and reel_id not in needed and now - at >= GRACE_SECONDS:
            has_packs = has_packs or not carried.reels.is_small(dropped.manifest)
            carried.reels.drop(dropped)
    carried.indexes.sweep()
    return _release_unlisted(carried) or has_packs


def _release_unlisted(carried: Carried) -> bool:
    """Let git pack anew what is kept for a reel that no manifest describes; tells whether any is.

    Whoever puts a pack and its manifest in place holds the lock from the one to the other.
    """
    layout = carried.layout
    reels = carried.reels.readable()
    if len(reels) < len(list(layout.reels.glob("*.manifest"))):
        return False  # which pack a damaged manifest describes nobody knows
    listed = {reel.pack.stem for reel in reels}
    found = [
        keep
        for keep in (layout.objects / "pack").glob("pack-*.keep")
        if keep.stem not in listed and keep.read_text(errors="replace").strip() == KEEP_REASON
    ]
    for keep in found:
        keep.unlink()
    return bool(found)
