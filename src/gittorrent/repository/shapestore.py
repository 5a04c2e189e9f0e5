"""Keeps the reels of other shapes than the whole: manifests and packs in wire form.

They hold copies of what the repository has, to be given to those who clone less than everything.
So they are a cache, apart from whole reels and from git's own store: whoever removes one loses
nothing, and git never reads them. Rules: the pack is in place before the manifest; damaged ones
count as not there. Source: docs/protocol/reels.md, "Shapes".
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

from gittorrent.durable import (
    make_directory,
    share_like_directory,
    sync_directory,
    write_atomically,
)
from gittorrent.ids import ManifestId, is_sha256
from gittorrent.reel.ref_demand import RefDemand
from gittorrent.reel.splicing import GRACE_SECONDS
from gittorrent.repository.reelstore import ReelStoreError, StoredReel, read_stored

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from pathlib import Path

    from gittorrent.ids import RefName
    from gittorrent.reel.manifest import Manifest
    from gittorrent.repository.layout import Layout
    from gittorrent.trust.signature import Signature

NOTE_SECONDS = 600.0
"""Seconds between two notes of being asked: mirrors look for them less often than that."""


UNASKED_SECONDS = 7 * 24 * 3600.0
"""Seconds without being asked after which a mirror drops its shaped reels."""


class ShapesDue(Enum):
    """What a mirror is to do about shaped reels."""

    NONE = "none"
    LOOK = "look"
    """See what is offered where it looks, and build that."""

    DROP = "drop"
    """Drop all: nobody asks."""


class ShapeStore:
    """The shaped reels of one repository.

    Args:
        layout: where they are.
    """

    def __init__(self, layout: Layout) -> None:
        self._folder = layout.shapes
        self._parsed: dict[ManifestId, StoredReel] = {}

    def all(self) -> list[StoredReel]:
        """Return every one that can be given, in order of manifest id."""
        found = []
        for path in sorted(self._folder.glob("*.manifest")):
            reel = self.get(ManifestId(path.name.removesuffix(".manifest")))
            if reel is not None and reel.is_available:
                found.append(reel)
        return found

    def get(self, manifest: ManifestId) -> StoredReel | None:
        """Return one of them; None when it is not there, or its manifest is damaged."""
        if not is_sha256(manifest):
            return None
        if manifest not in self._parsed:
            with suppress(FileNotFoundError, ReelStoreError):
                path = self._path(manifest, "manifest")
                self._parsed[manifest] = read_stored(path, manifest, self._stored)
        return self._parsed.get(manifest)

    def store(self, manifest: Manifest, signature: Signature, wire: Path) -> StoredReel:
        """Move the wire form of a reel into the store, and its verified manifest with it."""
        reel = self._stored(manifest, signature)
        make_directory(self._folder)
        wire.rename(reel.pack)
        share_like_directory(reel.pack)
        sync_directory(self._folder)
        write_atomically(self._path(reel.id, "manifest"), reel.manifest_file)
        self._parsed[reel.id] = reel
        return reel

    def since(self, reel: StoredReel) -> float:
        """Return when a reel came, in seconds since 1970.

        Raises:
            FileNotFoundError: it is gone.
        """
        return self._path(reel.id, "manifest").stat().st_mtime

    def drop(self, reel: StoredReel) -> None:
        """Remove a reel."""
        self._path(reel.id, "manifest").unlink(missing_ok=True)
        reel.pack.unlink(missing_ok=True)
        self._parsed.pop(reel.id, None)

    def note_asked(self, now: float) -> None:
        """Take note that somebody asked for shaped reels; written down now and then.

        Args:
            now: seconds since 1970.
        """
        if now - self.asked() >= NOTE_SECONDS:
            make_directory(self._folder)
            self._asked.touch()

    def asked(self) -> float:
        """Return when somebody asked last, about, in seconds since 1970; 0 if nobody ever did."""
        try:
            return self._asked.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def demand(self) -> RefDemand:
        """Return how often which branch was asked for lately."""
        try:
            return RefDemand.parse(self._demand.read_bytes())
        except FileNotFoundError:
            return RefDemand()

    def note_demand(self, asked: Mapping[RefName, int], now: float) -> None:
        """Count how often branches were asked for.

        Args:
            asked: times by branch.
            now: seconds since 1970.
        """
        demand = self.demand()
        demand.add(asked, now)
        make_directory(self._folder)
        write_atomically(self._demand, demand.text)

    def due(self, now: float, is_changed: bool) -> ShapesDue:
        """Tell what a mirror is to do about the shaped reels of those that it follows.

        Args:
            now: seconds since 1970.
            is_changed: whether its log has changed.
        """
        asked = self.asked()
        if not asked:
            return ShapesDue.NONE
        if now - asked >= UNASKED_SECONDS:
            return ShapesDue.DROP
        try:
            looked = self._followed.stat().st_mtime
        except FileNotFoundError:
            looked = 0.0
        return ShapesDue.LOOK if is_changed or looked < asked else ShapesDue.NONE

    def followed(self, keep: Container[ManifestId], now: float) -> None:
        """Take note that a mirror has done that, and drop what is not offered there any more.

        Args:
            keep: reels that are offered; others go when they are `GRACE_SECONDS` old.
            now: seconds since 1970.
        """
        self.sweep()
        for reel in self.all():
            if reel.id not in keep and now - self.since(reel) >= GRACE_SECONDS:
                self.drop(reel)
        if now - self.asked() >= UNASKED_SECONDS:
            self._asked.unlink(missing_ok=True)
        self._followed.touch()

    @property
    def _asked(self) -> Path:
        return self._folder / "asked"

    @property
    def _demand(self) -> Path:
        return self._folder / "demand"

    @property
    def _followed(self) -> Path:
        return self._folder / "followed"

    def sweep(self) -> None:
        """Remove packs without a manifest, as a crash leaves them; the caller makes the reels."""
        for pack in self._folder.glob("*.pack"):
            if not pack.with_suffix(".manifest").exists():
                pack.unlink()

    def _stored(self, manifest: Manifest, signature: Signature) -> StoredReel:
        reel_id = manifest.id
        return StoredReel(reel_id, manifest, signature, self._path(reel_id, "pack"))

    def _path(self, manifest: ManifestId, suffix: str) -> Path:
        return self._folder / f"{manifest}.{suffix}"
