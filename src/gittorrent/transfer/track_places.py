"""Where what a node tracks is kept: its repositories, its key, its locks.

Must not know how anything is tracked.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gittorrent.errors import UsageError
from gittorrent.git.repository import NotARepositoryError, find_repository, read_config
from gittorrent.git.runner import Git
from gittorrent.repository.carried import ORIGIN, Carried, object_format_of
from gittorrent.repository.layout import Layout
from gittorrent.repository.mending import mend_settings
from gittorrent.signing.keys import make_ssh_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gittorrent.git.repository import FoundRepository
    from gittorrent.store.home import Home

KEY_NAME = "track"
"""File of the key that is made for this, in the node's keys: it signs unattended."""

UPSTREAM = "gittorrent.upstream"
"""Git setting of what a repository follows, so that the database can be lost."""


def track_lock(home: Home, name: str) -> Path:
    """Return the file that is locked while an upstream is looked at."""
    digest = hashlib.sha256(name.encode("utf-8")).hexdigest()
    return home.run / f"track-{digest[:20]}.lock"


def own_key(home: Home, say: Callable[[str], None]) -> str:
    """Return the key that this node has for what it tracks, made if there is none.

    Args:
        home: of the node.
        say: told of a key that is made.
    """
    path = home.keys / KEY_NAME
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        make_ssh_key(path, "gittorrent track")
        say(f"made the signing key {path}; keep a copy of it, nobody can replace it")
    return str(path)


def place_of(repositories: Path, name: str) -> Path:
    """Return where the repository of that name is kept that follows an upstream."""
    return repositories / f"{name}.git"


def repository_at(path: Path) -> FoundRepository | None:
    """Return the repository at a path; None if there is none, or its making was cut short.

    Raises:
        NotARepositoryError: what is there was published, and is damaged.
    """
    if not path.is_dir():
        return None
    try:
        return find_repository(path)
    except NotARepositoryError:
        if Layout(path).own.exists():
            raise
        return None


def mend_tracked(path: Path) -> None:
    """Put right what a power cut broke of the refs and settings of what is tracked, if it is there.

    Its refs are what its upstream and its log say, and its settings what the node's database says.
    """
    layout = Layout(path)
    if not layout.info.exists():
        return
    mend_settings(layout)
    carried = Carried(path, object_format_of(path))
    if carried.info.role == ORIGIN and carried.log_store.head() is not None:
        carried.mend_published()


def upstream_of(git_dir: Path) -> str | None:
    """Return what a repository follows, None if nothing says that it does."""
    return read_config(git_dir, isolated=True).get(UPSTREAM)


def require_tracked(carried: Carried) -> None:
    """Make sure that a repository is one that follows an upstream, or is nobody's yet.

    Raises:
        UsageError: it is another one.
    """
    git_dir = carried.layout.git_dir
    has_refs = carried.is_carried or bool(Git(git_dir).run("for-each-ref", "--count=1"))
    if has_refs and upstream_of(git_dir) is None:
        raise UsageError(
            f"{git_dir} holds another repository of that name",
            hint="choose another one with --name",
        )
