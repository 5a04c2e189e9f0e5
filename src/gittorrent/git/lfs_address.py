"""Where Git LFS finds the server of a repository that git is led to the node of its machine for.

Git LFS makes its address from a remote's URL, by ``url.<base>.insteadOf`` as git does, and knows no
remote helpers. So a clone is told the address that Git LFS would come to by itself: in a file of
settings, which the clone's configuration includes as long as a remote has that URL. The file has
the address a second time as a rule that rewrites it to itself: it is the longest, and the one that
leads here does not count for it.

Rules: the configuration of a clone gets one line for each URL, and only where Git LFS is set up;
the file is written again when a login in the URL changes. Sources: git-config(1), "Conditional
includes"; git-lfs-config(5), "remote.<remote>.lfsurl".
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from gittorrent.durable import write_atomically
from gittorrent.errors import LocalError
from gittorrent.git.alternates import quoted
from gittorrent.git.ci_settings import ask_git
from gittorrent.git.repository import common_directory
from gittorrent.git.url_patterns import escaped, included_where
from gittorrent.wire.ci_urls import without_login

_FOLDER = "gittorrent-lfs"


def lead_lfs(remote: str, url: str, git_dir: Path) -> None:
    """Let Git LFS ask the server itself in a repository.

    Args:
        remote: name of the remote, or the URL where git was given that: Git LFS asks for a remote
            all the same, one that has this URL.
        url: of the server's repository, as the remote has it, with the login that it may have.
        git_dir: git directory of the clone.

    Raises:
        LocalError: settings cannot be written.
    """
    if not url.isprintable():
        return  # nobody serves it, and a line break would end a setting
    for name in _remotes_at(url) if "://" in remote else (remote,):
        _lead(name, url, git_dir)


def _remotes_at(url: str) -> list[str]:
    said = ask_git(["config", "--null", "--get-regexp", r"^remote\..*\.url$"])
    found = [each.partition("\n")[::2] for each in said.split("\0") if each]
    bare = without_login(url)
    return [
        name.removeprefix("remote.").removesuffix(".url")
        for name, value in found
        if without_login(value) == bare
    ]


def _lead(remote: str, url: str, git_dir: Path) -> None:
    root = common_directory(git_dir)
    known = f"{remote}\n{without_login(url)}".encode("utf-8", "surrogateescape")
    name = f"{_FOLDER}/{hashlib.sha256(known).hexdigest()[:20]}"
    file, text = root / name, _settings(remote, lfs_address(url))
    try:
        if file.is_file() and file.read_bytes() == text:
            return
        # A file that is not there is no mistake to git, while one that nobody includes is useless.
        key = included_where(_pattern(url))
        if name not in ask_git(["config", "--local", "--get-all", key]).split():
            ask_git(["config", "--local", "--add", key, name], must=True)
        # As open as the configuration, which has the same URL: what it includes and others cannot
        # read ends their git.
        write_atomically(file, text, sync=False)
    except OSError as error:
        raise LocalError(f"cannot write {file}: {error.strerror}") from error


def lfs_address(url: str) -> str:
    """Return what Git LFS makes of the URL of a remote."""
    base = url.rstrip("/")
    return f"{base}/info/lfs" if base.endswith(".git") else f"{base}.git/info/lfs"


def _settings(remote: str, address: str) -> bytes:
    at = quoted(address)
    text = f"[remote {quoted(remote)}]\n\tlfsurl = {at}\n[url {at}]\n\tinsteadOf = {at}\n"
    return text.encode("utf-8", "surrogateescape")


def _pattern(url: str) -> str:
    """Return what matches the URL, whatever login it has if it has one."""
    found = escaped(without_login(url))
    if "@" not in urlsplit(url).netloc:
        return found
    scheme, _, rest = found.partition("://")
    return f"{scheme}://*@{rest}"
