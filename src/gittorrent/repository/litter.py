"""Removes what writers left in a repository when they were killed.

Three kinds, whoever the writer was: rooms in ``incoming``, which belong to whoever holds the lock;
files about to be renamed into place; and push objects of pushes that never came to count. The last
two may also be the work of somebody who does not hold the lock yet (a fetch lists before it locks),
so only old ones go.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.durable import STALE_SECONDS, sweep

if TYPE_CHECKING:
    from collections.abc import Collection

    from gittorrent.ids import PushId
    from gittorrent.repository.layout import Layout

_UNFINISHED = ".*.new"
"""What `gittorrent.durable.write_atomically` calls a file before it has its name."""


def clear_litter(layout: Layout, log: Collection[PushId]) -> None:
    """Remove what is left of writers that are gone; the caller holds the repository's lock.

    Args:
        layout: of the repository.
        log: ids of the log's entries, whose push objects stay.
    """
    for room in layout.incoming.glob("*"):
        shutil.rmtree(room, ignore_errors=True)
    for folder in (layout.own, layout.pushes, layout.reels):
        sweep(folder, _UNFINISHED)
    _sweep_pushes(layout, log)


def _sweep_pushes(layout: Layout, log: Collection[PushId]) -> None:
    if not layout.pushes.is_dir():
        return
    limit = time.time() - STALE_SECONDS
    listed = set(log)
    for entry in os.scandir(layout.pushes):
        if entry.name not in listed and entry.stat().st_mtime < limit:
            Path(entry.path).unlink(missing_ok=True)
