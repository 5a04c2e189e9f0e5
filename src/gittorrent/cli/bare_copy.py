"""The bare copy that a clone with a work tree is published through, as the clone knows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.git.runner import Git

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.git.repository import FoundRepository
    from gittorrent.repository.carried import Carried


def recorded_copy(git_dir: Path) -> Path | None:
    """Return the bare copy that a clone was published through; None if it never was."""
    said = Git(git_dir).attempt("config", "--get", "gittorrent.copy")
    if said.returncode != 0:
        return None
    return Path(said.stdout.decode("utf-8", "surrogateescape").removesuffix("\n"))


def add_remote(found: FoundRepository, carried: Carried, say: Callable[[str], None]) -> None:
    """Let the clone push to its bare copy by name.

    Args:
        found: the clone.
        carried: the bare copy.
        say: told what was done.
    """
    git = Git(found.git_dir)
    path = str(carried.layout.git_dir)
    said = git.attempt("config", "--get", "remote.gittorrent.url")
    url = said.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")
    if said.returncode != 0:
        git.run("remote", "add", "gittorrent", path)
        say(f"added the remote 'gittorrent' for {path}")
    elif url != path and url.startswith("/") and not Path(url).exists():
        git.run("remote", "set-url", "gittorrent", path)
        say(f"the remote 'gittorrent' leads to {path} now; {url} is gone")
