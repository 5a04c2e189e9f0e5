"""What became of each push: final or not, and why it did not simply happen."""

from __future__ import annotations

from gittorrent.ids import RefName
from gittorrent.push.facts import NoObjects
from gittorrent.push.history import PushFate, awaited, fates, in_order
from gittorrent.push.log import VerifiedLog
from gittorrent.push.rule import Reason, Verdict
from gittorrent.trust.policy import Grant, Policy, Quorum, Rule
from gittorrent.trust.refpattern import RefPattern
from support.logs import Writer, admit, oid
from support.signing import TestSigner

OWNER, BOB = TestSigner(1), TestSigner(2)
MAIN, TOPIC, RELEASE = b"refs/heads/main", b"refs/heads/topic", b"refs/heads/release"
LINE = 1 << 32


def writer() -> Writer:
    rules = [
        Rule(RefPattern(b"refs/*"), OWNER.key, Grant.FORCE),
        Rule(RefPattern(b"refs/heads/*"), BOB.key, Grant.PLAIN),
    ]
    quorum = Quorum(RefPattern(RELEASE), 2, tuple(sorted((OWNER.key, BOB.key))))
    policy = Policy.first("tests", bytes(16), OWNER.key, rules=rules, quorums=[quorum])
    return Writer(OWNER, policy=policy)


def said(fate: PushFate) -> list[tuple[list[bytes], Verdict | None, Reason | None]]:
    units = fate.units
    return [([line.ref for line in unit.lines], unit.verdict, unit.reason) for unit in units]


def side_by_side(made: Writer) -> None:
    """Push one branch twice on top of the same value, and what is not allowed at all."""
    made.publish({MAIN: oid(1)})
    rival = made.certificate({MAIN: oid(LINE + 1), b"refs/tags/v1": oid(7)}, BOB)
    made.push({MAIN: oid(2)})
    made.append(rival)


def test_reasons_of_what_is_not_final_and_then_is() -> None:
    made = writer()
    side_by_side(made)
    wanted = [
        [([MAIN], Verdict.APPLIED, None)],
        [([MAIN], Verdict.APPLIED, None)],
    ]
    provisional = list(fates(made.log()))
    assert [fate.number for fate in provisional] == [2, 0, 0]
    made.keep()
    final = list(fates(made.log()))
    assert [fate.number for fate in final] == [2, 3, 3]
    assert final[1].checkpoint == made.head
    for found in (provisional, final):
        by_key = {fate.push.key: said(fate) for fate in found[1:]}
        assert said(found[0]) == wanted[0]
        verdicts = {(key, ref): (v, r) for key, units in by_key.items() for (ref,), v, r in units}
        assert verdicts[BOB.key, b"refs/tags/v1"] == (Verdict.REFUSED, Reason.NOT_ALLOWED)
        both = {verdicts[OWNER.key, MAIN], verdicts[BOB.key, MAIN]}
        assert {verdict for verdict, _ in both} <= {
            Verdict.APPLIED, Verdict.CONFLICT, Verdict.REFUSED,
        }  # fmt: skip
        assert (Verdict.APPLIED, None) in both
        assert len(both) == 2


def test_a_unit_of_several_lines_and_a_waiting_one() -> None:
    made = writer()
    made.push({MAIN: oid(1), TOPIC: oid(1)}, options=[b"atomic"])
    made.push({RELEASE: oid(1)}, BOB)
    made.keep()
    atomic, waiting = fates(made.log())
    assert said(atomic) == [([MAIN, TOPIC], Verdict.APPLIED, None)]
    assert said(waiting) == [([RELEASE], Verdict.WAITING, None)]
    assert [waiting.ref for waiting in made.state.ledger.view().listing.waiting()] == [
        RefName(RELEASE)
    ]


def test_without_objects_there_are_verdicts_and_no_reasons() -> None:
    made = writer()
    side_by_side(made)
    made.keep()
    made.push({MAIN: oid(9)})
    log = VerifiedLog(made.object_format, NoObjects())
    for known, push in made.pushes:
        log.admit(push, known)
    log.settle(short=True)
    found = list(fates(log))
    assert [fate.number for fate in found] == [2, 3, 3, 0]
    assert {unit.reason for fate in found for unit in fate.units} == {None}
    assert said(found[-1]) == [([MAIN], None, None)]


def test_an_empty_log_and_one_with_a_policy_only() -> None:
    made = writer()
    assert not list(fates(made.log()))
    log = VerifiedLog(made.object_format, made.facts)
    assert not list(fates(log))
    admit(log, made.pushes[0][1])
    assert not list(fates(log))


def test_a_policy_stands_before_the_checkpoint_that_names_it_whenever_it_came() -> None:
    made = writer()
    (first, _), (begin, _) = made.pushes
    second = made.append(made.next_policy(mirrors=("git://a.example.org/r.git",)))
    taken = made.keep()
    rival = made.next_policy(mirrors=("git://b.example.org/r.git",))
    pending = made.append(made.next_policy(mirrors=()))
    wanted = [first, begin, second, taken, pending]
    assert in_order(made.log()) == wanted
    made.pushes[2], made.pushes[3] = made.pushes[3], made.pushes[2]
    late = made.log()
    assert [record.id for record in late.records][2:4] == [taken, second]
    assert in_order(late) == wanted
    made.append(rival)
    made.keep()
    assert in_order(made.log())[-1] == made.head


def test_what_does_not_count_stands_behind_what_it_was_made_on() -> None:
    made = writer()
    made.push({MAIN: oid(1)})
    twin = made.checkpoint()
    made.push({TOPIC: oid(1)})
    head = made.keep()
    lost = made.append(twin)
    log = made.log()
    assert {record.id for record in log.records if not record.is_in_chain} >= {lost}
    begin = made.pushes[1][0]
    placed = in_order(log)
    assert placed[1:] in ([begin, lost, head], [begin, head, lost])


def test_what_is_refused_as_a_whole_waits_for_nobody() -> None:
    made = writer()
    made.publish({MAIN: oid(1)})
    shown = made.push({TOPIC: oid(1)}, BOB)
    refused = made.push({b"refs/tags/v1": oid(1)}, BOB)
    partly = made.push({b"refs/tags/v2": oid(1), b"refs/heads/more": oid(1)}, BOB)
    log = made.log()
    assert {push.id for push in log.unfinal} == {shown, refused, partly}
    assert {push.id for push in awaited(log)} == {shown, partly}
    blind = VerifiedLog(made.object_format, NoObjects())
    for known, push in made.pushes:
        blind.admit(push, known)
    blind.settle(short=True)
    assert {push.id for push in blind.unjudged} <= {push.id for push in awaited(blind)}
    assert awaited(VerifiedLog(made.object_format, made.facts)) == []
