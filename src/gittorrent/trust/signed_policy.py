"""A policy together with the signatures that make it binding.

``SignedPolicy`` is what travels: text, signatures, certificates, none of it believed yet.
``VerifiedPolicy`` is what the rest of the program works with; only ``verify_first`` and
``verify_next`` make one, so holding one means the signatures were checked.

Rules:

- version 1 is signed by at least ``threshold`` of its own roots; every later one by at least
  ``threshold`` of the roots of the version before, whose hash it names, and of every rival whose
  place it takes;
- a signature that does not hold is passed over and a root counts once, so that nobody can spoil
  a good policy by adding something to it;
- exactly the certificates that the ``key`` lines pin are carried, each matching its digest.

Must not know where the bytes came from, nor what the log says about the policy's parent.

Source: docs/protocol/trust.md, Policy.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import IdentityError
from gittorrent.ids import RepositoryId
from gittorrent.trust.errors import BadKey, PolicyError, PolicyUnproven
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.openpgp import certificate_digest
from gittorrent.trust.policy import Policy, repository_id
from gittorrent.trust.signature import (
    BadSignature,
    ExpiredKey,
    KeyRing,
    RevokedKey,
    Signature,
    UnknownKey,
    WeakSignature,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIGNATURES = 256
"""Signatures on one policy; more would only burn the verifier's time."""

MAX_CERTIFICATES = 4096
"""Certificates carried with one policy; less than half a policy's lines."""

MAX_CERTIFICATES_SIZE = 16 * 1024 * 1024
"""Bytes of all certificates together; about 1 KiB each in practice."""

_NOT_COUNTED = (BadSignature, ExpiredKey, RevokedKey, UnknownKey, WeakSignature, BadKey)
_TOKEN = object()


class SignedPolicy(Struct, frozen=True):
    """A policy as it travels; nothing about it has been checked but its size.

    ``text`` is what the signatures are over; ``certificates`` are binary OpenPGP certificates.
    Raises ``PolicyError`` when there are more parts than any policy needs.
    """

    text: bytes
    signatures: tuple[Signature, ...]
    certificates: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if len(self.signatures) > MAX_SIGNATURES:
            raise PolicyError(
                f"policy has {len(self.signatures)} signatures; {MAX_SIGNATURES} are allowed"
            )
        size = sum(len(certificate) for certificate in self.certificates)
        if len(self.certificates) > MAX_CERTIFICATES or size > MAX_CERTIFICATES_SIZE:
            raise PolicyError(
                f"policy carries {len(self.certificates)} certificates in {size} bytes; "
                f"{MAX_CERTIFICATES} in {MAX_CERTIFICATES_SIZE} are allowed"
            )


@dataclass(frozen=True, slots=True)
class VerifiedPolicy:
    """A policy whose signatures and certificates have been checked.

    Made by ``verify_first`` and ``verify_next`` only. ``repository`` is the id that the whole
    chain of versions leads back to, ``keyring`` holds the pinned certificates, ``signers`` the
    roots that signed, ``signed`` what it was made from.
    """

    repository: RepositoryId
    policy: Policy
    keyring: KeyRing
    signers: frozenset[KeyRef]
    signed: SignedPolicy
    token: InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _TOKEN:
            raise TypeError("a VerifiedPolicy is made by verify_first or verify_next only")


def verify_first(signed: SignedPolicy, *, repository: RepositoryId | None = None) -> VerifiedPolicy:
    """Check version 1 of a policy: signed by a majority of its own roots, as it demands.

    ``repository`` is the id that was asked for, if any. Raises ``PolicyError``,
    ``PolicyUnproven``, ``BadKey``, or ``IdentityError`` when it belongs to another repository.
    Source: docs/protocol/trust.md, Policy.
    """
    policy = Policy.parse(signed.text)
    name = repository_id(signed.text)
    if repository is not None and repository != name:
        raise IdentityError(
            f"asked for repository {repository}, but this policy makes it {name}",
            hint="the mirror carries another repository, or somebody is in between; "
            "use the id its owners published",
        )
    keyring = _pinned_certificates(signed, policy)
    signers = _require_roots(signed, policy, keyring)
    return VerifiedPolicy(name, policy, keyring, signers, signed, _TOKEN)


