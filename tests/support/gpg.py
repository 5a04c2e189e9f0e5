"""People with OpenPGP keys, made by gpg, who certify one another and take that back."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gittorrent.signing.gpg import OpenPgpSigner
from gittorrent.trust.keys import KeyKind, KeyRef

TIME = 1_700_000_000
"""When everybody's key is made, unless a test says otherwise."""


class GpgPerson:
    """Somebody with a GnuPG home and one key.

    Args:
        home: an empty directory with a short path.
        name: what comes before ``@example.org``.
        created: when the key is made, in seconds.
        expires: as gpg takes it, such as ``30d``.
    """

    def __init__(self, home: Path, name: str, created: int = TIME, expires: str = "never") -> None:
        self._home = home
        self.name = name
        self.user = f"{name}@example.org"
        self.run("--quick-generate-key", self.user, "ed25519", "sign,cert", expires, at=created)
        self.fingerprint = self._fingerprint()
        self.key = KeyRef(KeyKind.OPENPGP, self.fingerprint.lower())

    def _fingerprint(self) -> str:
        listing = self.run("--with-colons", "--list-keys", self.user).decode()
        return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))

    def run(self, *words: str, given: bytes = b"", at: int | None = None) -> bytes:
        """Run gpg at a time of one's choice, and return what it wrote."""
        clock = [] if at is None else ["--faked-system-time", f"{at}!"]
        quiet = ["--batch", "--yes", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]
        done = subprocess.run(
            ["gpg", "--homedir", str(self._home), *quiet, "--passphrase", "", *clock, *words],
            input=given,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def certificate(self) -> bytes:
        """Return one's own certificate with the certifications that one has of others."""
        return self.run("--export", self.fingerprint)

    def take(self, certificate: bytes) -> None:
        """Add what others certified."""
        self.run("--import", given=certificate)

    def certify(self, other: GpgPerson, at: int = TIME + 100, expires: str | None = None) -> None:
        """Certify somebody's key, and give them what comes of it."""
        self.take(other.certificate())
        until = [] if expires is None else ["--default-cert-expire", expires]
        self.run(*until, "--quick-sign-key", other.fingerprint, at=at)
        other.take(self.run("--export", other.fingerprint))

    def take_back(self, other: GpgPerson, at: int = TIME + 200) -> None:
        """Revoke one's certification of somebody's key, and give them what comes of it."""
        self.run("--quick-revoke-sig", other.fingerprint, self.fingerprint, at=at)
        other.take(self.run("--export", other.fingerprint))

    def revoke(self) -> None:
        """Revoke one's own key, by the certificate that gpg made for that."""
        path = self._home / "openpgp-revocs.d" / f"{self.fingerprint}.rev"
        self.take(path.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))

    @property
    def signer(self) -> OpenPgpSigner:
        """Somebody's key to sign with, where ``GNUPGHOME`` is theirs."""
        return OpenPgpSigner(self.key, self.certificate(), self.fingerprint)


class GpgPeople:
    """Makes people; their homes and agents are gone afterwards."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._homes: list[Path] = []

    def person(self, name: str, created: int = TIME, expires: str = "never") -> GpgPerson:
        """Make somebody."""
        home = self._root / name
        home.mkdir(mode=0o700)
        self._homes.append(home)
        return GpgPerson(home, name, created, expires)

    def home_of(self, name: str) -> Path:
        """Return somebody's GnuPG home."""
        return self._root / name

    def close(self) -> None:
        """End their agents."""
        for home in self._homes:
            end_agents(home)


def end_agents(home: Path) -> None:
    """Tell gpg's background programs of one home to end; they remove their sockets as they do."""
    if any(home.iterdir()):
        words = ["gpgconf", "--homedir", str(home), "--kill", "all"]
        subprocess.run(words, check=False, capture_output=True)


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Yield a directory that agents' sockets find room in, so not in pytest's; it is gone after.

    An agent that was told to end may remove its sockets while the directory is removed.
    """
    with tempfile.TemporaryDirectory(prefix="gpg-", dir="/tmp") as folder:
        yield Path(folder)


@contextlib.contextmanager
def gpg_home() -> Iterator[Path]:
    """Yield an empty GnuPG home; its agents are gone afterwards, like the home."""
    with short_folder() as home:
        try:
            yield home
        finally:
            end_agents(home)


@contextlib.contextmanager
def gpg_people() -> Iterator[GpgPeople]:
    """Yield a maker of people."""
    with short_folder() as root:
        people = GpgPeople(root)
        try:
            yield people
        finally:
            people.close()
