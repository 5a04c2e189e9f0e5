"""The newest statement of freshness of a repository: kept as it is passed on, and judged.

A statement counts if the keeper by the newest policy signed it, it names a checkpoint of the chain
adopted here, and it is not from the future (docs/protocol/trust.md, "Freshness").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import write_atomically
from gittorrent.errors import TrustError
from gittorrent.push.fresh import MAX_AHEAD, Fresh, FreshnessError
from gittorrent.trust.signature import detect, verify
from gittorrent.wire.fields import MessageError
from gittorrent.wire.messages import FreshLine, parse_message

if TYPE_CHECKING:
    from gittorrent.ids import RepositoryId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.layout import Layout

LEAST_APART = 30
"""Seconds by which a statement has to be newer than the one kept to be passed on; keepers make
them a minute apart."""


def read_fresh(layout: Layout, repository: RepositoryId) -> FreshLine | None:
    """Return the statement that is kept; None if there is none that can be read."""
    try:
        message = parse_message(layout.fresh(repository).read_bytes())
    except (FileNotFoundError, MessageError):
        return None
    return message if isinstance(message, FreshLine) else None


def keep_fresh(layout: Layout, repository: RepositoryId, line: FreshLine) -> None:
    """Keep a statement in place of the one before."""
    write_atomically(layout.fresh(repository), line.encode())


def judge_fresh(log: VerifiedLog, line: FreshLine, time: float) -> Fresh:
    """Return what a statement says.

    Args:
        log: has the checkpoint that it names.
        line: as it came.
        time: seconds since 1970.

    Raises:
        TrustError: it does not count.
    """
    said = Fresh(log.repository, line.checkpoint, line.time)
    signer = verify(detect(line.signature), said.text(), log.policy.keyring).key
    if signer != log.policy.policy.keeper:
        raise FreshnessError(f"a statement of freshness is signed by {signer}, not the keeper")
    if line.checkpoint not in log.ids:
        raise FreshnessError(f"a statement of freshness is about {line.checkpoint}, not known here")
    if said.time > time + MAX_AHEAD:
        raise FreshnessError("a statement of freshness is dated ahead of this machine's clock")
    return said


def newest_word(log: VerifiedLog, line: FreshLine | None, time: float) -> Fresh | None:
    """Return the newest word of the keeper that there is: a statement, or the checkpoint itself.

    Args:
        log: as it is here.
        line: the statement that came with it, if any.
        time: seconds since 1970.

    Returns:
        It; None of a log without checkpoints.
    """
    if log.head is None:
        return None
    point = log.ledger.adopted
    found = Fresh(log.repository, point.id, point.time)
    if line is not None:
        try:
            said = judge_fresh(log, line, time)
        except TrustError:
            return found  # whoever made it up, it says nothing
        found = max(found, said, key=lambda each: each.time)
    return found
