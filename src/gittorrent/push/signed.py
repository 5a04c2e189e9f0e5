"""From a push object to a push or a checkpoint whose signer is known.

Pure. The signature is judged before the text is taken apart, so that only known keys make a
reader work. Ids come from git, computed from the very text and signer
(docs/protocol/trust.md, "Log entries").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.push.certificate import CertificateError, parse_certificate
from gittorrent.push.checkpoint import parse_checkpoint
from gittorrent.push.replay import SignedCheckpoint
from gittorrent.push.rule import Push
from gittorrent.trust.errors import BadSignature
from gittorrent.trust.keys import KeyKind, KeyRef
from gittorrent.trust.openpgp import valid_at
from gittorrent.trust.policy import WebOfTrust
from gittorrent.trust.signature import verify

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from gittorrent.ids import ObjectFormat, PushId, RepositoryId
    from gittorrent.push.object import PushObject
    from gittorrent.trust.policy import Policy


class SignerError(TrustError):
    """A signed text is by a key that has no say here, or by another than it was announced as."""


def check_signer(
    push: PushObject, push_id: PushId, keyrings: Iterable[Mapping[KeyRef, bytes]]
) -> KeyRef:
    """Return who signed a push object, which is who it says.

    Args:
        push: a checkpoint or a push certificate.
        push_id: its id, for messages.
        keyrings: OpenPGP certificates that count, one collection after the other.

    Raises:
        TrustError: the signature does not hold by any of them.
        SignerError: another key signed.
    """
    signature, signer = push.signatures[0], push.signer
    if signer is None or signature.kind is not signer.kind:
        raise BadSignature(
            f"push {push_id} names signer {signer}, and has a signature of another kind"
        )
    failure: TrustError = BadSignature(f"push {push_id}: no certificate is known of {signer}")
    for keyring in keyrings:
        try:
            found = verify(signature, push.text, keyring).key
        except TrustError as error:
            failure = error
            continue
        if found != signer:
            raise SignerError(f"push {push_id} names signer {signer}, signed by {found}")
        return found
    raise failure


def read_push(
    push: PushObject,
    push_id: PushId,
    signer: KeyRef,
    *,
    repository: RepositoryId,
    names: Collection[str],
    object_format: ObjectFormat,
) -> Push:
    """Read a push certificate whose signer was checked.

    Args:
        push: the push object.
        push_id: its id, computed from text and signer.
        signer: who signed it.
        repository: the id of this repository.
        names: all names that it has or had.
        object_format: of the repository.

    Raises:
        TrustError: the text breaks its grammar.
        CertificateError: it was made for another repository.
    """
    certificate = parse_certificate(push.text, object_format)
    if certificate.nonce.repository != repository:
        raise CertificateError(
            f"push {push_id} was made for repository {certificate.nonce.repository}",
            hint=f"this is {repository}: push to its own URL",
        )
    if not certificate.names_repository(names):
        url = certificate.pushee[:200].decode("utf-8", "backslashreplace")
        raise CertificateError(
            f"push {push_id} was made for the URL {url}, which does not name this repository",
            hint=f"push to a URL that ends in the repository's name or in {repository}",
        )
    return Push(push_id, signer, certificate, push.pinned)


def read_checkpoint(
    push: PushObject,
    push_id: PushId,
    signer: KeyRef,
    *,
    repository: RepositoryId,
    object_format: ObjectFormat,
) -> SignedCheckpoint:
    """Read a checkpoint whose signer was checked; whether that is its keeper, replay tells.

    Args:
        push: the push object.
        push_id: its id, computed from text and signer.
        signer: who signed it.
        repository: the id of this repository.
        object_format: of the repository.

    Raises:
        TrustError: the text breaks its grammar.
        SignerError: it is of another repository.
    """
    said = parse_checkpoint(push.text, object_format)
    if said.repository != repository:
        raise SignerError(f"checkpoint {push_id} is of repository {said.repository}")
    return SignedCheckpoint(push_id, said, signer)


def has_a_say(policy: Policy, key: KeyRef) -> bool:
    """Tell whether pushes by ``key`` are worth keeping: a line names it, or it may be vouched for.

    Others are refused where they come from and never reach a log.
    """
    if key in named_keys(policy):
        return True
    return key.kind is KeyKind.OPENPGP and has_web_of_trust(policy)


def named_keys(policy: Policy) -> set[KeyRef]:
    """Return every key that a line of the policy names for pushes."""
    keys = {rule.who for rule in policy.rules if isinstance(rule.who, KeyRef)}
    return keys.union(*(quorum.keys for quorum in policy.quorums))


def has_web_of_trust(policy: Policy) -> bool:
    """Tell whether a line of the policy is about keys that others vouch for."""
    return any(isinstance(rule.who, WebOfTrust) for rule in policy.rules)


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
