"""Keeps the signed manifests of pack indexes; git itself has the indexes, beside the packs.

Whoever has a reel from the beginning of history has its pack's index too, the same bytes
everywhere; so only the manifest is kept, and the index is served from where git reads it. Rules: an
index is given as long as its manifest and the reel are there that it belongs to, and has the size
that the manifest says. Source: docs/protocol/reels.md, "Signed indexes".
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gittorrent.durable import make_directory, write_atomically
from gittorrent.ids import ManifestId, is_sha256
from gittorrent.reel.index_manifest import IndexManifestError, may_have_index, require_index_of
from gittorrent.repository.reelstore import ReelStoreError, StoredReel, read_stored

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.reel.manifest import Manifest
    from gittorrent.repository.layout import Layout
    from gittorrent.repository.reelstore import ReelStore
    from gittorrent.trust.signature import Signature


class IndexStore:
    """The signed indexes of one repository.

    Args:
        layout: where they are.
        reels: the reels that they belong to.
    """

    def __init__(self, layout: Layout, reels: ReelStore) -> None:
        self._layout = layout
        self._folder = layout.indexes
        self._reels = reels
        self._parsed: dict[ManifestId, StoredReel] = {}

    def all(self) -> list[StoredReel]:
        """Return every one that can be given, in order of manifest id."""
        found = []
        for manifest in self._listed():
            index = self.get(manifest)
            if index is not None:
                found.append(index)
        return found

    def get(self, manifest: ManifestId) -> StoredReel | None:
        """Return one that can be given; None when it is not there, or damaged."""
        if not is_sha256(manifest):
            return None
        if manifest not in self._parsed:
            with suppress(FileNotFoundError, ReelStoreError, IndexManifestError):
                self._parsed[manifest] = read_stored(self._path(manifest), manifest, self._stored)
        index = self._parsed.get(manifest)
        return index if index is not None and self._is_there(index) else None

    def of(self, reel: ManifestId) -> StoredReel | None:
        """Return the index of a reel's pack."""
        return next((i for i in self.all() if i.manifest.shape.manifest == reel), None)

    def lacking(self) -> list[StoredReel]:
        """Return the reels here whose packs' indexes could have a manifest and have none."""
        there = {index.manifest.shape.manifest for index in self.all()}
        return [
            reel
            for reel in self._reels.readable()
            if reel.id not in there
            and may_have_index(reel.manifest)
            and reel.is_available
            and index_file(reel).exists()
        ]

    def store(self, manifest: Manifest, signature: Signature) -> StoredReel:
        """Keep a verified manifest; the index is in place."""
        index = self._stored(manifest, signature)
        make_directory(self._folder)
        write_atomically(self._path(index.id), index.manifest_file)
        self._parsed[index.id] = index
        return index

    def drop(self, manifest: ManifestId) -> None:
        """Forget the manifest of an index."""
        self._path(manifest).unlink(missing_ok=True)
        self._parsed.pop(manifest, None)

    def sweep(self) -> None:
        """Forget the manifests of indexes whose reels are gone."""
        for manifest in self._listed():
            if self.get(manifest) is None:
                self.drop(manifest)

    def _listed(self) -> list[ManifestId]:
        paths = sorted(self._folder.glob("*.manifest"))
        return [ManifestId(path.name.removesuffix(".manifest")) for path in paths]

    def _is_there(self, index: StoredReel) -> bool:
        of = index.manifest.shape.manifest
        try:
            is_reel_here = of is not None and self._reels.get(of) is not None
            # Another process may have dropped the manifest, since the index lied.
            is_kept = is_reel_here and self._path(index.id).exists()
            return is_kept and index.pack.stat().st_size == index.manifest.pack_size
        except (FileNotFoundError, ReelStoreError):
            return False

    def _stored(self, manifest: Manifest, signature: Signature) -> StoredReel:
        of = manifest.shape.manifest
        reel = None if of is None else self._reels.get(of)
        if reel is None:
            raise IndexManifestError(f"manifest {manifest.id} is of an index of no reel here")
        require_index_of(manifest, reel.manifest)
        return StoredReel(manifest.id, manifest, signature, index_file(reel))

    def _path(self, manifest: ManifestId) -> Path:
        return self._folder / f"{manifest}.manifest"


def index_file(reel: StoredReel) -> Path:
    """Return where git has the index of a large reel's pack."""
    return reel.pack.with_suffix(".idx")
