"""The commit that records a push object in the log.

Pure: describes the objects, git hashes them. The commit depends on the signed text, the signing
key's name and the parent only, so every mirror makes the same one: fixed author, date from the
text, fixed message (docs/protocol/trust.md, "Log entries"; docs/protocol/push.md, "Log commits").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.object import PushKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.ids import Oid, PushId
    from gittorrent.push.certificate import Certificate
    from gittorrent.push.checkpoint import Checkpoint
    from gittorrent.push.object import PushObject

_PERSON = "GitTorrent <log@gittorrent.invalid>"
_REFERENCES_TIME = re.compile(rb"^tagger [^\n]*> (\d{1,12}) [+-]\d{4}$", re.MULTILINE)
_CERTIFICATE_TIME = re.compile(rb"^pusher [^\n]* (\d{1,12}) [+-]\d{4}$", re.MULTILINE)
_PATTERNS = {PushKind.REFERENCES: _REFERENCES_TIME, PushKind.CERTIFICATE: _CERTIFICATE_TIME}


class EntryFiles(Struct, frozen=True):
    """The files in an entry's tree, in git's order of names."""

    signer: bytes | None
    text: bytes

    def listed(self) -> list[tuple[str, bytes]]:
        """Return (name, content) of each file there is."""
        files = [("text", self.text)]
        return files if self.signer is None else [("signer", self.signer), *files]


def entry_files(push: PushObject) -> EntryFiles:
    """Return what the tree of ``push``'s commit holds."""
    signer = None if push.signer is None else f"{push.signer}\n".encode("ascii")
    return EntryFiles(signer, push.text)


def entry_commit(push: PushObject, tree: Oid, parent: PushId | None) -> bytes:
    """Return the content of the commit that records ``push``.

    Args:
        push: the push object.
        tree: id of the tree with `entry_files`.
        parent: the log head that the text builds on, None for the first policy.
    """
    parents = () if parent is None else (parent,)
    return log_commit(push.kind.value, tree, parents, entry_time(push))


def log_commit(kind: str, tree: Oid, parents: Sequence[PushId], time: int) -> bytes:
    """Return the content of a commit of the log.

    Args:
        kind: what it records, one word.
        tree: id of the tree with the entry's files.
        parents: what the text builds on, then what it takes in.
        time: the date that the text claims, in seconds.
    """
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    date = f"{time} +0000"
    lines += [f"author {_PERSON} {date}", f"committer {_PERSON} {date}", ""]
    lines.append(f"gittorrent {kind}")
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def certificate_parents(certificate: Certificate) -> tuple[PushId, ...]:
    """Return the parents of a push certificate's commit: the checkpoint in its nonce."""
    return (certificate.nonce.checkpoint,)


def checkpoint_parents(checkpoint: Checkpoint, first_policy: PushId) -> tuple[PushId, ...]:
    """Return the parents of a checkpoint's commit: what it follows, then what it takes in.

    Args:
        checkpoint: what it says.
        first_policy: the log entry of policy version 1, which checkpoint number 1 follows.
    """
    previous = checkpoint.previous or first_policy
    return (previous, *checkpoint.adopted, *checkpoint.pushes)


def entry_time(push: PushObject) -> int:
    """Return the date the signed text claims, in seconds; 0 for policies, which have none."""
    pattern = _PATTERNS.get(push.kind)
    found = pattern.search(push.text) if pattern is not None else None
    return int(found[1]) if found else 0
