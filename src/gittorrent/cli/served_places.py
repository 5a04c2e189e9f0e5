"""What a node or ``gittorrent shell`` serves: the places that the user named, or all it carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.cli.bare_copy import served_place
from gittorrent.node.carried_here import catalogue_of_database, catalogue_of_paths

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gittorrent.node.catalogue import Catalogue
    from gittorrent.store.database import Database


def catalogue_of(places: Sequence[Path], database: Database) -> Catalogue:
    """Return what is to be served.

    Args:
        places: repositories, clones that are published through a bare copy, and directories that
            hold such; none for all that the node carries.
        database: of the node.

    Raises:
        NotCarriedError: one was never published or mirrored.
        NameTakenError: two have one name.
    """
    if not places:
        return catalogue_of_database(database)
    return catalogue_of_paths([served_place(place) for place in places], database=database)
