"""A repository with a long push log and nothing else, for benchmarks: thousands of signed entries.

Keys and signatures are made here: thousands of runs of ssh-keygen would take longer than anything
that is measured.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gittorrent.git.hashing import tree_content
from gittorrent.git.repository import create_bare
from gittorrent.ids import SHA1, Oid, PushId, RefName
from gittorrent.push.certificate import Certificate, Line
from gittorrent.push.commit import entry_commit, entry_files, entry_parents
from gittorrent.push.log import VerifiedLog
from gittorrent.push.object import PushKind, PushObject
from gittorrent.repository.carried import ORIGIN, Carried, RepositoryInfo
from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.policy import Policy, repository_id
from gittorrent.trust.signature import Signature, detect
from gittorrent.trust.sshkey import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME = "long"
REFS = 20
"""Refs that the pushes move in turn."""

PUSHES = 10
"""Pushes that each checkpoint takes."""

_PERSON = b"B Ench <b@example.org>"


def write_long_log(git_dir: Path, entries: int, values: Sequence[Oid] = ()) -> Carried:
    """Make a repository whose log has so many entries.

    Args:
        git_dir: where nothing is yet, or a repository with those commits.
        entries: a policy, then pushes and the checkpoints that take them, so many at a time.
        values: what refs are set to, each with those before it in its past; as many as entries.
            Made-up ids without any.
    """
    values = values or [Oid(f"{number:040x}") for number in range(entries)]
    key = long_log_key()
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    blob = _string(b"ssh-ed25519") + _string(raw)
    policy = Policy.first(NAME, b"genesis of bench", fingerprint(blob)).text()
    repository = repository_id(policy)
    if not git_dir.exists():
        create_bare(git_dir, SHA1)
    carried = Carried(git_dir, SHA1, repository)
    carried.set_info(RepositoryInfo(repository, NAME, ORIGIN))
    log = VerifiedLog(SHA1, _Numbered(values))

    def add(kind: PushKind, text: bytes) -> None:
        signer = None if kind is PushKind.POLICY else fingerprint(blob)
        push = PushObject(kind, text, (_sign(key, blob, text),), signer=signer)
        push_id = _push_id(push)
        carried.log_store.store_push(push_id, push)
        log.admit(push, push_id)
        log.settle()

    add(PushKind.POLICY, policy)
    add(PushKind.CHECKPOINT, log.first_checkpoint(tagger=_PERSON, time=0).text())
    while len(log.entries) < entries:
        number = len(log.entries)
        if len(log.unfinal) == PUSHES:
            add(PushKind.CHECKPOINT, log.ledger.proposal(tagger=_PERSON, time=number).text())
            continue
        ref = RefName(b"refs/heads/%d" % (number % REFS))
        certificate = Certificate(
            SHA1, _PERSON, number, "+0000", f"gittorrent://{repository}/{NAME}.git".encode(),
            log.ledger.nonce(), (), (Line(log.refs.get(ref), values[number], ref),),
        )  # fmt: skip
        add(PushKind.CERTIFICATE, certificate.text())
    carried.log_store.commit(log)
    return carried


def long_log_key() -> Ed25519PrivateKey:
    """Return the key that made the log."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"bench").digest())


class _Numbered:
    """Facts about objects that each have all before them in their past."""

    def __init__(self, values: Sequence[Oid]) -> None:
        self._numbers = {value: number for number, value in enumerate(values)}

    def contains(self, outer: Oid, inner: Oid) -> bool:
        return self._numbers[inner] <= self._numbers[outer]

    def is_commit(self, value: Oid) -> bool:
        return value in self._numbers

    def certified(self, *_: object) -> bool:
        return False


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _sign(key: Ed25519PrivateKey, blob: bytes, message: bytes) -> Signature:
    """Sign as ssh-keygen does (PROTOCOL.sshsig of OpenSSH)."""
    fields = _string(b"git") + _string(b"") + _string(b"sha512")
    digest = _string(hashlib.sha512(message).digest())
    made = _string(b"ssh-ed25519") + _string(key.sign(b"SSHSIG" + fields + digest))
    data = b"SSHSIG" + (1).to_bytes(4, "big") + _string(blob) + fields + _string(made)
    return detect(wrap(data, Armor.SSH_SIGNATURE, 70))


def _hash(kind: str, content: bytes) -> Oid:
    head = b"%s %d\0" % (kind.encode(), len(content))
    return Oid(SHA1.new_hash(head + content).hexdigest())


def _push_id(push: PushObject) -> PushId:
    listed = entry_files(push).listed()
    tree = _hash("tree", tree_content([(name, _hash("blob", data)) for name, data in listed]))
    return PushId(_hash("commit", entry_commit(push, tree, entry_parents(push, SHA1))))
