"""Brings back objects of what was published, which git removed from an origin.

Whoever rewinds a branch in an origin, by ordinary ssh, leaves what it was to git's housekeeping,
and the log still says that the branch is that. To publish the rewind, the rule wants to know
whether it is one. Large reels are packs that git keeps; small ones are files beside it, whose
objects can be unpacked once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.git.history import describe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import Oid
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.carried import Carried


def bring_back(carried: Carried, log: VerifiedLog, oids: Iterable[Oid]) -> bool:
    """Unpack small reels if some objects are missing.

    Args:
        carried: the origin; its lock is held.
        log: its log.
        oids: objects that the log names.

    Returns:
        Whether all of them are here now.

    Raises:
        GitError: git failed.
    """
    wanted = sorted(set(oids))
    if None not in describe(carried.git, wanted):
        return True
    places = {push: number for number, push in enumerate(log.ids)}
    small = [
        reel
        for reel in carried.reels.all()
        if reel.is_available and reel.pack == carried.layout.small_pack(reel.id)
    ]
    # Each may lack what the ones before it brought.
    for reel in sorted(small, key=lambda reel: places.get(reel.manifest.end, -1)):
        carried.git.run("unpack-objects", "-q", stdin=reel.pack.read_bytes())
    return None not in describe(carried.git, wanted)
