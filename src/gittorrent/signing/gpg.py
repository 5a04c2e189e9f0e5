"""Signing with OpenPGP keys through gpg and its agent, in the user's own GnuPG home.

Tracks the key's name, its certificate and what to tell gpg. Rules: detached, binary signatures;
every signature is verified against the certificate that will be published before it is handed
out, so that a ``gpg.conf`` asking for SHA-1 or text mode is noticed here.

Source: gpg(1), doc/DETAILS in GnuPG (colon listings); docs/protocol/trust.md, OpenPGP signatures.
"""

from __future__ import annotations

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.signing.programs import (
    NoKeyOfThatNameError,
    NoSigningKey,
    SigningFailed,
    complaint,
    interactive,
    run,
)
from gittorrent.trust import openpgp
from gittorrent.trust.keys import KeyKind, KeyRef
from gittorrent.trust.signature import Signature, detect

GPG = "gpg"

_UNUSABLE = frozenset("idenr")
"""Validity letters of keys that cannot sign: invalid, disabled, expired, not valid, revoked."""


class OpenPgpSigner(Struct, frozen=True):
    """Signs with one OpenPGP key.

    ``certificate`` is what to publish (binary, minimal); ``user`` is what gpg is told to sign
    as: the primary fingerprint, or a subkey's with ``!``.
    """

    key: KeyRef
    certificate: bytes
    user: str
    program: str = GPG

    @property
    def spec(self) -> str:
        """The fingerprint that gpg is told, with ``!`` where it is a subkey's."""
        return self.user

    def sign(self, message: bytes) -> Signature:
        """Sign ``message``; may ask for a passphrase. Raises ``SigningFailed``."""
        quiet = [] if interactive() else ["--batch"]
        command = [self.program, *quiet, "--no-textmode", "--armor", "--local-user", self.user]
        done = run([*command, "--detach-sign"], given=message, may_prompt=True)
        if done.returncode != 0:
            raise SigningFailed(
                f"{self.program} could not sign as {self.user}: {complaint(done)}",
                hint="try: echo test | gpg --clearsign --local-user " + self.user,
            )
        try:
            signature = detect(done.stdout)
            openpgp.verify(signature.data, message, self.certificate)
        except TrustError as error:
            raise SigningFailed(
                f"{self.program} made a signature that others would refuse: {error}",
                hint=error.hint,
            ) from error
        return signature


def gpg_signer(user: str, program: str = GPG) -> OpenPgpSigner:
    """Find the secret key that ``user`` (fingerprint, key id, email) names.

    Raises ``NoSigningKey`` when there is none, more than one, or it cannot sign any more.
    """
    primaries = _secret_keys(user, program)
    if not primaries:
        raise NoKeyOfThatNameError(f"gpg has no usable secret key for {user!r}")
    if len(primaries) > 1:
        raise NoSigningKey(
            f"{user!r} stands for {len(primaries)} secret keys: {', '.join(primaries)}",
            hint="name one of them by its fingerprint",
        )
    fingerprint = primaries[0]
    certificate = _export(fingerprint, program)
    key = KeyRef(KeyKind.OPENPGP, fingerprint.lower())
    try:
        found = openpgp.certificate_fingerprint(certificate)
    except TrustError as error:
        raise NoSigningKey(f"gpg's certificate for {fingerprint} is unusable: {error}") from error
    if found != key:
        raise NoSigningKey(f"gpg exported {found} when asked for {key}")
    return OpenPgpSigner(key, certificate, user if user.endswith("!") else fingerprint, program)


def export_certificate(user: str, program: str = GPG) -> bytes:
    """Return the certificate of a key that gpg knows, with what others certified.

    Args:
        user: fingerprint, key id or email.
        program: gpg.

    Raises:
        NoSigningKey: gpg knows none, or several.
    """
    options = ["--export-options", "no-export-attributes"]
    done = run([program, "--batch", *options, "--export", "--", user])
    if done.returncode != 0 or not done.stdout:
        raise NoSigningKey(
            f"gpg knows no key {user!r}", hint="import it first, or name a file with it"
        )
    found = len(openpgp.split_certificates(done.stdout))
    if found > 1:
        raise NoSigningKey(
            f"{user!r} stands for {found} keys that gpg knows",
            hint="name one of them by its fingerprint",
        )
    return done.stdout


def _secret_keys(user: str, program: str) -> list[str]:
    """List the primary fingerprints of the usable secret keys that ``user`` names."""
    done = run([program, "--batch", "--with-colons", "--list-secret-keys", "--", user])
    found: list[str] = []
    usable = False
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if fields[0] == "sec" and len(fields) > 11:
            # Field 12: a capital S says that some part of the key can sign.
            usable = fields[1] not in _UNUSABLE and "S" in fields[11]
        elif fields[0] == "fpr" and usable and len(fields) > 9:
            found.append(fields[9])
            usable = False
    return found


def _export(fingerprint: str, program: str) -> bytes:
    options = ["--export-options", "export-minimal,no-export-attributes"]
    done = run([program, "--batch", *options, "--export", "--", fingerprint])
    if done.returncode != 0 or not done.stdout:
        raise NoSigningKey(f"gpg cannot export the certificate of {fingerprint}: {complaint(done)}")
    return done.stdout
