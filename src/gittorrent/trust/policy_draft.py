"""The next version of a policy while it is being agreed on: its text, certificates, signatures.

Pure. The roots may sit at different machines, so a draft is a file that is handed around: the text
of the policy, then armored blocks, in any order: signatures over the text, and the OpenPGP
certificates that the text pins. It can be read by eye, sent by mail, and signed by
``ssh-keygen -Y sign -n git`` or ``gpg --armor --detach-sign`` over the text alone.

Rules: a signature belongs to one text, so a draft that is changed has none; signatures that do not
hold, or are not by a root of the version before, are refused where they are added and passed over
where a draft is read (``signed_policy`` decides in the end). Must not know where drafts are kept.

Source: docs/protocol/trust.md, Policy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.errors import TrustError
from gittorrent.printable import decoded
from gittorrent.trust.armor import Armor, unwrap, wrap
from gittorrent.trust.errors import BadKey, PolicyError
from gittorrent.trust.key_files import as_utf8
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.openpgp import certificate_fingerprint
from gittorrent.trust.policy import Policy
from gittorrent.trust.policy_text import MAX_TEXT
from gittorrent.trust.signature import KeyRing, detect, verify
from gittorrent.trust.signed_policy import (
    MAX_CERTIFICATES_SIZE,
    MAX_SIGNATURES,
    SignedPolicy,
    root_signers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import PushId
    from gittorrent.trust.signature import Signature
    from gittorrent.trust.signed_policy import VerifiedPolicy

MAX_DRAFT = MAX_TEXT + 2 * MAX_CERTIFICATES_SIZE
"""Bytes of a draft's file; base64 makes certificates a third longer."""

_BLOCK = re.compile(
    rb"^-----BEGIN ([A-Z ]+)-----\n(?:(?!-----)[^\n]*\n)*-----END \1-----\n", re.MULTILINE
)
_BEGIN = re.compile(rb"^-----BEGIN ", re.MULTILINE)


class DraftError(PolicyError):
    """A draft cannot be read, or does not follow from the policy it is to follow."""


class PolicyDraft(Struct, frozen=True):
    """The next version of a policy, perhaps signed by some of the roots already.

    Args:
        policy: what it says.
        certificates: what it pins, binary, in the order of its ``key`` lines.
        signatures: over its text.
        rivals: the versions whose place it takes, whose roots sign it as well; no part of the file.
    """

    policy: Policy
    certificates: tuple[bytes, ...] = ()
    signatures: tuple[Signature, ...] = ()
    rivals: tuple[VerifiedPolicy, ...] = ()

    def signed(self) -> SignedPolicy:
        """Return what travels in a log, whether or not enough have signed."""
        return SignedPolicy(self.policy.text(), self.signatures, self.certificates)

    def signers(self, previous: VerifiedPolicy) -> frozenset[KeyRef]:
        """Return the roots of the version before, and of rivals, whose signatures hold."""
        signed, judges = self.signed(), (previous, *self.rivals)
        found = (root_signers(signed, each.policy, each.keyring) for each in judges)
        return frozenset[KeyRef]().union(*found)

    def roots(self, previous: VerifiedPolicy) -> tuple[KeyRef, ...]:
        """Return the keys that may sign it: roots of the version before, and of rivals."""
        judges = (previous, *self.rivals)
        return tuple(dict.fromkeys(root for each in judges for root in each.policy.roots))

    def missing(self, previous: VerifiedPolicy) -> int:
        """Return how many more signatures it takes at least: as many as some version asks for."""
        signed, judges = self.signed(), (previous, *self.rivals)
        return max(
            each.policy.threshold - len(root_signers(signed, each.policy, each.keyring))
            for each in judges
        )

    def is_complete(self, previous: VerifiedPolicy) -> bool:
        """Tell whether as many roots have signed as the version before, and rivals, ask for."""
        return self.missing(previous) <= 0

    def changed(self, policy: Policy, certificates: Iterable[bytes] = ()) -> PolicyDraft:
        """Return the draft with another text.

        Args:
            policy: what it is to say.
            certificates: of keys that it did not pin before, or pins anew.
        """
        known = dict(KeyRing(self.certificates))
        known.update(KeyRing(certificates))
        pinned = tuple(known[entry.key] for entry in policy.keys if entry.key in known)
        kept = self.signatures if policy == self.policy else ()
        return PolicyDraft(policy, pinned, kept, self.rivals)

    def made_on(self, checkpoint: PushId) -> PolicyDraft:
        """Return the draft as made on another checkpoint."""
        return self.changed(replace(self.policy, checkpoint=checkpoint))

    def with_signature(self, signature: Signature, previous: VerifiedPolicy) -> PolicyDraft:
        """Return the draft with one more signature.

        Raises:
            TrustError: it does not hold, or is not by a root of the version before.
        """
        pinned = {**_pinned(self.rivals), **previous.keyring}
        signer = verify(signature, self.policy.text(), KeyRing(pinned.values())).key
        roots = self.roots(previous)
        if signer not in roots:
            raise DraftError(
                f"{signer} is not a root of version {previous.policy.version}, which this draft"
                " is to follow",
                hint="these are: " + " ".join(map(str, roots)),
            )
        if signer in self.signers(previous):
            return self
        return replace(self, signatures=(*self.signatures, signature))

    def merged(self, other: PolicyDraft, previous: VerifiedPolicy) -> PolicyDraft:
        """Return the draft with the signatures of another copy of it.

        Raises:
            DraftError: the other says something else.
        """
        if other.policy != self.policy:
            raise DraftError(
                "the two drafts say different things, so their signatures do not add up"
            )
        merged = self
        for signature in other.signatures:
            try:
                merged = merged.with_signature(signature, previous)
            except TrustError:
                continue  # as in a policy: what does not hold counts for nothing
        return merged

    def check_follows(self, previous: VerifiedPolicy) -> None:
        """Raise `DraftError` unless the draft can become the version after ``previous``."""
        if self.policy.previous == previous.policy.digest:
            return
        if self.policy.digest == previous.policy.digest:
            raise DraftError(
                f"this draft is published already, as version {self.policy.version} of"
                f" {previous.policy.name}",
                hint="nothing is left to be signed; 'gittorrent policy show' shows it",
            )
        if self.policy.version <= previous.policy.version:
            hint = "it was published, or another one was: begin a new one"
        else:
            hint = "get the newest policy first: 'gittorrent mirror' or 'git fetch'"
        raise DraftError(
            f"this draft of version {self.policy.version} does not follow the policy that is known"
            f" here, version {previous.policy.version} of {previous.policy.name}",
            hint=hint,
        )

    def encode(self) -> bytes:
        """Return the file form."""
        blocks = [signature.data for signature in self.signatures]
        blocks += [wrap(certificate, Armor.PGP_CERTIFICATE) for certificate in self.certificates]
        return self.policy.text() + b"".join(blocks)


