"""Which keys publish a repository, and the error for another key.

Rules: who signs pushes here signs their reels too, so a key that may do only one of them does not
count. Whether a key may make one particular change is the log's to judge (`gittorrent.push.log`).

Source: docs/protocol/trust.md, Policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import UsageError

if TYPE_CHECKING:
    from gittorrent.push.log import VerifiedLog
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.policy import Policy


class WrongKeyError(UsageError):
    """The repository is published with another key than the one that was given."""


def publishing_keys(policy: Policy) -> tuple[KeyRef, ...]:
    """Return the keys that may sign both reels and changes of some refs, sorted."""
    may_push = {rule.who for rule in policy.rules}
    return tuple(key for key in policy.reels if key in may_push)


def require_publishing_key(
    log: VerifiedLog, key: KeyRef, where: str, remembered: str | None = None
) -> None:
    """Make sure that ``key`` can publish a repository.

    Args:
        log: its log, not empty.
        key: the one that would sign.
        where: the repository, for the message.
        remembered: what names the key of the last publication, if that is known.

    Raises:
        WrongKeyError: with the keys that can.
    """
    keys = publishing_keys(log.policy.policy)
    if key in keys:
        return
    named = f" ({remembered})" if remembered else ""
    raise WrongKeyError(
        f"{where} is published with {' or '.join(map(str, keys))}{named}, not with {key}",
        hint=f"use --key {remembered}" if remembered else "use --key to name that key",
    )
