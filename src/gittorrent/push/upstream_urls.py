"""URLs of plain git servers that are tracked: which of git's are taken, and what they are called.

Pure. Rules: the schemes that git fetches by itself, ``host:path`` as ssh has it, and paths; no
helper of git's own choosing (``ext::``), and no password, nor what looks like a token in the place
of a name over HTTP, which everybody would see who looks at the node. Messages show none either.
Source: git-fetch(1), Git URLs.
"""

from __future__ import annotations

import re
from enum import Enum
from urllib.parse import urlsplit

from gittorrent.errors import UsageError

_USER_INFO = re.compile(r"(?<=://)[^/]*@")
_TOKEN = re.compile(r"(?=.*[0-9])[A-Za-z0-9_-]{20,}\Z")
"""A name that is most often a token: those of forges have 20 characters and more."""

_SCP = re.compile(r"(?:[^/:@\s]+@)?(?:\[[^\]/\s]+\]|[^/:\s]+):(?!:)[^\s].*", re.DOTALL)


class UpstreamUrlError(UsageError):
    """A URL is none of a git server that can be tracked."""


class Scheme(Enum):
    """How an upstream is reached, as git calls it."""

    HTTP = "http"
    HTTPS = "https"
    SSH = "ssh"
    GIT = "git"
    FILE = "file"


def scheme_of(text: str, *, is_path: bool = False) -> Scheme:
    """Return how an upstream is reached.

    Args:
        text: its URL, or a path.
        is_path: whether there is such a path: a name of a file may look like ``host:path``.

    Raises:
        UpstreamUrlError: it is none that can be tracked.
    """
    if not text or text.startswith("-") or not text.isprintable():
        raise UpstreamUrlError(
            f"{text!r} is no URL of a git server", hint="write https://HOST/PATH"
        )
    scheme, colon, _ = text.partition("://")
    if not colon:
        if is_path or text.startswith("/"):
            return Scheme.FILE
        if "::" in text.partition("/")[0]:
            raise _not_plain(text)
        return Scheme.SSH if _SCP.fullmatch(text) else Scheme.FILE
    if scheme.startswith("gittorrent"):
        raise UpstreamUrlError(
            f"{_shown(text)} is a repository that is published already",
            hint=f"'gittorrent mirror {_shown(text)}' carries it",
        )
    try:
        found, parts = Scheme(scheme), urlsplit(text)
        password = parts.password
    except ValueError:
        raise _not_plain(text) from None
    if password:
        raise UpstreamUrlError(
            f"{scheme}://{parts.hostname} was given with a password, which everybody would see who"
            " looks at this node",
            hint="leave it out, and let git know it: 'git config --global credential.helper store'"
            " and one 'git ls-remote URL'",
        )
    if found in (Scheme.HTTP, Scheme.HTTPS) and _TOKEN.match(parts.username or ""):
        raise UpstreamUrlError(
            f"{scheme}://{parts.hostname} was given with what looks like a token, which everybody"
            " would see who looks at this node",
            hint="leave it out, and let git know it: 'git config --global credential.helper store'"
            " and one 'git ls-remote URL'; if it is a name, 'git config --global"
            f" credential.{scheme}://{parts.hostname}.username NAME'",
        )
    if found is not Scheme.FILE and not parts.hostname:
        raise UpstreamUrlError(f"{text} names no host", hint="write https://HOST/PATH")
    return found


def default_name(url: str) -> str:
    """Return what a repository is called by its URL or path; empty if that says nothing."""
    path = url.partition("://")[2] or url
    path = path.rstrip("/").removesuffix("/.git").rstrip("/")
    if "/" not in path and ":" not in path:
        return ""
    return re.split(r"[/:]", path)[-1].removesuffix(".git")


def _shown(text: str) -> str:
    return _USER_INFO.sub("...@", text)


def _not_plain(text: str) -> UpstreamUrlError:
    return UpstreamUrlError(
        f"{_shown(text)} is no URL of a plain git server",
        hint="https://, http://, ssh://, git://, file://, HOST:PATH and paths can be tracked",
    )
