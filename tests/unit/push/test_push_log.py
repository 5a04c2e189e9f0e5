"""A log admits what was signed for it, in any order, and is had again as it was kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest
from msgspec.structs import replace

from gittorrent.errors import IdentityError, TrustError
from gittorrent.ids import SHA1, SHA256, Oid, PushId, RefName, RepositoryId
from gittorrent.push.checkpoint import Checkpoint
from gittorrent.push.facts import NoObjects
from gittorrent.push.listing import Entry
from gittorrent.push.log import NotAllowedError, VerifiedLog
from gittorrent.push.log_state import EntryError
from gittorrent.push.object import PushKind, PushObject
from gittorrent.push.policies import PolicyVersionError
from gittorrent.push.records import Held, parse_record
from gittorrent.push.rule import Reason, Verdict
from gittorrent.push.starting import NoBeginningError
from gittorrent.trust.errors import PolicyError, PolicyUnproven
from gittorrent.trust.policy import Grant, Policy, Rule
from gittorrent.trust.refpattern import RefPattern
from support.logs import MAIN, Numbered, Writer, admit, oid, push_id, signed, with_text
from support.signing import TestSigner

DAY = 86400
OTHER = b"refs/heads/other"
ANNA, KEEPER = TestSigner(2), TestSigner(3)


def grown(pushes: int = 30, days: int = 2) -> Writer:
    """Return a log of a checkpoint every few days, and one push that none took."""
    writer = Writer()
    for number in range(1, pushes + 1):
        writer.time += days * DAY
        writer.publish({MAIN: oid(number), b"refs/heads/b%d" % (number % 7): oid(number)})
    writer.push({OTHER: oid(5)})
    return writer


def told(
    pushes: Iterable[tuple[PushId, PushObject]], facts: object = None, *, short: bool = False
) -> VerifiedLog:
    """Return the log of somebody who was told of these."""
    log = VerifiedLog(SHA1, facts or Numbered())  # type: ignore[arg-type]
    for known, push in pushes:
        log.admit(push, known)
    log.settle(short=short)
    return log


def taken_by(log: VerifiedLog) -> set[PushId]:
    return {push for record in log.records for push in record.pushes}


def short_of(writer: Writer, log: VerifiedLog) -> list[tuple[PushId, PushObject]]:
    """Return what a clone is sent: no pushes that were taken, and 30 days of checkpoints."""
    records = [record for record in log.records if record.kind is PushKind.CHECKPOINT]
    whole = [record for record in records if record.is_whole][-1]
    since = next(r for r in reversed(records) if r.time < whole.time - 30 * DAY)
    left_out = taken_by(log) | {r.id for r in records if r.number < since.number}
    return [(known, push) for known, push in writer.pushes if known not in left_out]


def again(
    log: VerifiedLog,
    writer: Writer,
    reads: list[PushId] | None = None,
    snapshot: object = None,
    facts: object = None,
) -> VerifiedLog:
    """Keep a log and open it again."""
    objects = dict(writer.pushes)

    def read(entry: PushId) -> PushObject:
        if reads is not None:
            reads.append(entry)
        return objects[entry]

    lines = [record.line() for record in log.records]
    records = [parse_record(line, SHA1) for line in lines]
    return VerifiedLog.recall(SHA1, records, read, facts or Numbered(), snapshot)  # type: ignore[arg-type]


def known_of(log: VerifiedLog) -> tuple[object, ...]:
    """Return all that a log says, whatever order it was told in."""
    unfinal = {push.id for push in log.unfinal}
    return log.head, log.refs, log.final_refs, log.ids, log.default_branch, unfinal


def same(one: VerifiedLog, other: VerifiedLog) -> bool:
    return known_of(one) == known_of(other)


# -- growing


def test_an_empty_log() -> None:
    log = VerifiedLog(SHA1)
    log.settle()
    assert (log.head, log.number, len(log), log.ids, log.entries) == (None, 0, 0, [], [])
    assert (log.refs, log.final_refs, log.default_branch) == ({}, {}, None)
    assert not any((log.unfinal, log.unjudged, log.lacking, log.followed))
    with pytest.raises(EntryError, match="empty log"):
        _ = log.policy
    with pytest.raises(EntryError, match="no checkpoint"):
        _ = log.ledger


def test_what_a_log_shows() -> None:
    writer = grown(3)
    log = writer.log()
    assert log.refs[RefName(OTHER)] == oid(5)
    assert RefName(OTHER) not in log.final_refs
    assert (log.number, len(log), log.head) == (4, 4, log.ids[-1])
    assert log.default_branch == MAIN
    assert [push.id for push in log.unfinal] == [writer.pushes[-1][0]]
    assert log.entries == [known for known, _ in writer.pushes]
    assert all(known in log for known in log.entries)
    assert log.refs_at(log.ids[1])[MAIN] == oid(1)
    assert log.repository == writer.repository


def test_the_order_of_what_is_told_does_not_matter() -> None:
    writer = grown(8)
    expected = writer.log()
    for seed in range(20):
        rest = writer.pushes[1:]
        random.Random(seed).shuffle(rest)
        log = told([writer.pushes[0], *rest, *rest])
        assert same(log, expected)
        assert not log.lacking


def test_a_deleted_head_is_no_default_branch() -> None:
    writer = Writer()
    assert writer.state.default_branch is None
    writer.publish({MAIN: oid(1), OTHER: oid(2)})
    writer.push({MAIN: None}, options=[b"head=refs/heads/other"])
    assert writer.state.default_branch == OTHER
    assert writer.log().default_branch == OTHER


def test_former_names() -> None:
    writer = grown(1)
    admit(writer.state, writer.next_policy(name="renamed"))
    assert writer.state.policy.policy.name == "renamed"
    assert writer.state.former_names == ("tests",)


# -- what is refused


def with_policy(*rules: Rule) -> Writer:
    signer = TestSigner()
    given = (Rule(RefPattern(b"refs/*"), signer.key, Grant.FORCE), *rules)
    policy = Policy.first("tests", b"genesis of tests", signer.key, rules=given)
    return Writer(policy=policy)


def stranger(writer: Writer) -> PushObject:
    return writer.certificate({OTHER: oid(1)}, TestSigner(9))


def other_keeper(writer: Writer) -> PushObject:
    return writer.checkpoint(TestSigner(9))


def wrong_signature(writer: Writer) -> PushObject:
    made = writer.certificate({OTHER: oid(1)})
    return replace(made, signatures=(TestSigner(9).sign(made.text),))


def other_text(writer: Writer) -> PushObject:
    made = writer.certificate({OTHER: oid(1)})
    return with_text(made, made.text.replace(OTHER, b"refs/heads/othes"))


def other_repository(writer: Writer) -> PushObject:
    return Writer(genesis=b"another genesis!").certificate({OTHER: oid(1)})


def checkpoint_of_other_repository(writer: Writer) -> PushObject:
    return Writer(genesis=b"another genesis!").checkpoint()


def other_beginning(writer: Writer) -> PushObject:
    text = writer.state.first_checkpoint(tagger=b"K <k@x>", time=5).text()
    return signed(PushKind.CHECKPOINT, text, writer.signer)


def policy_of_nothing_known(writer: Writer) -> PushObject:
    policy = Writer(genesis=b"another genesis!").policy
    assert policy is not None
    text = policy.next_version(writer.head).text()
    return signed(PushKind.POLICY, text, writer.signer)


def policy_by_nobody(writer: Writer) -> PushObject:
    return writer.next_policy(TestSigner(9), threshold=1)


def certificates_for_nothing(writer: Writer) -> PushObject:
    return replace(writer.certificate({OTHER: oid(1)}), pinned=(b"x",))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (stranger, "gives .* a say"),
        (other_keeper, "is not the keeper"),
        (wrong_signature, "signed by"),
        (other_text, "does not hold|signature"),
        (other_repository, "made for repository"),
        (checkpoint_of_other_repository, "is of repository"),
        (other_beginning, "another beginning"),
        (policy_of_nothing_known, "no policy of this log"),
        (policy_by_nobody, "signed by 0"),
        (certificates_for_nothing, "SSH key came with"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_was_not_signed_for_this_log(
    make: Callable[[Writer], PushObject], reason: str
) -> None:
    writer = with_policy()
    writer.publish({MAIN: oid(1)})
    log = writer.log()
    before = (log.head, log.refs, log.entries, log.records, log.policy.policy)
    with pytest.raises(TrustError, match=reason):
        admit(log, make(writer))
    log.settle()
    assert before == (log.head, log.refs, log.entries, log.records, log.policy.policy)


def test_nobody_but_those_with_a_say_makes_a_reader_work() -> None:
    """The signature comes before the grammar: a stranger's text is not taken apart."""
    writer = with_policy()
    with pytest.raises(NotAllowedError):
        writer.log().admit(
            signed(PushKind.CERTIFICATE, b"nonsense", TestSigner(9)), PushId("a" * 40)
        )


