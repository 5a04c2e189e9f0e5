"""Which keys publish a repository, and the error for another key.

Rules: who has a say over some ref can publish; what the keeper has not signed is provisional.
Whether a key may make one particular change is the log's to judge (`gittorrent.push.rule`).

Source: docs/protocol/trust.md, Policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import UsageError
from gittorrent.push.signed import has_a_say
from gittorrent.trust.keys import KeyRef

if TYPE_CHECKING:
    from gittorrent.push.log import VerifiedLog
    from gittorrent.trust.policy import Policy


class WrongKeyError(UsageError):
    """The repository is published with another key than the one that was given."""


def publishing_keys(policy: Policy) -> tuple[KeyRef, ...]:
    """Return the keys that may change some refs, sorted; keys that others vouch for come on top."""
    named = {rule.who for rule in policy.rules if isinstance(rule.who, KeyRef)}
    return tuple(sorted(named.union(*(quorum.keys for quorum in policy.quorums))))


def require_publishing_key(
    log: VerifiedLog, key: KeyRef, where: str, remembered: str | None = None
) -> None:
    """Make sure that ``key`` can publish a repository, or that others may have vouched for it.

    Args:
        log: its log, not empty.
        key: the one that would sign.
        where: the repository, for the message.
        remembered: what names the key of the last publication, if that is known.

    Raises:
        WrongKeyError: with the keys that can.
    """
    if has_a_say(log.policy.policy, key):
        return
    keys = publishing_keys(log.policy.policy)
    named = f" ({remembered})" if remembered else ""
    raise WrongKeyError(
        f"{where} is published with {' or '.join(map(str, keys))}{named}, not with {key}",
        hint=f"use --key {remembered}" if remembered else "use --key to name that key",
    )
