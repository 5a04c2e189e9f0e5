"""Shapes of reels: everything between two checkpoints, its history alone, or one commit alone.

For ``reel`` and ``wire``; pure. Most clones of servers that are under load are no whole ones:
``--depth 1`` takes one commit with its files, ``--filter=blob:none`` all commits and trees.
Source: docs/protocol/reels.md, "Shapes".
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from gittorrent.ids import Oid, format_of


class ShapeKind(Enum):
    """What of the objects between two checkpoints a reel holds."""

    WHOLE = "whole"
    HISTORY = "history"
    TIP = "tip"


class Shape(Struct, frozen=True):
    """The shape of a reel.

    Args:
        kind: which.
        commit: of a tip, the commit that it holds with its trees and blobs; None otherwise.
    """

    kind: ShapeKind
    commit: Oid | None = None

    @property
    def words(self) -> str:
        """How a manifest names it."""
        return self.kind.value if self.commit is None else f"{self.kind.value} {self.commit}"

    @property
    def word(self) -> str:
        """How one word of a message names it."""
        return self.words.replace(" ", ":")


WHOLE = Shape(ShapeKind.WHOLE)
HISTORY = Shape(ShapeKind.HISTORY)


def tip_of(commit: Oid) -> Shape:
    """Return the shape of a reel that holds one commit."""
    return Shape(ShapeKind.TIP, commit)


def parse_shape(text: str, separator: str = ":") -> Shape | None:
    """Return the shape that a text names; None if it names none besides the whole.

    Args:
        text: such as ``history`` or ``tip:<commit>``.
        separator: between the two words of a tip.
    """
    kind, found, commit = text.partition(separator)
    if kind == ShapeKind.HISTORY.value and not found:
        return HISTORY
    if kind == ShapeKind.TIP.value and format_of(commit) is not None:
        return tip_of(Oid(commit))
    return None
