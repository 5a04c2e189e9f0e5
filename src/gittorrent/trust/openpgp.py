"""OpenPGP signatures: one detached signature, checked against one given certificate.

Tracks nothing; pure (Sequoia does the cryptography, in memory). No key store, no web of trust,
no network: the caller says which certificate counts.

Rules, some of them stricter than Sequoia's:

- one signature packet and nothing else, of type binary; no text, inline or clear-text forms;
- SHA-1, MD5 and RIPEMD-160 are refused whatever date the signature claims for itself;
- the certificate must have been alive when the signature says it was made, for a signature
  outlives its key; a revoked certificate vouches for nothing, whenever the signature was made;
- certificates are pinned by the SHA-256 of their binary form, never by what they say.

Sequoia refuses signatures dated after the machine's clock; that is its only look at the clock.

Source: RFC 9580 sections 4.2, 5.2 and 10.1; docs/protocol/trust.md, OpenPGP signatures.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct
from pysequoia import Cert, Sig
from pysequoia import verify as sequoia_verify
from pysequoia.packet import PacketPile, Tag

from gittorrent.trust.armor import Armor, unwrap
from gittorrent.trust.errors import (
    BadKey,
    BadSignature,
    ExpiredKey,
    RevokedKey,
    UnknownKey,
    WeakSignature,
)
from gittorrent.trust.keys import KeyKind, KeyRef

if TYPE_CHECKING:
    from datetime import datetime

MAX_SIGNATURE = 64 * 1024
"""Bytes of a signature, armored or not; the largest post-quantum ones need about 50,000."""

MAX_CERTIFICATE = 256 * 1024
"""Bytes of a certificate; a minimal export of an RSA key with ten subkeys needs about 15,000."""

_SIGNATURE_TAG = 2
_TYPE_BINARY = 0x00
_WEAK_DIGESTS = {1: "MD5", 2: "SHA-1", 3: "RIPEMD-160"}


class OpenPgpSigner(Struct, frozen=True):
    """Who made a verified OpenPGP signature.

    ``key`` names the certificate by its primary key, ``signing_key`` is the fingerprint of the
    (sub)key that signed, ``created`` the signature's own date in seconds since 1970.
    """

    key: KeyRef
    signing_key: str
    created: int


def dearmor(data: bytes) -> bytes:
    """Return the binary form of an OpenPGP signature or certificate, armored or not.

    Binary input (first byte 0x80 or above) comes back unchanged. Raises ``BadSignature`` for a
    broken signature armor and ``BadKey`` for a broken certificate armor or anything else.
    """
    if data[:1] >= b"\x80":
        return data
    if data.startswith(Armor.PGP_SIGNATURE.begin):
        return unwrap(data, Armor.PGP_SIGNATURE, BadSignature)
    return unwrap(data, Armor.PGP_CERTIFICATE, BadKey)


def certificate_fingerprint(certificate: bytes) -> KeyRef:
    """Name a certificate by the fingerprint of its primary key; raises ``BadKey``."""
    return KeyRef(KeyKind.OPENPGP, _certificate(certificate).fingerprint)


def certificate_digest(certificate: bytes) -> str:
    """Give the ``sha256:<hex>`` that pins exactly this certificate, over its binary form.

    Raises ``BadKey`` when the armor is broken. Source: docs/protocol/trust.md, Policy.
    """
    return "sha256:" + hashlib.sha256(_binary_certificate(certificate)).hexdigest()


def split_certificates(data: bytes) -> tuple[bytes, ...]:
    """Take certificates apart that follow one another, binary; raises ``BadKey``.

    A single one comes back to the byte.
    """
    try:
        certs = Cert.split_bytes(data)
    except RuntimeError as error:
        raise BadKey("OpenPGP certificates cannot be read") from error
    if not certs:
        raise BadKey("there is no OpenPGP certificate")
    return (data,) if len(certs) == 1 else tuple(bytes(cert) for cert in certs)


def certificate_label(certificate: bytes) -> str:
    """Return what a certificate calls its owner first, which nothing proves; empty if nothing."""
    users = _certificate(certificate).user_ids
    return str(users[0]) if users else ""


def certificate_keys(certificate: bytes) -> frozenset[str]:
    """List the fingerprints of a certificate's primary key and subkeys, usable or not."""
    _certificate(certificate)
    pile = PacketPile.from_bytes(_binary_certificate(certificate))
    return frozenset(
        packet.fingerprint
        for packet in pile
        if packet.tag in (Tag.PublicKey, Tag.PublicSubkey) and packet.fingerprint is not None
    )


