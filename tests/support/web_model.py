"""A second reading of webs of trust, without gpg: what Sequoia parses, checked bit by bit.

Slow and simple: for keys that are ed25519 (version 4) only. Certifications are verified over the
bytes that RFC 9580 section 5.2.4 says, with another library than gpg's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pysequoia.packet import Packet, PacketPile, Tag

from gittorrent.trust.keys import KeyRef
from gittorrent.trust.policy import WebOfTrust

_CERTIFICATIONS = range(0x10, 0x14)
_REVOCATION = 0x30
_KEY_REVOCATION = 0x20


@dataclass
class Reading:
    """What one certificate says, verified as far as the keys of the others allow."""

    created: int
    expires: int | None = None
    revoked: bool = False
    users: list[list[tuple[int, str, int, int | None]]] = field(default_factory=list)


def vouched(
    key: KeyRef,
    rule: WebOfTrust,
    roots: Iterable[KeyRef],
    certificates: Mapping[KeyRef, bytes],
    time: int,
) -> bool:
    """Tell whether a key is vouched for, from the words of the protocol page."""
    bodies = {name.fingerprint: _key_body(raw) for name, raw in certificates.items()}
    read = {name.fingerprint: _read(raw, bodies) for name, raw in certificates.items()}
    alive = {
        name
        for name, one in read.items()
        if not one.revoked and one.created <= time and not (one.expires and one.expires <= time)
    }
    counted = {root.fingerprint for root in roots} & alive
    for _ in range(rule.depth):
        counted |= {
            name
            for name in alive
            if any(len(_standing(user, time) & counted - {name}) >= rule.needs
                   for user in read[name].users)
        }  # fmt: skip
    return key.fingerprint in counted


def _standing(user: list[tuple[int, str, int, int | None]], time: int) -> set[str]:
    """Return who certified a user id and did not take it back, at a time."""
    made: dict[str, int] = {}
    taken: dict[str, int] = {}
    for kind, issuer, created, expires in user:
        if created > time:
            continue
        if kind == _REVOCATION:
            taken[issuer] = max(created, taken.get(issuer, 0))
        elif expires is None or expires > time:
            made[issuer] = max(created, made.get(issuer, 0))
    return {issuer for issuer, when in made.items() if taken.get(issuer, -1) < when}


def _key_body(certificate: bytes) -> bytes:
    return bytes(next(p.body for p in PacketPile.from_bytes(certificate) if p.tag == Tag.PublicKey))


def _read(certificate: bytes, bodies: Mapping[str, bytes]) -> Reading:
    packets = list(PacketPile.from_bytes(certificate))
    key = packets[0]
    assert key.fingerprint is not None
    assert key.key_created is not None
    found = Reading(int(key.key_created.timestamp()))
    user: bytes | None = None
    for packet in packets[1:]:
        if packet.tag == Tag.UserID:
            user = packet.body
            found.users.append([])
        elif packet.tag == Tag.PublicSubkey:
            break
        elif packet.tag == Tag.Signature and packet.issuer_fingerprint in bodies:
            _take(found, packet, user, key.body, bodies[packet.issuer_fingerprint], key.fingerprint)
    return found


def _take(
    found: Reading, packet: Packet, user: bytes | None, target: bytes, issuer_body: bytes, own: str
) -> None:
    kind, issuer = packet.body[1], packet.issuer_fingerprint
    assert issuer is not None
    assert packet.signature_created is not None
    over = b"\x99" + len(target).to_bytes(2, "big") + target
    if user is not None:
        over += b"\xb4" + len(user).to_bytes(4, "big") + user
    if not _holds(packet.body, over, issuer_body):
        return
    created = int(packet.signature_created.timestamp())
    if kind == _KEY_REVOCATION and issuer == own:
        found.revoked = True
    elif user is not None and (kind in _CERTIFICATIONS or kind == _REVOCATION):
        if issuer == own and packet.key_validity_period is not None:
            found.expires = found.created + int(packet.key_validity_period.total_seconds())
        lasts = packet.signature_validity_period
        expires = None if lasts is None else created + int(lasts.total_seconds())
        found.users[-1].append((kind, issuer, created, expires))


def _holds(signature: bytes, over: bytes, key_body: bytes) -> bool:
    """Verify an EdDSA signature (algorithm 22). Source: RFC 9580 sections 5.2.4 and 5.5.5.5."""
    hashed = 6 + int.from_bytes(signature[4:6], "big")
    names = {8: "sha256", 9: "sha384", 10: "sha512"}
    trailer = signature[:hashed] + b"\x04\xff" + hashed.to_bytes(4, "big")
    digest = hashlib.new(names[signature[3]], over + trailer).digest()
    at = hashed + 2 + int.from_bytes(signature[hashed : hashed + 2], "big") + 2
    halves = []
    for _ in range(2):
        size = (int.from_bytes(signature[at : at + 2], "big") + 7) // 8
        halves.append(signature[at + 2 : at + 2 + size].rjust(32, b"\0"))
        at += 2 + size
    try:
        Ed25519PublicKey.from_public_bytes(key_body[-32:]).verify(b"".join(halves), digest)
    except InvalidSignature:
        return False
    return True
