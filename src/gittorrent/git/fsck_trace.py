"""Finds out whether a git that fetched held what came to fsck's rules.

Git's fetch-pack does, by the index-pack that it starts; git's walker does not, which takes the
objects of web servers that have files and no git one by one. Which of the two was at work git does
not say, but its trace names what it started. What no trace shows was not done.
Source: api-trace2, event format.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_INDEXES = "index-pack"
_CHECKS = ("--strict", "--fsck-objects")


class FsckTrace:
    """The trace of one git.

    Args:
        staging: the scratch repository that it fetches into, where the trace goes.
    """

    def __init__(self, staging: Path) -> None:
        self._path = staging / "trace"

    @property
    def environ(self) -> dict[str, str]:
        """The variables by which git writes it."""
        return {"GIT_TRACE2_EVENT": str(self._path)}

    def shows_check(self) -> bool:
        """Tell whether what came was indexed under fsck's rules."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return False
        return any(map(_is_check, lines))


def _is_check(line: bytes) -> bool:
    """Tell whether a line says that an index-pack was started which checks."""
    if _INDEXES.encode() not in line:
        return False
    try:
        event = json.loads(line)
    except ValueError:
        return False
    if not isinstance(event, dict) or event.get("event") != "child_start":
        return False
    words = event.get("argv")
    if not isinstance(words, list) or _INDEXES not in words:
        return False
    return any(str(word).startswith(_CHECKS) for word in words)
