"""A log that is opened anew after every entry says what one does that was never closed."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from gittorrent.ids import SHA1, Oid, PushId, RefName
from gittorrent.push.certificate import Line
from gittorrent.push.checkpoint import Checkpoint
from gittorrent.push.log import VerifiedLog
from gittorrent.push.object import PushKind, PushObject
from gittorrent.push.records import Record, parse_record
from gittorrent.push.snapshot import Snapshot
from gittorrent.trust.policy import Grant, Policy, Rule
from gittorrent.trust.refpattern import RefPattern
from support.logs import LINE, MAIN, Numbered, Writer, certificate, oid, push_id, signed
from support.signing import TestSigner

DAY = 86400
OWNER, ANNA = TestSigner(1), TestSigner(2)
REFS = (MAIN, RefName(b"refs/heads/a"), RefName(b"refs/heads/b"))


class History:
    """Two logs that are told the same: one is opened anew each time, the other never.

    Args:
        seed: decides everything.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        rules = (
            Rule(RefPattern(b"refs/*"), OWNER.key, Grant.FORCE),
            Rule(RefPattern(b"refs/heads/*"), ANNA.key),
        )
        policy = Policy.first("tests", b"genesis of tests", OWNER.key, rules=rules)
        self.writer = Writer(signer=OWNER, policy=policy)
        self.kept: dict[PushId, PushObject] = {}
        self.held: list[PushObject] = []
        self.snapshot: Snapshot | None = None
        self.open, self.closed = VerifiedLog(SHA1, Numbered()), VerifiedLog(SHA1, Numbered())
        self.keepers = {OWNER.key: OWNER}
        self.number = 1
        self.linear: list[Record] | None = None
        self.added = 0
        for _, push in self.writer.pushes:
            self.tell(push)

    def tell(self, *pushes: PushObject) -> None:
        for push in pushes:
            known = push_id(push)
            self.kept[known] = push
            assert self.open.admit(push, known) == self.closed.admit(push, known)
        self.open.settle()
        self.closed.settle()
        self.compare()
        records = [parse_record(record.line(), SHA1) for record in self.closed.records]
        if self.random.random() < 0.1:
            self.snapshot = self.closed.snapshot() if self.closed.head else None
        self.closed = VerifiedLog.recall(
            SHA1, records, self.kept.__getitem__, Numbered(), self.snapshot
        )
        self.compare()

    def compare(self) -> None:
        one, other = self.open, self.closed
        assert one.entries == other.entries
        assert (one.head, one.refs, one.final_refs) == (other.head, other.refs, other.final_refs)
        assert (one.ids, one.lacking) == (other.ids, other.lacking)
        assert {push.id for push in one.unfinal} == {push.id for push in other.unfinal}
        assert one.policy.policy == other.policy.policy
        if one.head is None:
            return
        assert one.ledger.stopped == other.ledger.stopped
        assert one.ledger.refuted.keys() == other.ledger.refuted.keys()
        assert one.ledger.nonce() == other.ledger.nonce()
        assert one.records == other.records
        self.compare_records()
        chosen = self.random.choice(one.ids)
        assert one.refs_at(chosen) == other.refs_at(chosen)

    def compare_records(self) -> None:
        """What a log kept while all was adopted goes on being right, and only what came is new."""
        if not self.open.is_linear:
            self.linear = None
            return
        now = self.open.records
        if self.linear is not None:
            count = len(self.linear)
            assert now == [*self.linear, *self.open.records_since(count)]
            self.added += 1
        self.linear = now

    # -- what happens

    def run(self, steps: int) -> None:
        acts = (self.push, self.keep, self.change, self.rotate, self.twin, self.lie, self.release)
        for _ in range(steps):
            self.writer.time += self.random.choice((1, 3600, 9 * DAY))
            self.random.choices(acts, (40, 30, 4, 4, 2, 4, 8))[0]()

    def value(self) -> Oid:
        self.number += 1
        return oid(self.number + self.random.choice((0, 0, 0, LINE)))

    def push(self) -> None:
        ledger = self.open.ledger
        shown = ledger.view().listing
        refs = self.random.sample(REFS, self.random.choice((1, 1, 2)))
        lines = []
        for ref in refs:
            old = shown.value(ref)
            new = None if old is not None and self.random.random() < 0.1 else self.value()
            lines.append(Line(old, new, ref))
        signer = self.random.choice((OWNER, OWNER, ANNA))
        made = certificate(signer, ledger.nonce(), lines, time=self.writer.time)
        if self.random.random() < 0.15:
            self.held.append(made)
        else:
            self.tell(made)

    def proposal(self) -> tuple[Checkpoint, TestSigner] | None:
        ledger = self.open.ledger
        signer = self.keepers.get(ledger.policy.policy.keeper)
        if ledger.stopped or signer is None:
            return None
        return ledger.proposal(tagger=b"K <k@x>", time=self.writer.time), signer

    def keep(self) -> None:
        made = self.proposal()
        if made is not None:
            self.say(*made)

    def say(self, checkpoint: Checkpoint, signer: TestSigner) -> None:
        push = signed(PushKind.CHECKPOINT, checkpoint.text(), signer)
        if self.random.random() < 0.1:
            self.held.append(push)
        else:
            self.tell(push)

    def lie(self) -> None:
        made = self.proposal()
        if made is not None:
            self.say(replace(made[0], state="0" * 64), made[1])

    def twin(self) -> None:
        """Sign again in the place of a checkpoint some way back, with nothing in it."""
        ids = self.open.ids
        if len(ids) < 3:
            return
        checkpoint = self.open.checkpoint(self.random.choice(ids[-6:])).checkpoint
        version = self.open.checkpoint(ids[-1]).signer
        signer = self.keepers[version]
        if checkpoint.number > 1:
            self.say(replace(checkpoint, tagger=b"Again <k@x>"), signer)

    def rotate(self) -> None:
        """Let the roots name a new keeper, who goes on some checkpoints back."""
        keeper = TestSigner(10 + len(self.keepers))
        self.keepers[keeper.key] = keeper
        entry = self.random.choice(self.open.ids[-8:])
        policy = self.open.policy.policy.next_version(entry, keeper=keeper.key)
        self.tell(signed(PushKind.POLICY, policy.text(), OWNER))

    def change(self) -> None:
        head = self.open.head
        assert head is not None
        within = self.random.randrange(1, 10_000)
        policy = self.open.policy.policy.next_version(head, fresh_within=within)
        self.tell(signed(PushKind.POLICY, policy.text(), OWNER))

    def release(self) -> None:
        """Let out what was held back."""
        if self.held:
            self.tell(self.held.pop(self.random.randrange(len(self.held))))


@pytest.mark.parametrize("seed", range(40))
def test_opened_anew_after_every_entry(seed: int) -> None:
    History(seed).run(60)
