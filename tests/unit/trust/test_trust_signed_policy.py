"""Only enough roots make a policy; nothing else makes a VerifiedPolicy."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
from msgspec.structs import replace
from pysequoia import SignatureMode, Tsk, sign
from sshsig_maker import Maker, ecdsa_key, ed25519_key

from gittorrent.errors import IdentityError
from gittorrent.ids import PushId, RepositoryId
from gittorrent.trust.errors import BadKey, PolicyError, PolicyUnproven
from gittorrent.trust.keys import KeyKind
from gittorrent.trust.openpgp import certificate_digest, certificate_fingerprint
from gittorrent.trust.policy import PinnedKey, Policy, Rule, repository_id
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.signature import KeyRing, Signature, detect
from gittorrent.trust.signed_policy import (
    SignedPolicy,
    VerifiedPolicy,
    verify_first,
    verify_next,
)

ONE, TWO, THREE, STRANGER = (Maker(ed25519_key(seed)) for seed in (1, 2, 3, 4))
ROOTS = [ONE.name, TWO.name, THREE.name]
HEAD = PushId("ab" * 20)
FIRST = Policy.first("r", bytes(16), ROOTS)


def signed(policy: Policy, *makers: Maker, certificates: tuple[bytes, ...] = ()) -> SignedPolicy:
    text = policy.text()
    return SignedPolicy(text, tuple(maker.sign(text) for maker in makers), certificates)


def test_a_majority_of_roots_makes_a_first_policy() -> None:
    made = verify_first(signed(FIRST, ONE, THREE))
    assert made.policy == FIRST
    assert made.repository == repository_id(FIRST.text())
    assert made.signers == {ONE.name, THREE.name}
    assert verify_first(signed(FIRST, ONE, TWO), repository=made.repository).policy == FIRST


def test_too_few_distinct_roots_do_not() -> None:
    text = FIRST.text()
    wrong_text = ONE.sign(text + b"x")
    wrong_namespace = replace(TWO, namespace=b"file").sign(text)
    for signatures in (
        (),
        (ONE.sign(text),),
        (ONE.sign(text), ONE.sign(text)),
        (ONE.sign(text), replace(ONE, digest=b"sha256").sign(text)),
        (ONE.sign(text), STRANGER.sign(text)),
        (ONE.sign(text), wrong_text),
        (ONE.sign(text), wrong_namespace),
    ):
        with pytest.raises(PolicyUnproven, match=r"[01] of the 2"):
            verify_first(SignedPolicy(text, signatures))


def test_a_signers_two_encodings_count_once() -> None:
    maker = Maker(ecdsa_key(1))
    policy = Policy.first("r", bytes(16), [maker.name, ONE.name, TWO.name])
    with pytest.raises(PolicyUnproven):
        verify_first(signed(policy, maker, replace(maker, flip_s=True)))


def test_junk_beside_enough_signatures_spoils_nothing() -> None:
    text = FIRST.text()
    junk = STRANGER.sign(b"something else")
    good = (junk, ONE.sign(text), STRANGER.sign(text), TWO.sign(text))
    assert verify_first(SignedPolicy(text, good)).signers == {ONE.name, TWO.name}
    with pytest.raises(PolicyError, match="signatures"):
        SignedPolicy(text, (junk,) * 257)
    with pytest.raises(PolicyError, match="certificates"):
        SignedPolicy(text, (), (b"\x99",) * 5000)


def test_a_rival_first_policy_is_another_repository() -> None:
    rival = Policy.first("r", b"\1" * 16, ROOTS)
    made = verify_first(signed(rival, ONE, TWO))
    assert made.repository != repository_id(FIRST.text())
    with pytest.raises(IdentityError):
        verify_first(signed(rival, ONE, TWO), repository=repository_id(FIRST.text()))


def test_the_next_version_needs_the_roots_before_it() -> None:
    first = verify_first(signed(FIRST, ONE, TWO))
    takeover = FIRST.next_version(HEAD, roots=(STRANGER.name,), threshold=1, rules=())
    with pytest.raises(PolicyUnproven):
        verify_next(signed(takeover, STRANGER), first)
    with pytest.raises(PolicyUnproven):
        verify_next(signed(takeover, STRANGER, ONE), first)
    second = verify_next(signed(takeover, ONE, THREE), first)
    assert second.repository == first.repository
    assert second.policy.roots == (STRANGER.name,)
    # The retired roots have nothing to say any more.
    with pytest.raises(PolicyUnproven):
        verify_next(signed(takeover.next_version(HEAD), ONE, TWO, THREE), second)
    assert verify_next(signed(takeover.next_version(HEAD), STRANGER), second).policy.version == 3


def test_versions_follow_one_another_exactly() -> None:
    first = verify_first(signed(FIRST, ONE, TWO))
    second = FIRST.next_version(HEAD)
    for wrong in (
        FIRST,
        second.next_version(HEAD),
        replace(second, version=3),  # leaves room for nobody in between
        replace(second, previous="sha256:" + "0" * 64),
        Policy.first("r", b"\1" * 16, ROOTS).next_version(HEAD),
    ):
        with pytest.raises(PolicyError):
            verify_next(signed(wrong, ONE, TWO, THREE), first)
    with pytest.raises(PolicyError):
        verify_first(signed(second, ONE, TWO, THREE))


def test_a_verified_policy_cannot_be_made_by_hand() -> None:
    first = verify_first(signed(FIRST, ONE, TWO))
    with pytest.raises(TypeError):
        VerifiedPolicy(first.repository, FIRST, KeyRing(), frozenset(), first.signed)
    with pytest.raises((TypeError, ValueError)):
        replace(cast("Any", first), repository=RepositoryId("a" * 52))
    with pytest.raises(AttributeError):
        first.policy = FIRST  # type: ignore[misc]
    assert copy.copy(first) == first


def pgp_root(name: str) -> tuple[Tsk, bytes]:
    secret = Tsk.generate(f"{name} <{name}@example.org>")
    return secret, bytes(secret.extract_certificate())


def test_certificates_are_exactly_the_pinned_ones() -> None:
    secret, certificate = pgp_root("a")
    _, other = pgp_root("b")
    key = certificate_fingerprint(certificate)
    assert key.kind is KeyKind.OPENPGP
    policy = Policy.first("r", bytes(16), key, certificates=[certificate])
    text = policy.text()
    data = sign(secret.signer(), text, mode=SignatureMode.DETACHED)
    signatures: tuple[Signature, ...] = (detect(data),)
    made = verify_first(SignedPolicy(text, signatures, (certificate,)))
    assert made.signers == {key}
    assert made.keyring[key] == certificate
    # The same key with a user id more is not the certificate that was pinned.
    changed = secret.extract_certificate().add_user_id("mallory", secret.certifier())
    for certificates in ((), (other,), (certificate, other), (bytes(changed),)):
        with pytest.raises(PolicyUnproven):
            verify_first(SignedPolicy(text, signatures, certificates))
    for certificates in ((certificate, certificate), (b"junk",), (certificate[:-3],)):
        with pytest.raises(BadKey):
            verify_first(SignedPolicy(text, signatures, certificates))


def test_a_certificate_is_not_left_out_though_the_roots_can_do_without() -> None:
    """Whoever is let in by it would be judged by what somebody else has of the key."""
    _, certificate = pgp_root("a")
    key = certificate_fingerprint(certificate)
    first = verify_first(signed(FIRST, ONE, TWO))
    rules = (*FIRST.rules, Rule(RefPattern(b"refs/heads/*"), key))
    pins = (PinnedKey(key, certificate_digest(certificate)),)
    policy = FIRST.next_version(HEAD, rules=rules, keys=pins)
    carried = signed(policy, ONE, TWO, certificates=(certificate,))
    assert verify_next(carried, first).policy == policy
    with pytest.raises(PolicyUnproven, match="does not carry"):
        verify_next(signed(policy, ONE, TWO), first)
