"""Logs of pushes and checkpoints for tests: a made-up history of commits, keys without secrets.

Signatures are not part of it: the rule and the ledger take what was verified before.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gittorrent.ids import SHA1, Oid, PushId, RefName, RepositoryId
from gittorrent.push.certificate import Certificate, Line, Nonce
from gittorrent.push.chain import Point, begin
from gittorrent.push.composing import first_checkpoint
from gittorrent.push.ledger import Ledger
from gittorrent.push.policy_chain import PolicyVersion
from gittorrent.push.replay import SignedCheckpoint
from gittorrent.push.rule import Push, Verdict
from gittorrent.trust.keys import KeyKind, KeyRef
from gittorrent.trust.policy import Grant, Policy, Quorum, Rule, WebOfTrust, repository_id
from gittorrent.trust.refpattern import RefPattern

MAIN = RefName(b"refs/heads/main")
DAY = 86400
START = 1_700_000_000
TAGGER = b"Keeper <keeper@example.org>"


def key(name: str) -> KeyRef:
    """Return the name of the key that ``name`` stands for."""
    digest = base64.b64encode(hashlib.sha256(name.encode()).digest()).decode("ascii")
    return KeyRef(KeyKind.SSH, "SHA256:" + digest.rstrip("="))


def name_of(data: bytes) -> PushId:
    return PushId(hashlib.sha1(data).hexdigest())


def branch(name: str) -> RefName:
    return RefName(b"refs/heads/" + name.encode())


@dataclass
class Graph:
    """A history of commits, and what there is to know of keys."""

    ancestors: dict[Oid, int] = field(default_factory=dict)
    numbers: dict[Oid, int] = field(default_factory=dict)
    expiry: dict[KeyRef, int] = field(default_factory=dict)
    vouched: set[KeyRef] = field(default_factory=set)
    asked: int = 0

    def commit(self, *parents: Oid) -> Oid:
        """Make a commit."""
        number = len(self.numbers)
        made = Oid(hashlib.sha1(b"commit %d" % number).hexdigest())
        self.numbers[made] = number
        past = 1 << number
        for parent in parents:
            past |= self.ancestors[parent]
        self.ancestors[made] = past
        return made

    def contains(self, outer: Oid, inner: Oid) -> bool:
        self.asked += 1
        if outer == inner:
            return True
        if outer not in self.numbers or inner not in self.numbers:
            return False
        return bool(self.ancestors[outer] >> self.numbers[inner] & 1)

    def is_commit(self, value: Oid) -> bool:
        return value in self.numbers

    def blob(self) -> Oid:
        """Make an object that is no commit."""
        return Oid(hashlib.sha1(b"blob %d" % len(self.numbers)).hexdigest())

    def valid(self, push: Push, policy: Policy, time: int) -> bool:
        return time < self.expiry.get(push.key, time + 1)

    def certified(self, push: Push, rule: WebOfTrust, policy: Policy, time: int) -> bool:
        return push.key in self.vouched


def rule(pattern: str, who: str, grant: Grant = Grant.PLAIN) -> Rule:
    return Rule(RefPattern(pattern.encode()), key(who), grant)


def quorum(pattern: str, needs: int, *who: str) -> Quorum:
    return Quorum(RefPattern(pattern.encode()), needs, tuple(sorted(key(name) for name in who)))


OWNER = rule("refs/*", "owner", Grant.FORCE)


def first_policy(*rules: Rule, quorums: Iterable[Quorum] = ()) -> PolicyVersion:
    """Return version 1: the owner does everything, the keeper orders, others as told."""
    policy = Policy.first(
        "project", b"sixteen bytes...", key("root"), rules=(OWNER, *rules), keeper=key("keeper"),
        quorums=tuple(quorums),
    )  # fmt: skip
    return PolicyVersion(name_of(policy.text()), policy, policy.digest, None)


def next_policy(before: PolicyVersion, checkpoint: PushId, **changes: object) -> PolicyVersion:
    """Return a version that extends another."""
    policy = before.policy.next_version(checkpoint, **changes)
    return PolicyVersion(name_of(policy.text()), policy, policy.digest, before)


def push_of(certificate: Certificate, who: KeyRef) -> Push:
    return Push(name_of(certificate.text() + str(who).encode()), who, certificate)


@dataclass
class Mirror:
    """A node that takes pushes, relays them, and may sign as the keeper."""

    world: World
    ledger: Ledger
    sent: dict[PushId, Push] = field(default_factory=dict)

    def value(self, ref: RefName = MAIN) -> Oid | None:
        """Return what a ref is here, provisional or not."""
        return self.ledger.view().listing.value(ref)

    def final(self, ref: RefName = MAIN) -> Oid | None:
        return self.ledger.adopted.listing.value(ref)

    def signed(
        self,
        who: str,
        changes: Mapping[RefName, Oid | None],
        *options: str,
        old: Mapping[RefName, Oid | None] | None = None,
        nonce: Nonce | None = None,
    ) -> Push:
        """Sign a push as git would against what this mirror shows; it is not taken yet."""
        old = old or {}
        lines = tuple(
            Line(old[ref] if ref in old else self.shown(ref), new, ref)
            for ref, new in changes.items()
        )
        self.world.clock += 1
        certificate = Certificate(
            SHA1, b"P Usher <p@example.org>", self.world.clock, "+0000",
            b"https://m.example/project.git", nonce or self.ledger.nonce(),
            tuple(option.encode() for option in options), lines,
        )  # fmt: skip
        return push_of(certificate, key(who))

    def shown(self, ref: RefName) -> Oid | None:
        """Return what stock git is shown under a name, conflicts included."""
        listing = self.ledger.view().listing
        if ref.startswith(b"refs/conflicts/"):
            return next((c.value for c in listing.conflicts() if c.name == ref), None)
        return listing.value(ref)

    def push(
        self, who: str, new: Oid | None, ref: RefName = MAIN, *options: str,
        old: Oid | str | None = "", nonce: Nonce | None = None,
    ) -> Push:  # fmt: skip
        """Push one ref here."""
        given: dict[RefName, Oid | None] = {}
        if old != "":
            given[ref] = None if old is None else Oid(old)
        made = self.signed(who, {ref: new}, *options, old=given, nonce=nonce)
        self.take(made)
        return made

    def take(self, *pushes: Push) -> None:
        for push in pushes:
            self.ledger.add_push(push)
        self.ledger.settle()

    def keep(self, who: str = "keeper") -> SignedCheckpoint:
        """Sign a checkpoint over what is shown, and adopt it."""
        self.world.clock += 1
        checkpoint = self.ledger.proposal(tagger=TAGGER, time=self.world.clock)
        made = self.world.sign(checkpoint.text(), checkpoint, who)
        self.learn(made)
        assert self.ledger.adopted.id == made.id, self.ledger.refuted
        return made

    def learn(self, *checkpoints: SignedCheckpoint) -> None:
        for checkpoint in checkpoints:
            self.world.checkpoints[checkpoint.id] = checkpoint
            self.ledger.add_checkpoint(checkpoint)
        self.ledger.settle()

    def policy(self, *versions: PolicyVersion) -> None:
        for version in versions:
            self.ledger.add_policy(version)
        self.ledger.settle()

    def verdicts(self, push: Push) -> list[Verdict]:
        """Return what became of a push in what is shown."""
        judged = self.ledger.view().judged
        return [item.outcome.verdict for item in judged if item.unit.push.id == push.id]

    def sync(self, *others: Mirror) -> None:
        """Learn all that others know."""
        for other in others:
            for version in other.ledger._policies.values():
                self.ledger.add_policy(version)
            for push in other.ledger._pushes.values():
                self.ledger.add_push(push)
            at: Point | None
            for at in other.ledger._points.values():
                if at.previous is not None:
                    self.ledger.add_checkpoint(self.world.checkpoints[at.id])
            for waiting in other.ledger._waiting.values():
                self.ledger.add_checkpoint(waiting)
        self.ledger.settle()


@dataclass
class World:
    """One repository: its history, its first policy and checkpoint, and the time."""

    policy: PolicyVersion = field(default_factory=first_policy)
    graph: Graph = field(default_factory=Graph)
    clock: int = START
    checkpoints: dict[PushId, SignedCheckpoint] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checkpoint = first_checkpoint(
            self.repository, self.policy, SHA1, tagger=TAGGER, time=self.clock
        )
        made = self.sign(checkpoint.text(), checkpoint, "keeper")
        self.first = begin(made.id, checkpoint, key("keeper"), self.policy)
        self.checkpoints[made.id] = made

    @property
    def repository(self) -> RepositoryId:
        return repository_id(self.policy.policy.text())

    def sign(self, text: bytes, checkpoint: object, who: str) -> SignedCheckpoint:
        from gittorrent.push.checkpoint import Checkpoint

        assert isinstance(checkpoint, Checkpoint)
        return SignedCheckpoint(name_of(text + str(key(who)).encode()), checkpoint, key(who))

    def mirror(self) -> Mirror:
        return Mirror(self, Ledger(self.first, self.graph))

    def mirrors(self, count: int) -> list[Mirror]:
        return [self.mirror() for _ in range(count)]
