"""The manifest of a pack's index: what follows from the pack's own manifest, and the index's parts.

Pure. The index travels like a reel: in parts, named by the id of a signed manifest. That manifest
names the pack's manifest by its id, so the pair cannot be put together wrongly, and manifests of
reels stay what they were (docs/protocol/reels.md, "Pack indexes").
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.errors import TrustError
from gittorrent.reel.parts import choose_part_size
from gittorrent.shapes import WHOLE, index_of

if TYPE_CHECKING:
    from typing import BinaryIO

    from gittorrent.reel.manifest import Manifest


class IndexManifestError(TrustError):
    """The manifest of an index does not go with the manifest of the pack."""


def may_have_index(manifest: Manifest) -> bool:
    """Tell whether the index of a reel's pack can have a manifest.

    That of a thin pack depends on how it was completed.
    """
    return manifest.shape == WHOLE and manifest.start is None


def index_manifest(pack: Manifest, index: BinaryIO, size: int) -> Manifest:
    """Return the manifest of the index of a reel's pack.

    Args:
        pack: the reel's manifest.
        index: the index, at its beginning; read to its end.
        size: bytes it has.
    """
    part_size = choose_part_size(size)
    parts, last = [], b""
    while data := index.read(part_size):
        parts.append(hashlib.sha256(data).hexdigest())
        last = (last + data)[-pack.object_format.raw_size :]
    return replace(
        pack,
        shape=index_of(pack.id),
        part_size=part_size,
        pack_size=size,
        pack_checksum=last.hex(),
        segments=(),
        parts=tuple(parts),
    )


def require_index_of(index: Manifest, pack: Manifest) -> None:
    """Refuse the manifest of an index that says of the pack what the pack's own does not say.

    Args:
        index: manifest of the index.
        pack: manifest of the pack.

    Raises:
        IndexManifestError: they differ.
    """
    wanted = replace(
        pack,
        shape=index_of(pack.id),
        part_size=index.part_size,
        pack_size=index.pack_size,
        pack_checksum=index.pack_checksum,
        segments=(),
        parts=index.parts,
    )
    if not may_have_index(pack) or index != wanted:
        raise IndexManifestError(f"manifest {index.id} is not of the index of reel {pack.id}")
