"""Keeps the reels of one repository: manifests with their signatures, and where packs are.

Large reels are packs in git's own store, completed by git when they are thin; small ones (below
`SMALL_OBJECTS`) are wire files, since completing a push of a few objects as a pack would drag
whole trees along. Either way the wire form can be served from the file in place.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import (
    make_directory,
    share_like_directory,
    sync_directory,
    write_atomically,
)
from gittorrent.errors import GitTorrentError, LocalError
from gittorrent.ids import ManifestId, is_sha256
from gittorrent.ownership import share
from gittorrent.reel.manifest import parse_manifest
from gittorrent.reel.pack import FilePiece, view_of
from gittorrent.reel.parts import part_range
from gittorrent.reel.path import ReelOffer
from gittorrent.shapes import WHOLE
from gittorrent.trust.signature import split_signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from gittorrent.ids import RepositoryId
    from gittorrent.reel.manifest import Manifest
    from gittorrent.reel.pack import FileView, WireView
    from gittorrent.repository.layout import Layout
    from gittorrent.trust.signature import Signature

SMALL_OBJECTS = 100
"""Reels below this many objects are kept as wire files and their objects unpacked."""


class ReelStoreError(GitTorrentError):
    """A reel kept on disk is damaged or missing."""


class DamagedCopyError(LocalError):
    """A pack on this machine is not what its manifest says."""


class StoredReel(Struct, frozen=True):
    """A reel in the store.

    Args:
        id: of the manifest.
        manifest: what it consists of.
        signature: over the manifest's text.
        pack: the file to serve it from.
    """

    id: ManifestId
    manifest: Manifest
    signature: Signature
    pack: Path

    @property
    def is_available(self) -> bool:
        """Tell whether the pack is there to be served."""
        return self.pack.exists()

    @property
    def manifest_file(self) -> bytes:
        """Text and signature, as they travel."""
        return self.manifest.text() + self.signature.data

    @property
    def view(self) -> WireView | FileView:
        """How the wire form lies in the pack file."""
        return view_of(self.manifest)

    def damaged_parts(self) -> Iterator[int]:
        """Read the pack and yield each part, counted from 0, that is not what the manifest says."""
        for index, part in enumerate(self._parts()):
            if hashlib.sha256(part).hexdigest() != self.manifest.parts[index]:
                yield index

    def sound_parts(self) -> Iterator[bytes]:
        """Read the pack and yield each part, in its wire form.

        Raises:
            DamagedCopyError: the next part is not what the manifest says.
            FileNotFoundError: the pack is gone.
        """
        for index, part in enumerate(self._parts()):
            if hashlib.sha256(part).hexdigest() != self.manifest.parts[index]:
                raise damaged_part(index, self.pack)
            yield part

    def is_sound_part(self, index: int) -> bool:
        """Read one part, counted from 0, and tell whether it is what the manifest says."""
        with self.pack.open("rb") as file:
            part = self._part(file, index)
        return hashlib.sha256(part).hexdigest() == self.manifest.parts[index]

    def _parts(self) -> Iterator[bytes]:
        with self.pack.open("rb") as file:
            for index in range(len(self.manifest.parts)):
                yield self._part(file, index)

    def _part(self, file: BinaryIO, index: int) -> bytes:
        offset, count = part_range(index, self.manifest.pack_size, self.manifest.part_size)
        part = bytearray()
        for piece in self.view.pieces(offset, count):
            if isinstance(piece, FilePiece):
                file.seek(piece.offset)
                part += file.read(piece.count)
            else:
                part += piece
        return bytes(part)


class ReelStore:
    """The reels of one repository.

    Args:
        layout: where they are.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._parsed: dict[ManifestId, StoredReel] = {}

    def all(self) -> list[StoredReel]:
        """Return every reel whose manifest is in the store, in order of manifest id."""
        found = []
        if self._layout.reels.is_dir():
            for path in sorted(self._layout.reels.glob("*.manifest")):
                reel = self.get(ManifestId(path.name.removesuffix(".manifest")))
                if reel is not None:
                    found.append(reel)
        return found

    def readable(self) -> list[StoredReel]:
        """Return every reel but those whose manifests are damaged, in order of manifest id."""
        found = []
        for path in sorted(self._layout.reels.glob("*.manifest")):
            with suppress(ReelStoreError):
                reel = self.get(ManifestId(path.name.removesuffix(".manifest")))
                if reel is not None:
                    found.append(reel)
        return found

    def offers(self, repository: RepositoryId) -> list[ReelOffer]:
        """Return the reels of a repository that can be given, in order of manifest id."""
        return [
            ReelOffer(reel.id, reel.manifest.start, reel.manifest.end, reel.manifest.pack_size)
            for reel in self.readable()
            if reel.manifest.repository == repository and reel.is_available
        ]

    def get(self, manifest: ManifestId) -> StoredReel | None:
        """Return one reel, None when it is not in the store.

        Raises:
            ReelStoreError: its manifest is damaged.
        """
        if manifest in self._parsed:
            return self._parsed[manifest]
        if not is_sha256(manifest):
            return None
        try:
            reel = read_stored(self._layout.manifest(manifest), manifest, self._stored)
        except FileNotFoundError:
            return None
        self._parsed[manifest] = reel
        return reel

    def store_manifest(self, manifest: Manifest, signature: Signature) -> StoredReel:
        """Keep a verified manifest; call it when the pack is in place."""
        reel = self._stored(manifest, signature)
        write_atomically(self._layout.manifest(reel.id), reel.manifest_file)
        self._parsed[reel.id] = reel
        return reel

    def is_small(self, manifest: Manifest) -> bool:
        """Tell whether a reel is kept as a wire file."""
        is_small = manifest.objects < SMALL_OBJECTS and manifest.start is not None
        # What others lack on purpose has to be in a pack that says so (.promisor).
        return is_small and manifest.shape == WHOLE

    def pack_path(self, manifest: Manifest) -> Path:
        """Return where a reel's pack belongs."""
        if self.is_small(manifest):
            return self._layout.small_pack(manifest.id)
        return self._layout.pack(manifest.pack_checksum)

    def adopt_wire_file(self, manifest: Manifest, wire: Path) -> None:
        """Move the wire form of a small reel into the store."""
        target = self._layout.small_pack(manifest.id)
        make_directory(target.parent)
        wire.rename(target)
        share_like_directory(target)
        sync_directory(target.parent)

    def adopt_copy(self, manifest: Manifest, wire: Path) -> None:
        """Put a copy of the wire form of a small reel into the store."""
        write_atomically(self._layout.small_pack(manifest.id), wire.read_bytes())

    def drop(self, reel: StoredReel) -> None:
        """Forget a reel that cannot be served any more; git may repack its objects then."""
        self._layout.manifest(reel.id).unlink(missing_ok=True)
        self._layout.small_pack(reel.id).unlink(missing_ok=True)
        self._parsed.pop(reel.id, None)
        if all(other.pack != reel.pack for other in self.all()):
            reel.pack.with_suffix(".keep").unlink(missing_ok=True)

    def _stored(self, manifest: Manifest, signature: Signature) -> StoredReel:
        return StoredReel(manifest.id, manifest, signature, self.pack_path(manifest))


