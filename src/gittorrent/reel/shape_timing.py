"""When reels of other shapes than the whole are made: where they pay, and not at each push.

Pure. A tip reel holds all files of one commit, so making one for each push would be work that grows
with the tree and not with the push. Whoever clones a commit that is newer than the last tip reel
takes that and the difference, which is small for a while. So a branch's tip reel is made anew when
it is `TIP_SECONDS` old and the branch has moved, and the chain of history reels is continued when
its last one is `HISTORY_SECONDS` old. Repositories below `LEAST_BYTES` are cloned for next to
nothing by anybody's upload-pack, and get none unless the owner says so.
Source: docs/protocol/reels.md, "Reels of other shapes".
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from gittorrent.shapes import ShapeKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gittorrent.ids import Oid, PushId
    from gittorrent.reel.manifest import Manifest

TIP_SECONDS = 3600.0
"""Age at which a branch's tip reel is replaced if the branch has moved: a day of pushes costs 24
encodings of one tree at most."""

HISTORY_SECONDS = 24 * 3600.0
"""Age at which the chain of history reels is continued: a day's commits and trees are few bytes for
an ordinary fetch, and a chain of daily reels is spliced like any other."""

LEAST_BYTES = 4 << 20
"""Bytes of a repository's whole reels below which shaped ones do not pay."""


class ShapesWanted(Enum):
    """What an owner wants of shaped reels (``gittorrent.shapes``)."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"
    INDEXES = "indexes"
    """None of them, and yet the indexes of packs are signed, which takes no room."""

    def are_made(self, whole_bytes: int) -> bool:
        """Tell whether they are made for a repository whose whole reels come to so many bytes."""
        return self is ShapesWanted.ALWAYS or (
            self is ShapesWanted.AUTO and whole_bytes >= LEAST_BYTES
        )

    def are_signed(self, pack_bytes: int) -> bool:
        """Tell whether the index of a pack of so many bytes is signed."""
        return self is ShapesWanted.INDEXES or self.are_made(pack_bytes)

    @property
    def patience(self) -> float:
        """By how much the ages are multiplied at which reels are made anew."""
        return 0.0 if self is ShapesWanted.ALWAYS else 1.0


NONE_MADE = (ShapesWanted.NEVER, ShapesWanted.INDEXES)
"""What an owner says who wants no reels of other shapes, also no longer."""

Made = tuple["Manifest", float]
"""A shaped reel that is there, and since when, in seconds since 1970."""


def tips_among(made: Iterable[Made], commits: Mapping[PushId, Oid | None]) -> list[Made]:
    """Return the tip reels of a branch's commits, the oldest first.

    Args:
        made: the shaped reels that are there.
        commits: what the branch led to at each checkpoint that a reel ends at.
    """
    found = [
        each
        for each in made
        if each[0].shape.commit is not None and each[0].shape.commit == commits.get(each[0].end)
    ]
    return sorted(found, key=lambda each: each[1])


def is_tip_due(tips: list[Made], commit: Oid, now: float, patience: float) -> bool:
    """Tell whether a branch's tip reel is to be made.

    Args:
        tips: those that there are, the oldest first.
        commit: the branch's.
        now: seconds since 1970.
        patience: factor of the age.
    """
    if any(manifest.shape.commit == commit for manifest, _ in tips):
        return False
    return not tips or now - tips[-1][1] >= TIP_SECONDS * patience


def is_history_due(made: Iterable[Made], uncovered: int, now: float, patience: float) -> bool:
    """Tell whether the chain of history reels is to be continued.

    Args:
        made: the shaped reels that are there.
        uncovered: checkpoints that no history reel covers.
        now: seconds since 1970.
        patience: factor of the age.
    """
    times = [at for manifest, at in made if manifest.shape.kind is ShapeKind.HISTORY]
    return bool(uncovered) and (not times or now - max(times) >= HISTORY_SECONDS * patience)
