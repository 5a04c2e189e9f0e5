"""The bare copy that a clone with a work tree is published through, as the clone knows it.

The clone records its place, and the repository's id, by which it is found again after it was moved.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.git.remotes import remote_urls
from gittorrent.git.repository import find_repository, read_config, set_config
from gittorrent.git.runner import Git
from gittorrent.ids import RepositoryId, is_repository_id
from gittorrent.repository.carried import ORIGIN, Carried
from gittorrent.repository.relocating import relocate

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.git.repository import FoundRepository
    from gittorrent.store.database import Database

COPY_KEY = "gittorrent.copy"
"""Git setting of the place of the bare copy."""

REPOSITORY_KEY = "gittorrent.repository"
"""Git setting of the id that a clone is published under."""

_REMOTE = "gittorrent"


def find_to_publish(path: Path) -> FoundRepository:
    """Return the repository at ``path`` as it is published: as a bare one, in place, or not.

    Who linked a work tree to a repository that is published in place did not mean another.

    Raises:
        NotARepositoryError: there is none.
    """
    found = find_repository(path)
    if not found.is_bare and Carried(found.git_dir, found.object_format).is_published_or_mirrored:
        return replace(found, is_bare=True)
    return found


def recorded_copy(git_dir: Path) -> Path | None:
    """Return the bare copy that a clone was published through; None if it never was."""
    copy = read_config(git_dir, isolated=True).get(COPY_KEY)
    return None if copy is None else Path(copy)


def served_place(place: Path) -> Path:
    """Return the bare copy a working clone is published through, or the place itself."""
    if not (place / ".git").exists():
        return place
    return recorded_copy(find_repository(place).git_dir) or place


def find_moved_copy(git_dir: Path, database: Database, say: Callable[[str], None]) -> None:
    """Let a clone know where its bare copy is now, if that was moved and this node knows where to.

    Args:
        git_dir: of the clone.
        database: of the node.
        say: told what was done.
    """
    recorded, git = recorded_copy(git_dir), Git(git_dir)
    repository = recorded_repository(git_dir)
    if recorded is None or recorded.is_dir() or repository is None:
        return
    for row in database.carried():
        if row.repository_id == repository and row.role == ORIGIN:
            present = row if Path(row.path).is_dir() else relocate(row, database)
            if present is not None:
                record_copy(git_dir, Path(present.path))
                if _url_of_copy(git) == str(recorded):
                    git.run("remote", "set-url", _REMOTE, present.path)
                say(f"the bare copy {recorded} is in {present.path} now")
                return


def record_copy(git_dir: Path, copy: Path) -> None:
    """Note in a clone which bare copy it is published through."""
    set_config(Git(git_dir), {COPY_KEY: str(copy)})


def recorded_repository(git_dir: Path) -> RepositoryId | None:
    """Return which repository a clone is published as, as it knows; None if it does not."""
    known = read_config(git_dir, isolated=True).get(REPOSITORY_KEY, "")
    return RepositoryId(known) if is_repository_id(known) else None


def record_repository(git_dir: Path, repository: RepositoryId) -> None:
    """Note in a clone which repository it is published as."""
    set_config(Git(git_dir), {REPOSITORY_KEY: repository})


def add_remote(
    found: FoundRepository,
    carried: Carried,
    say: Callable[[str], None],
    former: Path | None = None,
) -> None:
    """Let the clone push to its bare copy by name; the user may call it something else.

    Args:
        found: the clone.
        carried: the bare copy.
        say: told what was done.
        former: the copy that it was published through before; None if it was not.
    """
    git = Git(found.git_dir)
    path = str(carried.layout.git_dir)
    url = _url_of_copy(git)
    if url is None:
        if path not in (url for _, url in remote_urls(found.git_dir)):
            git.run("remote", "add", _REMOTE, path)
            say(f"added the remote 'gittorrent' for {path}")
    elif url != path and url.startswith("/") and (url == str(former) or not Path(url).exists()):
        git.run("remote", "set-url", _REMOTE, path)
        became = "stays as it was published" if Path(url).exists() else "is gone"
        say(f"the remote 'gittorrent' leads to {path} now; {url} {became}")


def _url_of_copy(git: Git) -> str | None:
    """Return where the clone's remote for its bare copy leads to; None if there is none."""
    return read_config(git.directory, isolated=True).get(f"remote.{_REMOTE}.url")
