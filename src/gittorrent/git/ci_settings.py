"""What git's configuration says of CI upstreams: the node's socket, and what servers are told.

Git itself is asked, in the environment that it gave the helper, so that its rules count: which
files, which scopes, which URL matches best. Nobody is asked at a terminal, and nothing that is
secret is in a command line.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from gittorrent.errors import LocalError, UsageError
from gittorrent.git.netrc_file import in_netrc
from gittorrent.git.runner import executable
from gittorrent.wire.ci_urls import parse_ci_url
from gittorrent.wire.tokens import encode_basic

ALLOW = "protocol.gittorrent.allow"
"""Git's own setting: whether it comes to us for what its user did not name."""

ALLOW_IS_OURS = "gittorrent.ciAllows"
"""Setting that says that `ALLOW` was made by `gittorrent ci setup`."""

SOCKET = "gittorrent.ciSocket"
"""Setting that names the node's socket, where it is not at its usual place."""

_LFS = "filter.lfs.process"
_FALSE = ("", "0", "false", "no", "off")
_AUTHORIZATION = re.compile(r"authorization:\s*(?P<value>\S.*)\Z", re.IGNORECASE)


class NotAskedForError(UsageError):
    """Git was led here by something that nobody allowed to."""


class CiSettings(Struct, frozen=True):
    """What a helper has to know of git's configuration.

    Args:
        socket: the node's, if the configuration names one.
        has_lfs: whether files of Git LFS are checked out.
    """

    socket: Path | None
    has_lfs: bool


def read_ci_settings() -> CiSettings:
    """Read what a helper has to know, by one run of git."""
    names = f"^({re.escape(SOCKET.lower())}|{re.escape(_LFS)})$"
    said = ask_git(["config", "--type=path", "--null", "--get-regexp", names])
    found = dict(each.partition("\n")[::2] for each in said.split("\0") if each)
    socket = found.get(SOCKET.lower(), "")
    return CiSettings(Path(socket) if socket.startswith("/") else None, _LFS in found)


def caller_header(url: str) -> str:
    """Return what an upstream would be told of the caller: a header's value; empty for nothing.

    In git's order: an ``http.<url>.extraHeader``, a name and password in the URL, ``~/.netrc``, and
    what its credential helpers know.

    Args:
        url: of the upstream, with the name and password that it may have.
    """
    extra = ask_git(["config", "--get-urlmatch", "http.extraHeader", url]).strip()
    if (said := _AUTHORIZATION.match(extra)) is not None:
        return said["value"]
    if _has_password(url):
        return parse_ci_url(url).header
    found = in_netrc(url)
    return _known_by_helpers(url) if found is None else encode_basic(*found)


def require_asked_for(url: str) -> None:
    """Make sure that git's user wants to be led by a URL that is no CI upstream's.

    `gittorrent ci setup` lets git come here for submodules; that is for upstreams alone. Otherwise
    git takes for submodules what its user allowed (git-config(1), protocol.<name>.allow), and so it
    stays: whoever writes ``.gitmodules`` would choose what this machine asks its node, its network
    and others for.

    Raises:
        NotAskedForError: a submodule leads here, and nobody but the setup allowed that.
    """
    if os.environ.get("GIT_PROTOCOL_FROM_USER", "1").lower() not in _FALSE:
        return
    if ask_git(["config", "--type=bool", "--get", ALLOW_IS_OURS]).strip() != "true":
        return
    if len(ask_git(["config", "--get-all", ALLOW]).split()) > 1:
        return
    raise NotAskedForError(
        f"a submodule has the URL {url}; 'gittorrent ci setup' allows those of CI servers alone",
        hint=f"to allow others as well: git config --global --add {ALLOW} always",
    )


def _has_password(url: str) -> bool:
    return urlsplit(url).password is not None


def _known_by_helpers(url: str) -> str:
    parts = urlsplit(url)
    said = {
        "protocol": parts.scheme,
        "host": parts.netloc.rpartition("@")[2],
        "path": parts.path.lstrip("/"),
    }
    if parts.username:
        said["username"] = parts.username
    text = "".join(f"{name}={value}\n" for name, value in said.items()) + "\n"
    answer = ask_git(["credential", "fill"], text, {"GIT_TERMINAL_PROMPT": "0"})
    found = dict(line.split("=", 1) for line in answer.split("\n") if "=" in line)
    if "username" not in found or "password" not in found:
        return ""
    return encode_basic(found["username"], found["password"])


def ask_git(
    words: list[str], said: str = "", more: dict[str, str] | None = None, *, must: bool = False
) -> str:
    """Return what a git says in the environment of this process; nothing where it fails.

    Args:
        words: its arguments.
        said: its standard input.
        more: variables.
        must: whether it is an error that it fails.

    Raises:
        LocalError: it failed and must not.
    """
    done = subprocess.run(
        [executable(), *words],
        input=said.encode("utf-8", "surrogateescape"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if must else subprocess.DEVNULL,
        env={**os.environ, **(more or {})},
        check=False,
    )
    if must and done.returncode:
        why = done.stderr.decode("utf-8", "backslashreplace").strip()
        raise LocalError(f"'git {' '.join(words[:2])}' failed: {why}")
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else ""
