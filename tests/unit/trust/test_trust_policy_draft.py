"""A draft is handed around, gathers signatures of roots only, and says what it changes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from pysequoia import SignatureMode, Tsk, sign
from sshsig_maker import Maker, ed25519_key

from gittorrent.ids import PushId
from gittorrent.trust import policy_edit as edit
from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.errors import BadSignature, PolicyError, PolicyUnproven, UnknownKey
from gittorrent.trust.key_files import FoundKey
from gittorrent.trust.openpgp import certificate_digest, certificate_fingerprint
from gittorrent.trust.policy import Change, Grant, Policy, WebOfTrust
from gittorrent.trust.policy_draft import DraftError, PolicyDraft, begin_draft, parse_draft
from gittorrent.trust.policy_words import describe, differences, warnings
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.signature import Signature, detect
from gittorrent.trust.signed_policy import (
    SignedPolicy,
    VerifiedPolicy,
    verify_first,
    verify_next,
)

ONE, TWO, THREE, STRANGER = (Maker(ed25519_key(seed)) for seed in (1, 2, 3, 4))
CHECKPOINT = PushId("ab" * 20)
BRANCHES, TAGS, RELEASE = map(RefPattern, (b"refs/heads/*", b"refs/tags/*", b"refs/heads/release"))
PGP = Tsk.generate("Alice <alice@example.org>")
CERTIFICATE = bytes(PGP.extract_certificate())
ALICE = FoundKey(certificate_fingerprint(CERTIFICATE), CERTIFICATE, "alice")


def found(maker: Maker) -> FoundKey:
    return FoundKey(maker.name)


def first(*roots: Maker, certificates: tuple[bytes, ...] = ()) -> VerifiedPolicy:
    names = [maker.name for maker in roots]
    names += [certificate_fingerprint(each) for each in certificates]
    policy = Policy.first("r", bytes(16), names, keeper=names[0], certificates=certificates)
    text = policy.text()
    signatures = [maker.sign(text) for maker in roots] + [pgp_sign(text) for _ in certificates]
    return verify_first(SignedPolicy(text, tuple(signatures), certificates))


def pgp_sign(message: bytes) -> Signature:
    return detect(sign(PGP.signer(), message, mode=SignatureMode.DETACHED))


def next_of(draft: PolicyDraft, previous: VerifiedPolicy, *signers: Maker) -> VerifiedPolicy:
    for maker in signers:
        draft = draft.with_signature(maker.sign(draft.policy.text()), previous)
    return verify_next(parse_draft(draft.encode()).signed(), previous)


ALONE = first(ONE)
THREE_ROOTS = first(ONE, TWO, THREE)


# -- people


def test_a_contributor_is_added_by_one_signature_and_removed_again() -> None:
    draft = edit.add_people(begin_draft(ALONE, CHECKPOINT), [found(TWO)], [BRANCHES], Grant.PLAIN)
    policy = next_of(draft, ALONE, ONE)
    assert policy.policy.allows(b"refs/heads/x", TWO.name, Change.FORWARD)
    assert not policy.policy.allows(b"refs/heads/x", TWO.name, Change.REWIND)
    assert not policy.policy.allows(b"refs/tags/x", TWO.name, Change.CREATE)
    draft = edit.remove_keys(begin_draft(policy, CHECKPOINT), [TWO.name])
    assert next_of(draft, policy, ONE).policy.rules == ALONE.policy.rules


def test_a_right_is_restated_rather_than_given_twice() -> None:
    draft = begin_draft(ALONE, CHECKPOINT)
    for grant in (Grant.PLAIN, Grant.FORCE):
        draft = edit.add_people(draft, [found(TWO), found(TWO)], [BRANCHES, TAGS], grant)
    assert [(r.pattern, r.grant) for r in draft.policy.rules if r.who == TWO.name] == [
        (BRANCHES, Grant.FORCE),
        (TAGS, Grant.FORCE),
    ]
    draft = edit.remove_keys(draft, [TWO.name], [TAGS])
    assert [r.pattern for r in draft.policy.rules if r.who == TWO.name] == [BRANCHES]
    with pytest.raises(PolicyError, match="no auth line for refs/tags"):
        edit.remove_keys(draft, [TWO.name], [TAGS])


def test_certificates_come_and_go_with_rights() -> None:
    draft = edit.add_people(begin_draft(ALONE, CHECKPOINT), [ALICE], [BRANCHES], Grant.PLAIN)
    assert draft.policy.keys[0].digest == certificate_digest(CERTIFICATE)
    policy = next_of(draft, ALONE, ONE)
    assert dict(policy.keyring) == {ALICE.key: CERTIFICATE}
    draft = edit.remove_keys(begin_draft(policy, CHECKPOINT), [ALICE.key])
    assert not draft.policy.keys
    assert not draft.certificates


def test_a_certificate_is_renewed() -> None:
    draft = edit.add_people(begin_draft(ALONE, CHECKPOINT), [ALICE], [BRANCHES], Grant.PLAIN)
    policy = next_of(draft, ALONE, ONE)
    newer = bytes(
        PGP.extract_certificate().add_user_id(value="Alice <a@work>", certifier=PGP.certifier())
    )
    renewed = FoundKey(ALICE.key, newer)
    draft = edit.renew_certificates(begin_draft(policy, CHECKPOINT), [renewed])
    (change,) = differences(policy.policy, draft.policy)
    assert (change.action, change.what) == ("changed", "key")
    assert dict(next_of(draft, policy, ONE).keyring) == {ALICE.key: newer}
    with pytest.raises(PolicyError, match="does not name"):
        edit.renew_certificates(begin_draft(ALONE, CHECKPOINT), [renewed])
    with pytest.raises(PolicyError, match="has its rights already"):
        edit.renew_certificates(begin_draft(ALONE, CHECKPOINT), [found(ONE)])


def test_whoever_is_not_named_cannot_be_removed() -> None:
    with pytest.raises(PolicyError, match="does not name"):
        edit.remove_keys(begin_draft(ALONE, CHECKPOINT), [TWO.name])


# -- roots, keeper


def test_roots_come_with_a_threshold_over_half() -> None:
    draft = edit.add_roots(begin_draft(ALONE, CHECKPOINT), [found(TWO), found(THREE)])
    assert (len(draft.policy.roots), draft.policy.threshold) == (3, 2)
    assert next_of(draft, ALONE, ONE).policy.roots == tuple(
        sorted(maker.name for maker in (ONE, TWO, THREE))
    )
    with pytest.raises(PolicyError, match="threshold 1"):
        edit.set_threshold(draft, 1)
    draft = edit.remove_roots(edit.set_threshold(draft, 3), [THREE.name])
    assert (len(draft.policy.roots), draft.policy.threshold) == (2, 2)


def test_a_lost_root_is_replaced_by_the_others() -> None:
    draft = edit.remove_roots(begin_draft(THREE_ROOTS, CHECKPOINT), [THREE.name])
    draft = edit.add_roots(draft, [found(STRANGER)])
    with pytest.raises(PolicyUnproven, match="1 of the 2"):
        next_of(draft, THREE_ROOTS, ONE)
    policy = next_of(draft, THREE_ROOTS, ONE, TWO)
    assert THREE.name not in policy.policy.roots
    late = begin_draft(policy, CHECKPOINT)
    with pytest.raises(DraftError, match="not a root"):
        late.with_signature(THREE.sign(late.policy.text()), policy)


def test_the_last_root_the_keeper_and_a_needed_quorum_stay() -> None:
    draft = begin_draft(ALONE, CHECKPOINT)
    with pytest.raises(PolicyError, match="is the keeper"):
        edit.remove_keys(draft, [ONE.name])
    kept = edit.set_keeper(draft, found(TWO))
    with pytest.raises(PolicyError, match="without a root"):
        edit.remove_keys(kept, [ONE.name])
    quorum = edit.set_quorum(draft, RELEASE, 2, [found(TWO), found(THREE)])
    with pytest.raises(PolicyError, match="needs 2 keys and would have 1"):
        edit.remove_keys(quorum, [THREE.name])
    assert not edit.remove_quorums(quorum, [RELEASE]).policy.quorums
    with pytest.raises(PolicyError, match="no quorum line"):
        edit.remove_quorums(draft, [RELEASE])


def test_a_quorum_is_restated_in_its_place() -> None:
    draft = begin_draft(ALONE, CHECKPOINT)
    draft = edit.set_quorum(draft, RELEASE, 1, [found(TWO)])
    draft = edit.set_quorum(draft, TAGS, 1, [found(TWO)])
    draft = edit.set_quorum(draft, RELEASE, 2, [ALICE, found(THREE)])
    assert [(line.pattern, line.needs) for line in draft.policy.quorums] == [
        (RELEASE, 2),
        (TAGS, 1),
    ]
    assert draft.certificates == (CERTIFICATE,)


def test_a_web_of_trust_needs_an_openpgp_root() -> None:
    web = WebOfTrust(depth=1, needs=1)
    with pytest.raises(PolicyError, match="no root"):
        edit.add_web_of_trust(begin_draft(ALONE, CHECKPOINT), [BRANCHES], web)
    previous = first(ONE, certificates=(CERTIFICATE,))
    draft = begin_draft(previous, CHECKPOINT)
    draft = edit.add_web_of_trust(draft, [BRANCHES], web)
    draft = edit.add_web_of_trust(draft, [BRANCHES], WebOfTrust(depth=2, needs=1))
    assert [rule.who for rule in draft.policy.rules[2:]] == [WebOfTrust(depth=2, needs=1)]
    assert edit.remove_web_of_trust(draft, []).policy.rules == previous.policy.rules
    with pytest.raises(PolicyError, match="no such"):
        edit.remove_web_of_trust(draft, [TAGS])


def test_mirrors_and_freshness() -> None:
    draft = edit.add_mirrors(
        begin_draft(ALONE, CHECKPOINT), ["git://a.example/r", "git://b.example/r"]
    )
    draft = edit.remove_mirrors(
        edit.add_mirrors(draft, ["git://a.example/r"]), ["git://b.example/r"]
    )
    assert edit.set_fresh_within(draft, 3600).policy.mirrors == ("git://a.example/r",)
    with pytest.raises(PolicyError, match="does not name the mirror"):
        edit.remove_mirrors(draft, ["git://c.example/r"])
    with pytest.raises(PolicyError, match="out of range"):
        edit.set_fresh_within(draft, 0)


def test_labels_go_with_the_last_right_and_stay_with_the_key() -> None:
    draft = edit.add_people(
        begin_draft(ALONE, CHECKPOINT), [ALICE, found(TWO)], [TAGS], Grant.PLAIN
    )
    draft = edit.set_labels(draft, {ALICE.key: "Alice", TWO.name: "Two"})
    assert {each.key: each.text for each in draft.policy.labels} == {
        ALICE.key: "Alice",
        TWO.name: "Two",
    }
    draft = edit.set_labels(draft, {ALICE.key: ""})
    assert [each.text for each in draft.policy.labels] == ["Two"]
    draft = edit.add_people(draft, [found(TWO)], [BRANCHES], Grant.PLAIN)
    assert edit.remove_keys(draft, [TWO.name], [TAGS]).policy.labels
    assert not edit.remove_keys(draft, [TWO.name]).policy.labels
    with pytest.raises(PolicyError, match="does not name"):
        edit.set_labels(draft, {THREE.name: "Three"})
    with pytest.raises(PolicyError, match="control characters"):
        edit.set_labels(draft, {TWO.name: "a\nb"})


# -- the file that is handed around


def test_signatures_are_collected_on_several_machines() -> None:
    draft = edit.add_people(begin_draft(THREE_ROOTS, CHECKPOINT), [ALICE], [TAGS], Grant.CREATE)
    text = draft.policy.text()
    one = draft.with_signature(ONE.sign(text), THREE_ROOTS)
    two = parse_draft(draft.encode()).with_signature(TWO.sign(text), THREE_ROOTS)
    assert not one.is_complete(THREE_ROOTS)
    both = one.merged(parse_draft(two.encode()), THREE_ROOTS)
    assert both.signers(THREE_ROOTS) == {ONE.name, TWO.name}
    assert both.is_complete(THREE_ROOTS)
    windows = both.encode().replace(b"\n", b"\r\n")
    for sent in (windows, b"\xef\xbb\xbf" + windows, windows.decode().encode("utf-16")):
        verify_next(parse_draft(sent).signed(), THREE_ROOTS)
    assert both.with_signature(ONE.sign(text), THREE_ROOTS) == both
    assert both.merged(two, THREE_ROOTS) == both


def test_openpgp_roots_sign_drafts() -> None:
    previous = first(certificates=(CERTIFICATE,))
    draft = begin_draft(previous, CHECKPOINT)
    signed = draft.with_signature(pgp_sign(draft.policy.text()), previous)
    verify_next(parse_draft(signed.encode()).signed(), previous)


def test_a_changed_draft_has_no_signatures() -> None:
    draft = begin_draft(ALONE, CHECKPOINT)
    signed = draft.with_signature(ONE.sign(draft.policy.text()), ALONE)
    assert edit.set_fresh_within(signed, None) == signed
    assert not edit.set_fresh_within(signed, 60).signatures


def test_signatures_that_do_not_count_are_not_taken() -> None:
    draft = begin_draft(ALONE, CHECKPOINT)
    for signature, error in (
        (ONE.sign(b"something else"), BadSignature),
        (STRANGER.sign(draft.policy.text()), DraftError),
        (pgp_sign(draft.policy.text()), UnknownKey),
    ):
        with pytest.raises(error):
            draft.with_signature(signature, ALONE)
        junk = replace(draft, signatures=(signature,))
        assert not parse_draft(junk.encode()).signers(ALONE)
        assert draft.merged(junk, ALONE) == draft


def test_drafts_of_something_else_are_told_apart() -> None:
    draft = begin_draft(ALONE, CHECKPOINT)
    draft.check_follows(ALONE)
    policy = next_of(draft, ALONE, ONE)
    with pytest.raises(DraftError, match="is published already, as version 2"):
        draft.check_follows(policy)
    with pytest.raises(DraftError, match="does not follow") as caught:
        edit.set_fresh_within(draft, 60).check_follows(policy)
    assert "begin a new one" in caught.value.hint
    with pytest.raises(DraftError) as caught:
        begin_draft(policy, CHECKPOINT).check_follows(ALONE)
    assert "get the newest" in caught.value.hint
    with pytest.raises(DraftError, match="different things"):
        draft.merged(edit.set_fresh_within(draft, 60), ALONE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-5], "damaged or cut off"),
        (lambda data: data + b"and so on\n", "damaged or cut off"),
        (
            lambda data: data.replace(b"PGP PUBLIC KEY BLOCK", b"CERTIFICATE"),
            "not an SSH or OpenPGP",
        ),
        (lambda data: data[: data.index(b"-----BEGIN PGP")], "does not carry its certificate"),
        (lambda data: b"x" + data, "first line|gittorrent line"),
        (lambda data: b"", "line end|line must stand"),
    ],
)
def test_damaged_drafts_are_refused(change: Callable[[bytes], bytes], says: str) -> None:
    draft = edit.add_people(begin_draft(ALONE, CHECKPOINT), [ALICE], [TAGS], Grant.CREATE)
    data = draft.with_signature(ONE.sign(draft.policy.text()), ALONE).encode()
    assert parse_draft(data).certificates == (CERTIFICATE,)
    with pytest.raises((PolicyError, BadSignature), match=says):
        parse_draft(change(data))


def test_a_certificate_that_is_not_pinned_is_left_out() -> None:
    data = begin_draft(ALONE, CHECKPOINT).encode() + wrap(CERTIFICATE, Armor.PGP_CERTIFICATE)
    assert not parse_draft(data).certificates


# -- words


def test_words_for_people() -> None:
    draft = edit.add_people(begin_draft(ALONE, CHECKPOINT), [ALICE], [BRANCHES], Grant.PLAIN)
    draft = edit.set_quorum(draft, RELEASE, 2, [found(TWO), found(THREE)])
    draft = edit.set_keeper(draft, found(TWO))
    said = [str(each) for each in differences(ALONE.policy, draft.policy, {ALICE.key: "alice"})]
    assert said[0] == f"added: certificate of {ALICE.key} (alice)"
    assert said[1].endswith(f"to {TWO.name}, which goes on from checkpoint {CHECKPOINT}")
    assert said[2] == (f"added: {ALICE.key} (alice) may create refs/heads/* and move them forward")
    assert said[3].startswith("added: refs/heads/release changes when 2 of 2 push the same: ")
    assert len(said) == 4
    shown = describe(draft.policy)
    assert f"{ALICE.key} may create refs/heads/* and move them forward" in shown
    assert f"keeper, which signs checkpoints: {TWO.name}" in shown


def test_weak_policies_are_warned_of() -> None:
    assert "one root decides everything" in warnings(ALONE.policy)[0]
    assert not warnings(THREE_ROOTS.policy)
    two = edit.add_roots(begin_draft(ALONE, CHECKPOINT), [found(TWO)]).policy
    assert "all 2 roots must sign" in warnings(two)[0]
    all_three = edit.set_threshold(begin_draft(THREE_ROOTS, CHECKPOINT), 3).policy
    assert "all 3 roots must sign" in warnings(all_three)[0]
    draft = edit.set_quorum(begin_draft(THREE_ROOTS, CHECKPOINT), TAGS, 1, [found(ONE)])
    draft = edit.add_people(draft, [found(TWO)], [TAGS], Grant.PLAIN)
    assert warnings(draft.policy) == [
        "refs/tags/* is under a quorum line, which auth lines do not count for"
    ]


@pytest.mark.parametrize("seed", range(60))
def test_every_difference_shows(seed: int) -> None:
    """Whoever signs a draft has seen all of it: equal words only for equal texts."""
    chance = random.Random(seed)
    drafts = [begin_draft(first(ONE, certificates=(CERTIFICATE,)), CHECKPOINT)]
    keys = [found(maker) for maker in (ONE, TWO, THREE, STRANGER)] + [ALICE]
    patterns = [BRANCHES, TAGS, RELEASE]

    def some(items: list[FoundKey]) -> list[FoundKey]:
        return chance.sample(items, chance.randint(1, 3))

    edits: list[Callable[[PolicyDraft], PolicyDraft]] = [
        lambda d: edit.add_people(
            d, some(keys), chance.sample(patterns, 2), chance.choice([*Grant])
        ),
        lambda d: edit.add_roots(d, some(keys)),
        lambda d: edit.set_keeper(d, chance.choice(keys)),
        lambda d: edit.set_quorum(d, chance.choice(patterns), 1, some(keys)),
        lambda d: edit.add_web_of_trust(
            d, [chance.choice(patterns)], WebOfTrust(chance.randint(1, 3), 1)
        ),
        lambda d: edit.remove_keys(d, [chance.choice(keys).key]),
        lambda d: edit.remove_roots(d, [chance.choice(keys).key]),
        lambda d: edit.set_threshold(d, chance.randint(1, 4)),
        lambda d: edit.set_fresh_within(d, chance.choice([None, 60, 3600])),
        lambda d: edit.set_private(d, private=chance.choice([True, False])),
        lambda d: edit.add_readers(d, some(keys)),
        lambda d: edit.remove_readers(d, d.policy.readers[:1]),
        lambda d: edit.set_labels(d, {chance.choice(keys).key: chance.choice(["", "x", "y"])}),
        lambda d: edit.add_mirrors(d, [f"git://{chance.choice('ab')}.example/r"]),
        lambda d: edit.remove_mirrors(d, ["git://a.example/r"]),
    ]
    for _ in range(30):
        try:
            drafts.append(chance.choice(edits)(drafts[-1]))
        except PolicyError:
            continue
        old, new = drafts[-2].policy, drafts[-1].policy
        assert bool(differences(old, new)) == (old.text() != new.text())
        assert Policy.parse(new.text()) == new
        assert {entry.key for entry in new.keys} == {
            certificate_fingerprint(each) for each in drafts[-1].certificates
        }
