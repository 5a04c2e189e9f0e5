"""Versions of a policy, each extending the one before; they form a chain and are never merged.

Pure. That a version was signed by enough roots of the one before is proved where a `PolicyVersion`
is made, from what `gittorrent.trust.signed_policy` verified (docs/protocol/trust.md, "Which
checkpoint").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gittorrent.ids import PushId
    from gittorrent.trust.policy import Policy


class PolicyVersion(Struct, frozen=True):
    """A policy that was verified as the next version of another, and its log entry.

    Args:
        id: the push id of its log entry.
        policy: what it says.
        digest: its digest, computed once.
        previous: the version before; None for version 1.
    """

    id: PushId
    policy: Policy
    digest: str
    previous: PolicyVersion | None

    def since(self, older: PolicyVersion) -> tuple[PolicyVersion, ...] | None:
        """Return the versions after ``older`` up to this one; None if it does not extend it."""
        found: list[PolicyVersion] = []
        at: PolicyVersion | None = self
        while at is not None and at.digest != older.digest:
            found.append(at)
            at = at.previous
        return None if at is None else tuple(reversed(found))


def last_mover(newest: PolicyVersion, oldest: PolicyVersion) -> PolicyVersion | None:
    """Return the newest version after ``oldest`` that names another keeper than the one before.

    Its ``checkpoint`` line says where the chain goes on; None if the keeper is the same all along.
    """
    for version in reversed(newest.since(oldest) or ()):
        before = version.previous
        if before is not None and version.policy.keeper != before.policy.keeper:
            return version
    return None


def keeper_version(policy: PolicyVersion) -> PolicyVersion:
    """Return the version that named a policy's keeper: since then it has been the same."""
    at = policy
    while at.previous is not None and at.previous.policy.keeper == at.policy.keeper:
        at = at.previous
    return at


def replaced_by(versions: Iterable[PolicyVersion]) -> set[str]:
    """Return the digests of those whose place some versions take."""
    return {digest for version in versions for digest in version.policy.instead_of}


def standing(policy: PolicyVersion, replaced: Collection[str]) -> PolicyVersion:
    """Return the last version up to which nothing was replaced: ``policy``, or one before it.

    Args:
        policy: where to look.
        replaced: digests of versions whose place others take.
    """
    found: PolicyVersion = policy
    at: PolicyVersion | None = policy
    while at is not None:
        if at.digest in replaced and at.previous is not None:
            found = at.previous
        at = at.previous
    return found


def is_kept_by(policy: PolicyVersion, since: PolicyVersion) -> bool:
    """Tell whether ``policy`` extends ``since`` and no version after that names another keeper."""
    return policy.since(since) is not None and last_mover(policy, since) is None