def certificate_dates(certificate: bytes) -> frozenset[int]:
    """List the seconds at which something about a certificate may begin or end to hold.

    These are the dates of creation and expiry of its keys and signatures, each with the second
    after it: between two of them nothing changes with time. Raises ``BadKey``.
    """
    _certificate(certificate)
    packets = list(PacketPile.from_bytes(_binary_certificate(certificate)))
    keys = [packet.key_created for packet in packets if packet.key_created is not None]
    dates = list(keys)
    for packet in packets:
        made = packet.signature_created
        if made is None:
            continue
        dates.append(made)
        if packet.signature_validity_period is not None:
            dates.append(made + packet.signature_validity_period)
        if packet.key_validity_period is not None:
            dates += [key + packet.key_validity_period for key in keys]
    seconds = {int(date.timestamp()) for date in dates}
    return frozenset(seconds | {second + 1 for second in seconds})


def key_id(fingerprint: str) -> str:
    """Give the short id (16 digits) of a key. Source: RFC 9580 section 5.5.4."""
    return fingerprint[-16:] if len(fingerprint) == 40 else fingerprint[:16]


def issuer(signature: bytes) -> str:
    """Tell which key a signature claims to be made by: a fingerprint, or a 16-digit key id.

    Only a hint for finding the certificate. Raises ``BadSignature`` or ``WeakSignature`` like
    ``verify``, and ``BadSignature`` when the signature does not say.
    """
    parsed = _signature(signature)
    claimed = parsed.issuer_fingerprint or parsed.issuer_key_id
    if claimed is None:
        raise BadSignature("OpenPGP signature does not say which key made it")
    return claimed


def verify(signature: bytes, message: bytes, certificate: bytes) -> OpenPgpSigner:
    """Check that ``certificate``'s owner signed ``message``.

    ``signature`` and ``certificate`` may be armored or binary. Raises ``BadSignature``,
    ``WeakSignature``, ``ExpiredKey``, ``RevokedKey``, ``UnknownKey`` (another key's signature)
    or ``BadKey``. Source: docs/protocol/trust.md, OpenPGP signatures.
    """
    parsed = _signature(signature)
    cert = _certificate(certificate)
    name = KeyRef(KeyKind.OPENPGP, cert.fingerprint)
    if _life(cert).revoked:
        raise RevokedKey(f"{name} has been revoked by its owner")
    created = parsed.created
    if created is None:
        raise BadSignature("OpenPGP signature has no creation time")
    try:
        result = sequoia_verify(bytes=message, store=lambda _: [cert], signature=parsed)
    except RuntimeError:
        result = None
    if result is not None and len(result.valid_sigs) == 1:
        valid = result.valid_sigs[0]
        if valid.certificate == cert.fingerprint:
            return OpenPgpSigner(name, valid.signing_key, int(created.timestamp()))
    raise _why_not(parsed, cert, certificate, name)


def certificate_life(certificate: bytes) -> Life:
    """Tell what a certificate's owner says about its end; raises ``BadKey``."""
    return _life(_certificate(certificate))


def valid_at(certificate: bytes, time: int) -> bool:
    """Tell whether a certificate had not expired at ``time`` (seconds), and is not revoked.

    A signature gives itself a date; this is for a time that others vouch for. Raises ``BadKey``.
    Source: docs/protocol/trust.md, The rule.
    """
    life = certificate_life(certificate)
    if life.revoked:
        return False
    return life.expires is None or time < life.expires.timestamp()


def _why_not(
    parsed: Sig, cert: Cert, certificate: bytes, name: KeyRef
) -> BadSignature | ExpiredKey | UnknownKey:
    """Find the most helpful error for a signature that Sequoia did not accept."""
    claimed = parsed.issuer_fingerprint or parsed.issuer_key_id
    keys = certificate_keys(certificate)
    if claimed is None or not any(claimed in (key, key_id(key)) for key in keys):
        return UnknownKey(f"OpenPGP signature is by {claimed}, which is no key of {name}")
    expires, created = _life(cert).expires, parsed.created
    if expires is not None and created is not None and created >= expires:
        return ExpiredKey(
            f"{name} expired on {expires:%Y-%m-%d}, the signature is of {created:%Y-%m-%d}",
            hint="extend the key, and let an owner run 'gittorrent policy add' with the new"
            " certificate",
        )
    return BadSignature(
        f"OpenPGP signature does not hold: {name} did not sign these bytes, "
        "or its signing key was not valid at the time"
    )


