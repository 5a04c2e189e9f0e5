"""The commit that records a push object in the log.

Pure: describes the objects, git hashes them. The commit depends on the signed text, the signing
key's name and the parents only, so every mirror makes the same one: fixed author, date from the
text, fixed message. What the parents are is in the text (docs/protocol/trust.md, "Log entries").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.ids import PushId
from gittorrent.push.object import PushKind, PushObjectError
from gittorrent.trust.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gittorrent.ids import ObjectFormat, Oid
    from gittorrent.push.object import PushObject

_PERSON = "GitTorrent <log@gittorrent.invalid>"
_PATTERNS = {
    PushKind.CHECKPOINT: re.compile(rb"^tagger [^\n]*> (\d{1,12}) [+-]\d{4}$", re.MULTILINE),
    PushKind.CERTIFICATE: re.compile(rb"^pusher [^\n]* (\d{1,12}) [+-]\d{4}$", re.MULTILINE),
}
_NONCE = re.compile(rb"^nonce [^\n]*/([0-9a-f]+)/[0-9]+$", re.MULTILINE)
_LINK = re.compile(rb"(previous|adopt|push) ([0-9a-f]+)[ \n]")


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


def entry_commit(push: PushObject, tree: Oid, parents: Sequence[PushId]) -> bytes:
    """Return the content of the commit that records ``push``.

    Args:
        push: the push object.
        tree: id of the tree with `entry_files`.
        parents: what `entry_parents` says.
    """
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


def entry_parents(push: PushObject, object_format: ObjectFormat) -> tuple[PushId, ...]:
    """Return the parents of a push object's commit: what its text builds on and takes in.

    They are part of the text and needed for the id, before anything is verified. So the text is
    only looked through, not taken apart.

    Raises:
        TrustError: the text does not say what it builds on.
    """
    if push.kind is PushKind.POLICY:
        checkpoint = Policy.parse(push.text).checkpoint
        return () if checkpoint is None else (checkpoint,)
    if push.kind is PushKind.CERTIFICATE:
        end = push.text.find(b"\n\n")
        nonce = _NONCE.search(push.text, 0, end + 1)
        found = [] if nonce is None else [nonce[1].decode("ascii")]
    else:
        found = list(_links(push.text))
    if not found or not all(map(object_format.is_oid, found)):
        raise PushObjectError(f"a {push.kind.value} does not say which entry it builds on")
    return tuple(PushId(oid) for oid in dict.fromkeys(found))


def _links(text: bytes) -> Iterator[str]:
    """Yield the ids in the lines of a checkpoint that name other entries, in their order."""
    at = max(text.find(b"\n\n"), 0) + 2
    # The first line, and the repository's, its number's; then these, with the policy's among them.
    while 0 < at < len(text) and not text.startswith(b"head ", at):
        link = _LINK.match(text, at)
        if link is not None:
            yield link[2].decode("ascii")
        at = text.find(b"\n", at) + 1


def entry_time(push: PushObject) -> int:
    """Return the date the signed text claims, in seconds; 0 for policies, which have none."""
    pattern = _PATTERNS.get(push.kind)
    end = push.text.find(b"\n\n") + 1
    found = pattern.search(push.text, 0, end) if pattern is not None else None
    return int(found[1]) if found else 0