def test_another_repository_than_was_asked_for() -> None:
    writer = Writer()
    with pytest.raises(IdentityError):
        VerifiedLog(SHA1).admit(writer.pushes[0][1], writer.pushes[0][0], RepositoryId("a2" * 26))


def test_what_is_held_is_not_stored_again() -> None:
    writer = grown(2)
    log = writer.log()
    assert not any(log.admit(push, known) for known, push in writer.pushes)


# -- what is not here


def test_a_mirror_waits_for_the_pushes_that_a_checkpoint_takes() -> None:
    writer = grown(3)
    missing = writer.state.checkpoint(writer.state.ids[2]).checkpoint.pushes[0]
    log = told([(known, push) for known, push in writer.pushes if known != missing])
    assert log.number == 2
    assert log.lacking == {missing}
    log.admit(dict(writer.pushes)[missing], missing)
    log.settle()
    assert same(log, writer.log())


def test_a_mirror_waits_for_the_policy_that_a_checkpoint_names() -> None:
    writer = grown(3)
    missing = writer.append(writer.next_policy(name="renamed"))
    writer.keep()
    log = told([(known, push) for known, push in writer.pushes if known != missing])
    assert log.number == len(writer.state.ids) - 1
    assert log.lacking == {missing}
    log.admit(dict(writer.pushes)[missing], missing)
    log.settle()
    assert same(log, writer.log())