class Life(Struct, frozen=True):
    """What a certificate's owner says about its end: ``expires`` is None if it never does."""

    revoked: bool
    expires: datetime | None


def _life(cert: Cert) -> Life:
    try:
        return Life(cert.is_revoked, cert.expiration)
    except RuntimeError as error:
        raise BadKey(
            f"the certificate of {cert.fingerprint} has no self-signature that counts today",
            hint="its owner can renew it with gpg --quick-set-expire and a modern digest",
        ) from error


def _signature(signature: bytes) -> Sig:
    """Parse a signature and hold it to this module's rules."""
    if len(signature) > MAX_SIGNATURE:
        raise BadSignature(
            f"OpenPGP signature has {len(signature)} bytes; {MAX_SIGNATURE} are allowed"
        )
    raw = signature
    if raw[:1] < b"\x80":
        raw = unwrap(signature, Armor.PGP_SIGNATURE, BadSignature)
    body = _only_signature_packet(raw)
    version = body[0] if body else 0
    if version not in (4, 6) or len(body) < 4:
        raise BadSignature(f"OpenPGP signature has version {version}; 4 and 6 are accepted")
    if body[1] != _TYPE_BINARY:
        raise BadSignature(
            f"OpenPGP signature is of type 0x{body[1]:02x}, not over a binary document",
            hint="sign with gpg --detach-sign, without --textmode",
        )
    weak = _WEAK_DIGESTS.get(body[3])
    if weak is not None:
        raise WeakSignature(
            f"OpenPGP signature uses {weak}", hint="sign with gpg --digest-algo SHA512"
        )
    try:
        return Sig.from_bytes(raw)
    except RuntimeError as error:
        raise BadSignature("OpenPGP signature cannot be read") from error


def _only_signature_packet(raw: bytes) -> bytes:
    """Return the body of the one packet there may be. Source: RFC 9580 section 4.2."""
    if len(raw) < 2 or not raw[0] & 0x80:
        raise BadSignature("OpenPGP signature does not start with a packet")
    first = raw[1]
    if raw[0] & 0x40:
        tag = raw[0] & 0x3F
        if first < 192:
            start, size = 2, first
        elif first < 224:
            start, size = 3, ((first - 192) << 8) + int.from_bytes(raw[2:3], "big") + 192
        elif first == 255:
            start, size = 6, int.from_bytes(raw[2:6], "big")
        else:
            raise BadSignature("OpenPGP signature comes in pieces (partial lengths)")
    else:
        tag = (raw[0] >> 2) & 0x0F
        width = (1, 2, 4, 0)[raw[0] & 3]
        if width == 0:
            raise BadSignature("OpenPGP signature has no definite length")
        start, size = 1 + width, int.from_bytes(raw[1 : 1 + width], "big")
    if tag != _SIGNATURE_TAG:
        raise BadSignature(
            f"OpenPGP packet {tag} found where one detached signature must be",
            hint="sign with gpg --detach-sign",
        )
    if start + size != len(raw):
        raise BadSignature(
            "OpenPGP signature is cut off, or something follows it; exactly one is allowed"
        )
    return raw[start:]


def _binary_certificate(certificate: bytes) -> bytes:
    if len(certificate) > MAX_CERTIFICATE:
        raise BadKey(
            f"OpenPGP certificate has {len(certificate)} bytes; {MAX_CERTIFICATE} are allowed",
            hint="export it with gpg --export-options export-minimal",
        )
    if certificate[:1] >= b"\x80":
        return certificate
    return unwrap(certificate, Armor.PGP_CERTIFICATE, BadKey)


def _certificate(certificate: bytes) -> Cert:
    """Parse a certificate: exactly one, and public."""
    binary = _binary_certificate(certificate)
    try:
        cert = Cert.from_bytes(binary)
        tags = [packet.tag for packet in PacketPile.from_bytes(binary)]
    except RuntimeError as error:
        raise BadKey("OpenPGP certificate cannot be read, or is not exactly one") from error
    if Tag.SecretKey in tags or Tag.SecretSubkey in tags:
        raise BadKey(
            "this is a secret key, not a certificate",
            hint="export it with gpg --export, and never send the secret key to anybody",
        )
    return cert
