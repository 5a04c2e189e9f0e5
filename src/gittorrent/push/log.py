"""The push log: verified entries and the state that follows from them.

Pure. A `VerifiedLog` only ever holds entries that were judged against their own past: grammar,
signature, the policy in force there, and each change against the state there. It starts empty
and grows by `admit`; there is no other way in. Ids are computed by git and handed in
(docs/protocol/trust.md, "The push log").

What an entry's past cannot tell — whether a new value descends from the old one — needs the
objects, which arrive later: such questions are handed out as `FastForwardCheck` and must be
answered before refs are shown.

Logs in which entries were made side by side need the merge rule, which this version of the
program does not carry out: it stops there and says so, it never guesses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError, TrustError
from gittorrent.push.object import PushKind
from gittorrent.push.reftag import parse_references_tag
from gittorrent.trust.policy import Change, Policy
from gittorrent.trust.signature import verify
from gittorrent.trust.signed_policy import SignedPolicy, verify_first, verify_next

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gittorrent.ids import ObjectFormat, Oid, PushId, RefName, Refs, RepositoryId
    from gittorrent.push.object import PushObject
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.signed_policy import VerifiedPolicy


class EntryError(TrustError):
    """A log entry contradicts its own past."""


class NotAllowedError(EntryError):
    """The policy does not let this key make this change."""


class ConcurrentEntriesError(GitTorrentError):
    """The log forks, or holds a kind of entry that this version cannot judge."""


class FastForwardCheck(Struct, frozen=True):
    """A promise to check once the objects are here: ``new`` must descend from ``old``.

    When a later entry may set the ref to anything, what came before no longer matters for the
    state, and its promises are dropped; so ``old`` is in the past of the ref's value, or the
    promise was broken.
    """

    ref: RefName
    old: Oid
    new: Oid


class Entry(Struct, frozen=True):
    """A verified log entry.

    Args:
        id: its push id.
        parent: the head it builds on, None for the first policy.
        push: the push object.
        key: who signed it; None for policies.
        refs: the state of all refs after it.
        changed: the refs it changes.
    """

    id: PushId
    parent: PushId | None
    push: PushObject
    key: KeyRef | None
    refs: Refs
    changed: tuple[RefName, ...]


class VerifiedLog:
    """The ids of entries that hold, oldest first, and the state they lead to.

    Args:
        object_format: of the repository.
    """

    def __init__(self, object_format: ObjectFormat) -> None:
        self.object_format = object_format
        self.refs: Refs = {}
        self.fast_forward_checks: list[FastForwardCheck] = []
        self._ids: dict[PushId, None] = {}
        self._policy: VerifiedPolicy | None = None
        self._names: dict[str, None] = {}

    @classmethod
    def recall(
        cls, object_format: ObjectFormat, ids: Sequence[PushId], pushes: Mapping[PushId, PushObject]
    ) -> VerifiedLog:
        """Return a log that was verified before and kept on this machine.

        Args:
            object_format: of the repository.
            ids: of all entries, oldest first.
            pushes: its policies and its newest references tag, which are judged again.

        Raises:
            TrustError: one of ``pushes`` does not hold.
        """
        log = cls(object_format)
        for push_id in ids:
            push = pushes.get(push_id)
            if push is not None and push.kind is PushKind.POLICY:
                log.admit(push, push_id)
            elif push is not None:
                log.refs = log._read_references(push, push_id)[1]
            log._ids[push_id] = None
        return log

    @property
    def ids(self) -> list[PushId]:
        """The ids of all entries, oldest first."""
        return list(self._ids)

    @property
    def head(self) -> PushId | None:
        """The newest entry's id; None while the log is empty."""
        return next(reversed(self._ids), None)

    def __contains__(self, push: PushId) -> bool:
        return push in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def policy(self) -> VerifiedPolicy:
        """The policy in force."""
        if self._policy is None:
            raise EntryError("an empty log has no policy")
        return self._policy

    @property
    def former_names(self) -> tuple[str, ...]:
        """The names that earlier policies gave the repository, oldest first; not its name now."""
        return tuple(name for name in self._names if name != self.policy.policy.name)

    @property
    def repository(self) -> RepositoryId:
        """The repository id, which the first policy's text decides."""
        return self.policy.repository

    def admit(
        self, push: PushObject, push_id: PushId, expected: RepositoryId | None = None
    ) -> Entry:
        """Judge ``push`` against the log so far and append it.

        Args:
            push: the push object.
            push_id: id of its commit, computed by git from this very object and this head.
            expected: the repository id that the first policy must have, when it is known.

        Raises:
            IdentityError: the first policy is another repository's.
            TrustError: the entry does not hold.
            ConcurrentEntriesError: it needs the merge rule.
        """
        if push.join:
            self._check_signature(push, push_id)
            raise ConcurrentEntriesError(
                f"push {push_id} joins concurrent entries, which this version cannot do",
                hint="install a newer gittorrent",
            )
        if push.kind is PushKind.POLICY:
            entry = self._policy_entry(push, push_id, expected)
        elif push.kind is PushKind.REFERENCES:
            entry = self._references_entry(push, push_id)
        else:
            self._check_signature(push, push_id)
            raise ConcurrentEntriesError(
                f"push {push_id} is a push certificate, which this version cannot judge",
                hint="install a newer gittorrent",
            )
        self.refs = entry.refs
        self._ids[push_id] = None
        return entry

    def _policy_entry(
        self, push: PushObject, push_id: PushId, expected: RepositoryId | None
    ) -> Entry:
        signed = SignedPolicy(push.text, push.signatures, push.pinned)
        if self._policy is None:
            policy = verify_first(signed, repository=expected)
        else:
            policy = verify_next(signed, self.policy)
            self._check_parent(policy.policy.parent, push_id)
            _refuse_exclusions(policy.policy, push_id)
        self._policy = policy
        self._names[policy.policy.name] = None
        return Entry(push_id, self.head, push, None, self.refs, ())

    def _references_entry(self, push: PushObject, push_id: PushId) -> Entry:
        key, refs = self._read_references(push, push_id)
        changed = self._judge_changes(refs, key, push_id)
        return Entry(push_id, self.head, push, key, refs, changed)

    def _read_references(self, push: PushObject, push_id: PushId) -> tuple[KeyRef, Refs]:
        """Return who signed a references tag and what it lists, which is still to be judged.

        Raises:
            TrustError: it is not signed as it should be, is another repository's, or does not
                build on the log's head.
        """
        # The signature first: a list of refs takes ten times its size, and this may be anybody's.
        key = self._check_signature(push, push_id)
        tag = parse_references_tag(push.text, self.object_format)
        if tag.repository != self.repository:
            raise EntryError(f"push {push_id} is for repository {tag.repository}")
        self._check_parent(tag.parent, push_id)
        return key, tag.refs

    def _check_signature(self, push: PushObject, push_id: PushId) -> KeyRef:
        """Check who signed an entry; comes first, so that only the known can stop a log."""
        signer = verify(push.signatures[0], push.text, self.policy.keyring)
        if signer.key != push.signer:
            raise EntryError(f"push {push_id} names signer {push.signer}, signed by {signer.key}")
        if not self._is_known(signer.key):
            raise NotAllowedError(f"push {push_id}: the policy does not know {signer.key}")
        return signer.key

    def _check_parent(self, parent: str | None, push_id: PushId) -> None:
        if parent == self.head:
            return
        if parent in self._ids:
            raise ConcurrentEntriesError(
                f"push {push_id} conflicts with a concurrent entry: the log forks after {parent}",
                hint="its owner published from two places at once, or from an old backup; the"
                " owner's guide says what to do (docs/guide-owners.md, When the machine is lost)",
            )
        raise EntryError(f"push {push_id} builds on {parent}, which is not in this log")

    def _judge_changes(self, refs: Refs, key: KeyRef, push_id: PushId) -> tuple[RefName, ...]:
        changed = changes_between(self.refs, refs)
        rules = self.policy.policy
        answered, asked = set(), []
        for name, old, new in changed:
            if old is None or new is None or rules.allows(name, key, Change.REWIND):
                answered.add(name)
            if old is None:
                allowed = rules.allows(name, key, Change.CREATE)
            elif new is None:
                allowed = rules.allows(name, key, Change.DELETE)
            elif rules.allows(name, key, Change.REWIND):
                allowed = True
            else:
                allowed = rules.allows(name, key, Change.FORWARD)
                asked.append(FastForwardCheck(name, old, new))
            if not allowed:
                shown = name.decode(errors="backslashreplace")
                raise NotAllowedError(
                    f"push {push_id}: the policy does not let {key} change {shown}"
                )
        # Only now: a refused entry must leave no trace.
        self.fast_forward_checks = [
            check for check in self.fast_forward_checks if check.ref not in answered
        ]
        self.fast_forward_checks += asked
        return tuple(name for name, _, _ in changed)

    def _is_known(self, key: KeyRef) -> bool:
        rules = self.policy.policy
        return (
            key in rules.roots
            or rules.may_sign_reels(key)
            or any(rule.who == key for rule in rules.rules)
            or any(key in quorum.keys for quorum in rules.quorums)
        )


def changes_between(old: Refs, new: Refs) -> list[tuple[RefName, Oid | None, Oid | None]]:
    """Return (name, old value, new value) of each ref that differs, sorted by name."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            found.append((name, old.get(name), new.get(name)))
    return found


def _refuse_exclusions(policy: Policy, push_id: PushId) -> None:
    """Stop at a policy that takes effect from recorded entries, which needs the merge rule."""
    if policy.revoked or policy.void or policy.epochs:
        raise ConcurrentEntriesError(
            f"policy {push_id} takes earlier pushes back, which this version cannot carry out",
            hint="install a newer gittorrent",
        )
