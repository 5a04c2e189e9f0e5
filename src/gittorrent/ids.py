"""The names things go by: object ids, push ids, repository ids, and the formats they follow.

For every package; pure. Git's names (refs, paths) are ``bytes`` because git does not promise
an encoding; ids are lower-case hexadecimal ``str`` because nobody ever needs half a byte of one.

Rules: ids are full length, never abbreviated; a value of one of these types has been checked.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NewType

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

Oid = NewType("Oid", str)
"""A git object id: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits."""

PushId = NewType("PushId", str)
"""The id of the log commit that records a push object; an object id of the repository's format."""

RepositoryId = NewType("RepositoryId", str)
"""Base32 (lower case, no padding, 52 characters) of the SHA-256 of the first policy's text."""

ManifestId = NewType("ManifestId", str)
"""SHA-256 (64 hexadecimal digits) of a manifest's text before its signature."""

RefName = NewType("RefName", bytes)
"""A full ref name, such as ``b"refs/heads/main"``."""

Refs = dict[RefName, Oid]
"""What each ref points at (tags unpeeled)."""

_HEX = re.compile(r"[0-9a-f]+\Z")
_REPOSITORY_ID = re.compile(r"[a-z2-7]{52}\Z")


class ObjectFormat(Struct, frozen=True):
    """One of git's two object formats: how long ids are and how objects are hashed."""

    name: str
    hex_size: int
    empty_tree: Oid
    new_hash: Callable[..., hashlib._Hash]

    @property
    def raw_size(self) -> int:
        """Bytes in a binary id."""
        return self.hex_size // 2

    @property
    def zero(self) -> Oid:
        """The id that stands for "no object" in ref updates."""
        return Oid("0" * self.hex_size)

    def is_oid(self, text: str) -> bool:
        """Tell whether ``text`` is a full object id of this format."""
        return len(text) == self.hex_size and _HEX.match(text) is not None


SHA1 = ObjectFormat("sha1", 40, Oid("4b825dc642cb6eb9a060e54bf8d69288fbee4904"), hashlib.sha1)
SHA256 = ObjectFormat(
    "sha256",
    64,
    Oid("6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"),
    hashlib.sha256,
)
OBJECT_FORMATS = {f.name: f for f in (SHA1, SHA256)}


def format_of(oid: str) -> ObjectFormat | None:
    """Return the format whose ids look like ``oid``, or None when it is no object id at all."""
    for candidate in OBJECT_FORMATS.values():
        if candidate.is_oid(oid):
            return candidate
    return None


def is_repository_id(text: str) -> bool:
    """Tell whether ``text`` has the form of a repository id."""
    return _REPOSITORY_ID.match(text) is not None


def is_sha256(text: str) -> bool:
    """Tell whether ``text`` is a full SHA-256 digest in lower-case hexadecimal."""
    return len(text) == 64 and _HEX.match(text) is not None
