"""Which reels of a repository are known to be damaged, for whoever looks after it.

A node that finds a part damaged (docs/protocol/mirrorsync.md, Questions and answers), or somebody
who verifies the repository, writes it down below ``gittorrent/damaged-reels``, a file for each
reel: so a node gives the reel to nobody after it started anew either, and ``gittorrent status`` and
``doctor`` can say so. What is written down is of a file as it was, and counts while that is the
same: whoever puts it right, or another one in its place, need remove nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from gittorrent.durable import file_state, write_atomically
from gittorrent.ids import ManifestId, is_sha256

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.durable import FileState
    from gittorrent.repository.layout import Layout


AROUND = -1
"""In place of a part: what lies around the parts of a reel's file, and its index."""


def part_in_words(part: int) -> str:
    """Return what a part is called, counted from 0, or `AROUND`."""
    return "what lies around the parts" if part == AROUND else f"part {part + 1}"


class DamagedReel(Struct, frozen=True):
    """A reel of which a part is damaged.

    Args:
        manifest: its id.
        part: the part that was found damaged, counted from 0; others may be. Or `AROUND`.
        path: the file.
        found: when, in seconds since 1970.
        state: of the file, as it was.
    """

    manifest: ManifestId
    part: int
    path: str
    found: int
    state: tuple[int, int, int]

    @property
    def is_as_it_was(self) -> bool:
        """Tell whether the file is the one that was found damaged."""
        return file_state(self.path) == self.state


def damaged_reels(layout: Layout) -> list[DamagedReel]:
    """Return the reels that are known to be damaged as they are now, in order of manifest id."""
    found = []
    for name in _names(layout.damaged_reels):
        reel = _read(layout.damaged_reels / name)
        if reel is not None and reel.is_as_it_was:
            found.append(reel)
    return found


def note_damaged(layout: Layout, manifest: ManifestId, part: int, path: Path, now: int) -> None:
    """Write down that a part of a reel is damaged; what is known of files that are gone goes.

    Raises:
        OSError: it cannot be written down.
    """
    state: FileState | None = file_state(path)
    if state is None:
        return
    for name in _names(layout.damaged_reels):
        known = _read(layout.damaged_reels / name)
        if known is None or not known.is_as_it_was:
            (layout.damaged_reels / name).unlink(missing_ok=True)
    layout.damaged_reels.mkdir(exist_ok=True)
    damaged = DamagedReel(manifest, part, str(path), now, state)
    # Not by msgspec's own encoder, which takes no path that is no UTF-8.
    said = json.dumps(msgspec.to_builtins(damaged))
    write_atomically(layout.damaged_reels / manifest, said.encode("ascii"))


def forget_damaged(layout: Layout, manifest: ManifestId) -> None:
    """Note that a reel is whole again."""
    (layout.damaged_reels / manifest).unlink(missing_ok=True)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(each.name for each in directory.iterdir() if is_sha256(each.name))
    except FileNotFoundError:
        return []


def _read(path: Path) -> DamagedReel | None:
    """Return what a file says; None if it is gone, or of another version."""
    try:
        return msgspec.convert(json.loads(path.read_bytes()), DamagedReel)
    except (FileNotFoundError, ValueError, msgspec.ValidationError):
        return None
