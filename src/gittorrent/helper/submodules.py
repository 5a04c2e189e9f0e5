"""Drops the repository id that a submodule's relative URL inherits from its superproject.

Of ``../lib.git`` in ``gittorrent://ID@HOST/project.git`` git makes
``gittorrent://ID@HOST/lib.git``. The id is the project's and says nothing of the library; so what
is found there is taken as with a URL without an id. The superproject's commit pins the submodule's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.git import environment
from gittorrent.git.repository import read_config
from gittorrent.git.runner import Git
from gittorrent.transfer.location import LocationError, parse_location

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gittorrent.transfer.location import Location


def without_inherited_id(location: Location, git_dir: Path) -> Location:
    """Return a location without its id, if it has it from a superproject.

    Args:
        location: what git asks for.
        git_dir: the git directory it asks for it in.
    """
    superproject = _superproject(git_dir)
    if location.expected is None or superproject is None:
        return location
    for other in _remotes(superproject):
        if other.expected == location.expected and _is_beside(location, other):
            return replace(location, expected=None)
    return location


def _superproject(git_dir: Path) -> Path | None:
    """Return the git directory in whose ``modules`` another one lies, None if it does not."""
    for folder in git_dir.parents:
        if folder.name == "modules" and (folder.parent / "HEAD").is_file():
            return folder.parent
    return None


def _remotes(git_dir: Path) -> Iterator[Location]:
    """Yield where the remotes of a repository lead that this program is for."""
    git = Git(git_dir, isolated=False, variables=environment.one_off_settings())
    for key in read_config(git_dir):
        if key.startswith("remote.") and key.endswith(".url"):
            name = key.removeprefix("remote.").removesuffix(".url")
            said = git.attempt("remote", "get-url", "--", name).stdout
            try:
                yield parse_location(said.decode("utf-8", "surrogateescape").rstrip("\n"))
            except LocationError:
                continue  # a remote of another kind


def _is_beside(location: Location, other: Location) -> bool:
    """Tell whether two locations differ in nothing but the path."""
    one, two = location.endpoint, other.endpoint
    if one is None or two is None or one.path == two.path:
        return False
    return replace(one, path=two.path) == two
