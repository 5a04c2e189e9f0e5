"""A push log written by hand, for tests: ids are hashed as git hashes them, keys are made up."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from gittorrent.ids import SHA1, ObjectFormat, Oid, PushId, RefName, RepositoryId
from gittorrent.push.certificate import Certificate, Line, Nonce
from gittorrent.push.commit import entry_commit, entry_files, entry_parents
from gittorrent.push.facts import Facts
from gittorrent.push.log import VerifiedLog
from gittorrent.push.object import PushKind, PushObject
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.policy import Policy, WebOfTrust, repository_id
from support.signing import TestSigner

MAIN = RefName(b"refs/heads/main")
PERSON = b"P Usher <push@example.org>"
KEEPER = b"K Eeper <keeper@example.org>"


def oid(number: int, object_format: ObjectFormat = SHA1) -> Oid:
    """Return a made-up object id."""
    return Oid(f"{number:0{object_format.hex_size}x}")


LINE = 1 << 32
"""How many made-up objects are in one line of descent; the others are in others."""


class Numbered:
    """Facts about made-up objects: each has those of its line with lower numbers in its past."""

    def contains(self, outer: Oid, inner: Oid) -> bool:
        low, high = int(inner, 16), int(outer, 16)
        return low <= high and low // LINE == high // LINE

    def is_commit(self, value: Oid) -> bool:
        return True

    def certified(
        self,
        key: KeyRef,
        rule: WebOfTrust,
        roots: Sequence[KeyRef],
        certificates: Mapping[KeyRef, bytes],
        time: int,
    ) -> bool:
        return False


def git_hash(kind: str, content: bytes, object_format: ObjectFormat = SHA1) -> Oid:
    head = b"%s %d\0" % (kind.encode(), len(content))
    return Oid(object_format.new_hash(head + content).hexdigest())


def push_id(push: PushObject, object_format: ObjectFormat = SHA1) -> PushId:
    """Compute a push id without git, from the words of the protocol."""
    entries = b""
    for name, content in entry_files(push).listed():
        blob = bytes.fromhex(git_hash("blob", content, object_format))
        entries += b"100644 " + name.encode() + b"\0" + blob
    tree = git_hash("tree", entries, object_format)
    commit = entry_commit(push, tree, entry_parents(push, object_format))
    return PushId(git_hash("commit", commit, object_format))


def signed(kind: PushKind, text: bytes, signer: TestSigner) -> PushObject:
    """Sign a text; a policy's push object names no signer."""
    named = None if kind is PushKind.POLICY else signer.key
    return PushObject(kind, text, (signer.sign(text),), signer=named)


def certificate(
    signer: TestSigner,
    nonce: Nonce,
    lines: Sequence[Line],
    *,
    name: str = "tests",
    options: Sequence[bytes] = (),
    time: int = 1_600_000_000,
    object_format: ObjectFormat = SHA1,
) -> PushObject:
    """Make a signed push certificate."""
    made = Certificate(
        object_format, PERSON, time, "+0000", b"gittorrent://example.org/%s.git" % name.encode(),
        nonce, tuple(options), tuple(lines),
    )  # fmt: skip
    return signed(PushKind.CERTIFICATE, made.text(), signer)


@dataclass
class Writer:
    """Writes a log that is right, entry by entry; tests then make copies of it wrong.

    The signer is root, keeper and pusher unless a test says otherwise. There are a policy and the
    first checkpoint at once.
    """

    signer: TestSigner = field(default_factory=TestSigner)
    object_format: ObjectFormat = SHA1
    genesis: bytes = b"genesis of tests"
    policy: Policy | None = None
    pushes: list[tuple[PushId, PushObject]] = field(default_factory=list)
    time: int = 1_600_000_000
    facts: Facts = field(default_factory=Numbered)

    def __post_init__(self) -> None:
        if self.policy is None:
            self.policy = Policy.first("tests", self.genesis, self.signer.key)
        self.first_policy = self.policy
        self.state = VerifiedLog(self.object_format, self.facts)
        self.append(signed(PushKind.POLICY, self.policy.text(), self.signer))
        first = self.state.first_checkpoint(tagger=KEEPER, time=self.time)
        self.append(signed(PushKind.CHECKPOINT, first.text(), self.signer))

    @property
    def repository(self) -> RepositoryId:
        return repository_id(self.first_policy.text())

    @property
    def head(self) -> PushId:
        """The newest checkpoint."""
        head = self.state.head
        assert head is not None
        return head

    def append(self, push: PushObject) -> PushId:
        """Append an entry."""
        known = push_id(push, self.object_format)
        self.pushes.append((known, push))
        self.state.admit(push, known)
        self.state.settle()
        return known

    def certificate(
        self,
        refs: Mapping[bytes, Oid | None],
        signer: TestSigner | None = None,
        options: Sequence[bytes] = (),
    ) -> PushObject:
        """Make a push that sets refs, or deletes them, without appending it."""
        shown = self.state.refs
        lines = [Line(shown.get(RefName(ref)), new, RefName(ref)) for ref, new in refs.items()]
        return certificate(
            signer or self.signer, self.state.ledger.nonce(), lines, options=options,
            name=self.first_policy.name, time=self.time, object_format=self.object_format,
        )  # fmt: skip

    def push(
        self,
        refs: Mapping[bytes, Oid | None],
        signer: TestSigner | None = None,
        options: Sequence[bytes] = (),
    ) -> PushId:
        """Append a push that no checkpoint has taken yet."""
        return self.append(self.certificate(refs, signer, options))

    def checkpoint(self, signer: TestSigner | None = None) -> PushObject:
        """Make the next checkpoint without appending it."""
        self.time += 1
        made = self.state.ledger.proposal(tagger=KEEPER, time=self.time)
        return signed(PushKind.CHECKPOINT, made.text(), signer or self.signer)

    def keep(self) -> PushId:
        """Append the next checkpoint, which takes what was pushed."""
        return self.append(self.checkpoint())

    def publish(self, refs: Mapping[bytes, Oid], signer: TestSigner | None = None) -> PushId:
        """Make the refs these and no others, by a push and a checkpoint; return its id."""
        shown = self.state.refs
        lines: dict[bytes, Oid | None] = {ref: None for ref in shown if ref not in refs}
        lines |= {ref: new for ref, new in refs.items() if shown.get(RefName(ref)) != new}
        self.push(lines, signer)
        return self.keep()

    def next_policy(self, signer: TestSigner | None = None, **changes: object) -> PushObject:
        """Make the next policy version without appending it."""
        policy = self.state.policy.policy.next_version(self.head, **changes)
        return signed(PushKind.POLICY, policy.text(), signer or self.signer)

    def log(self) -> VerifiedLog:
        """Return the log as somebody who was told of it entry by entry has it."""
        log = VerifiedLog(self.object_format, self.facts)
        for known, push in self.pushes:
            log.admit(push, known)
        log.settle()
        return log


def admit(log: VerifiedLog, push: PushObject) -> PushId:
    """Admit a push object under the id it has, and let it count."""
    known = push_id(push, log.object_format)
    log.admit(push, known)
    log.settle()
    return known


def with_text(push: PushObject, text: bytes) -> PushObject:
    """Return ``push`` with another text under the old signature."""
    return replace(push, text=text)


def digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
