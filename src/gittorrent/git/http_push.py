"""Leaves pushes at a mirror behind HTTP to git's own remote helper for HTTP.

Over HTTP there is no stream to relay: git pushes by its helper ``git remote-https``, which speaks
the same language as this one and is told all that git says of a push. What it has to say to the
user it says itself. Must not know what a push is.
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from gittorrent.git.remote_http import http_scheme
from gittorrent.git.runner import executable

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS = ("option", "list", "push")
"""What it is told; ``push`` comes in batches, which an empty line ends."""


class HttpPusher:
    """Git's helper for one URL, from the first word it is told to `close`.

    It has the environment that git gave us, since it is git that asks for it by way of us.

    Args:
        remote: name of the remote, as git gave it.
        url: of the mirror, http:// or https://.

    Raises:
        NotHttpError: the URL is another one.
        GitMissingError: there is no git.
    """

    def __init__(self, remote: str, url: str) -> None:
        scheme = http_scheme(url)
        self._process = subprocess.Popen(
            [executable(), f"remote-{scheme}", remote, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
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
