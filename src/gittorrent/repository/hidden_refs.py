"""Refs that a repository's own settings hide from whoever fetches: nobody meant to publish them.

What was published once stays, so a ref that git's servers do not show is published only once that
setting is gone. Pure but for the reading of settings. Must not know what becomes of hidden refs.
Source: git-config(1), transfer.hideRefs.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.git.repository import list_config, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.git.runner import Git
    from gittorrent.ids import RefName

SETTINGS = ("transfer.hiderefs", "uploadpack.hiderefs")
"""In lower case, as git lists them."""


_INCLUDES = re.compile(r"include(?:if\..*)?\.path\Z", re.DOTALL)
"""Keys of files that a repository's settings go on in."""


def hidden_refs(git: Git, refs: Iterable[RefName]) -> frozenset[RefName]:
    """Return those of some refs that a repository's own settings hide from whoever fetches."""
    settings = list_config(git)
    if any(_INCLUDES.match(key) for key, _ in settings):
        # They are named from somebody's home as a rule, and change while the first one does not.
        settings = read_settings(replace(git, variables={**git.variables, **_home()}))
    patterns = [
        value.encode("utf-8", "surrogateescape") for key, value in settings if key in SETTINGS
    ]
    return frozenset(ref for ref in refs if is_hidden(ref, patterns)) if patterns else frozenset()


def _home() -> dict[str, str]:
    """Return the home of whoever publishes, as a variable; what it has for all does not count."""
    home = os.environ.get("HOME")
    return {} if home is None else {"HOME": home}


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
