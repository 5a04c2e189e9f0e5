"""Leaves pushes at a mirror behind HTTP to git's own remote helper for HTTP.

Over HTTP there is no stream to relay: git pushes by its helper ``git remote-https``, which speaks
the same language as this one and is told all that git says of a push. What it has to say to the
user it says itself. A mirror that nobody named is called at the address that was judged, and is
told nothing of the user's but the push: no header, cookie, name, password, certificate, and by no
proxy. Must not know what a push is.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gittorrent import __version__
from gittorrent.git.environment import unasked
from gittorrent.git.http_settings import resolved_to
from gittorrent.git.remote_http import http_scheme
from gittorrent.git.runner import executable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COMMANDS = ("option", "list", "push")
"""What it is told; ``push`` comes in batches, which an empty line ends."""


class HttpPusher:
    """Git's helper for one URL, from the first word it is told to `close`.

    It has the environment that git gave us, since it is git that asks for it by way of us.

    Args:
        remote: name of the remote, as git gave it.
        url: of the mirror, http:// or https://.
        address: of one that nobody named, at which it was judged; None for one that was.

    Raises:
        NotHttpError: the URL is another one.
        GitMissingError: there is no git.
    """

    def __init__(self, remote: str, url: str, address: str | None = None) -> None:
        scheme = http_scheme(url)
        settings = [] if address is None else _telling_nothing(url, address)
        self._process = subprocess.Popen(
            [executable(), *settings, f"remote-{scheme}", remote, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=None if address is None else _without_the_users(os.environ),
        )

    def answer(self, first: str, more: Callable[[], str | None]) -> bytes | None:
        """Return what it answers to a command of git's; None if it has ended, and said why.

        Args:
            first: line of the command.
            more: returns the next line of git's.
        """
        command = first.partition(" ")[0]
        lines = [first]
        if command == "push":
            while line := more():
                lines.append(line)
            lines.append("")
        assert self._process.stdin is not None
        try:
            for line in lines:
                self._process.stdin.write(line.encode("utf-8", "surrogateescape") + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        return self._answer(is_list=command != "option")

    def _answer(self, *, is_list: bool) -> bytes | None:
        """Read one line, or lines up to an empty one."""
        assert self._process.stdout is not None
        found = []
        while line := self._process.stdout.readline():
            found.append(line)
            if not is_list or line == b"\n":
                return b"".join(found)
        return None

    def close(self) -> None:
        """Let it end."""
        with contextlib.suppress(BrokenPipeError):  # it has ended; what it was told is answered
            self._process.communicate()


_NOT_FOR_STRANGERS = ("extraHeader", "cookieFile", "sslCert", "sslKey", "proxy")
"""Settings below ``http`` by which something of the user's reaches a server."""


def _telling_nothing(url: str, address: str) -> list[str]:
    """Return the words by which git tells a server nothing of its user's.

    The longest URL that matches counts, so each is for all of this one.
    """
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    settings = [f"http.{url}.{name}=" for name in _NOT_FOR_STRANGERS]
    settings += [
        f"http.{url}.userAgent=gittorrent/{__version__}",
        f"http.{url}.emptyAuth=false",
        f"http.{url}.sslVerify=true",
        f"http.{url}.followRedirects=false",
        f"http.{url}.saveCookies=false",
        "credential.helper=",
        "core.askPass=",
        *resolved_to(parts.hostname or "", port, address),
    ]
    return [word for setting in settings for word in ("-c", setting)]


def _without_the_users(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what git tells servers, or asks its user for them."""
    dropped = ("GIT_SSL_CERT", "GIT_SSL_KEY", "GIT_SSL_NO_VERIFY", "GIT_HTTP_USER_AGENT")
    return unasked({name: value for name, value in environ.items() if name not in dropped})
