"""Git's own helper for HTTP, asked in git's own words: lists, answers of an upstream, pushes.

``git remote-https`` knows everything of HTTP that users configured: credentials and their helpers,
extra headers, proxies, certificates. No rewriting of URLs (``url.*.insteadOf``) applies to what it
is given. Tracks one process. Must not know what is asked for.
Source: gitremote-helpers(7), stateless-connect; gitprotocol-v2(5).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import IO, TYPE_CHECKING

from gittorrent.errors import UnreachableError, UsageError
from gittorrent.git.memory import limit_memory
from gittorrent.git.runner import GitProcess, executable, stopper_of_thread
from gittorrent.wire import pktline
from gittorrent.wire.pktline import FLUSH, HEADER_SIZE, RESPONSE_END, Special

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONNECT = b"stateless-connect git-upload-pack\n"
"""The words after which both ends speak protocol 2."""

_SCHEMES = ("https", "http")
_CHUNK = 1 << 16


class RemoteGoneError(UnreachableError):
    """Git's helper ended before its answer did; it has said why on standard error."""


class NotHttpError(UsageError):
    """A URL is none that git's helper for HTTP is for."""


def http_scheme(url: str) -> str:
    """Return ``http`` or ``https``: with anything else git looks for a program of that name.

    A repository may choose its submodules' URLs, and have a program in it of whatever name.

    Raises:
        NotHttpError: it is neither.
    """
    scheme, colon, _ = url.partition("://")
    if not colon or scheme not in _SCHEMES:
        raise NotHttpError(f"{url!r} is no URL of HTTP", hint="write https://HOST/PATH")
    return scheme


class RemoteHttp:
    """Git's helper for one URL, from the first word to `close`.

    Args:
        remote: name of the remote, or the URL again.
        url: of the upstream, http:// or https://, with whatever name and password it came with.
        environ: of the process, which then runs outside of all repositories; None for this
            process's own, where it is git that asks through us.
        errors: where it writes what it has to say; None for this process's standard error.
        max_memory: bytes that it may ask for; None for as many as there are.

    Raises:
        NotHttpError: the URL is another one.
        GitMissingError: there is no git.
    """

    def __init__(
        self,
        remote: str,
        url: str,
        environ: Mapping[str, str] | None = None,
        errors: IO[bytes] | None = None,
        max_memory: int | None = None,
    ) -> None:
        scheme = http_scheme(url)
        self._process = GitProcess(
            [executable(), f"remote-{scheme}", remote, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=None if environ is None else dict(environ),
            cwd=None if environ is None else "/",
        )
        if max_memory is not None:
            limit_memory(self._process.pid, max_memory)
        if (stopper := stopper_of_thread()) is not None:
            stopper.add(self._process)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self.output = self._process.stdin.fileno(), self._process.stdout.fileno()

    def send(self, data: bytes) -> None:
        """Say something.

        Raises:
            RemoteGoneError: it has ended.
        """
        try:
            write_all(self._stdin, data)
        except BrokenPipeError as error:
            raise RemoteGoneError("git's helper for HTTP has ended") from error

    def line(self) -> bytes:
        """Return the line it says next, with its LF; nothing of what comes after it is read."""
        found = bytearray()
        while not found.endswith(b"\n"):
            found += self._exactly(1)
        return bytes(found)

    def connect(self, say: Callable[[bytes], None]) -> bool:
        """Begin to speak protocol 2; tells whether the upstream does.

        Args:
            say: given what the upstream says of itself, packet by packet.

        Raises:
            RemoteGoneError: the upstream cannot be reached, or does not let us in.
        """
        self.send(CONNECT)
        if self.line() != b"\n":
            return False
        say(b"\n")
        self._packets(FLUSH, say)
        return True

    def ask(self, request: bytes, say: Callable[[bytes], None]) -> None:
        """Pass a request on, and ``say`` each packet of the answer, to the flush at its end.

        Raises:
            RemoteGoneError: it ended before that.
            PktLineError: what comes is no answer.
        """
        self.send(request)
        self._packets(RESPONSE_END, say)

    def _packets(self, last: Special, say: Callable[[bytes], None]) -> None:
        while True:
            header = self._exactly(HEADER_SIZE)
            length = pktline.parse_length(header)
            if length is RESPONSE_END and last is RESPONSE_END:
                return
            say(header if isinstance(length, Special) else header + self._exactly(length))
            if length is last:
                return

    def _exactly(self, count: int) -> bytes:
        found = os.read(self.output, count)
        while len(found) < count:
            more = os.read(self.output, count - len(found))
            if not more:
                raise RemoteGoneError("git's helper for HTTP ended before its answer did")
            found += more
        return found

    def close_input(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def close(self) -> int:
        """Let it end, and return its exit status once it has."""
        self.close_input()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return self._process.wait()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of the data."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
