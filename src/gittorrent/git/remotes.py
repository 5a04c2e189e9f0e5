"""Where a repository's remotes lead, as git itself would go: ``url.*.insteadOf`` and all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.git.repository import configured, read_config
from gittorrent.git.runner import Git

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULT = "origin"


def url_of(git_dir: Path, named: str) -> str:
    """Return the URL that git would use for a remote's name, or for a URL.

    Raises:
        GitError: git could not be asked.
    """
    said = configured(git_dir).run("ls-remote", "--get-url", "--", named)
    return said.decode("utf-8", "surrogateescape").removesuffix("\n")


def remote_urls(git_dir: Path) -> list[tuple[str, str]]:
    """Return names and URLs of remotes: first the remote that git fetches from by default.

    That is the remote of the branch that is checked out, then ``origin``, then the others as they
    were configured. A remote may have several URLs; git fetches from its first.

    Raises:
        GitError: git could not be asked.
    """
    config = read_config(git_dir)
    names = [key[7:-4] for key in config if key.startswith("remote.") and key.endswith(".url")]
    head = Git(git_dir).attempt("symbolic-ref", "--quiet", "--short", "HEAD").stdout
    branch = head.decode("utf-8", "surrogateescape").strip()
    first = [config.get(f"branch.{branch}.remote", _DEFAULT), _DEFAULT]
    ordered = dict.fromkeys([*(name for name in first if name in names), *names])
    git = configured(git_dir)
    found = []
    for name in ordered:
        said = git.run("remote", "get-url", "--all", "--", name)
        urls = said.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
        found += [(name, url) for url in urls]
    return found


def fetched_by(git_dir: Path, remote: str) -> list[str]:
    """Return the refspecs that git fetches by default from a remote."""
    said = (
        configured(git_dir)
        .attempt("config", "--null", "--get-all", f"remote.{remote}.fetch")
        .stdout
    )
    return [each for each in said.decode("utf-8", "surrogateescape").split("\0") if each]
