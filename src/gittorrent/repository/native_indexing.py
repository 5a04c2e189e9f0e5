"""The compiled indexer, where it is installed: several times faster than ``git index-pack``.

`gittorrent-native` works on the growing file itself, reads segments side by side because the
manifest says where they begin, and checks connectivity in the same pass. It takes whole histories;
thin packs, which are small, are git's, since completing one changes the file that others may be
downloading at the same time. Like git it looks out for SHA-1 collision attacks, and like git it
holds received objects to fsck's rules only where the user asked for that
(docs/decisions/0013-compiled-indexer.md).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

from gittorrent.errors import LocalError
from gittorrent.git.packs import link_pack_file
from gittorrent.repository.indexing import GitIndexer, IndexedPack, PackBrokenError

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.reel.manifest import Manifest
    from gittorrent.repository.indexing import Indexer

SWITCH = "GITTORRENT_NATIVE"
"""Environment variable: ``0`` leaves the compiled indexer out even where it is installed."""

_MODULE = "gittorrent_native"


def is_available() -> bool:
    """Tell whether the compiled indexer is installed and wanted."""
    return os.environ.get(SWITCH) != "0" and importlib.util.find_spec(_MODULE) is not None


class NativeIndexer:
    """Indexes the growing pack of a whole history.

    Args:
        scratch: repository that gets the indexed pack.
        pack: the growing file.
        manifest: what the pack consists of.
        fsck: whether objects must keep to fsck's rules.
    """

    def __init__(self, scratch: Git, pack: Path, manifest: Manifest, *, fsck: bool = False) -> None:
        self._native = importlib.import_module(_MODULE)
        self._scratch = scratch
        self._pack = pack
        self._manifest = manifest
        self._indexer: Any = self._native.Indexer(
            pack,
            size=manifest.pack_size,
            objects=manifest.objects,
            object_format=manifest.object_format.name,
            checksum_hex=manifest.pack_checksum,
            segments=[(segment.offset, segment.objects) for segment in manifest.segments],
            detect_collisions=True,
            fsck=fsck,
        )

    def advance(self, prefix: int) -> None:
        """Note that the first ``prefix`` bytes are verified."""
        self._indexer.advance(prefix)

    def finish(self) -> IndexedPack:
        """Wait for the index.

        Raises:
            PackBrokenError: the pack is broken.
        """
        folder = self._scratch.directory / "objects" / "pack"
        target = folder / f"pack-{self._manifest.pack_checksum}.pack"
        try:
            self._indexer.advance(self._manifest.pack_size)
            summary = self._indexer.finish(target.with_suffix(".idx"), target.with_suffix(".rev"))
        except self._native.CorruptPack as error:
            raise PackBrokenError(f"{error}") from error
        except OSError as error:
            raise LocalError(f"indexing {self._pack} failed: {error}") from error
        link_pack_file(self._pack, target)
        return IndexedPack(target, not summary.missing)

    def abandon(self) -> None:
        """Stop and leave nothing running."""
        self._indexer.cancel()


def choose_indexer(scratch: Git, pack: Path, manifest: Manifest, *, fsck: bool = False) -> Indexer:
    """Return the indexer to use for a pack: the compiled one where it fits, git's otherwise.

    Args:
        scratch: repository to index into.
        pack: the growing pack file.
        manifest: signed and verified.
        fsck: whether objects must keep to fsck's rules, as ``fetch.fsckObjects`` asks.
    """
    thin = manifest.start is not None
    if thin or not is_available():
        return GitIndexer(scratch, pack, manifest.pack_size, thin=thin, fsck=fsck)
    return NativeIndexer(scratch, pack, manifest, fsck=fsck)
