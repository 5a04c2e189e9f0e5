"""A push log written by hand, for tests: ids are hashed as git hashes them, keys are made up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from msgspec.structs import replace

from gittorrent.ids import SHA1, ObjectFormat, Oid, PushId, RefName, Refs, RepositoryId
from gittorrent.push.commit import entry_commit, entry_files
from gittorrent.push.log import Entry, VerifiedLog
from gittorrent.push.object import PushKind, PushObject
from gittorrent.push.parent import parent_of
from gittorrent.push.reftag import ReferencesTag
from gittorrent.trust.policy import Policy, repository_id
from support.signing import TestSigner

MAIN = RefName(b"refs/heads/main")


def oid(number: int, object_format: ObjectFormat = SHA1) -> Oid:
    """Return a made-up object id."""
    return Oid(f"{number:0{object_format.hex_size}x}")


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
    commit = entry_commit(push, tree, parent_of(push, object_format))
    return PushId(git_hash("commit", commit, object_format))


def references(
    signer: TestSigner,
    repository: RepositoryId,
    parent: PushId,
    refs: dict[bytes, Oid],
    *,
    time: int = 1_600_000_000,
    object_format: ObjectFormat = SHA1,
) -> PushObject:
    """Make a signed references tag."""
    tag = ReferencesTag(
        object_format, repository, parent,
        {RefName(name): value for name, value in refs.items()},
        b"P Usher <push@example.org>", time,
    )  # fmt: skip
    text = tag.text()
    return PushObject(PushKind.REFERENCES, text, (signer.sign(text),), signer=signer.key)


@dataclass
class Writer:
    """Writes a log that is right, entry by entry; tests then make copies of it wrong."""

    signer: TestSigner = field(default_factory=TestSigner)
    object_format: ObjectFormat = SHA1
    genesis: bytes = b"genesis of tests"
    policy: Policy | None = None
    pushes: list[tuple[PushId, PushObject]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.policy is None:
            self.policy = Policy.first("tests", self.genesis, self.signer.key)
        text = self.policy.text()
        self.first_policy = self.policy
        self.append(PushObject(PushKind.POLICY, text, (self.signer.sign(text),)))

    @property
    def repository(self) -> RepositoryId:
        return repository_id(self.first_policy.text())

    @property
    def head(self) -> PushId:
        return self.pushes[-1][0]

    def append(self, push: PushObject) -> PushId:
        self.pushes.append((push_id(push, self.object_format), push))
        return self.head

    def references(self, refs: dict[bytes, Oid], signer: TestSigner | None = None) -> PushObject:
        """Make the next references tag without appending it."""
        return references(
            signer or self.signer, self.repository, self.head, refs,
            object_format=self.object_format,
        )  # fmt: skip

    def next_policy(self, signer: TestSigner | None = None, **changes: object) -> PushObject:
        """Make the next policy version without appending it."""
        assert self.policy is not None
        text = self.policy.next_version(self.head, **changes).text()
        return PushObject(PushKind.POLICY, text, ((signer or self.signer).sign(text),))

    def log(self) -> VerifiedLog:
        log = VerifiedLog(self.object_format)
        for push_id_, push in self.pushes:
            log.admit(push, push_id_)
        return log


def admit(log: VerifiedLog, push: PushObject) -> Entry:
    """Admit a push object under the id it has."""
    return log.admit(push, push_id(push, log.object_format))


def state(log: VerifiedLog) -> tuple[Refs, list[PushId], int, int]:
    """Return all a refused entry must not change."""
    version = log.policy.policy.version if len(log) else 0
    return dict(log.refs), log.ids, len(log.fast_forward_checks), version


def with_text(push: PushObject, text: bytes) -> PushObject:
    """Return ``push`` with another text under the old signature."""
    return replace(push, text=text)


def digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
