"""Lets a home that was copied, or restored beside the one it comes from, keep to its own files.

Its database names the first home's repositories by their paths. Where that home is still in use
they are its own: whoever served, updated or removed them from here would do so behind its back.
Rules: a repository is another home's if it lies among those that this one made, or is a mirror,
wherever it lies, whose mark names that home; and if that home's database says that it carries it
there. Links are followed. Then what lies here under the same name is meant, be it there or missing.
A copy of a keeper is none: two with one key would sign checkpoints that contradict each other. What
is published from other places belongs to no home.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.durable import write_atomically
from gittorrent.errors import LocalError
from gittorrent.git.alternates import lend_instead
from gittorrent.git.repository import read_config
from gittorrent.git.runner import Git
from gittorrent.store.database_file import look_at_carried
from gittorrent.store.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

KEEPER_KEY = "gittorrent.keeperKey"
"""Git setting of the keeper's key, on the machine that has it."""

HOME_MARK = "gittorrent/home"
"""In what a home made, wherever it was moved to: the path of the home it belongs to, in a line."""


def other_home_of(path: Path, home: Home) -> Home | None:
    """Return the home that carries a repository in its place, if that is another one.

    Args:
        path: of the repository's directory, absolute.
        home: the one whose database names it.
    """
    other = Home(path.parent.parent)
    if path.parent != other.repositories or other.root == home.root:
        return None
    return other if _is_another(other, home) and _carries(other, path) else None


def other_home_of_mirror(path: Path, home: Home) -> Home | None:
    """Return the same for a mirror, which may lie anywhere, or behind a link.

    Raises:
        OSError: its mark cannot be read.
    """
    found = other_home_of(path, home)
    if found is not None or path.resolve().is_relative_to(home.root.resolve()):
        return found
    root = _marked(path)
    if root is None or not _is_another(Home(root), home):
        return None
    return Home(root) if _carries(Home(root), path) else None


def mark_as_own(git_dir: Path, home: Home) -> None:
    """Let what a home made say so, wherever it is moved to from there.

    Args:
        git_dir: of the repository, which belongs to no other home.
        home: it.

    Raises:
        OSError: there is no room.
    """
    root = home.root.resolve()
    if _marked(git_dir) != root:
        (git_dir / HOME_MARK).parent.mkdir(exist_ok=True)
        write_atomically(git_dir / HOME_MARK, os.fsencode(root) + b"\n")


def own_places(
    paths: Iterable[str], home: Home, is_mirror: Callable[[str], bool]
) -> Mapping[str, str]:
    """Return which recorded paths lead to another home's repositories, and what is meant instead.

    What lies there borrows from this home's repositories, too, afterwards, and is no keeper.

    Args:
        paths: of repositories that the home's database names.
        home: it.
        is_mirror: tells what the database says of one; asked of few.
    """
    own, is_linked = f"{home.repositories}/", home.repositories.is_symlink()
    others: dict[Path, Home] = {}
    for each in paths:
        path, lies_here = Path(each), each.startswith(own)
        if lies_here and not is_linked and not path.is_symlink():
            continue  # as nearly all of them
        found = other_home_of(path, home)
        if found is None and (found := other_home_of_mirror(path, home)) is not None:
            found = found if lies_here or is_mirror(each) else None
        if found is not None:
            others[path] = found
    for other in set(others.values()):
        for objects in home.repositories.glob("[!.]*.git/objects"):
            lend_instead(objects, other.repositories, home.repositories)
    places = {path: _place_for(path, home) for path in others}
    for place in places.values():
        if (place / "config").is_file() and KEEPER_KEY.lower() in read_config(place, isolated=True):
            Git(place).run("config", "--local", "--unset-all", KEEPER_KEY)
    return {str(path): str(place) for path, place in places.items()}


def _place_for(path: Path, home: Home) -> Path:
    """Return what is meant here by a path; where a link leads to another home's, what is free."""
    same = home.repositories / path.name
    if not _is_same(path, same) and other_home_of_mirror(same, home) is None:
        return same
    free = (home.repositories / f"{path.stem}-{number}.git" for number in itertools.count(2))
    return next(each for each in free if not os.path.lexists(each))


def _is_another(other: Home, home: Home) -> bool:
    try:
        # The same home may be there under another name.
        return not (home.root.exists() and other.root.samefile(home.root))
    except OSError:
        return False  # it is gone


def _carries(other: Home, path: Path) -> bool:
    try:
        carried = look_at_carried(other.database)
    except (LocalError, OSError):
        return False  # it is gone, or cannot be used any more
    return any(_is_same(Path(row.path), path) for row in carried)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False  # it is not there


def _marked(git_dir: Path) -> Path | None:
    """Return the home that a mirror names; None where it names none."""
    try:
        data = (git_dir / HOME_MARK).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    root = Path(os.fsdecode(data.removesuffix(b"\n")))
    return root if root.is_absolute() else None
