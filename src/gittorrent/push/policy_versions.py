"""The versions of a policy that are known of one log, by what each extends.

Pure. Tracks which versions extend which; those whose place others take; and those that a checkpoint
named, which is what decides between rivals (docs/protocol/trust.md, "Which checkpoint"). Must not
know which version counts: that is the ledger's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gittorrent.push.policy_chain import standing

if TYPE_CHECKING:
    from gittorrent.push.policy_chain import PolicyVersion


class PolicyVersions(Mapping[str, "PolicyVersion"]):
    """The versions known, by their digests."""

    def __init__(self) -> None:
        self._versions: dict[str, PolicyVersion] = {}
        self._extensions: dict[str, list[PolicyVersion]] = {}
        self._replaced: set[str] = set()
        self._named: set[str] = set()

    def __getitem__(self, digest: str) -> PolicyVersion:
        return self._versions[digest]

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions)

    def __len__(self) -> int:
        return len(self._versions)

    def add(self, version: PolicyVersion) -> None:
        """Take note of a version, and of those it extends."""
        at: PolicyVersion | None = version
        while at is not None and at.digest not in self._versions:
            self._versions[at.digest] = at
            self._replaced.update(at.policy.instead_of)
            if at.previous is not None:
                self._extensions.setdefault(at.previous.digest, []).append(at)
            at = at.previous

    def name(self, newest: PolicyVersion, before: str) -> None:
        """Note the versions that a checkpoint names and whose predecessor had its keeper, too.

        Args:
            newest: the version that it is under.
            before: digest of the one that the checkpoint before it is under.
        """
        at: PolicyVersion | None = newest
        while at is not None and at.previous is not None and at.digest != before:
            if at.policy.keeper != at.previous.policy.keeper:
                break
            self._named.add(at.digest)
            at = at.previous

    def standing(self, policy: PolicyVersion) -> PolicyVersion:
        """Return the last version up to which nothing was replaced."""
        return standing(policy, self._replaced)

    def newest(self, policy: PolicyVersion) -> PolicyVersion:
        """Follow what extends a policy while only one version does, or only one was named."""
        while found := self.extending(policy):
            if len(found) > 1:
                found = [version for version in found if version.digest in self._named]
            if len(found) != 1:
                break
            policy = found[0]
        return policy

    def extending(self, policy: PolicyVersion) -> list[PolicyVersion]:
        """Return the versions that extend a policy, but for those whose place others take."""
        found = self._extensions.get(policy.digest, [])
        return [version for version in found if version.digest not in self._replaced]
