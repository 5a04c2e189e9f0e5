"""Keeps a carried repository lean: drops what reel packs make redundant, refreshes bitmaps.

Loses nothing: unreachable objects go into a cruft pack. It runs in the background after
publishing, one at a time per repository, as git's own maintenance does.
"""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

from gittorrent import background
from gittorrent.durable import open_to_append
from gittorrent.git import packs

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.repository.carried import Carried

LOOSE_LIMIT = 2000
"""Loose objects beyond which they are packed; git gc starts at 6700."""

PACK_LIMIT = 10
"""Packs that are no reels beyond which they are joined; each costs every look-up a little."""


def is_due(carried: Carried, *, first: bool) -> bool:
    """Tell whether housekeeping would pay; always after the first publication."""
    loose, unkept = packs.count_loose(carried.git)
    return first or loose > LOOSE_LIMIT or unkept > PACK_LIMIT


def tidy_up(carried: Carried) -> bool:
    """Do the housekeeping now; tells whether it was done, rather than under way already.

    Raises:
        GitError: git failed; nothing is lost.
    """
    lock = carried.layout.own / "housekeeping.lock"
    with open_to_append(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        packs.tidy(carried.git, _largest_reel(carried))
    return True


def start_in_background(carried: Carried) -> None:
    """Start the housekeeping in a process of its own, which writes its words to a log file."""
    log = carried.layout.own / "housekeeping.log"
    with open_to_append(log) as out:
        background.start(["tidy", str(carried.layout.git_dir)], out)


def start_if_due(carried: Carried) -> None:
    """Start the housekeeping in the background if it would pay."""
    if is_due(carried, first=False):
        start_in_background(carried)


def _largest_reel(carried: Carried) -> Path | None:
    stored = [reel for reel in carried.reels.all() if reel.is_available]
    large = [reel for reel in stored if not carried.reels.is_small(reel.manifest)]
    largest = max(large, key=lambda reel: reel.manifest.pack_size, default=None)
    return None if largest is None else largest.pack.with_suffix(".idx")
