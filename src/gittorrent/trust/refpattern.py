"""Patterns of ref names, and the names nobody can be given.

Tracks nothing; pure. A pattern is a full ref name, or the beginning of one followed by ``*``,
which matches any bytes, slashes included. Ref names are bytes: git promises no encoding, so
bytes of 0x80 and above are taken as they are.

Rules: names are held to ``git check-ref-format``; ``*`` only at the end; the namespaces this
program keeps its own records in, git's replace refs, and HEAD are out of reach of every pattern.
The comparison with those ignores ASCII case, for disks that fold it.

Source: git-check-ref-format(1); docs/protocol/trust.md, Ref patterns.
"""

from __future__ import annotations

import re

from msgspec import Struct

from gittorrent.printable import decoded
from gittorrent.trust.errors import PolicyError

MAX_REF = 1024
"""Bytes in a ref name; git's own tools and file systems give up not far beyond."""

RESERVED = (b"refs/gittorrent", b"refs/conflicts", b"refs/replace")
"""Namespaces that no policy can grant."""

_RESERVED_BELOW = tuple(name + b"/" for name in RESERVED)

_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|\Z)|[/.]\Z")


class RefPattern(Struct, frozen=True):
    """Which ref names a line of a policy speaks of; raises ``PolicyError`` for a bad pattern."""

    text: bytes

    def __post_init__(self) -> None:
        literal = self.text.removesuffix(b"*")
        # A made-up last component stands for what "*" may match, so that "refs/heads/*" and
        # "refs/heads/v1.*" pass and "refs/heads/..*" does not.
        sample = literal + b"x" if literal != self.text else literal
        if fault := ref_name_fault(sample):
            raise PolicyError(
                f"not a ref pattern: {decoded(self.text[:80])!r} {fault}",
                hint="give a full name such as refs/heads/main, or end it with * "
                "as in refs/heads/*",
            )
        if is_reserved(literal):
            raise PolicyError(
                f"{decoded(self.text[:80])!r} cannot be granted: the namespace is reserved",
                hint="refs/gittorrent/, refs/conflicts/ and refs/replace/ are reserved",
            )

    def __str__(self) -> str:
        return self.text.decode("utf-8", "backslashreplace")

    def matches(self, ref: bytes) -> bool:
        """Tell whether the pattern speaks of ``ref``; never for reserved names."""
        if is_reserved(ref):
            return False
        if self.text.endswith(b"*"):
            return ref.startswith(self.text[:-1])
        return ref == self.text


def is_reserved(ref: bytes) -> bool:
    """Tell whether ``ref`` can be changed by nobody: HEAD, outside refs/, or kept for records."""
    folded = ref.lower()
    if not folded.startswith(b"refs/"):
        return True
    return folded in RESERVED or folded.startswith(_RESERVED_BELOW)


def is_ref_name(ref: bytes) -> bool:
    """Tell whether ``ref`` is a full, well-formed ref name below ``refs/``."""
    return not ref_name_fault(ref)


def ref_name_fault(ref: bytes) -> str:
    """Say why ``ref`` is no full, well-formed ref name, as what follows its name; else nothing."""
    if len(ref) > MAX_REF:
        return f"is longer than {MAX_REF:,} bytes"
    if not ref.startswith(b"refs/"):
        return "does not begin with refs/"
    return "is not one that git allows" if _FORBIDDEN.search(ref) else ""
