"""Signs manifests of pack indexes where the keeper's key is, and makes indexes again to compare.

An index that is signed is believed by clones that ask for that, before they look into the pack. So
what is signed was made here, of the pack, for this purpose: an index that has been on disk for a
while is made once more first, and signed only if it is the same.
Source: docs/protocol/reels.md, "Signed indexes".
"""

from __future__ import annotations

import contextlib
import filecmp
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError
from gittorrent.git import scratch
from gittorrent.git.packs import link_pack_file
from gittorrent.reel.index_manifest import index_manifest
from gittorrent.repository.index_settings import index_settings
from gittorrent.repository.indexstore import index_file
from gittorrent.repository.native_indexing import index_own_pack
from gittorrent.repository.shape_settings import read_wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gittorrent.reel.manifest import Manifest
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.signing.keys import Signer


class IndexDamagedError(LocalError):
    """The index of a pack here is not the one that the pack has."""


@contextlib.contextmanager
def made_again(carried: Carried, reel: StoredReel) -> Iterator[Path]:
    """Index the pack of a reel from the beginning once more, apart; yields the ``.idx``.

    Args:
        carried: the repository; the caller holds its ``building_lock``.
        reel: in its store.

    Raises:
        PackBrokenError: the pack cannot be indexed.
        LocalError: this machine could not do it.
    """
    with scratch.receiving(carried.layout.building, carried.object_format) as staging:
        pack = staging.directory / "again.pack"
        link_pack_file(reel.pack, pack)
        settings = index_settings(carried.layout.git_dir)
        yield index_own_pack(staging, pack, reel.manifest, settings).with_suffix(".idx")


def manifest_of_index(reel: StoredReel) -> Manifest:
    """Return the manifest of the index of a reel's pack, as it is on disk."""
    path = index_file(reel)
    with path.open("rb") as index:
        return index_manifest(reel.manifest, index, path.stat().st_size)


def sign_new_index(carried: Carried, reel: StoredReel, signer: Signer) -> None:
    """Sign the index of a reel that has just been made here.

    Nothing is signed where the owner wants no reels of other shapes, or the pack is small: to index
    it costs its receiver next to nothing.
    """
    wanted, _ = read_wanted(carried.git)
    if wanted.are_signed(reel.manifest.pack_size):
        manifest = manifest_of_index(reel)
        carried.indexes.store(manifest, signer.sign(manifest.text()))


def sign_lacking_indexes(carried: Carried, signer: Signer) -> list[StoredReel]:
    """Sign the indexes of reels that were made before indexes were signed, or where that failed.

    The caller holds ``building.lock``.

    Returns:
        The indexes that have a manifest now.

    Raises:
        IndexDamagedError: an index here is not that of its pack; it is not signed.
    """
    carried.indexes.sweep()
    wanted, _ = read_wanted(carried.git)
    made = []
    for reel in carried.indexes.lacking():
        if not wanted.are_signed(reel.manifest.pack_size):
            continue
        with made_again(carried, reel) as again:
            require_same(reel, again)
        manifest = manifest_of_index(reel)
        made.append(carried.indexes.store(manifest, signer.sign(manifest.text())))
    return made


def require_same(reel: StoredReel, again: Path) -> None:
    """Compare the index that git has of a reel's pack with one that was made again.

    Raises:
        IndexDamagedError: they differ.
    """
    path = index_file(reel)
    if not filecmp.cmp(path, again, shallow=False):
        raise IndexDamagedError(
            f"{path} is not the index of its pack",
            hint=f"'git index-pack {reel.pack}' makes it anew; then run 'gittorrent verify'",
        )