def read_stored(
    path: Path, manifest: ManifestId, made: Callable[[Manifest, Signature], StoredReel]
) -> StoredReel:
    """Read a manifest's file.

    Args:
        path: of the file.
        manifest: its id.
        made: returns the reel that a manifest with its signature describes.

    Raises:
        FileNotFoundError: there is none.
        ReelStoreError: it is damaged.
    """
    data = path.read_bytes()
    try:
        text, signature = split_signed(data)
        reel = made(parse_manifest(text), signature)
    except GitTorrentError as error:
        raise _damaged(path, str(error)) from error
    if reel.id != manifest:
        raise _damaged(path, f"its id is {reel.id}")
    return reel


def _damaged(path: Path, why: str) -> ReelStoreError:
    return ReelStoreError(
        f"{path} is damaged: {why}", hint="delete the file and publish or mirror again"
    )


def copy_wire_form(reel: StoredReel, target: Path) -> None:
    """Put the wire form of a reel of this machine at ``target``, by hard link where that is safe.

    What is there then is not verified yet: `verified_parts` does that.

    Args:
        reel: in whatever repository, perhaps of another user.
        target: a path where nothing is.

    Raises:
        DamagedCopyError: the pack cannot be read, or there is no room.
    """
    try:
        if not share(reel.pack, target, reel.manifest.pack_size):
            return
        with target.open("r+b") as file:
            # Of a pack that git completed, header and trailer are others than on the wire.
            position = 0
            for piece in reel.view.pieces(0, reel.manifest.pack_size):
                if isinstance(piece, FilePiece):
                    position += piece.count
                else:
                    file.seek(position)
                    position += file.write(piece)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise DamagedCopyError(f"cannot take {reel.pack}: {error.strerror}") from error


def verified_parts(reel: StoredReel, wire: Path) -> Iterator[int]:
    """Read a reel's wire form and yield each part, from 0, once it is known to be right.

    Args:
        reel: where it was taken from.
        wire: what was made of that.

    Raises:
        DamagedCopyError: the next part is not what the manifest says.
    """
    manifest = reel.manifest
    with wire.open("rb") as file:
        for index, expected in enumerate(manifest.parts):
            _, count = part_range(index, manifest.pack_size, manifest.part_size)
            if hashlib.sha256(file.read(count)).hexdigest() != expected:
                raise damaged_part(index, reel.pack)
            yield index


def damaged_part(index: int, pack: Path) -> DamagedCopyError:
    """Return what to say of a part, from 0, of a pack of this machine."""
    return DamagedCopyError(
        f"part {index + 1} of {pack} is damaged",
        hint="run 'gittorrent verify' on that repository",
    )
