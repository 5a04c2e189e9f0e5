"""Removes what writers left in a repository when they were killed.

Five kinds: directories in ``incoming``, which belong to the holder of the lock, and in
``building``, which belong to the holder of its lock; packs that were moved from the first to git's
without their index; files about to be renamed into place; and push objects of pushes that never
came to count. The last two may also belong to a process that does not hold the lock yet (a fetch
lists before it locks), so only old ones go.

A pack without index is nothing to git, but may be all that is left of a user's work. So only those
go whose index is still in the staging repository that they came from.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.durable import STALE_SECONDS, locked, sweep, sweep_temporary_directories
from gittorrent.git.packs import checksums_named
from gittorrent.repository.push_files import listed_in

if TYPE_CHECKING:
    from collections.abc import Collection

    from gittorrent.repository.layout import Layout

_UNFINISHED = ".*.new"
"""What `gittorrent.durable.write_atomically` calls a file before it has its name."""


def remove_stale_files(layout: Layout, listed: Collection[str]) -> None:
    """Remove what is left of writers that are gone; the caller holds the repository's lock.

    Args:
        layout: of the repository.
        listed: ids of the entries of all its logs, whose push objects stay.
    """
    clear_staging(layout)
    sweep_old_files(layout, listed)


def clear_staging(layout: Layout) -> None:
    """Remove what nobody is at work on: the caller holds the repository's lock."""
    for staging in layout.incoming.glob("*"):
        for index in staging.glob("objects/pack/*.idx"):
            _withdraw(layout, index)
        shutil.rmtree(staging, ignore_errors=True)
    _clear_building(layout)


def sweep_old_files(layout: Layout, listed: Collection[str]) -> None:
    """Remove files that are old and belong to nobody; looks at all push objects.

    Args:
        layout: of the repository, whose lock the caller holds.
        listed: as for `remove_stale_files`.
    """
    for folder in (
        layout.own,
        layout.pushes,
        layout.push_packs,
        layout.reels,
        layout.indexes,
        *layout.logs.glob("*"),
    ):
        sweep(folder, _UNFINISHED)
    sweep_temporary_directories(str(layout.git_dir))  # homes of users who have none
    _sweep_pushes(layout, listed)


def _clear_building(layout: Layout) -> None:
    """Remove reels whose builder is gone."""
    if layout.building.is_dir():
        with contextlib.suppress(BlockingIOError), locked(layout.building_lock, wait=False):
            clear_building(layout)


def clear_building(layout: Layout) -> None:
    """Remove reels that were being built; the caller holds the lock for that."""
    for staging in layout.building.glob("*"):
        shutil.rmtree(staging, ignore_errors=True)


def _withdraw(layout: Layout, index: Path) -> None:
    """Remove what was moved out of a staging directory of a pack whose index was to follow.

    Source: `gittorrent.git.packs.adopt_pack`, which moves the index last.
    """
    moved = not index.with_suffix(".pack").exists()
    for checksum in checksums_named(index):
        if layout.pack(checksum, "idx").exists():
            continue
        if moved:
            layout.pack(checksum).unlink(missing_ok=True)
        if not layout.pack(checksum).exists():
            for suffix in ("rev", "keep"):
                layout.pack(checksum, suffix).unlink(missing_ok=True)


def _sweep_pushes(layout: Layout, listed: Collection[str]) -> None:
    limit = time.time() - STALE_SECONDS
    if layout.pushes.is_dir():
        for entry in os.scandir(layout.pushes):
            if entry.name not in listed and entry.stat().st_mtime < limit:
                Path(entry.path).unlink(missing_ok=True)
    for path in layout.push_packs.glob("*"):
        if path.stat().st_mtime < limit and not any(p in listed for p, _, _ in listed_in(path)):
            path.unlink(missing_ok=True)
