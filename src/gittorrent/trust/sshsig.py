"""SSH signatures (SSHSIG), as ``ssh-keygen -Y sign`` and git make them.

Tracks nothing; pure. Answers one question: whose key made this signature over this message in
this namespace? Who that key belongs to and what it may do is not known here.

Rules: exactly one signature, no bytes left over, the namespace as asked for; SHA-1 and
certificates refused; a security key must have been touched. An ECDSA signature (r, s) has the
twin (r, n - s) that anybody can compute and that verifies as well, so a signature proves who
signed but must never be used as, or hashed into, an identifier.

Source: OpenSSH PROTOCOL.sshsig and PROTOCOL.u2f; docs/protocol/trust.md, SSH signatures.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from msgspec import Struct

from gittorrent.printable import decoded
from gittorrent.trust.armor import Armor, unwrap
from gittorrent.trust.errors import BadSignature, WeakSignature
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.sshkey import Reader, SshPublicKey, VerifyingKey, parse_key

MAX_ARMORED = 64 * 1024
"""Bytes of an armored signature; one with a 16384-bit RSA key needs about 6,000."""

_MAGIC = b"SSHSIG"
_VERSION = 1
_USER_PRESENT = 0x01
_DIGESTS = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_RSA_HASHES: dict[bytes, hashes.HashAlgorithm] = {
    b"rsa-sha2-256": hashes.SHA256(),
    b"rsa-sha2-512": hashes.SHA512(),
}
_CURVE_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


class SshSigner(Struct, frozen=True):
    """Who made a verified SSH signature: the key's name, and the key as in a ``.pub`` file."""

    key: KeyRef
    public_key_line: str


def verify(armored: bytes, message: bytes, *, namespace: bytes = b"git") -> SshSigner:
    """Say which key signed ``message``.

    ``armored`` is one SSH SIGNATURE block and nothing else; ``namespace`` is what the signature
    must have been made for. Raises ``BadSignature`` when it does not hold, ``WeakSignature`` for
    SHA-1, small keys and untouched security keys, ``BadKey`` for keys that are not accepted.
    Source: docs/protocol/trust.md, SSH signatures.
    """
    if len(armored) > MAX_ARMORED:
        raise BadSignature(f"SSH signature has {len(armored)} bytes; {MAX_ARMORED} are allowed")
    reader = Reader(unwrap(armored, Armor.SSH_SIGNATURE, BadSignature), "SSH signature", _bad)
    if reader.fixed(len(_MAGIC)) != _MAGIC:
        raise BadSignature("SSH signature does not start with SSHSIG")
    version = reader.uint32()
    if version != _VERSION:
        raise BadSignature(f"SSH signature has version {version}; only {_VERSION} is known")
    blob, made_for, reserved = reader.string(), reader.string(), reader.string()
    digest_name, signature = reader.string(), reader.string()
    reader.end()
    if made_for != namespace:
        raise BadSignature(
            f"SSH signature was made for namespace {decoded(made_for[:60])!r},"
            f" not {decoded(namespace)!r}",
            hint="sign with ssh-keygen -Y sign -n " + namespace.decode("ascii", "replace"),
        )
    digest = _DIGESTS.get(digest_name)
    if digest is None:
        raise WeakSignature(
            f"SSH signature uses digest {decoded(digest_name[:60])!r}, not SHA-256 or -512"
        )
    public = parse_key(blob)
    signed = _MAGIC + _strings(made_for, reserved, digest_name, digest(message).digest())
    _check(public, signature, signed)
    return SshSigner(public.key, public.line)


def _bad(message: str) -> BadSignature:
    return BadSignature(message)


def _strings(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def _check(public: SshPublicKey, signature: bytes, signed: bytes) -> None:
    """Verify the inner signature over ``signed``; raises ``BadSignature`` or ``WeakSignature``."""
    reader = Reader(signature, "SSH signature", _bad)
    scheme, raw = reader.string(), reader.string()
    if public.application is not None:
        flags, counter = reader.fixed(1), reader.fixed(4)
        if not flags[0] & _USER_PRESENT:
            raise WeakSignature("the security key signed without being touched")
        application = hashlib.sha256(public.application).digest()
        signed = application + flags + counter + hashlib.sha256(signed).digest()
    reader.end()
    rsa_hash = _RSA_HASHES.get(scheme) if public.algorithm == "ssh-rsa" else None
    if rsa_hash is None and scheme != public.algorithm.encode("ascii"):
        raise BadSignature(
            f"signature scheme {decoded(scheme[:60])!r} is not for a {public.algorithm} key"
        )
    if public.algorithm == "ssh-rsa" and rsa_hash is None:
        raise WeakSignature(
            "RSA signature uses SHA-1",
            hint="sign again with OpenSSH 7.2 or later, which uses rsa-sha2-512",
        )
    try:
        _verify_raw(public.verifying, raw, signed, rsa_hash)
    except InvalidSignature:
        raise BadSignature(
            f"SSH signature does not hold: key {public.key} did not sign these bytes"
        ) from None


def _verify_raw(
    key: VerifyingKey, raw: bytes, signed: bytes, rsa_hash: hashes.HashAlgorithm | None
) -> None:
    """Check one primitive signature; raises ``InvalidSignature`` when it does not hold."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        numbers = Reader(raw, "ECDSA signature", _bad)
        r, s = numbers.positive(), numbers.positive()
        numbers.end()
        der = utils.encode_dss_signature(r, s)
        key.verify(der, signed, ec.ECDSA(_CURVE_HASHES[key.curve.name]))
    elif isinstance(key, rsa.RSAPublicKey):
        if rsa_hash is None:
            raise InvalidSignature
        key.verify(raw, signed, padding.PKCS1v15(), rsa_hash)
    else:
        if len(raw) != 64:
            raise InvalidSignature
        key.verify(raw, signed)
