"""Packs that other repositories of this machine have, byte for byte: forks share them on disk.

Forks of one project that were published at the same refs have the same first reel, and a reel's
pack is named after its checksum. So a fork's pack need not be downloaded where another fork is
carried, nor be stored again: a hard link of a file that nobody writes to does. What a link leads to
stays when the other repository is removed, and holds what the fork's own manifest says and no more,
so nothing of one repository can be read through another. Borrowing objects (git's alternates) would
break with the first, and upload-pack would give whatever the other holds.

Must not know what repositories there are; those that are not for everybody give nothing. Whoever
takes a pack verifies it by the manifest. A machine may carry thousands, and each download asks: one
without such a file costs one look, and git is asked about the others alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.git.repository import NotARepositoryError, find_repository
from gittorrent.repository.layout import Layout
from gittorrent.repository.readers_file import is_private_here
from gittorrent.repository.reelstore import StoredReel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gittorrent.ids import RepositoryId
    from gittorrent.repository.receive import SignedManifest


def same_packs(
    signed: SignedManifest, others: Iterable[tuple[Path, RepositoryId]]
) -> Iterator[StoredReel]:
    """Find, one by one, where the pack of a reel seems to be; unverified.

    Args:
        signed: the reel's manifest. One that builds on another is completed where it is kept, which
            gives other bytes: only those from the beginning of history are shared.
        others: git directories of this machine, and the repositories in them.
    """
    manifest = signed.manifest
    if manifest.start is not None:
        return
    for git_dir, repository in others:
        pack = Layout(git_dir).pack(manifest.pack_checksum)
        try:
            if pack.stat().st_size != manifest.pack_size:
                continue
            layout = Layout(find_repository(git_dir).git_dir)
        except (NotARepositoryError, OSError):
            continue  # it is gone, has no such pack, or is refused
        if not is_private_here(layout, repository):
            yield StoredReel(manifest.id, manifest, signed.signature, pack)
