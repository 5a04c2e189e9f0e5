"""The node's own certificate: read from files, and again when they change.

Whoever renews a certificate writes files and need not know of the node. Rules: files that cannot be
used at the start are an error; later the certificate in use stays, and the log says why.
Connections that are open go on with the one that they began with. Must not know what is served.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import LocalError
from gittorrent.event_log import EventLog

if TYPE_CHECKING:
    from pathlib import Path


PROTOCOLS = ("http/1.1",)
"""What is spoken; WebSockets begin with it."""

_log = EventLog(__name__)

_State = tuple[tuple[int, int, int], ...]
"""Inode, size and time of change of each file."""


class CertificateError(LocalError):
    """The files of a certificate cannot be used."""


class CertificateFiles(Struct, frozen=True):
    """Where a certificate is.

    Args:
        chain: the certificate and those between it and its authority, in PEM.
        key: its key, in PEM, without a password; may be the same file.
    """

    chain: Path
    key: Path


class Certificate:
    """A certificate in use.

    Args:
        files: where it is.

    Raises:
        CertificateError: the files cannot be used.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._state = self._look()
        self.context = _load(files)

    def reload(self) -> bool:
        """Take the files anew if they have changed; tells whether they had, and could be used."""
        try:
            state = self._look()
            if state == self._state:
                return False
            # One that is renewed between these two lines is taken at the next look.
            self._state = state
            self.context = _load(self._files)
        except CertificateError as error:
            _log.error("certificate-unusable", "the old certificate stays: {reason}", reason=error)
            return False
        _log.info("certificate-renewed", "the certificate in {file} is new", file=self._files.chain)
        return True

    def _look(self) -> _State:
        """Return what tells whether the files have changed.

        Raises:
            CertificateError: one is not there.
        """
        found = []
        for path in (self._files.chain, self._files.key):
            try:
                known = path.stat()
            except OSError as error:
                raise CertificateError(
                    f"cannot read {path}: {error.strerror}",
                    hint="name the files of the node's certificate and key, in PEM",
                ) from error
            found.append((known.st_ino, known.st_size, known.st_mtime_ns))
        return tuple(found)


def _load(files: CertificateFiles) -> ssl.SSLContext:
    """Return what connections begin with.

    Raises:
        CertificateError: the files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(list(PROTOCOLS))
    try:
        # With a password nobody could start the node but a person.
        context.load_cert_chain(files.chain, files.key, password=lambda: b"")
    except ssl.SSLError as error:
        raise CertificateError(
            f"{files.chain} and {files.key} are no certificate with its key:"
            f" {error.reason or error}",
            hint="both are PEM, the chain begins with the node's own, and the key has no password",
        ) from error
    except OSError as error:
        raise CertificateError(
            f"cannot read {files.chain} and {files.key}: {error.strerror}"
        ) from error
    return context