def test_a_log_that_begins_nowhere() -> None:
    writer = grown(40)
    for entries, short in ((writer.pushes[3:], False), (writer.pushes[-9:], True)):
        with pytest.raises(NoBeginningError, match="begins neither"):
            told([writer.pushes[0], *entries], short=short)


def test_a_clone_begins_at_a_whole_checkpoint_and_goes_on() -> None:
    writer = grown(40)
    sent = short_of(writer, writer.state)
    clone = told(sent, NoObjects(), short=True)
    assert (clone.head, clone.refs) == (writer.state.head, writer.state.final_refs)
    clone.judge_again(Numbered())
    assert (clone.head, clone.refs) == (writer.state.head, writer.state.refs)
    assert len(sent) < len(writer.pushes) / 2
    assert clone.ids == writer.state.ids[-len(clone.ids) :]
    for checkpoint in clone.ids:
        assert clone.refs_at(checkpoint) == writer.state.refs_at(checkpoint)
    opened = again(clone, writer)
    assert same(opened, clone)
    writer.time += 40 * DAY
    for number in range(41, 44):
        writer.publish({MAIN: oid(number)})
    for log in (clone, opened):
        for known, push in writer.pushes[-6:]:
            log.admit(push, known)
        log.settle(short=True)
        assert (log.head, log.refs) == (writer.state.head, writer.state.refs)


