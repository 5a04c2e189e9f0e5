"""The git command that brings a clone all branches and tags of a repository.

It is shown to users, whose clones may fetch less by themselves: a single branch, or no tags.
"""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

from gittorrent.git.remotes import fetched_by, remote_urls
from gittorrent.transfer.location import LocationError, parse_location

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.ids import RepositoryId
    from gittorrent.transfer.location import Location

_EVERYTHING = frozenset({"refs/*", "refs/heads/*"})
"""Left sides of refspecs that take all branches."""


def fetch_command(git_dir: Path, location: Location, repository: RepositoryId) -> str:
    """Return the command, for a shell.

    It names the remote that leads to the mirror, or the mirror's URL where none does.

    Args:
        git_dir: of the clone.
        location: of the mirror.
        repository: what the mirror has.
    """
    words = ["git", "-C", str(git_dir), "fetch", "--tags"]
    remote = _remote_of(git_dir, location)
    if remote is None:
        words += [location.pinned_url(repository), "+refs/heads/*:refs/remotes/gittorrent/*"]
    else:
        words.append(remote)
        sources = {each.removeprefix("+").partition(":")[0] for each in fetched_by(git_dir, remote)}
        if not sources & _EVERYTHING:
            words.append(f"+refs/heads/*:refs/remotes/{remote}/*")
    return shlex.join(words)


def _remote_of(git_dir: Path, location: Location) -> str | None:
    first: dict[str, str] = {}
    for name, url in remote_urls(git_dir):
        first.setdefault(name, url)  # whence git fetches
    for name, url in first.items():
        with contextlib.suppress(LocationError):  # a remote of another kind
            if parse_location(url).url == location.url:
                return name
    return None
