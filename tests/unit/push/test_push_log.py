"""What a log lets in, and the attacks on it that must fail without leaving a trace."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gittorrent.errors import GitTorrentError, IdentityError, TrustError
from gittorrent.ids import SHA1, SHA256, PushId, RefName, RepositoryId
from gittorrent.push.log import (
    ConcurrentEntriesError,
    EntryError,
    FastForwardCheck,
    NotAllowedError,
    VerifiedLog,
    changes_between,
)
from gittorrent.push.object import PushKind, PushObject, PushObjectError, parse_push_object
from gittorrent.push.refnames import RefNameError
from gittorrent.push.reftag import ReferencesTagError, parse_references_tag
from gittorrent.trust.errors import BadSignature, PolicyError, PolicyUnproven
from gittorrent.trust.policy import Grant, Policy, Rule
from gittorrent.trust.refpattern import RefPattern
from support.logs import (
    MAIN,
    Writer,
    admit,
    oid,
    push_id,
    references,
    state,
    with_text,
)
from support.signing import TestSigner

OWNER, OTHER, REELS, STRANGER = (TestSigner(n) for n in range(1, 5))
DEV = b"refs/heads/dev"
TAG = b"refs/tags/v1"


def shared_policy() -> Policy:
    """OWNER may move branches and create tags, OTHER may force dev, REELS signs reels only."""
    return Policy.first(
        "tests",
        b"genesis of tests",
        OWNER.key,
        rules=[
            Rule(RefPattern(b"refs/heads/*"), OWNER.key),
            Rule(RefPattern(b"refs/tags/*"), OWNER.key, Grant.CREATE),
            Rule(RefPattern(DEV), OTHER.key, Grant.FORCE),
        ],
        reels=[REELS.key],
    )


@pytest.fixture
def writer() -> Writer:
    writer = Writer(policy=shared_policy())
    writer.append(writer.references({MAIN: oid(1), TAG: oid(2)}))
    writer.append(writer.references({MAIN: oid(3), TAG: oid(2), DEV: oid(4)}))
    return writer


@pytest.fixture
def log(writer: Writer) -> VerifiedLog:
    return writer.log()


def refused(log: VerifiedLog, push: PushObject, error: type[GitTorrentError], match: str) -> None:
    before = state(log)
    with pytest.raises(error, match=match):
        admit(log, push)
    assert state(log) == before, "a refused entry leaves no trace"


def test_a_log_grows_and_tells_its_state(writer: Writer, log: VerifiedLog) -> None:
    assert log.ids == [push for push, _ in writer.pushes]
    assert log.head == writer.head
    assert writer.head in log
    assert len(log) == 3
    assert log.repository == writer.repository
    assert log.refs == {MAIN: oid(3), TAG: oid(2), DEV: oid(4)}
    assert log.fast_forward_checks == [FastForwardCheck(MAIN, oid(1), oid(3))]


def test_an_entry_tells_what_it_changed(writer: Writer, log: VerifiedLog) -> None:
    entry = admit(log, writer.references({MAIN: oid(5), TAG: oid(2), DEV: oid(4)}))
    assert entry.parent == writer.head
    assert entry.changed == (MAIN,)
    assert entry.key == OWNER.key
    assert entry.refs == log.refs


def test_an_empty_log_has_no_policy_and_takes_no_references(writer: Writer) -> None:
    log = VerifiedLog(SHA1)
    assert log.head is None
    with pytest.raises(EntryError, match="no policy"):
        _ = log.policy
    with pytest.raises(EntryError, match="no policy"):
        admit(log, writer.pushes[1][1])


def test_another_repository_than_expected_is_refused(writer: Writer) -> None:
    policy_id, policy = writer.pushes[0]
    with pytest.raises(IdentityError):
        VerifiedLog(SHA1).admit(policy, policy_id, RepositoryId("a" * 52))
    VerifiedLog(SHA1).admit(policy, policy_id, writer.repository)


# --- attacks -------------------------------------------------------------------------------------


def test_forged_text_under_an_old_signature(writer: Writer, log: VerifiedLog) -> None:
    push = writer.references({MAIN: oid(5), TAG: oid(2), DEV: oid(4)})
    forged = with_text(push, push.text.replace(oid(5).encode(), oid(6).encode()))
    refused(log, forged, BadSignature, ".")


def test_a_signature_of_another_purpose(writer: Writer, log: VerifiedLog) -> None:
    push = writer.references({MAIN: oid(5), TAG: oid(2), DEV: oid(4)})
    wrong = replace(push, signatures=(OWNER.sign(push.text, namespace=b"file"),))
    refused(log, wrong, BadSignature, "namespace")


def test_truncated_list_of_refs_under_an_old_signature(writer: Writer, log: VerifiedLog) -> None:
    push = writer.references({MAIN: oid(5), TAG: oid(2), DEV: oid(4)})
    lines = push.text.splitlines(keepends=True)
    refused(log, with_text(push, b"".join(lines[:-1])), BadSignature, ".")
    refused(log, with_text(push, push.text[:-1]), BadSignature, ".")


def test_refs_are_not_read_before_the_signature(writer: Writer, log: VerifiedLog) -> None:
    """They take many times the memory that their text does, and anybody can send some."""
    push = writer.references({MAIN: oid(5), TAG: oid(2), DEV: oid(4)})
    lines = push.text + b"no ref at all\n"
    refused(log, with_text(push, lines), BadSignature, ".")
    signed = replace(with_text(push, lines), signatures=(writer.signer.sign(lines),))
    refused(log, signed, ReferencesTagError, "no ref in line")


def test_lines_too_short_for_refs_are_not_taken_apart(writer: Writer) -> None:
    text = writer.references({MAIN: oid(5)}).text + b"\n" * 1000
    with pytest.raises(ReferencesTagError, match="more lines than refs can fill"):
        parse_references_tag(text, SHA1)


def test_replay_of_an_entry_in_the_log(writer: Writer, log: VerifiedLog) -> None:
    for _, push in writer.pushes:
        before = state(log)
        with pytest.raises(GitTorrentError):
            admit(log, push)
        assert state(log) == before


def test_reordered_entries(writer: Writer) -> None:
    log = VerifiedLog(SHA1)
    admit(log, writer.pushes[0][1])
    refused(log, writer.pushes[2][1], EntryError, "not in this log")


def test_an_entry_missing_from_the_middle(writer: Writer) -> None:
    writer.append(writer.references({MAIN: oid(9)}))
    log = VerifiedLog(SHA1)
    admit(log, writer.pushes[0][1])
    admit(log, writer.pushes[1][1])
    refused(log, writer.pushes[3][1], EntryError, "not in this log")


def test_an_entry_of_another_repository(log: VerifiedLog, writer: Writer) -> None:
    other = Writer(genesis=b"another genesis!")
    push = references(OWNER, other.repository, writer.head, {MAIN: oid(5)})
    refused(log, push, EntryError, "is for repository")


def test_another_log_grafted_on(log: VerifiedLog) -> None:
    other = Writer(genesis=b"another genesis!")
    other.append(other.references({MAIN: oid(5)}))
    for _, push in other.pushes:
        before = state(log)
        with pytest.raises(TrustError):
            admit(log, push)
        assert state(log) == before


def test_a_policy_of_another_log_that_names_this_head(log: VerifiedLog, writer: Writer) -> None:
    other = Writer(genesis=b"another genesis!")
    assert other.policy is not None
    text = other.policy.next_version(writer.head).text()
    push = PushObject(PushKind.POLICY, text, (OWNER.sign(text),))
    refused(log, push, PolicyError, "follows another version")


def test_the_wrong_signer_named(log: VerifiedLog, writer: Writer) -> None:
    push = writer.references({MAIN: oid(5), TAG: oid(2), DEV: oid(4)})
    refused(log, replace(push, signer=OTHER.key), EntryError, "names signer")
    stolen = writer.references({MAIN: oid(5), TAG: oid(2), DEV: oid(4)}, STRANGER)
    refused(log, replace(stolen, signer=OWNER.key), EntryError, "names signer")


def test_a_key_outside_its_refs(log: VerifiedLog, writer: Writer) -> None:
    moved = {MAIN: oid(5), TAG: oid(2), DEV: oid(4)}
    refused(log, writer.references(moved, OTHER), NotAllowedError, "refs/heads/main")
    # One allowed change does not carry one that is not.
    both = {MAIN: oid(5), TAG: oid(2), DEV: oid(9)}
    refused(log, writer.references(both, OTHER), NotAllowedError, "refs/heads/main")
    entry = admit(log, writer.references({MAIN: oid(3), TAG: oid(2), DEV: oid(9)}, OTHER))
    assert entry.changed == (DEV,)
    assert len(log.fast_forward_checks) == 1, "a forced change promises nothing"


def test_a_refused_entry_leaves_no_promise_behind(log: VerifiedLog, writer: Writer) -> None:
    push = writer.references({MAIN: oid(5), TAG: oid(6), DEV: oid(4)})
    refused(log, push, NotAllowedError, "refs/tags/v1")


def test_published_tags_do_not_move(log: VerifiedLog, writer: Writer) -> None:
    for refs in (
        {MAIN: oid(3), TAG: oid(9), DEV: oid(4)},
        {MAIN: oid(3), DEV: oid(4)},
    ):
        refused(log, writer.references(refs), NotAllowedError, "refs/tags/v1")
    more = {MAIN: oid(3), TAG: oid(2), DEV: oid(4), b"refs/tags/v2": oid(7)}
    admit(log, writer.references(more))


def test_plain_rights_do_not_delete(log: VerifiedLog, writer: Writer) -> None:
    gone = {TAG: oid(2), DEV: oid(4)}
    refused(log, writer.references(gone), NotAllowedError, "refs/heads/main")
    admit(log, writer.references({MAIN: oid(3), TAG: oid(2)}, OTHER))
    assert DEV not in log.refs


def test_unknown_keys(log: VerifiedLog, writer: Writer) -> None:
    same = {MAIN: oid(3), TAG: oid(2), DEV: oid(4)}
    refused(log, writer.references(same, STRANGER), NotAllowedError, "does not know")
    refused(
        log, writer.references({**same, DEV: oid(5)}, STRANGER), NotAllowedError, "does not know"
    )


def test_a_checkpoint_must_equal_the_state(log: VerifiedLog, writer: Writer) -> None:
    changed = {MAIN: oid(3), TAG: oid(2), DEV: oid(5)}
    refused(log, writer.references(changed, REELS), NotAllowedError, "change")
    entry = admit(log, writer.references({MAIN: oid(3), TAG: oid(2), DEV: oid(4)}, REELS))
    assert entry.changed == ()


def test_building_on_a_head_that_is_not_the_head(log: VerifiedLog, writer: Writer) -> None:
    older = writer.pushes[1][0]
    push = references(OWNER, writer.repository, older, {MAIN: oid(5), TAG: oid(2)})
    refused(log, push, ConcurrentEntriesError, f"the log forks after {older}")
    unknown = references(OWNER, writer.repository, PushId("ab" * 20), {MAIN: oid(5)})
    refused(log, unknown, EntryError, "not in this log")


def test_joins_and_certificates_are_not_guessed(log: VerifiedLog, writer: Writer) -> None:
    push = writer.references({MAIN: oid(5), TAG: oid(2), DEV: oid(4)})
    refused(log, replace(push, join=(oid(1), oid(2))), ConcurrentEntriesError, "joins")
    text = f"certificate version 0.1\npusher x 1 +0000\nnonce a/{writer.head}\n\n".encode()
    certificate = PushObject(PushKind.CERTIFICATE, text, (OWNER.sign(text),), OWNER.key)
    refused(log, certificate, ConcurrentEntriesError, "certificate")


@pytest.mark.parametrize(
    "name",
    [
        b"refs/gittorrent/log",
        b"refs/conflicts/x/refs/heads/main",
        b"refs/replace/" + b"12" * 20,
        b"refs/Replace/" + b"12" * 20,
        b"refs/GITTORRENT/log",
        b"HEAD",
        b"refs/heads/../../config",
        b"refs/heads/a.lock",
        b"refs/heads/.git",
        b"refs/heads/con\x01trol",
        b"refs/heads/space here",
        b"refs/heads/-x\x7f",
        b"refs/heads/a//b",
        b"refs/heads/" + b"x" * 251,
        b"refs/onelevel",
        b"../refs/heads/main",
        b"",
    ],
)
def test_hostile_ref_names(log: VerifiedLog, writer: Writer, name: bytes) -> None:
    refs = {MAIN: oid(3), TAG: oid(2), DEV: oid(4), name: oid(7)}
    before = state(log)
    push = writer.references(refs)
    with pytest.raises(RefNameError):
        admit(log, push)
    assert state(log) == before


def test_a_name_below_another(log: VerifiedLog, writer: Writer) -> None:
    refs = {MAIN: oid(3), TAG: oid(2), DEV: oid(4), DEV + b"/sub": oid(7)}
    before = state(log)
    with pytest.raises(RefNameError, match="cannot exist together"):
        admit(log, writer.references(refs))
    assert state(log) == before


def test_names_that_differ_in_case_are_different_refs(log: VerifiedLog, writer: Writer) -> None:
    """Refs live in packed-refs, so disks that fold case do no harm."""
    refs = {MAIN: oid(3), TAG: oid(2), DEV: oid(4), b"refs/heads/MAIN": oid(7)}
    assert admit(log, writer.references(refs)).changed == (b"refs/heads/MAIN",)


def test_a_log_of_another_object_format(writer: Writer) -> None:
    log = VerifiedLog(SHA256)
    admit(log, writer.pushes[0][1])
    with pytest.raises(ReferencesTagError):
        log.admit(writer.pushes[1][1], PushId("ab" * 32))


# --- policies ------------------------------------------------------------------------------------


def test_a_new_policy_counts_for_what_comes_after(log: VerifiedLog, writer: Writer) -> None:
    rule = Rule(RefPattern(b"refs/*"), STRANGER.key, Grant.FORCE)
    push = writer.next_policy(rules=(rule,))
    writer.append(push)
    admit(log, push)
    assert log.refs[MAIN] == oid(3), "policies change no refs"
    refused(log, writer.references({MAIN: oid(5)}), NotAllowedError, ".")
    admit(log, writer.references({MAIN: oid(5)}, STRANGER))
    assert log.refs == {MAIN: oid(5)}


def test_a_policy_needs_the_roots_before_it(log: VerifiedLog, writer: Writer) -> None:
    taken_over = {"roots": (STRANGER.key,)}
    refused(log, writer.next_policy(STRANGER, **taken_over), PolicyUnproven, "0 of the 1")
    refused(log, writer.next_policy(OTHER), PolicyUnproven, "not a root")


def test_a_policy_builds_on_the_head(log: VerifiedLog, writer: Writer) -> None:
    assert writer.policy is not None
    for parent, error in (
        (writer.pushes[0][0], ConcurrentEntriesError),
        (PushId("ab" * 20), EntryError),
    ):
        text = writer.policy.next_version(parent).text()
        refused(log, PushObject(PushKind.POLICY, text, (OWNER.sign(text),)), error, ".")


# --- recalling -----------------------------------------------------------------------------------


def test_recalling_equals_replaying(writer: Writer, log: VerifiedLog) -> None:
    push = writer.next_policy(name="renamed")
    writer.append(push)
    admit(log, push)
    kept = dict([writer.pushes[0], writer.pushes[2], writer.pushes[3]])
    recalled = VerifiedLog.recall(SHA1, log.ids, kept)
    assert recalled.ids == log.ids
    assert recalled.refs == log.refs
    assert recalled.policy.policy == log.policy.policy
    assert recalled.fast_forward_checks == []


def test_recalling_judges_what_it_is_given(writer: Writer) -> None:
    ids = [push for push, _ in writer.pushes]
    forged = writer.pushes[2][1]
    forged = with_text(forged, forged.text.replace(oid(4).encode(), oid(9).encode()))
    with pytest.raises(TrustError):
        VerifiedLog.recall(SHA1, ids, {**dict(writer.pushes), ids[2]: forged})
    misplaced = {**dict(writer.pushes), ids[1]: writer.pushes[2][1]}
    with pytest.raises(GitTorrentError):
        VerifiedLog.recall(SHA1, ids, misplaced)


def test_a_push_id_does_not_depend_on_the_signature(writer: Writer) -> None:
    _, push = writer.pushes[1]
    encoded = replace(push, signatures=(OWNER.sign(push.text, width=60),))
    assert encoded != push
    assert push_id(encoded) == push_id(push)
    assert push_id(replace(push, signer=OTHER.key)) != push_id(push)


def test_push_objects_travel(writer: Writer) -> None:
    for _, push in writer.pushes:
        assert parse_push_object(push.encode()) == push


def test_changes_are_sorted_and_complete() -> None:
    a, b, c = (RefName(name) for name in (b"refs/heads/a", b"refs/heads/b", b"refs/heads/c"))
    assert changes_between({a: oid(1), b: oid(1)}, {b: oid(2), c: oid(3)}) == [
        (a, oid(1), None),
        (b, oid(1), oid(2)),
        (c, None, oid(3)),
    ]
    assert changes_between({a: oid(1)}, {a: oid(1)}) == []


def test_a_certificate_without_a_nonce_has_no_parent() -> None:
    push = PushObject(PushKind.CERTIFICATE, b"certificate version 0.1\n\n", (OWNER.sign(b"x"),))
    with pytest.raises(PushObjectError, match="nonce"):
        push_id(replace(push, signer=OWNER.key))
