"""Asks an upstream for refs and objects on behalf of somebody whose credentials are at hand.

The node does this for CI jobs. Rules: nothing of what the node's own user could prove counts (no
credential helper, no ``~/.netrc``, no extra header, no client certificate), or every job could read
what that user can; the user's proxies and authorities do. No redirect is followed: the URL was
allowed, and where it leads was not. What a caller proves itself with is handed to git in a
variable. Blocks; run it in a thread. Source: gitprotocol-v2(5).
"""

from __future__ import annotations

import re
import tempfile
from typing import TYPE_CHECKING

from gittorrent.errors import ProtocolError, UnreachableError
from gittorrent.git import environment
from gittorrent.git.http_settings import read_http_settings
from gittorrent.git.remote_http import RemoteGoneError, RemoteHttp
from gittorrent.wire.ci_fleet import MAX_LISTING
from gittorrent.wire.ci_fleet import MAX_SAID as MAX_CAPABILITIES
from gittorrent.wire.fields import clean_reason
from gittorrent.wire.pktline import HEADER_SIZE
from gittorrent.wire.upload_requests import list_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SILENCE_SECONDS = 60
"""Seconds without a byte after which an upstream is given up: longer than counting takes one that
says nothing meanwhile, and most say something."""

MAX_SAID = 16 << 10
"""Bytes kept of what git says of a failure."""

MAX_MEMORY = 192 << 20
"""Bytes that git may ask for to talk to an upstream. It holds what an upstream says of itself, or
of an error, until that ends, and nothing else that is long."""

_REFS = re.compile(rb"(?P<oid>[0-9a-f]{40}) (?P<name>[^ \n\0]+)")
_WANTS_LOGIN = re.compile(
    r"could not read (?:Username|Password)|Authentication failed|returned error: 40[134]"
    r"|not found",
)


class UpstreamFailedError(UnreachableError):
    """An upstream did not give what it was asked for."""


class MayNotReadError(UpstreamFailedError):
    """It does not let the caller read, or wants to know who that is."""


class CiUpstream:
    """An upstream, asked once or several times in one connection; close it afterwards.

    ``said`` is what it said of itself, as git's helper passed it on.

    Args:
        url: of it.
        header: what an ``Authorization`` header says of the caller; empty for nothing.
        max_memory: bytes that git may ask for.
    """

    def __init__(self, url: str, header: str, max_memory: int = MAX_MEMORY) -> None:
        self._url = url
        self.said = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        try:
            self._remote = RemoteHttp(url, url, _environ(url, header), self._errors, max_memory)
        except BaseException:
            self._errors.close()
            raise

    def __enter__(self) -> CiUpstream:
        """Reach it.

        Raises:
            MayNotReadError: it does not let the caller read.
            UpstreamFailedError: it cannot be reached, or has another protocol or object format.
        """
        said = bytearray()
        try:
            if not self._remote.connect(lambda data: _add(said, data)):
                raise UpstreamFailedError(f"{self._url} does not speak git's protocol 2")
        except (RemoteGoneError, ProtocolError) as error:
            raise self._failed() from error
        except BaseException:
            self.close()
            raise
        self.said = bytes(said)
        if b"object-format=sha256" in said:
            self.close()
            raise UpstreamFailedError(f"{self._url} has objects named by SHA-256")
        return self

    def __exit__(self, *_: object) -> None:
        """Let the process end."""
        self.close()

    def close(self) -> None:
        """Let the process end."""
        if not self._errors.closed:
            self._remote.close()
            self._errors.close()

    def list_refs(self, prefixes: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return ids of the refs whose names begin with a prefix, by name.

        Raises:
            UpstreamFailedError: it does not say, or lists too much.
        """
        found: dict[bytes, bytes] = {}
        self.list_as(list_request(*prefixes), lambda packet: note_ref(packet, found))
        return found

    def list_as(self, request: bytes, take: Callable[[bytes], None]) -> None:
        """Ask for refs as git does, and ``take`` each packet of the answer.

        Raises:
            UpstreamFailedError: it does not say, or lists too much.
        """
        size = 0

        def counted(packet: bytes) -> None:
            nonlocal size
            size += len(packet)
            if size > MAX_LISTING:
                raise UpstreamFailedError(f"{self._url} lists more refs than are taken")
            take(packet)

        self._ask(request, counted)

    def fetch(self, request: bytes, take: Callable[[bytes], None]) -> None:
        """Ask for objects, and ``take`` each packet of the answer.

        Raises:
            UpstreamFailedError: it does not give them.
        """
        self._ask(request, take)

    def _ask(self, request: bytes, take: Callable[[bytes], None]) -> None:
        def checked(packet: bytes) -> None:
            if packet.startswith(b"ERR ", HEADER_SIZE):
                raise UpstreamFailedError(
                    f"{self._url}: {clean_reason(packet[8:].decode(errors='replace'))}"
                )
            take(packet)

        try:
            self._remote.ask(request, checked)
        except (RemoteGoneError, ProtocolError) as error:
            raise self._failed() from error

    def _failed(self) -> UpstreamFailedError:
        self._remote.close()
        self._errors.seek(0)
        said = self._errors.read(MAX_SAID).decode("utf-8", "replace")
        self._errors.close()
        kind = MayNotReadError if _WANTS_LOGIN.search(said) else UpstreamFailedError
        return kind(f"{self._url}: {clean_reason(said) or 'it hung up'}")


def _add(said: bytearray, data: bytes) -> None:
    said.extend(data)
    if len(said) > MAX_CAPABILITIES:
        raise UpstreamFailedError("the upstream says too much of itself")


def note_ref(packet: bytes, refs: dict[bytes, bytes]) -> None:
    """Add the ref in a packet of an answer to ``ls-refs``, if there is one."""
    found = _REFS.match(packet[HEADER_SIZE:])
    if found is not None:
        refs[found["name"]] = found["oid"]


def _environ(url: str, header: str) -> dict[str, str]:
    """Return the environment of a git that knows no more than it is told here."""
    http = read_http_settings(url)
    settings = [
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", str(SILENCE_SECONDS)),
        ("http.sslVerify", str(http.verify).lower()),
        ("protocol.version", "2"),
    ]
    settings += [("http.proxy", http.proxy)] if http.proxy else []
    settings += [("http.sslCAInfo", http.ca_file)] if http.ca_file else []
    settings += [("http.sslCAPath", http.ca_path)] if http.ca_path else []
    settings += [("http.extraHeader", f"Authorization: {header}")] if header else []
    scheme = url.partition(":")[0]
    variables = {"GIT_CONFIG_COUNT": str(len(settings)), "GIT_ALLOW_PROTOCOL": scheme}
    for number, (name, value) in enumerate(settings):
        variables[f"GIT_CONFIG_KEY_{number}"] = name
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment.strangers(variables)
