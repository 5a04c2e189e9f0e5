"""Shapes of reels: everything between two checkpoints, its history alone, or one commit alone.

For ``reel`` and ``wire``; pure. Most clones of servers that are under load are no whole ones:
``--depth 1`` takes one commit with its files, ``--filter=blob:none`` all commits and trees. The
index of a whole reel's pack, which travels like a reel, is named by a shape as well.
Source: docs/protocol/reels.md, "Shapes" and "Pack indexes".
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from gittorrent.ids import ManifestId, Oid, format_of, is_sha256


class ShapeKind(Enum):
    """What of the objects between two checkpoints a reel holds."""

    WHOLE = "whole"
    HISTORY = "history"
    TIP = "tip"
    INDEX = "index"


class Shape(Struct, frozen=True):
    """The shape of a reel.

    Args:
        kind: which.
        commit: of a tip, the commit that it holds with its trees and blobs; None otherwise.
        manifest: of an index, the manifest of the pack that it belongs to; None otherwise.
    """

    kind: ShapeKind
    commit: Oid | None = None
    manifest: ManifestId | None = None

    @property
    def words(self) -> str:
        """How a manifest names it."""
        of = self.commit or self.manifest
        return self.kind.value if of is None else f"{self.kind.value} {of}"

    @property
    def is_asked_for(self) -> bool:
        """Whether it is told of only to those who ask for other shapes than the whole."""
        return self.kind in (ShapeKind.HISTORY, ShapeKind.TIP)

    @property
    def word(self) -> str:
        """How one word of a message names it."""
        return self.words.replace(" ", ":")


WHOLE = Shape(ShapeKind.WHOLE)
HISTORY = Shape(ShapeKind.HISTORY)


def tip_of(commit: Oid) -> Shape:
    """Return the shape of a reel that holds one commit."""
    return Shape(ShapeKind.TIP, commit)


def index_of(manifest: ManifestId) -> Shape:
    """Return the shape that the index of a reel's pack has."""
    return Shape(ShapeKind.INDEX, manifest=manifest)


def parse_shape(text: str, separator: str = ":") -> Shape | None:
    """Return the shape that a text names; None if it names none besides the whole.

    Args:
        text: such as ``history``, ``tip:<commit>`` or ``index:<manifest id>``.
        separator: between the two words of a tip or an index.
    """
    kind, found, of = text.partition(separator)
    if kind == ShapeKind.HISTORY.value and not found:
        return HISTORY
    if kind == ShapeKind.TIP.value and format_of(of) is not None:
        return tip_of(Oid(of))
    if kind == ShapeKind.INDEX.value and is_sha256(of):
        return index_of(ManifestId(of))
    return None
