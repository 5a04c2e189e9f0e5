"""From a signed text to a push or a checkpoint whose signer is known.

Pure. The signature is judged before the text is taken apart, so that only known keys make a
reader work. Ids come from git, computed from the very text and signer
(docs/protocol/push.md, "Log commits").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.push.certificate import CertificateError, parse_certificate
from gittorrent.push.checkpoint import parse_checkpoint
from gittorrent.push.ledger import SignedCheckpoint
from gittorrent.push.rule import Push
from gittorrent.trust.errors import BadSignature
from gittorrent.trust.keys import KeyKind
from gittorrent.trust.openpgp import valid_at
from gittorrent.trust.policy import WebOfTrust
from gittorrent.trust.signature import verify

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gittorrent.ids import ObjectFormat, PushId, RepositoryId
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.policy import Policy
    from gittorrent.trust.signature import Signature


class SignerError(TrustError):
    """A signed text is by a key that has no say here, or by another than it was announced as."""


def verified_push(
    push: PushId,
    text: bytes,
    signature: Signature,
    signer: KeyRef,
    *,
    repository: RepositoryId,
    names: Collection[str],
    object_format: ObjectFormat,
    keyring: Mapping[KeyRef, bytes],
) -> Push:
    """Read a push certificate, verified.

    Args:
        push: its push id, computed from ``text`` and ``signer``.
        text: the certificate without signature.
        signature: over the text.
        signer: the key that it was announced to be by.
        repository: the id of this repository.
        names: all names that it has or had.
        object_format: of the repository.
        keyring: the OpenPGP certificates that count.

    Raises:
        TrustError: the signature does not hold, or the text breaks its grammar.
        SignerError: another key signed.
        CertificateError: it was made for another repository.
    """
    _check_signer(push, text, signature, signer, keyring)
    certificate = parse_certificate(text, object_format)
    if certificate.nonce.repository != repository:
        raise CertificateError(
            f"push {push} was made for repository {certificate.nonce.repository}",
            hint=f"this is {repository}: push to its own URL",
        )
    if not certificate.names_repository(names):
        raise CertificateError(
            f"push {push} was made for the URL {certificate.pushee[:200]!r}, which does not name"
            " this repository",
            hint=f"push to a URL that ends in the repository's name or in {repository}/NAME.git",
        )
    return Push(push, signer, certificate)


def verified_checkpoint(
    checkpoint: PushId,
    text: bytes,
    signature: Signature,
    signer: KeyRef,
    *,
    repository: RepositoryId,
    object_format: ObjectFormat,
    keyring: Mapping[KeyRef, bytes],
) -> SignedCheckpoint:
    """Read a checkpoint, verified; whether its signer is the keeper is judged by replay.

    Args:
        checkpoint: its push id, computed from ``text`` and ``signer``.
        text: the tag's content without signature.
        signature: over the text.
        signer: the key that it was announced to be by.
        repository: the id of this repository.
        object_format: of the repository.
        keyring: the OpenPGP certificates that count.

    Raises:
        TrustError: the signature does not hold, or the text breaks its grammar.
        SignerError: another key signed, or it is of another repository.
    """
    _check_signer(checkpoint, text, signature, signer, keyring)
    said = parse_checkpoint(text, object_format)
    if said.repository != repository:
        raise SignerError(f"checkpoint {checkpoint} is of repository {said.repository}")
    return SignedCheckpoint(checkpoint, said, signer)


def has_a_say(policy: Policy, key: KeyRef) -> bool:
    """Tell whether pushes by ``key`` are worth keeping: a line names it, or it may be vouched for.

    Others are refused where they come from and never reach a log.
    """
    if any(key in quorum.keys for quorum in policy.quorums):
        return True
    return any(rule.who == key or isinstance(rule.who, WebOfTrust) for rule in policy.rules)


def is_valid(key: KeyRef, keyring: Mapping[KeyRef, bytes], time: int) -> bool:
    """Tell whether a key is good at the time of a checkpoint.

    Args:
        key: the key; SSH keys end by policy only.
        keyring: the certificates that the policy in force pins.
        time: in seconds.
    """
    if key.kind is KeyKind.SSH:
        return True
    certificate = keyring.get(key)
    return certificate is not None and valid_at(certificate, time)


def _check_signer(
    push: PushId,
    text: bytes,
    signature: Signature,
    signer: KeyRef,
    keyring: Mapping[KeyRef, bytes],
) -> None:
    if signature.kind is not signer.kind:
        raise BadSignature(
            f"push {push} names signer {signer}, and has a signature of another kind"
        )
    found = verify(signature, text, keyring).key
    if found != signer:
        raise SignerError(f"push {push} names signer {signer}, signed by {found}")