def verify_next(signed: SignedPolicy, previous: VerifiedPolicy) -> VerifiedPolicy:
    """Check a later version against the one before: named by hash, signed by its roots.

    Raises ``PolicyError``, ``PolicyUnproven`` or ``BadKey``.
    Source: docs/protocol/trust.md, Policy.
    """
    policy = Policy.parse(signed.text)
    if policy.version != previous.policy.version + 1:
        raise PolicyError(
            f"policy version {policy.version} cannot follow version {previous.policy.version}"
        )
    if policy.previous != previous.policy.digest:
        raise PolicyError(
            f"policy version {policy.version} follows another version {policy.version - 1}: "
            f"{policy.previous}, not {previous.policy.digest}"
        )
    keyring = _pinned_certificates(signed, policy)
    signers = _require_roots(signed, previous.policy, previous.keyring)
    return VerifiedPolicy(previous.repository, policy, keyring, signers, signed, _TOKEN)


def check_agreed(signed: SignedPolicy, rival: VerifiedPolicy) -> None:
    """Check that enough roots of a rival signed the version that takes its place.

    ``signed`` was verified by `verify_next`; ``rival`` follows the same version. Raises
    ``PolicyError`` or ``PolicyUnproven``. Source: docs/protocol/trust.md, Policy.
    """
    policy = Policy.parse(signed.text)
    if policy.previous is None or rival.policy.previous != policy.previous:
        raise PolicyError(
            f"policy version {policy.version} takes the place of {rival.policy.digest}, which does"
            " not follow the same version"
        )
    _require_roots(signed, rival.policy, rival.keyring)


def _pinned_certificates(signed: SignedPolicy, policy: Policy) -> KeyRing:
    """Match the certificates carried with the digests pinned, one to one."""
    keyring = KeyRing(signed.certificates)
    pinned = {entry.key: entry.digest for entry in policy.keys}
    missing = sorted(pinned.keys() - keyring.keys())
    if missing:
        raise PolicyUnproven(
            f"policy pins {missing[0]} but does not carry its certificate",
            hint="get the policy from another mirror",
        )
    for key, certificate in keyring.items():
        if key not in pinned:
            raise PolicyUnproven(f"policy carries a certificate it does not pin: {key}")
        if certificate_digest(certificate) != pinned[key]:
            raise PolicyUnproven(
                f"the certificate carried for {key} is not the one the policy pins",
                hint="get the policy from another mirror",
            )
    return keyring


def root_signers(
    signed: SignedPolicy, judge: Policy, keyring: Mapping[KeyRef, bytes]
) -> frozenset[KeyRef]:
    """Return the roots of ``judge`` whose signatures on ``signed`` hold, each once.

    ``keyring`` holds the certificates that ``judge`` pins. Nothing else about ``signed`` is
    checked.
    """
    return _judged(signed, judge, keyring)[0]


def _require_roots(signed: SignedPolicy, judge: Policy, keyring: KeyRing) -> frozenset[KeyRef]:
    """Return the roots of ``judge`` that signed, if they reach its threshold."""
    signers, reasons = _judged(signed, judge, keyring)
    if len(signers) < judge.threshold:
        detail = f" ({'; '.join(reasons[:3])})" if reasons else ""
        raise PolicyUnproven(
            f"policy is signed by {len(signers)} of the {judge.threshold} root keys it needs"
            f"{detail}",
            hint="ask the other root keys' owners to sign it",
        )
    return signers


def _judged(
    signed: SignedPolicy, judge: Policy, keyring: Mapping[KeyRef, bytes]
) -> tuple[frozenset[KeyRef], list[str]]:
    """Return the roots that signed, and why other signatures do not count."""
    signers: set[KeyRef] = set()
    reasons: list[str] = []
    for signature in signed.signatures:
        try:
            key = verify(signature, signed.text, keyring).key
        except _NOT_COUNTED as error:
            reasons.append(str(error))
            continue
        if key in judge.roots:
            signers.add(key)
        else:
            reasons.append(f"{key} is not a root")
    return frozenset(signers), reasons
