"""Whether a log has the newest checkpoint that this machine has seen of its repository.

An old backup of a published repository looks whole; a keeper that went on from it would sign a
second checkpoint in the place of one that others have, and nobody would believe either. Rule: what
was verified here once counts, whoever had it. Must not know where checkpoints come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import UsageError

if TYPE_CHECKING:
    from gittorrent.push.log import VerifiedLog
    from gittorrent.store.database import Database


class BehindError(UsageError):
    """Publishing on this log would fork it, since there is a newer checkpoint."""


def require_newest(
    log: VerifiedLog, database: Database, where: str, instead: str, option: str = "--allow-behind"
) -> None:
    """Make sure that no checkpoint was seen here that is newer than what a log has.

    Args:
        log: of the repository, not empty.
        database: of the node.
        where: whose log it is, for the message.
        instead: what to do, for the hint.
        option: of the command, that goes on all the same.

    Raises:
        BehindError: with the checkpoint that is missing.
    """
    seen = database.seen_head(log.repository)
    if seen is None or seen[0] in log or seen[1] <= len(log):
        return
    raise BehindError(
        f"{where} lacks checkpoint {seen[0]}, which this machine has seen: it is older",
        hint=f"{instead}; {option} goes on without that checkpoint, and whoever has it will"
        " not follow",
    )
