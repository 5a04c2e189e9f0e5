"""The policy versions that a log holds, and what they tell about keys.

Pure. Only versions that enough roots of the one before signed come in. Which of them counts is the
business of `gittorrent.push.ledger`; rivals are kept as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.push.policy_chain import PolicyVersion, replaced_by
from gittorrent.push.signed import check_signer, has_web_of_trust, is_valid, named_keys
from gittorrent.trust.keys import KeyKind
from gittorrent.trust.policy import Policy
from gittorrent.trust.signature import EMPTY_KEYRING, KeyRing
from gittorrent.trust.signed_policy import SignedPolicy, check_agreed, verify_first, verify_next

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gittorrent.ids import PushId, RepositoryId
    from gittorrent.push.facts import Facts
    from gittorrent.push.object import PushObject
    from gittorrent.push.rule import Push
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.policy import WebOfTrust
    from gittorrent.trust.signed_policy import VerifiedPolicy


class PolicyVersionError(TrustError):
    """A policy does not extend one of this log."""


class Policies:
    """Every version of one repository's policy that is known."""

    def __init__(self) -> None:
        self._verified: dict[str, VerifiedPolicy] = {}
        self._versions: dict[str, PolicyVersion] = {}
        self._rings: dict[KeyRef, dict[bytes, KeyRing]] = {}
        self._names: dict[str, None] = {}
        # Every key that a line of any version names for pushes; whether others may be vouched for.
        self._named: set[KeyRef] = set()
        self._has_web = False

    def __len__(self) -> int:
        return len(self._versions)

    @property
    def first(self) -> PolicyVersion | None:
        """Version 1; None while there is none."""
        return next(iter(self._versions.values()), None)

    @property
    def all(self) -> list[VerifiedPolicy]:
        """All versions, each after the one it extends."""
        return list(self._verified.values())

    def verified(self, version: PolicyVersion) -> VerifiedPolicy:
        """Return a version with its certificates and signatures."""
        return self._verified[version.digest]

    @property
    def newest(self) -> PolicyVersion | None:
        """The last version up to which none has a rival; None while there is none."""
        found, replaced = self.first, replaced_by(self._versions.values())
        while found is not None:
            following = [v for v in self._versions.values() if v.previous is found]
            following = [v for v in following if v.digest not in replaced]
            if len(following) != 1:
                break
            found = following[0]
        return found

    @property
    def versions(self) -> list[PolicyVersion]:
        """All versions, each after the one it extends."""
        return list(self._versions.values())

    def policy_version(self, digest: str) -> PolicyVersion | None:
        """Return a version by its digest."""
        return self._versions.get(digest)

    def admit(
        self, push: PushObject, push_id: PushId, expected: RepositoryId | None
    ) -> PolicyVersion:
        """Verify a version and keep it.

        Raises:
            IdentityError: it is the first, and another repository's.
            TrustError: it is not signed as it must be, or extends none that is known.
        """
        signed = SignedPolicy(push.text, push.signatures, push.pinned)
        first = self.first
        if first is None:
            verified = verify_first(signed, repository=expected)
            previous = None
        else:
            verified, previous = self._next(signed, push_id)
        policy = verified.policy
        version = PolicyVersion(push_id, policy, policy.digest, previous)
        self._verified[version.digest] = verified
        self._versions[version.digest] = version
        self._names[policy.name] = None
        self._named |= named_keys(policy)
        self._has_web = self._has_web or has_web_of_trust(policy)
        for key, certificate in verified.keyring.items():
            rings = self._rings.setdefault(key, {})
            if certificate not in rings:
                rings[certificate] = KeyRing([certificate])
        return version

    def _next(self, signed: SignedPolicy, push_id: PushId) -> tuple[VerifiedPolicy, PolicyVersion]:
        digest = Policy.parse(signed.text).previous
        previous = None if digest is None else self._versions.get(digest)
        if previous is None:
            raise PolicyVersionError(
                f"policy {push_id} extends {digest or 'nothing'}, which is no policy of this log"
            )
        verified = verify_next(signed, self._verified[previous.digest])
        for rival in verified.policy.instead_of:
            if rival not in self._verified:
                raise PolicyVersionError(
                    f"policy {push_id} takes the place of {rival}, which is no policy of this log"
                )
            check_agreed(signed, self._verified[rival])
        return verified, previous

    @property
    def names(self) -> Collection[str]:
        """The names that the repository has or had, each once, oldest first."""
        return self._names.keys()

    def has_a_say(self, key: KeyRef) -> bool:
        """Tell whether any version has a line for what ``key`` pushes."""
        return self.is_named(key) or (self._has_web and key.kind is KeyKind.OPENPGP)

    def is_named(self, key: KeyRef) -> bool:
        """Tell whether a line of any version names ``key`` for pushes."""
        return key in self._named

    def is_keeper(self, key: KeyRef) -> bool:
        """Tell whether ``key`` is the keeper of any version."""
        return any(version.policy.keeper == key for version in self._versions.values())

    def check_signer(self, push: PushObject, push_id: PushId) -> KeyRef:
        """Return who signed a push object, which is who it says.

        A certificate that a later version renewed goes on counting here: whether the key was good
        at the time is asked where the push is judged.

        Raises:
            TrustError: the signature does not hold.
            SignerError: another key signed.
        """
        return check_signer(push, push_id, self._rings_for(push))

    def _rings_for(self, push: PushObject) -> list[KeyRing]:
        """Return the certificates to try: the newest that a policy pins first."""
        signer = push.signer
        if signer is None or signer.kind is KeyKind.SSH:
            return [EMPTY_KEYRING]
        rings = list(reversed(self._rings.get(signer, {}).values()))
        return rings or [KeyRing(push.pinned[:1])]


class LogEvidence:
    """`gittorrent.push.rule.Evidence` from the policies of a log and facts from outside.

    Args:
        policies: of the log.
        facts: about objects, and webs of trust.
    """

    def __init__(self, policies: Policies, facts: Facts) -> None:
        self._policies = policies
        self.contains = facts.contains
        self.is_commit = facts.is_commit
        self._certified = facts.certified

    def valid(self, push: Push, policy: Policy, time: int) -> bool:
        """Tell whether the key of ``push`` is good at ``time``."""
        if push.key.kind is KeyKind.SSH:
            return True
        pinned = self._keyring(policy)
        if push.key in pinned or not push.certificates:
            return is_valid(push.key, pinned, time)
        return is_valid(push.key, KeyRing(push.certificates[:1]), time)

    def certified(self, push: Push, rule: WebOfTrust, policy: Policy, time: int) -> bool:
        """Tell whether the roots of ``policy`` vouched for the key of ``push`` at ``time``."""
        if push.key.kind is KeyKind.SSH:
            return False
        certificates = {**_by_key(push.certificates), **self._keyring(policy)}
        return self._certified(push.key, rule, policy.roots, certificates, time)

    def _keyring(self, policy: Policy) -> KeyRing:
        version = self._policies.policy_version(policy.digest)
        return KeyRing() if version is None else self._policies.verified(version).keyring


def _by_key(certificates: Iterable[bytes]) -> dict[KeyRef, bytes]:
    return dict(KeyRing(certificates).items())