def _pinned(versions: Iterable[VerifiedPolicy]) -> dict[KeyRef, bytes]:
    return {key: raw for version in versions for key, raw in version.keyring.items()}


def begin_draft(
    previous: VerifiedPolicy, checkpoint: PushId, rivals: Iterable[VerifiedPolicy] = ()
) -> PolicyDraft:
    """Return a draft that changes nothing yet.

    Args:
        previous: the version that it is to follow.
        checkpoint: the newest that was adopted; if the draft names a new keeper, the last one of
            the keeper before that counts.
        rivals: versions that follow ``previous`` and exclude each other, whose place it takes.
    """
    others = tuple(rivals)
    instead_of = tuple(sorted(each.policy.digest for each in others))
    policy = previous.policy.next_version(checkpoint, instead_of=instead_of)
    return PolicyDraft(policy, previous.signed.certificates, rivals=others)


def parse_draft(data: bytes) -> PolicyDraft:
    """Read the file form; line ends may have become CRLF in the mail, and the text UTF-16.

    Raises:
        DraftError: it is not a draft.
        PolicyError: its text is no policy, or contradicts itself.
    """
    if len(data) > MAX_DRAFT:
        raise DraftError(f"a draft has {MAX_DRAFT} bytes at most, not {len(data)}")
    data = as_utf8(data).replace(b"\r\n", b"\n")
    first = _BEGIN.search(data)
    text, rest = (data, b"") if first is None else (data[: first.start()], data[first.start() :])
    policy = Policy.parse(text)
    signatures: list[Signature] = []
    certificates: dict[KeyRef, bytes] = {}
    at = 0
    while at < len(rest):
        block = _BLOCK.match(rest, at)
        if block is None:
            raise DraftError(
                f"a block of this draft is damaged or cut off: {decoded(rest[at : at + 60])!r}"
            )
        at = block.end()
        if block[1] == Armor.PGP_CERTIFICATE.value:
            raw = unwrap(block[0], Armor.PGP_CERTIFICATE, BadKey)
            certificates[certificate_fingerprint(raw)] = raw
        else:
            signatures.append(detect(block[0]))
    if len(signatures) > MAX_SIGNATURES:
        raise DraftError(f"this draft has more than {MAX_SIGNATURES} signatures")
    pinned = {entry.key for entry in policy.keys}
    if missing := sorted(pinned - certificates.keys()):
        raise DraftError(f"this draft pins {missing[0]} and does not carry its certificate")
    ordered = tuple(certificates[entry.key] for entry in policy.keys)
    return PolicyDraft(policy, ordered, tuple(signatures))
