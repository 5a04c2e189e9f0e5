"""The certificate that a node shows its callers, if it has one, as long as the node runs.

Tracks which one is in use. Rules: a node that is to listen for HTTPS without one does not begin; a
change of the configuration that cannot be carried out leaves the former one in use. Must not know
who calls.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gittorrent.errors import UsageError
from gittorrent.node.tls import Certificate
from gittorrent.transfer.off_loop import SlowError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.node.options import Options
    from gittorrent.transfer.off_loop import Reading


LOOK_SECONDS = 10.0
"""How often it is looked whether the files have changed."""


class TlsInUse:
    """A node's certificate.

    Args:
        options: how the node runs.
        reading: where files are read.

    ``certificate`` is the one in use; None where there is none.

    Raises:
        CertificateError: its files cannot be used.
        UsageError: there is none, and the node is to listen for HTTPS.
    """

    def __init__(self, options: Options, reading: Reading) -> None:
        self._files = options.certificate
        self._reading = reading
        self.certificate = certificate_of(options)

    async def follow(self) -> None:
        """Take the files anew whenever they have changed, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.certificate is not None:
                with contextlib.suppress(SlowError):  # the disk hangs: the old one stays
                    await self._reading(self.certificate.reload)

    @contextlib.contextmanager
    def changing(self, options: Options) -> Iterator[None]:
        """Use another certificate from now on, unless the block fails.

        The files of one that stays are looked at without waiting until that is due.

        Args:
            options: how the node is to run.

        Raises:
            CertificateError, UsageError: see the class; all stays as it was then.
        """
        former = self.certificate
        is_other = options.certificate != self._files
        if is_other or former is None:  # none may not do any longer
            self.certificate = certificate_of(options)
        try:
            yield
        except BaseException:
            self.certificate = former
            raise
        self._files = options.certificate
        if not is_other and self.certificate is not None:
            self.certificate.reload()


def certificate_of(options: Options) -> Certificate | None:
    """Return the node's certificate, None where it needs none.

    Raises:
        CertificateError: its files cannot be used.
        UsageError: there is none, and the node is to listen for HTTPS.
    """
    if options.https and options.certificate is None:
        raise UsageError(
            "for HTTPS the node needs a certificate",
            hint="name its files with --tls-certificate FILE and --tls-key FILE, or below [listen]"
            " in node.toml",
        )
    return None if options.certificate is None else Certificate(options.certificate)