def test_a_clone_goes_by_the_rival_that_the_keeper_named_and_by_its_keeper() -> None:
    """Two versions extended one, the keeper named one, which later names another keeper."""
    writer = grown(3)
    named = writer.next_policy(threshold=1, fresh_within=5)
    rival = writer.next_policy(threshold=1, fresh_within=6)
    writer.append(named)
    writer.keep()
    writer.append(rival)
    assert writer.state.policy.policy.fresh_within == 5
    old_head = writer.head
    later = writer.state.policy.policy.next_version(old_head, keeper=KEEPER.key)
    old = writer.log()
    writer.append(signed(PushKind.POLICY, later.text(), writer.signer))
    writer.append(writer.checkpoint(KEEPER))
    # The old keeper goes on by itself, further than the new one.
    aside = []
    for number in range(3):
        made = old.ledger.proposal(tagger=b"K <k@x>", time=writer.time + 5 + number)
        push = signed(PushKind.CHECKPOINT, made.text(), writer.signer)
        admit(old, push)
        aside.append((push_id(push), push))
    assert old.number > writer.state.number
    taken = taken_by(writer.state)
    sent = [(known, push) for known, push in writer.pushes if known not in taken]
    clone = told([*sent, *aside], NoObjects(), short=True)
    assert (clone.head, clone.refs) == (writer.state.head, writer.state.refs)
    assert clone.policy.policy == later


@pytest.mark.parametrize("short", [False, True], ids=["mirror", "clone"])
@pytest.mark.parametrize("has_moved", [False, True], ids=["same-keeper", "new-keeper"])
def test_who_comes_late_does_not_follow_a_retired_root(has_moved: bool, short: bool) -> None:
    """Whoever stole it made a rival, named a keeper, and signed more than the true one."""
    writer, thief = grown(3), TestSigner(77)
    rival = Writer(time=writer.time)
    rival.pushes, rival.state = [], VerifiedLog(SHA1, Numbered())
    for _, push in writer.pushes:
        rival.append(push)
    keeper = KEEPER if has_moved else writer.signer
    writer.append(writer.next_policy(keeper=keeper.key, fresh_within=5))
    for number in range(4, 20):
        writer.time += 3 * DAY
        writer.push({MAIN: oid(number)})
        writer.append(writer.checkpoint(keeper))
    stolen = Rule(RefPattern(b"refs/*"), thief.key, Grant.FORCE)
    rival.append(rival.next_policy(keeper=thief.key, roots=(thief.key,), rules=(stolen,)))
    for number in range(50, 90):
        rival.time += 3 * DAY
        rival.push({MAIN: oid(number)}, thief)
        rival.append(rival.checkpoint(thief))
    assert rival.state.number > writer.state.number
    everything = dict([*writer.pushes, *rival.pushes]).items()
    sent = [(i, p) for i, p in everything if not short or p.kind is not PushKind.CERTIFICATE]
    log = told(sent, NoObjects(), short=short)
    assert log.policy.policy.keeper != thief.key
    assert log.refs.get(MAIN) in (oid(3), oid(19))
    assert log.number == (4 if has_moved else writer.state.number)


def test_roots_of_all_sides_sign_what_takes_the_place_of_rivals() -> None:
    """Who holds the roots of one side only cannot undo what the other did."""
    writer, other = grown(3), TestSigner(77)
    rivals = [writer.next_policy(keeper=key.key, roots=(key.key,)) for key in (KEEPER, other)]
    for rival in rivals:
        writer.append(rival)
    assert len(writer.state.ledger.rivals) == 2
    digests = tuple(sorted(Policy.parse(rival.text).digest for rival in rivals))
    third = writer.next_policy(fresh_within=9, instead_of=digests)
    unsigned = replace(third, signatures=(*third.signatures, KEEPER.sign(third.text)))
    for push in (third, unsigned):
        with pytest.raises(PolicyUnproven, match="signed by 0 of the 1 root keys"):
            admit(writer.state, push)
    whole = replace(unsigned, signatures=(*unsigned.signatures, other.sign(third.text)))
    admit(writer.state, whole)
    assert writer.state.policy.policy.fresh_within == 9
    assert not writer.state.ledger.rivals
    fourth = writer.next_policy(instead_of=digests)
    with pytest.raises(PolicyError, match="does not follow the same version"):
        admit(writer.state, fourth)
    unknown = writer.next_policy(instead_of=("sha256:" + "0" * 64,))
    with pytest.raises(PolicyVersionError, match="no policy of this log"):
        admit(writer.state, unknown)


