"""The commit that records a push object in the log.

Pure: describes the objects, git hashes them. The commit depends on the signed text, the signing
key's name and the parent only, so every mirror makes the same one: fixed author, date from the
text, fixed message (docs/protocol/trust.md, "Log entries").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.object import PushKind

if TYPE_CHECKING:
    from gittorrent.ids import Oid, PushId
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
    lines = [f"tree {tree}"]
    if parent is not None:
        lines.append(f"parent {parent}")
    date = f"{entry_time(push)} +0000"
    lines += [f"author {_PERSON} {date}", f"committer {_PERSON} {date}", ""]
    lines.append(f"gittorrent {push.kind.value}")
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def entry_time(push: PushObject) -> int:
    """Return the date the signed text claims, in seconds; 0 for policies, which have none."""
    pattern = _PATTERNS.get(push.kind)
    found = pattern.search(push.text) if pattern is not None else None
    return int(found[1]) if found else 0
