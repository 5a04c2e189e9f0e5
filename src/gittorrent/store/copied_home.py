"""Lets a home that was copied, or restored beside the one it comes from, keep to its own files.

Its database names the first home's repositories by their paths. Where that home is still in use
they are its own: whoever served, updated or removed them from here would do so behind its back.
Rules: a repository is another home's if it lies among those that this one made, and its database
says that it carries it; then what lies here under the same name is meant, be it there or missing.
What is published from other places belongs to no home.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError
from gittorrent.git.alternates import lend_instead
from gittorrent.store.database_file import look_at_carried
from gittorrent.store.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def other_home_of(path: Path, home: Home) -> Home | None:
    """Return the home that carries a repository in its place, if that is another one.

    Args:
        path: of the repository's directory, absolute.
        home: the one whose database names it.
    """
    other = Home(path.parent.parent)
    if path.parent != other.repositories or other.root == home.root:
        return None
    try:
        if home.root.exists() and other.root.samefile(home.root):
            return None  # the same home under another name
        carried = look_at_carried(other.database)
    except (LocalError, OSError):
        return None  # it is gone, or cannot be used any more
    return other if any(Path(row.path) == path for row in carried) else None


def own_places(paths: Iterable[str], home: Home) -> Mapping[str, str]:
    """Return which recorded paths lead to another home's repositories, and what is meant instead.

    What lies there borrows from this home's repositories, too, afterwards.

    Args:
        paths: of repositories that the home's database names.
        home: it.
    """
    own = f"{home.repositories}/"
    outside = [Path(path) for path in paths if not path.startswith(own)]
    others = {path: found for path in outside if (found := other_home_of(path, home)) is not None}
    for other in set(others.values()):
        for objects in home.repositories.glob("[!.]*.git/objects"):
            lend_instead(objects, other.repositories, home.repositories)
    return {str(path): str(home.repositories / path.name) for path in others}
