"""Makes a reel's pack from objects that are here already, instead of downloading it.

Reels are the same bytes on every machine, so whoever has the objects can build the pack a signed
manifest describes and serve it: any clone becomes a seed without a download.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.git import packs, scratch
from gittorrent.reel.build import build_reel
from gittorrent.repository.index_settings import index_settings
from gittorrent.repository.native_indexing import index_own_pack
from gittorrent.repository.receive import KEEP_REASON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.ids import Oid
    from gittorrent.reel.build import ReelPack
    from gittorrent.reel.manifest import Manifest
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.receive import SignedManifest
    from gittorrent.trust.signature import Signature


def rebuild_reel(
    carried: Carried,
    signed: SignedManifest,
    start: Iterable[Oid],
    end: Iterable[Oid],
    progress: Callable[[str, int, int], None],
) -> bool:
    """Build the pack that a signed manifest describes and put both into the store.

    Args:
        carried: the repository, whose lock the caller holds.
        signed: the verified manifest.
        start: what the refs of the reel's start push point at; empty without one.
        end: what the refs of its end push point at.
        progress: told how far it is.

    Returns:
        Whether the bytes came out as described; another zlib or git can make others, and then
        nothing is kept.

    Raises:
        MissingObjectError: the repository lacks objects of the reel.
    """
    manifest = signed.manifest
    carried.layout.incoming.mkdir(parents=True, exist_ok=True)
    with scratch.receiving(carried.layout.incoming, carried.object_format) as room:
        work = room.directory / "reel"
        work.mkdir()
        pack = build_reel(
            carried.layout.objects, carried.object_format, start, end, work, progress=progress
        )
        if pack is None:
            return False
        built = pack.manifest(
            manifest.repository, carried.object_format, manifest.start, manifest.end
        )
        if built.id != manifest.id:
            return False
        store_built(carried, pack, manifest, signed.signature, progress)
    return True


def store_built(
    carried: Carried,
    pack: ReelPack,
    manifest: Manifest,
    signature: Signature,
    progress: Callable[[str, int, int], None],
) -> None:
    """Put a pack built here and its signed manifest into the store.

    Args:
        carried: the repository.
        pack: as built; moved away.
        manifest: that describes it.
        signature: over the manifest's text.
        progress: told about indexing.
    """
    if carried.reels.is_small(manifest):
        carried.reels.adopt_wire_file(manifest, pack.path)
    else:
        progress("indexing", 0, manifest.objects)
        thin = manifest.start is not None
        bases = (carried.layout.objects,) if thin else ()
        with scratch.receiving(carried.layout.incoming, carried.object_format, bases) as room:
            settings = index_settings(carried.layout.git_dir)
            indexed = index_own_pack(room, pack.path, manifest, settings)
            packs.adopt_pack(indexed, carried.reels.pack_path(manifest), keep=KEEP_REASON)
        progress("indexing", manifest.objects, manifest.objects)
    carried.reels.store_manifest(manifest, signature)