def test_a_taken_push_is_not_taken_again_by_a_clone() -> None:
    """It was taken before the clone began, and the clone never had it."""
    writer = grown(40)
    replayed = writer.state.checkpoint(writer.state.ids[-1]).checkpoint.pushes[0]
    clone = told(short_of(writer, writer.state), short=True)
    for log in (clone, again(clone, writer)):
        assert replayed not in log
        log.admit(dict(writer.pushes)[replayed], replayed)
        log.settle()
        assert replayed not in [push.id for push in log.unfinal]
        assert log.refs == writer.state.refs


def altered(
    writer: Writer, change: Callable[[Checkpoint], Checkpoint]
) -> tuple[PushId, PushObject]:
    """Return the checkpoint that a keeper makes of what is shown, if it is up to something."""
    made = change(writer.state.ledger.proposal(tagger=b"K <k@x>", time=writer.time))
    push = signed(PushKind.CHECKPOINT, made.text(), writer.signer)
    return push_id(push), push


def inventing(writer: Writer, made: Checkpoint) -> Checkpoint:
    """Say that main is what nobody pushed, consistently."""
    listing = writer.state.ledger.view().listing
    entry = replace(listing.entry(MAIN), value=oid(77))
    after = listing.with_entry(entry)
    text = after.changes_text(writer.state.ledger.adopted.listing, [MAIN, RefName(OTHER)])
    return replace(made, state=after.digest, listing=text, whole=False)


def test_a_keeper_that_invents_is_refuted_by_who_has_the_objects() -> None:
    writer = grown(3)
    writer.push({MAIN: oid(4)})
    lie = altered(writer, lambda made: inventing(writer, made))
    mirror = writer.log()
    mirror.admit(lie[1], lie[0])
    mirror.settle()
    assert (mirror.number, list(mirror.ledger.refuted)) == (4, [lie[0]])
    clone = told([*writer.pushes, lie], NoObjects())
    assert (clone.number, clone.refs[MAIN], lie[0] in clone.followed) == (5, oid(77), True)
    with pytest.raises(EntryError, match="the keeper signed what is not so"):
        clone.judge_again(Numbered())


def test_a_checkpoint_that_contradicts_itself_is_not_even_followed() -> None:
    writer = grown(3)
    writer.push({MAIN: oid(4)})

    def clashing(made: Checkpoint) -> Checkpoint:
        listing = writer.state.ledger.view().listing
        below = Entry(RefName(MAIN + b"/below"), oid(1))
        after = listing.with_entry(below)
        changed = [MAIN, RefName(OTHER), below.ref]
        text = after.changes_text(writer.state.ledger.adopted.listing, changed)
        return replace(made, state=after.digest, listing=text, whole=False)

    for change, reason in (
        (lambda made: replace(made, state="0" * 64), "than its digest is of"),
        (lambda made: replace(made, listing=b"", whole=False), "than its digest is of"),
        (lambda made: replace(made, listing=b"ref x 1.1 refs/heads/a\n", whole=False), "not an id"),
        (clashing, "directory of another"),
    ):
        known, push = altered(writer, change)
        log = told([*writer.pushes, (known, push)], NoObjects())
        assert log.number == 4
        assert reason in log.ledger.refuted[known]


def test_what_was_followed_is_replayed_when_the_objects_come() -> None:
    writer = grown(5)
    log = told(writer.pushes, NoObjects())
    assert (log.head, log.refs) == (writer.state.head, writer.state.final_refs)
    assert log.followed
    held = {record.held for record in log.records if record.kind is PushKind.CHECKPOINT}
    assert held == {Held.ADOPTED, Held.FOLLOWED}
    log.judge_again(Numbered())
    assert not log.followed
    assert log.records == writer.log().records


class Few(Numbered):
    """Knows nothing of some objects."""

    def __init__(self, *unknown: Oid) -> None:
        self.unknown = unknown

    def contains(self, outer: Oid, inner: Oid) -> bool:
        if {outer, inner} & set(self.unknown):
            return NoObjects().contains(outer, inner)
        return super().contains(outer, inner)

    def is_commit(self, value: Oid) -> bool:
        return NoObjects().is_commit(value) if value in self.unknown else True


