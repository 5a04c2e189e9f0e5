"""Refs that a repository's own settings hide from whoever fetches: nobody meant to publish them.

What was published once stays, so a ref that git's servers do not show is published only once that
setting is gone. Pure but for the reading of settings. Must not know what becomes of hidden refs.
Source: git-config(1), transfer.hideRefs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.git.repository import list_config

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.git.runner import Git
    from gittorrent.ids import RefName

SETTINGS = ("transfer.hiderefs", "uploadpack.hiderefs")
"""In lower case, as git lists them."""


def hidden_refs(git: Git, refs: Iterable[RefName]) -> frozenset[RefName]:
    """Return those of some refs that a repository's own settings hide from whoever fetches."""
    patterns = [
        value.encode("utf-8", "surrogateescape")
        for key, value in list_config(git)
        if key in SETTINGS
    ]
    return frozenset(ref for ref in refs if is_hidden(ref, patterns)) if patterns else frozenset()


def is_hidden(ref: RefName, patterns: Sequence[bytes]) -> bool:
    """Tell whether git hides a ref; the last pattern that matches counts.

    Args:
        ref: its full name; there are no namespaces here.
        patterns: beginnings of names, of whole components; ``!`` before one shows what it names.
    """
    for pattern in reversed(patterns):
        shows = pattern.startswith(b"!")
        start = pattern.removeprefix(b"!").removeprefix(b"^").rstrip(b"/")
        if ref == start or ref.startswith(start + b"/"):
            return not shows
    return False
