"""Rebuilds a reel's pack from objects that are here already, instead of downloading it.

Reels are the same bytes on every machine, so whoever has the objects can build the pack a signed
manifest describes and serve it: any clone becomes a seed without a download. Building takes long,
and fetches into the same repository need not wait for it: directories in ``building`` belong to
whoever holds that lock, and the repository's own is held only while what came out is moved into the
store.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gittorrent.durable import locked
from gittorrent.git import history, packs, scratch
from gittorrent.reel.build import build_reel
from gittorrent.reel.selftest import find_encoder
from gittorrent.repository.index_settings import index_settings
from gittorrent.repository.native_indexing import index_own_pack
from gittorrent.repository.receive import KEEP_REASON
from gittorrent.shapes import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import Oid
    from gittorrent.reel.build import ReelPack
    from gittorrent.reel.manifest import Manifest
    from gittorrent.repository.carried import Carried
    from gittorrent.trust.signature import Signature


def first_missing(git: Git, end: Sequence[Oid]) -> Oid | None:
    """Return one of ``end`` of which not everything is here; None if all of it is.

    Cheap where the repository's refs reach ``end``, since their word is taken.

    Args:
        git: the repository.
        end: what the refs of a reel's end push point at.

    Raises:
        GitError: git could not look.
    """
    for oid, info in zip(end, history.describe(git, end), strict=True):
        if info is None:
            return oid
    suspects = list(end)
    if history.is_connected_to_refs(git, suspects):
        return None
    while len(suspects) > 1:
        half = suspects[: len(suspects) // 2]
        is_here = history.is_connected_to_refs(git, half)
        suspects = suspects[len(half) :] if is_here else half
    return suspects[0]


def present(git: Git, oids: Sequence[Oid]) -> list[Oid]:
    """Return those that are here."""
    found = history.describe(git, oids)
    return [oid for oid, info in zip(oids, found, strict=True) if info is not None]


def rebuild_reel(
    carried: Carried,
    manifest: Manifest,
    signature: Signature,
    start: Iterable[Oid],
    end: Iterable[Oid],
    progress: Callable[[str, int, int], None],
) -> bool:
    """Build the pack that a signed manifest describes and put both into the store.

    Args:
        carried: the repository; the caller holds its ``building_lock``, and not its ``lock``.
        manifest: the verified manifest.
        signature: over its text.
        start: what the refs of the reel's start push point at; empty without one.
        end: what the refs of its end push point at.
        progress: told how far it is.

    Returns:
        Whether the bytes came out as described; if not, nothing is kept.

    Raises:
        UnfitEncoderError: they could not, on this machine; nothing was tried.
        MissingObjectError: the repository lacks objects of the reel.
    """
    find_encoder().require()
    layout = carried.layout
    with scratch.receiving(layout.building, carried.object_format) as staging:
        work = staging.directory / "reel"
        work.mkdir()
        pack = build_reel(
            layout.objects,
            carried.object_format,
            start,
            end,
            work,
            shape=manifest.shape,
            progress=progress,
        )
        if pack is None:
            return False
        built = pack.manifest(
            manifest.repository, carried.object_format, manifest.start, manifest.end
        )
        if built.id != manifest.id:
            return False
        if manifest.shape != WHOLE:
            carried.shapes.store(manifest, signature, pack.path)
            return True
        install_built(carried, pack, manifest, signature, progress)
    return True


def install_built(
    carried: Carried,
    pack: ReelPack,
    manifest: Manifest,
    signature: Signature,
    progress: Callable[[str, int, int], None],
) -> None:
    """Put a pack built here and its signed manifest into the store, as `store_built` does.

    The repository's lock is held only while they are moved: indexing takes long.

    Args:
        carried: the repository; the caller holds its ``building_lock``, and not its ``lock``.
        pack: as built in ``building``; moved away.
        manifest: that describes it.
        signature: over the manifest's text.
        progress: told about indexing.
    """
    layout = carried.layout
    if carried.reels.is_small(manifest):
        with locked(layout.lock):
            carried.reels.adopt_wire_file(manifest, pack.path)
            carried.reels.store_manifest(manifest, signature)
        return
    with (
        _indexed(carried, layout.building, pack, manifest, progress) as indexed,
        locked(layout.lock),
        scratch.receiving(layout.incoming, carried.object_format) as staging,
    ):
        # From there half of a move is taken back by whoever clears up after us.
        staged = staging.directory / "objects" / "pack" / indexed.name
        packs.adopt_pack(indexed, staged)
        packs.adopt_pack(staged, carried.reels.pack_path(manifest), keep=KEEP_REASON)
        carried.reels.store_manifest(manifest, signature)


def store_built(
    carried: Carried,
    pack: ReelPack,
    manifest: Manifest,
    signature: Signature,
    progress: Callable[[str, int, int], None],
) -> None:
    """Put a pack built here and its signed manifest into the store.

    Args:
        carried: the repository, whose lock the caller holds.
        pack: as built; moved away.
        manifest: that describes it.
        signature: over the manifest's text.
        progress: told about indexing.
    """
    if carried.reels.is_small(manifest):
        carried.reels.adopt_wire_file(manifest, pack.path)
    else:
        with _indexed(carried, carried.layout.incoming, pack, manifest, progress) as indexed:
            packs.adopt_pack(indexed, carried.reels.pack_path(manifest), keep=KEEP_REASON)
    carried.reels.store_manifest(manifest, signature)


@contextlib.contextmanager
def _indexed(
    carried: Carried,
    parent: Path,
    pack: ReelPack,
    manifest: Manifest,
    progress: Callable[[str, int, int], None],
) -> Iterator[Path]:
    """Index a pack built here, in a directory of its own in ``parent``, and yield its indexed
    form."""
    progress("indexing", 0, manifest.objects)
    bases = () if manifest.start is None else (carried.layout.objects,)
    with scratch.receiving(parent, carried.object_format, bases) as staging:
        settings = index_settings(carried.layout.git_dir)
        indexed = index_own_pack(staging, pack.path, manifest, settings)
        progress("indexing", manifest.objects, manifest.objects)
        yield indexed