def test_only_what_cannot_be_judged_is_believed() -> None:
    writer = grown(5)
    log = told(writer.pushes, Few(oid(3)))
    assert [log.ids.index(entry) for entry in sorted(log.followed, key=log.ids.index)] == [3, 4]
    log.judge_again(Few(oid(3)))
    assert len(log.followed) == 2
    log.judge_again(Few())
    assert not log.followed


def test_a_push_that_cannot_be_judged_is_not_shown_in_part() -> None:
    writer = Writer()
    writer.publish({MAIN: oid(1)})
    both = writer.push({MAIN: oid(2), b"refs/heads/new": oid(9)})
    on_top = writer.push({OTHER: oid(3)})
    log = told(writer.pushes, Few(oid(2)))
    assert log.refs == {MAIN: oid(1), OTHER: oid(3)}
    assert [push.id for push in log.unjudged] == [both]
    assert {push.id for push in log.unfinal} == {both, on_top}
    assert log.ledger.nonce().count == 3
    log.judge_again(Numbered())
    assert log.refs == writer.state.refs
    assert not log.unjudged


# -- opened again


@pytest.mark.parametrize("pushes", [0, 1, 2, 30])
def test_a_log_is_had_again_as_it_was(pushes: int) -> None:
    writer = grown(pushes)
    log = writer.log()
    opened = again(log, writer)
    assert same(opened, log)
    assert (opened.entries, opened.records) == (log.entries, log.records)
    assert opened.ledger.nonce() == log.ledger.nonce()
    for checkpoint in log.ids:
        assert opened.refs_at(checkpoint) == log.refs_at(checkpoint)
    writer.keep()
    writer.publish({MAIN: oid(900)})
    for known, push in writer.pushes[-3:]:
        opened.admit(push, known)
    opened.settle()
    assert same(opened, writer.state)
    assert same(again(opened, writer), writer.state)


def test_a_start_reads_the_same_however_long_the_log_is() -> None:
    reads: list[int] = []
    for pushes in (40, 400):
        writer = grown(pushes)
        found: list[PushId] = []
        again(writer.log(), writer, found)
        reads.append(len(found))
    assert max(reads) <= 12


def test_a_start_from_a_snapshot() -> None:
    writer = Writer()
    writer.publish({b"refs/heads/b%d" % number: oid(number + 1) for number in range(50)})
    writer.keep()
    for number in range(20):
        writer.push({b"refs/heads/b%d" % number: oid(number + 100)})
        writer.keep()
    log = writer.log()
    assert log.start_size(None) > log.start_size(log.ids[-2])
    snapshot = log.snapshot()
    writer.push({OTHER: oid(1)})
    writer.keep()
    log = writer.log()
    reads: list[PushId] = []
    opened = again(log, writer, reads, snapshot)
    assert same(opened, log)
    assert len(reads) <= 3
    assert opened.ledger.adopted.unlisted == log.ledger.adopted.unlisted
    elsewhere = replace(snapshot, checkpoint=PushId("e" * 40))
    assert same(again(log, writer, None, elsewhere), log)


def test_records_that_do_not_suit_what_is_kept() -> None:
    writer = grown(3)
    log = writer.log()
    records = [
        replace(record, number=record.number + 1) if record.kind is PushKind.CHECKPOINT else record
        for record in log.records
    ]
    with pytest.raises(TrustError, match="not the one that was recorded"):
        VerifiedLog.recall(SHA1, records, dict(writer.pushes).__getitem__, Numbered())


A = "a" * 40


@pytest.mark.parametrize(
    "line",
    [
        "", "x policy", A, A + " gossip", A + " policy x",
        A + " checkpoint 1 2 3 whole", A + " checkpoint 1 2 3 part adopted",
        A + " checkpoint 1 2 x whole adopted", A + " checkpoint 1 2 3 whole lost",
        "b" * 64 + " policy",
    ],
)  # fmt: skip
def test_a_line_that_is_no_record(line: str) -> None:
    with pytest.raises(ValueError, match=r"begins with|words after|enough|is not a valid|invalid"):
        parse_record(line, SHA1)
    if line.startswith("b"):
        assert parse_record(line, SHA256).kind is PushKind.POLICY


# -- the past that a start left out


