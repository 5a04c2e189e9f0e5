"""Whether a log has the newest push that this machine has seen of its repository.

An old backup of a published repository looks whole; publishing it would fork the log. Rule: what
was verified here once counts, whoever had it. Must not know where pushes come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import UsageError

if TYPE_CHECKING:
    from gittorrent.push.log import VerifiedLog
    from gittorrent.store.database import Database


class BehindError(UsageError):
    """Publishing on this log would fork it, since there is a newer push."""


def require_newest(log: VerifiedLog, database: Database, where: str, instead: str) -> None:
    """Make sure that no push was seen here that is newer than what a log has.

    Args:
        log: of the repository, not empty.
        database: of the node.
        where: whose log it is, for the message.
        instead: what to do, for the hint.

    Raises:
        BehindError: with the push that is missing.
    """
    seen = database.seen_head(log.repository)
    if seen is None or seen[0] in log or seen[1] <= len(log):
        return
    raise BehindError(
        f"{where} lacks push {seen[0]}, which this machine has seen: it is older",
        hint=f"{instead}; --allow-behind goes on without that push, and whoever has it will not"
        " follow",
    )
