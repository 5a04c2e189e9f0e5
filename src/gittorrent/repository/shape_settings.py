"""What an origin's configuration says of reels of other shapes, and of signed indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.git.repository import list_config
from gittorrent.ids import RefName
from gittorrent.reel.shape_timing import ShapesWanted

if TYPE_CHECKING:
    from gittorrent.git.runner import Git

WANTED = "gittorrent.shapes"
"""Git setting of an origin: whether shaped reels are made (`ShapesWanted`)."""

BRANCH = "gittorrent.tipreel"
"""Git setting of an origin, several times if need be: further branches with a tip reel."""


def read_wanted(git: Git) -> tuple[ShapesWanted, list[RefName]]:
    """Return what an origin's configuration says of shaped reels, and for which branches.

    A value that nothing is known of counts as none.
    """
    wanted, branches = ShapesWanted.AUTO, []
    for key, value in list_config(git):
        if key == WANTED and value in {each.value for each in ShapesWanted}:
            wanted = ShapesWanted(value)
        elif key == BRANCH:
            branches.append(RefName(b"refs/heads/" + value.encode("utf-8", "surrogateescape")))
    return wanted, branches
