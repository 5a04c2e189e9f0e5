"""Pushes by OpenPGP keys: pinned by a policy, or vouched for by certificates that come along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace
from pysequoia import SignatureMode, Tsk, sign

from gittorrent.errors import TrustError
from gittorrent.ids import Oid, RefName
from gittorrent.push.facts import NoObjects
from gittorrent.push.log import MAX_COPIES, MAX_STRANGERS, NotAllowedError, VerifiedLog
from gittorrent.push.object import PushKind, PushObject
from gittorrent.push.rule import LAST_OPENPGP_TIME, Verdict
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.openpgp import certificate_fingerprint
from gittorrent.trust.policy import Grant, Policy, Rule, WebOfTrust, pin
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.signature import Signature, detect
from support.logs import MAIN, Numbered, Writer, admit, oid, push_id
from support.signing import TestSigner

DAVE = Tsk.generate("Dave <dave@example.org>")
CERTIFICATE = bytes(DAVE.extract_certificate())
INTRODUCER = bytes(Tsk.generate("Ian <ian@example.org>").extract_certificate())
KEY = certificate_fingerprint(CERTIFICATE)


class Vouching(Numbered):
    """Facts by which whoever brings an introducer along is vouched for."""

    def certified(
        self,
        key: KeyRef,
        rule: WebOfTrust,
        roots: Sequence[KeyRef],
        certificates: Mapping[KeyRef, bytes],
        time: int,
    ) -> bool:
        return key in certificates and certificate_fingerprint(INTRODUCER) in certificates


def openpgp(text: bytes) -> Signature:
    made = sign(DAVE.signer(), text, mode=SignatureMode.DETACHED)
    return detect(made if isinstance(made, bytes) else bytes(made))


def trusting() -> Writer:
    """Return a log whose policy lets everybody push whom its roots vouch for."""
    root = TestSigner()
    rules = (
        Rule(RefPattern(b"refs/*"), root.key, Grant.FORCE),
        Rule(RefPattern(b"refs/heads/*"), WebOfTrust(1, 1)),
    )
    policy = Policy.first("tests", b"genesis of tests", root.key, rules=rules)
    writer = Writer(policy=policy, facts=Vouching())
    writer.publish({MAIN: oid(1)})
    return writer


def by_dave(
    writer: Writer, new: Oid, *pinned: bytes, ref: bytes = b"refs/heads/dave"
) -> PushObject:
    text = writer.certificate({ref: new}).text
    return PushObject(PushKind.CERTIFICATE, text, (openpgp(text),), KEY, pinned)


class Since(Vouching):
    """Facts by which somebody is vouched for from a time on, and notes of when it was asked.

    Args:
        first: the first second.
    """

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first
        self.asked: list[int] = []

    def certified(
        self,
        key: KeyRef,
        rule: WebOfTrust,
        roots: Sequence[KeyRef],
        certificates: Mapping[KeyRef, bytes],
        time: int,
    ) -> bool:
        self.asked.append(time)
        return time >= self.first


def verdicts(log: VerifiedLog) -> list[Verdict]:
    return [item.outcome.verdict for item in log.ledger.view().judged]


def test_a_pinned_key_pushes_as_an_ssh_key_does() -> None:
    writer = trusting()
    rules = (*writer.state.policy.policy.rules, Rule(RefPattern(b"refs/heads/*"), KEY))
    policy = writer.state.policy.policy.next_version(
        writer.head, rules=rules, keys=pin([CERTIFICATE])
    )
    text = policy.text()
    writer.append(
        PushObject(PushKind.POLICY, text, (writer.signer.sign(text),), pinned=(CERTIFICATE,))
    )
    writer.append(by_dave(writer, oid(3)))
    assert verdicts(writer.state) == [Verdict.APPLIED]
    writer.keep()
    # Its certificate is no longer pinned; what it pushed before goes on counting.
    gone = policy.next_version(writer.head, rules=rules[:-1], keys=())
    text = gone.text()
    writer.append(PushObject(PushKind.POLICY, text, (writer.signer.sign(text),)))
    writer.keep()
    log = writer.log()
    assert log.refs[RefName(b"refs/heads/dave")] == oid(3)
    assert not log.followed


def test_a_key_that_is_vouched_for() -> None:
    writer = trusting()
    push = by_dave(writer, oid(3), CERTIFICATE, INTRODUCER)
    writer.append(push)
    assert verdicts(writer.state) == [Verdict.APPLIED]
    assert not writer.state.admit(push, push_id(push))
    writer.keep()
    log = writer.log()
    assert log.refs == writer.state.refs
    (copy,) = log.checkpoint(writer.head).checkpoint.copies
    assert copy.push == push_id(push)


def test_who_has_no_gpg_shows_it_when_the_keeper_took_it() -> None:
    writer = trusting()
    writer.append(by_dave(writer, oid(3), CERTIFICATE, INTRODUCER))
    log = VerifiedLog(writer.object_format, NoObjects())
    for known, push in writer.pushes:
        log.admit(push, known)
    log.settle()
    assert [push.key for push in log.unjudged] == [KEY]
    assert len(log.refs) == 1
    admit(log, writer.checkpoint())
    assert log.refs == writer.state.refs
    assert not log.unjudged


@pytest.mark.parametrize("pinned", [(), (INTRODUCER,), (INTRODUCER, CERTIFICATE), (b"nonsense",)])
def test_the_first_certificate_is_the_pushers(pinned: tuple[bytes, ...]) -> None:
    writer = trusting()
    with pytest.raises(TrustError):
        admit(writer.state, by_dave(writer, oid(3), *pinned))
    assert not writer.state.unfinal


def test_a_better_copy_is_stored_and_a_worse_one_is_not() -> None:
    writer = trusting()
    whole = by_dave(writer, oid(3), CERTIFICATE, INTRODUCER)
    bare = replace(whole, pinned=(CERTIFICATE,))
    known = push_id(whole)
    for first, second, stored in ((bare, whole, True), (whole, bare, False)):
        log = writer.log()
        assert log.admit(first, known)
        assert log.admit(second, known) is stored
        log.settle()
        assert verdicts(log) == [Verdict.APPLIED]
        assert log.push(known).certificates == whole.pinned


def test_copies_are_bounded() -> None:
    writer = trusting()
    log = writer.log()
    others = [bytes(Tsk.generate("x").extract_certificate()) for _ in range(MAX_COPIES + 2)]
    pushes = [by_dave(writer, oid(3), CERTIFICATE)]
    pushes += [replace(pushes[0], pinned=(CERTIFICATE, other)) for other in others]
    for push in pushes:
        log.admit(push, push_id(push))
    assert log.ledger.copies(push_id(pushes[0])) == MAX_COPIES


def test_pushes_by_keys_that_anybody_can_make_are_bounded() -> None:
    writer = trusting()
    log = writer.log()
    made = by_dave(writer, oid(3), CERTIFICATE)
    for number in range(MAX_STRANGERS + 1):
        text = made.text.replace(b"/heads/dave\n", b"/heads/d%d\n" % number)
        push = replace(made, text=text, signatures=(openpgp(text),))
        if number < MAX_STRANGERS:
            assert log.admit(push, push_id(push))
        else:
            with pytest.raises(NotAllowedError, match="wait for the keeper"):
                log.admit(push, push_id(push))
    named = writer.certificate({MAIN: oid(2)})
    assert log.admit(named, push_id(named))


def test_an_ssh_key_is_not_vouched_for() -> None:
    writer = trusting()
    with pytest.raises(NotAllowedError, match="a say"):
        admit(writer.state, writer.certificate({MAIN: oid(2)}, TestSigner(9)))


@pytest.mark.parametrize(
    ("stated", "asked"),
    [(-1_000, 0), (0, 0), (500, 500), (10**11, LAST_OPENPGP_TIME)],
)
def test_a_web_of_trust_is_judged_when_the_push_was_made(stated: int, asked: int) -> None:
    """Who was certified since the newest checkpoint need not wait for another one."""
    writer = trusting()
    at = writer.state.ledger.adopted.time
    facts = Since(at + 100)
    log = VerifiedLog(writer.object_format, facts)
    for known, push in writer.pushes:
        log.admit(push, known)
    log.settle()
    writer.time = at + stated
    admit(log, by_dave(writer, oid(3), CERTIFICATE))
    wanted = Verdict.APPLIED if asked >= 100 else Verdict.REFUSED
    assert verdicts(log) == [wanted]
    assert set(facts.asked) == {asked if asked == LAST_OPENPGP_TIME else at + asked}
