"""What people are told of a log that is not all final, or does not go on."""

from __future__ import annotations

from gittorrent.ids import SHA1, PushId
from gittorrent.push.facts import NoObjects
from gittorrent.push.fresh import Fresh
from gittorrent.push.log import VerifiedLog
from gittorrent.transfer.log_words import contradictions, not_final, not_shown, silence, troubles
from gittorrent.wire.messages import FreshLine
from support.logs import MAIN, Writer, admit, oid
from support.signing import TestSigner

URL = "git://m.example/x"
DATE = "2020-09-13 12:26 UTC"
OTHER = PushId("ab" * 20)


def begun() -> Writer:
    writer = Writer()
    writer.publish({MAIN: oid(1)})
    return writer


def without_objects(writer: Writer) -> VerifiedLog:
    log = VerifiedLog(SHA1, NoObjects())
    for known, push in writer.pushes:
        log.admit(push, known)
    log.settle(short=True)
    return log


def test_what_the_keeper_took_is_final() -> None:
    assert not_final(begun().log()) == ""


def test_what_is_not_final_is_named_with_its_pusher_and_time() -> None:
    writer = begun()
    writer.push({MAIN: oid(2)})
    assert not_final(writer.log()) == (
        f"refs/heads/main is not final: 1 push of {writer.signer.key}, since {DATE},"
        " not confirmed by the keeper yet"
    )


def test_a_push_from_a_time_without_dates() -> None:
    writer = begun()
    writer.time = 999_999_999_999  # all that a certificate can say
    writer.push({MAIN: oid(2)})
    assert "since 9999-12-31 23:59 UTC" in not_final(writer.log())


def test_of_many_refs_some_are_named() -> None:
    writer = begun()
    writer.push({b"refs/heads/x%d" % number: oid(number) for number in range(2, 7)})
    writer.push({b"refs/heads/\xff": oid(9)})
    said = not_final(writer.log())
    assert said.startswith(
        "refs/heads/x2, refs/heads/x3, refs/heads/x4 and 3 more are not final: 2 pushes of"
    )
    assert said.isprintable()


def test_what_cannot_be_judged_is_not_called_shown() -> None:
    writer = begun()
    writer.push({MAIN: oid(2)})
    log = without_objects(writer)
    assert not_final(log) == ""
    assert not_shown(log) == (
        f"not shown, as objects are missing here: 1 push of {writer.signer.key}, since {DATE}"
    )
    assert not_shown(writer.log()) == ""


def test_two_checkpoints_in_one_place_are_named() -> None:
    writer = begun()
    log = writer.log()
    assert troubles(log) == troubles(VerifiedLog(SHA1)) == []
    writer.time += 1
    one = writer.checkpoint()
    other = writer.checkpoint()
    ids = [admit(log, one), admit(log, other)]
    [said] = troubles(log)
    assert all(known in said for known in ids)
    assert "the roots must name another keeper" in said


def test_rival_policies_are_named() -> None:
    writer = begun()
    log = writer.log()
    rivals = [writer.next_policy(name=name) for name in ("one", "other")]
    ids = [admit(log, rival) for rival in rivals]
    [said] = troubles(log)
    assert all(known in said for known in ids)
    assert "2 policies number 2" in said


def test_a_log_that_ends_before_what_was_seen_is_told() -> None:
    log = begun().log()
    assert log.head is not None
    assert contradictions(log, None, URL) == []
    assert contradictions(log, (log.head, log.number), URL) == []
    [said] = contradictions(log, (OTHER, log.number + 1), URL)
    assert URL in said
    assert "behind or withholds something" in said


def test_another_checkpoint_in_the_place_of_one_that_was_seen_is_told() -> None:
    log = begun().log()
    [said] = contradictions(log, (OTHER, log.number), URL)
    assert f"{OTHER} as number {log.number}" in said
    assert "has another" in said


def test_the_keepers_word_counts_for_a_day() -> None:
    log = begun().log()
    made = log.ledger.adopted.time
    assert silence(log, None, URL, made + 86_400) == ""
    assert silence(log, None, URL, made + 86_401) == (
        f"the keeper's newest word that {URL} has is from {DATE}: the keeper is off, or something"
        " newer is withheld"
    )


def test_a_statement_of_freshness_counts_if_the_keeper_signed_it() -> None:
    writer = begun()
    log = writer.log()
    now = log.ledger.adopted.time + 10 * 86_400
    said = Fresh(writer.repository, writer.head, now)
    true = FreshLine(said.checkpoint, now, writer.signer.sign(said.text()).data)
    assert silence(log, true, URL, now) == ""
    forged = FreshLine(said.checkpoint, now, TestSigner(9).sign(said.text()).data)
    later = FreshLine(said.checkpoint, now + 1, true.signature)
    elsewhere = FreshLine(OTHER, now, true.signature)
    broken = FreshLine(said.checkpoint, now, b"nothing")
    for lie in (forged, later, elsewhere, broken):
        assert silence(log, lie, URL, now) != ""


def test_a_policy_may_ask_for_more() -> None:
    writer = begun()
    writer.append(writer.next_policy(fresh_within=60))
    writer.keep()
    log = writer.log()
    made = log.ledger.adopted.time
    assert silence(log, None, URL, made + 60) == ""
    assert silence(log, None, URL, made + 61) != ""
