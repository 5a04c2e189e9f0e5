"""What an export has written at a place: the names of its files, and which are superseded.

Pure. The inventory lies beside what it lists. It names a file before that is written and until
after that is removed, so nothing but what it lists is ever replaced or removed. Whoever can write
to the place can write the inventory, too: only names that an export can have are read from it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError
from gittorrent.ids import RepositoryId, is_repository_id

if TYPE_CHECKING:
    from collections.abc import Mapping

STATE = ".gittorrent-export"
"""Folder of what the exporter keeps for itself at a place."""

INVENTORY = f"{STATE}/inventory"
"""Name of the inventory."""

MAX_INVENTORY = 256 << 20
"""Bytes of an inventory: two million files."""

MAX_TIME = 1 << 48
"""Seconds since 1970 that are no mistake."""

HEADS = ("pushes/short", "pushes/index", "reels/index", "bundle-list", "mirror-list")
"""The files that change, in the order in which they are replaced: the last one names the newest
checkpoint, which the ones before it lead to."""

FOLDERS = ("pushes", "reels", "bundles")
"""Where files lie that never change."""

_FIRST = "gittorrent export 1"
_NAME = re.compile(
    r"mirror-list|bundle-list|pushes/(?:index|short|[0-9a-f]{40}|[0-9a-f]{64})"
    r"|reels/(?:index|[0-9a-f]{64}\.(?:manifest|pack))|bundles/[0-9a-f]{64}\.bundle"
)
_TIME = re.compile(r"0|[1-9][0-9]{0,14}", re.ASCII)


class InventoryError(GitTorrentError):
    """What should be an inventory is none."""


def is_exported_name(name: str) -> bool:
    """Tell whether an export may have a file of this name."""
    return _NAME.fullmatch(name) is not None


class Inventory(Struct, frozen=True):
    """The files of an export.

    Args:
        repository: whose they are.
        files: by name, when the newest heads ceased to lead to it, in seconds since 1970; 0 while
            they do.
    """

    repository: RepositoryId
    files: Mapping[str, int]

    def text(self) -> bytes:
        """Return what is written of it."""
        lines = [_FIRST, f"repository {self.repository}"]
        lines += [f"{since} {name}" for name, since in sorted(self.files.items())]
        return "".join(f"{line}\n" for line in lines).encode("ascii")


def parse_inventory(data: bytes) -> Inventory:
    """Read an inventory.

    Raises:
        InventoryError: it is none, or names what no export writes.
    """
    *lines, rest = data.decode("ascii", "replace").split("\n")
    if rest or len(lines) < 2:
        raise InventoryError("it is cut off")
    first, second, *lines = lines
    word, _, repository = second.partition(" ")
    if first != _FIRST or word != "repository" or not is_repository_id(repository):
        raise InventoryError("it does not begin as one")
    files: dict[str, int] = {}
    for line in lines:
        since, _, name = line.partition(" ")
        is_time = _TIME.fullmatch(since) is not None and int(since) < MAX_TIME
        if not is_time or not is_exported_name(name) or name in files:
            raise InventoryError(f"it has the line {line[:100]!r}")
        files[name] = int(since)
    return Inventory(RepositoryId(repository), files)
