"""Tells the user who interrupted a download what of it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.sizes import show_bytes
from gittorrent.store.partial import EXPIRY_SECONDS, kept_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from gittorrent.ids import ManifestId
    from gittorrent.store.home import Home

_DAYS = EXPIRY_SECONDS // (24 * 3600)


def what_is_kept(home: Home, downloads: Collection[ManifestId]) -> str:
    """Return what is there of downloads that were interrupted, as the disk has it.

    Args:
        home: of the node.
        downloads: manifests of the packs that were being downloaded.

    Returns:
        A sentence; empty if no part of them is there, whether unfinished or not begun.
    """
    kept = kept_of(home.partial, downloads)
    if not kept.parts:
        return ""
    return (
        f"interrupted; {kept.parts} of {kept.total} parts ({show_bytes(kept.size)}) are verified"
        f" and kept for {_DAYS} days: run it again and it goes on from there"
    )
