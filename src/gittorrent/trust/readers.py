"""Who may read a private repository, and how that is kept beside its log.

A public repository says nothing of readers. Of a private one the keys are kept that may read: those
that the policy names as readers, and all others that it names, since nobody can push to what they
cannot read. The file of them is looked at by whoever serves the repository, without its log.

Rules: readers are SSH keys, which prove themselves where a connection begins (ssh does it); what
cannot be read in the file lets nobody read.

Source: docs/protocol/trust.md, Private repositories.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gittorrent.trust.errors import BadKey, PolicyError
from gittorrent.trust.keys import KeyKind, KeyRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.trust.policy import Policy

MAX_FILE = 2 << 20
"""Bytes of the file: more than the keys of the longest policy take."""

_FIRST_LINE = "gittorrent readers 1"


def check_readers(readers: Sequence[KeyRef], *, private: bool) -> None:
    """Raise ``PolicyError`` unless a policy may have these ``reader`` lines."""
    require_sorted("reader lines", readers)
    for key in readers:
        if not private:
            raise PolicyError(
                f"{key} is to be a reader, and everybody may read what is public",
                hint="make the repository private first: gittorrent policy add --private",
            )
        if key.kind is not KeyKind.SSH:
            raise PolicyError(
                f"{key} cannot be a reader: only SSH keys prove themselves to a mirror",
                hint="name an SSH key, or give the reader a token: gittorrent token new NAME",
            )


def require_sorted(what: str, items: Sequence[Any]) -> None:
    """Raise ``PolicyError`` unless items are sorted, and each is there once."""
    if any(not before < after for before, after in pairwise(items)):
        raise PolicyError(f"{what} must be sorted, and none twice")


def readers_of(policy: Policy) -> frozenset[KeyRef] | None:
    """Return the keys that may read; None where everybody may."""
    return policy.keys_with_rights.union(policy.readers) if policy.private else None


def encode_readers(readers: frozenset[KeyRef]) -> bytes:
    """Return the file that keeps the readers of a private repository."""
    return "".join(f"{line}\n" for line in (_FIRST_LINE, *sorted(readers))).encode("ascii")


def decode_readers(data: bytes) -> frozenset[KeyRef]:
    """Return the keys that may read a private repository; none of a file that is damaged."""
    try:
        first, *lines = data.decode("ascii").split("\n")
        if first != _FIRST_LINE or lines.pop() != "":
            return frozenset()
        return frozenset(map(KeyRef.parse, lines))
    except (BadKey, IndexError, UnicodeDecodeError):
        return frozenset()