def forked(writer: Writer, back: int) -> tuple[PushId, PushObject]:
    """Return a policy with a new keeper, who goes on some checkpoints before the newest."""
    entry = writer.state.ids[-1 - back]
    policy = writer.state.policy.policy.next_version(entry, keeper=KEEPER.key)
    push = signed(PushKind.POLICY, policy.text(), writer.signer)
    return push_id(push), push


@pytest.mark.parametrize("back", [0, 1, 5, 20])
def test_roots_go_back_to_before_where_a_start_began(back: int) -> None:
    writer = grown(30)
    log, opened = writer.log(), again(writer.log(), writer)
    known, push = forked(writer, back)
    for one in (log, opened):
        one.admit(push, known)
        one.settle()
        assert one.head == writer.state.ids[-1 - back]
    assert same(opened, log)
    assert opened.refs == log.refs
    assert len(opened.unfinal) == back + 1
    writer.pushes.append((known, push))
    assert same(again(opened, writer), log)
    # The new keeper takes again what the old one took beyond.
    made = log.ledger.proposal(tagger=b"K <k@x>", time=writer.time + 1)
    later = signed(PushKind.CHECKPOINT, made.text(), KEEPER)
    for one in (log, opened):
        admit(one, later)
    assert log.head == push_id(later)
    assert same(opened, log)


@pytest.mark.parametrize("back", [1, 5, 20])
def test_two_checkpoints_in_one_place_stop_who_began_later(back: int) -> None:
    writer = grown(30)
    earlier = writer.log()
    point = earlier.ledger.point(writer.state.ids[-1 - back])
    assert point is not None
    twin = replace(earlier.checkpoint(writer.state.ids[-back]).checkpoint, tagger=b"Again <k@x>")
    push = signed(PushKind.CHECKPOINT, twin.text(), writer.signer)
    known = push_id(push)
    log, opened = writer.log(), again(writer.log(), writer)
    for one in (log, opened):
        one.admit(push, known)
        one.settle()
        assert "two checkpoints" in one.ledger.stopped
        assert len(one.ledger.twins) == 1
    assert same(opened, log)
    writer.pushes.append((known, push))
    for reopened in (again(opened, writer), again(log, writer)):
        assert "two checkpoints" in reopened.ledger.stopped
        assert same(reopened, log)


def test_a_refuted_checkpoint_stays_refuted() -> None:
    writer = grown(3)
    lie = altered(writer, lambda made: inventing(writer, made))
    log = told([*writer.pushes, lie])
    writer.pushes.append(lie)
    opened = again(log, writer)
    assert lie[0] in opened.ledger.refuted
    assert not opened.admit(lie[1], lie[0])
    assert opened.records == log.records


def test_what_waits_goes_on_waiting() -> None:
    writer = grown(3)
    missing = writer.state.checkpoint(writer.state.ids[2]).checkpoint.pushes[0]
    log = told([(known, push) for known, push in writer.pushes if known != missing])
    opened = again(log, writer)
    assert opened.lacking == log.lacking == {missing}
    opened.admit(dict(writer.pushes)[missing], missing)
    opened.settle()
    assert same(opened, writer.log())


def test_verdicts_are_there_for_people() -> None:
    writer = with_policy(Rule(RefPattern(b"refs/heads/*"), ANNA.key))
    writer.publish({MAIN: oid(5)})
    refused = writer.push({b"refs/tags/v1": oid(1)}, ANNA)
    judged = writer.log().ledger.view().judged
    assert [(j.unit.push.id, j.outcome.verdict, j.outcome.reason) for j in judged] == [
        (refused, Verdict.REFUSED, Reason.NOT_ALLOWED)
    ]


def test_what_is_shown_and_what_is_final_are_each_what_they_are() -> None:
    writer = grown()
    log = writer.log()
    final, other = log.final_refs, RefName(OTHER)
    assert other not in final
    assert log.refs == {**final, other: oid(5)}
    assert log.final_refs == final
    made = writer.checkpoint()
    log.admit(made, push_id(made))
    log.settle()
    shown = log.refs
    assert shown == log.final_refs == {**final, other: oid(5)}
    shown.clear()
    assert log.refs == log.final_refs == {**final, other: oid(5)}
