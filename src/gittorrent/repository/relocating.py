"""Finds repositories that were moved, and lets the database know their new place.

Two ways: one that was renamed within its folder, or that lies in the node's home, which was moved
with all that is in it, is looked for there, and one that somebody names at its new place is
recognised by its id. Rules: only what is missing at its old place counts as moved, since otherwise
it is a copy; where two candidates are found, neither is taken; nor is another home's mirror.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.errors import UsageError
from gittorrent.repository.layout import Layout
from gittorrent.store.copied_home import other_home_of_mirror

if TYPE_CHECKING:
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home


class OtherHomeError(UsageError):
    """A mirror belongs to another home than the one that this is about."""


def relocate(row: CarriedRow, database: Database) -> CarriedRow | None:
    """Return a missing repository as it is carried from now on; None where it is not found.

    Args:
        row: what the database has of it.
        database: is told of the new place.
    """
    known = {Path(each.path) for each in database.carried()}
    entries = [entry for folder in folders_of(row, database) for entry in sorted(folder.iterdir())]
    found = [
        entry
        for entry in entries
        if not entry.name.startswith(".") and entry not in known
        and is_at(entry, row) and _may_be_taken(entry, row, database)
    ]  # fmt: skip
    if len(found) != 1:
        return None
    return _moved(row, found[0], database)


def folders_of(row: CarriedRow, database: Database) -> list[Path]:
    """Return the folders, of those that are there, where a missing repository is looked for."""
    folders = dict.fromkeys((Path(row.path).parent, database.home.repositories))
    return [folder for folder in folders if folder.is_dir()]


def recognise(place: Path, database: Database) -> None:
    """Let the database know of a repository that was moved here from where it is missing.

    Args:
        place: a git directory, in the form that is recorded.
        database: is told of it.
    """
    for row in database.carried():
        is_moved = not Path(row.path).is_dir() and is_at(place, row)
        if is_moved and _may_be_taken(place, row, database):
            _moved(row, place, database)


def require_of_home(place: Path, home: Home) -> None:
    """Make sure that a mirror does not belong to another home.

    Raises:
        OtherHomeError: it does.
    """
    other = other_home_of_mirror(place, home)
    if other is not None:
        raise OtherHomeError(
            f"{place} belongs to the node in {other.root}, and the one in {home.root} leaves it"
            " alone",
            hint=f"set GITTORRENT_HOME to {other.root} for it",
        )


def _may_be_taken(place: Path, row: CarriedRow, database: Database) -> bool:
    home = database.home
    is_made = row.is_mirror or place.parent == home.repositories
    return not is_made or other_home_of_mirror(place, home) is None


def _moved(row: CarriedRow, place: Path, database: Database) -> CarriedRow:
    moved = replace(row, path=str(place))
    database.carry(moved)
    return moved


def is_at(place: Path, row: CarriedRow) -> bool:
    """Tell whether a directory says that it is the repository, in the same role."""
    # Whatever else lies there is somebody else's affair.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        values = json.loads(Layout(place).info.read_text(encoding="utf-8"))
        found = (values.get("repository_id"), values.get("role"))
        return found == (row.repository_id, row.role)
    return False
