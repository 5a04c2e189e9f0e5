"""The signed indexes of packs that mirrors offer, and whom to ask for the manifest of one.

An offer costs nothing to make. So of each mirror so many are remembered, as many of one pack are
asked for as an honest one may have, and only such as the pack can have by its number of objects.
Must not know how manifests are fetched or verified.
Source: docs/protocol/reels.md, "Signed indexes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.reel.pack_index import is_index_size
from gittorrent.reel.path import ReelOffer
from gittorrent.shapes import index_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.reel.manifest import Manifest
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.wire.messages import HaveBundle

MAX_INDEXES = 1000
"""Indexes of one mirror that are remembered: one for each reel from the beginning of history."""

MAX_RIVALS = 2
"""Indexes of one pack that one mirror is asked for: there is one, and keys may change."""


class OfferedIndexes:
    """What one acquisition was offered.

    Args:
        first: the mirror the user named, or that is tried in its place.
    """

    def __init__(self, first: Mirror | None) -> None:
        self._first = first
        self._offers: dict[Mirror, list[ReelOffer]] = {}

    def take(self, mirror: Mirror, message: HaveBundle) -> None:
        """Note an offer, if it is not one too many."""
        reel = message.reel
        mine = self._offers.setdefault(mirror, [])
        if len(mine) < MAX_INDEXES:
            size, shape = message.pack_size, message.shape
            mine.append(ReelOffer(message.manifest, reel.start, reel.end, size, shape))

    def of(self, manifest: Manifest) -> list[tuple[Mirror, ReelOffer]]:
        """Return the indexes that a pack may have, each with who offers it, the first mirror first.

        Args:
            manifest: of the pack.
        """
        found = []
        for mirror in sorted(self._offers, key=lambda mirror: mirror is not self._first):
            found += [(mirror, index) for index in indexes_among(self._offers[mirror], manifest)]
        return found


def indexes_among(offers: Iterable[ReelOffer], manifest: Manifest) -> list[ReelOffer]:
    """Return the indexes that a pack may have, out of what one mirror offers.

    Args:
        offers: made by it.
        manifest: of the pack.
    """
    ends, shape = (manifest.start, manifest.end), index_of(manifest.id)
    found = [
        index
        for index in offers
        if index.shape == shape
        and (index.start, index.end) == ends
        and is_index_size(index.pack_size, manifest.objects, manifest.object_format)
    ]
    return found[:MAX_RIVALS]
