"""The rules of a repository's policy in short, as lists of mirrors show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.trust.keys import KeyRef
from gittorrent.wire.limits import MAX_AUTH_LINES
from gittorrent.wire.mirrorlist import AuthLine

if TYPE_CHECKING:
    from gittorrent.repository.carried import Carried


def auth_lines(carried: Carried) -> tuple[AuthLine, ...]:
    """Return the policy's rules for single keys, for people to read.

    Raises:
        GitTorrentError: the log is damaged.
    """
    rules = carried.log().policy.policy.rules
    keyed = [rule for rule in rules if isinstance(rule.who, KeyRef)]
    return tuple(AuthLine(r.pattern.text, str(r.who)) for r in keyed[:MAX_AUTH_LINES])
