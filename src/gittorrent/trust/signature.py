"""One signature, whichever kind, and the certificates it may need.

``Signature`` is the armored text as it was made. ``KeyRing`` holds OpenPGP certificates by name
(SSH signatures carry their key). ``verify`` says who signed; ``split_signed`` takes git's signed
texts apart.

Rules: a signed text ends with exactly one signature, at the beginning of a line and running to
the very last byte; which right the signer has is policy's question, not asked here. Signatures
can be re-encoded by anybody and still hold: nothing may be named after their bytes.

Source: docs/protocol/trust.md, Signatures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.printable import decoded
from gittorrent.trust import openpgp, sshsig
from gittorrent.trust.armor import Armor
from gittorrent.trust.errors import (
    BadKey,
    BadSignature,
    ExpiredKey,
    RevokedKey,
    UnknownKey,
    WeakSignature,
)
from gittorrent.trust.keys import KeyKind, KeyRef

__all__ = [
    "MAX_SIGNATURE",
    "BadKey",
    "BadSignature",
    "ExpiredKey",
    "KeyRing",
    "RevokedKey",
    "Signature",
    "Signer",
    "UnknownKey",
    "WeakSignature",
    "detect",
    "split_signed",
    "verify",
]

MAX_SIGNATURE = 64 * 1024
"""Bytes of an armored signature; every kind in use fits, and nobody can fill a disk with one."""

_ARMORS = {KeyKind.SSH: Armor.SSH_SIGNATURE, KeyKind.OPENPGP: Armor.PGP_SIGNATURE}
_OTHER_ENVELOPES = (
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN PGP SIGNED MESSAGE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
)


class Signature(Struct, frozen=True):
    """An armored signature that has not been verified yet; ``data`` as it was made.

    Raises ``BadSignature`` when ``data`` is not one armored block of that kind.
    """

    kind: KeyKind
    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) > MAX_SIGNATURE:
            raise BadSignature(f"signature has {len(self.data)} bytes; {MAX_SIGNATURE} are allowed")
        armor = _ARMORS[self.kind]
        if not (
            self.data.startswith(armor.begin + b"\n")
            and self.data.endswith(b"\n" + armor.end + b"\n")
            and self.data.count(b"-----BEGIN ") == 1
            and self.data.count(b"-----END ") == 1
        ):
            raise BadSignature(f"not exactly one armored {self.kind.value} signature")


class Signer(Struct, frozen=True):
    """Who made a verified signature.

    ``key`` is what policies name. For OpenPGP ``signing_key`` is the fingerprint of the (sub)key
    and ``created`` the signature's date in seconds since 1970; for SSH ``public_key_line`` is the
    key as in a ``.pub`` file. What does not apply is None.
    """

    key: KeyRef
    signing_key: str | None = None
    created: int | None = None
    public_key_line: str | None = None


class KeyRing(Mapping[KeyRef, bytes]):
    """OpenPGP certificates (binary) by the name of their primary key; immutable.

    Raises ``BadKey`` for a certificate that cannot be read, and for two of one name.
    """

    def __init__(self, certificates: Iterable[bytes] = ()) -> None:
        self._certificates: dict[KeyRef, bytes] = {}
        self._by_issuer: dict[str, list[KeyRef]] = {}
        for certificate in certificates:
            binary = openpgp.dearmor(certificate)
            name = openpgp.certificate_fingerprint(binary)
            if name in self._certificates:
                raise BadKey(f"two certificates of one key: {name}")
            self._certificates[name] = binary
            for fingerprint in openpgp.certificate_keys(binary):
                for hint in (fingerprint, openpgp.key_id(fingerprint)):
                    self._by_issuer.setdefault(hint, []).append(name)

    def __getitem__(self, key: KeyRef) -> bytes:
        return self._certificates[key]

    def __iter__(self) -> Iterator[KeyRef]:
        return iter(self._certificates)

    def __len__(self) -> int:
        return len(self._certificates)

    def candidates(self, issuer: str) -> list[KeyRef]:
        """List the certificates that have a key with this fingerprint or key id, sorted.

        There can be several: anybody can list somebody else's key as their own subkey (without
        being able to sign with it).
        """
        return sorted(self._by_issuer.get(issuer, ()))


EMPTY_KEYRING = KeyRing()
"""Enough where only SSH keys sign."""


def detect(data: bytes) -> Signature:
    """Find out which kind of armored signature ``data`` is; raises ``BadSignature``."""
    for kind, armor in _ARMORS.items():
        if data.startswith(armor.begin):
            return Signature(kind, data)
    raise BadSignature(
        f"not an SSH or OpenPGP signature: starts with {decoded(data[:40])!r}",
        hint="sign with gpg.format=ssh or gpg.format=openpgp; X.509 is not supported",
    )


def split_signed(text: bytes) -> tuple[bytes, Signature]:
    """Take a signed tag or push certificate apart into what was signed and the signature.

    The payload keeps its last line end. Raises ``BadSignature`` when there is no signature, more
    than one, or anything after it. Source: docs/protocol/trust.md, Signatures.
    """
    starts = [at for armor in _ARMORS.values() for at in _lines_starting(text, armor.begin)]
    others = any(_lines_starting(text, envelope) for envelope in _OTHER_ENVELOPES)
    if not starts:
        raise BadSignature(
            "not signed: no SSH or OpenPGP signature block at its end",
            hint="sign it with git tag -s, git push --signed or gpg --detach-sign",
        )
    if len(starts) > 1 or others:
        raise BadSignature("more than one signature block; exactly one is allowed")
    if starts[0] == 0:
        raise BadSignature("the signed message is empty")
    return text[: starts[0]], detect(text[starts[0] :])


def verify(
    signature: Signature, message: bytes, keyring: Mapping[KeyRef, bytes] = EMPTY_KEYRING
) -> Signer:
    """Say who signed ``message``.

    ``keyring`` holds the OpenPGP certificates that count. Raises ``UnknownKey`` when none there
    fits, otherwise ``BadSignature``, ``WeakSignature``, ``ExpiredKey``, ``RevokedKey`` or
    ``BadKey``. Source: docs/protocol/trust.md, Signatures.
    """
    if signature.kind is KeyKind.SSH:
        ssh = sshsig.verify(signature.data, message)
        return Signer(ssh.key, public_key_line=ssh.public_key_line)
    ring = keyring if isinstance(keyring, KeyRing) else KeyRing(keyring.values())
    claimed = openpgp.issuer(signature.data)
    failure: TrustError = UnknownKey(
        f"no certificate is known for OpenPGP key {claimed}, which made this signature",
        hint="'gittorrent policy add FILE', with what 'gpg --export' prints, tells the policy of a"
        " key, or of a new subkey; whoever has the only root signs that with --key FINGERPRINT!",
    )
    for name in ring.candidates(claimed):
        try:
            pgp = openpgp.verify(signature.data, message, ring[name])
        except (BadKey, BadSignature, ExpiredKey, RevokedKey, UnknownKey) as error:
            failure = error
        else:
            return Signer(pgp.key, signing_key=pgp.signing_key, created=pgp.created)
    raise failure


def _lines_starting(text: bytes, prefix: bytes) -> list[int]:
    """Find where lines start with ``prefix``."""
    found = []
    at = text.find(prefix)
    while at >= 0:
        if at == 0 or text[at - 1 : at] == b"\n":
            found.append(at)
        at = text.find(prefix, at + 1)
    return found
