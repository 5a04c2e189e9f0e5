"""What one unit of a push does to a listing: the whole rule.

Pure. The same function judges what a keeper put in order and what is only provisional, so that
both come to the same. What has to be known of objects, keys and certifications is asked of an
`Evidence`; the answers are facts, the same for everybody.

Rules: docs/protocol/trust.md, "The rule". In short: what the policy does not let the key do is
refused; what fits the ref's value is applied; the rest stays open as a conflict, lost to nobody.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.errors import GitTorrentError
from gittorrent.ids import PushId, RefName
from gittorrent.push.certificate import CONFLICTS, Certificate, Line, subject_of
from gittorrent.push.listing import Age, Conflict, Entry, Listing, Waiting
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.policy import Change, Grant, WebOfTrust
from gittorrent.trust.refpattern import is_reserved

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import Oid
    from gittorrent.trust.policy import Policy

MAX_OPEN = 16
"""Open conflicts and waiting lines of one key: more than a person can look after."""

_TAGS = b"refs/tags/"
_BRANCHES = b"refs/heads/"


class UnknownObjectError(GitTorrentError):
    """Whether one object contains another cannot be said, for want of one."""


class Evidence(Protocol):
    """Facts that a text does not hold."""

    def contains(self, outer: Oid, inner: Oid) -> bool:
        """Tell whether ``inner`` is ``outer``, or both are commits and it is an ancestor.

        Raises:
            UnknownObjectError: that cannot be said here.
        """

    def is_commit(self, value: Oid) -> bool:
        """Tell whether an object is a commit, not what it leads to.

        Raises:
            UnknownObjectError: it is not here.
        """

    def valid(self, push: Push, policy: Policy, time: int) -> bool:
        """Tell whether the key of ``push`` is good at ``time``.

        By the certificate that ``policy`` pins; where it pins none, by the one that came with it.
        """

    def certified(self, push: Push, rule: WebOfTrust, policy: Policy, time: int) -> bool:
        """Tell whether the roots of ``policy`` vouched for the key of ``push`` at ``time``.

        As ``rule`` asks, by the certificates that the policy pins and those that came with it.
        """


class Verdict(Enum):
    """What became of a unit; the value is the word in a checkpoint."""

    APPLIED = "applied"
    WAITING = "waiting"
    CONFLICT = "conflict"
    REFUSED = "refused"


LAST_OPENPGP_TIME = 2**32 - 1
"""The last second that OpenPGP knows (RFC 9580, 3.5): gpg would take a later one for another."""


class Reason(Enum):
    """Why a unit did not simply happen; the value is what its pusher is told."""

    TAKEN = "this push was taken before"
    TOO_OLD = "the checkpoint it was made on is too old: fetch, and push again"
    EXPIRED = "the key had expired: extend it, or sign with another"
    NOT_ALLOWED = "the policy does not let this key do that"
    NEEDS_FORCE = "not a fast-forward, and the policy gives this key no force: fetch and merge"
    NO_COMMIT = "a branch can only be a commit: push one, or push this as a tag"
    HEAD_NEEDS_FORCE = "HEAD is set by a key with force on the branch that it names"
    ONLY_DELETED = "this conflict can only be deleted, by who left it or with force on its ref"
    NOT_IN_QUORUM = "the policy does not list this key for a ref that several must agree on"
    QUORUM_IN_UNIT = "a ref that several must agree on is pushed without atomic and head="
    TOO_MANY_OPEN = "this key has too many open conflicts and waiting lines: merge or delete some"
    MOVED = "the ref has moved: fetch, merge, and push again"
    REWOUND = "the ref was created anew, deleted or rewound after this push was made"
    DIRECTORY = "another ref is a directory of this one, or the other way round"
    HEAD_BRANCH = "HEAD names this branch: say head= in the same push to delete it"
    HEAD_MISSING = "the branch that HEAD is to name is not there"
    HEAD_NEWER = "HEAD was set later than this push was made"


class Push(Struct, frozen=True):
    """A push certificate whose signature was verified.

    Args:
        id: its push id.
        key: who signed it.
        certificate: what it says.
        certificates: OpenPGP certificates that came with it: the key's, then those that lead to it.
    """

    id: PushId
    key: KeyRef
    certificate: Certificate
    certificates: tuple[bytes, ...] = ()

    @property
    def copy(self) -> str:
        """The digest of the certificates that came with it; empty without any."""
        if not self.certificates:
            return ""
        return "sha256:" + hashlib.sha256(b"".join(self.certificates)).hexdigest()

    @property
    def values(self) -> frozenset[Oid]:
        """What it sets refs to."""
        return frozenset(line.new for line in self.certificate.lines if line.new is not None)


class Standing(Struct, frozen=True):
    """Where a push stands in a chain of checkpoints.

    Args:
        age: its age there.
        time: of its nonce's checkpoint, in seconds.
        refusal: why it is not judged at all; None if it is.
    """

    age: Age
    time: int
    refusal: Reason | None = None


class Unit(Struct, frozen=True):
    """What of a push happens together or not at all.

    Args:
        push: the push.
        standing: where it stands.
        ref: the ref of its only line; None if the unit is the whole push.
        lines: the lines.
    """

    push: Push
    standing: Standing
    ref: RefName | None
    lines: tuple[Line, ...]


class Outcome(Struct, frozen=True):
    """What became of a unit.

    Args:
        verdict: the word for it.
        reason: why it did not simply happen; None if it did.
        listing: the state after it.
        touched: every ref whose entry may differ.
        left: the conflicts that it left open.
    """

    verdict: Verdict
    reason: Reason | None
    listing: Listing
    touched: tuple[RefName, ...] = ()
    left: tuple[Conflict, ...] = ()


def units_of(push: Push, standing: Standing) -> list[Unit]:
    """Take a push apart into what is judged by itself."""
    lines = push.certificate.lines
    if push.certificate.atomic:
        return [Unit(push, standing, None, lines)]
    return [Unit(push, standing, line.ref, (line,)) for line in lines]


def judge(listing: Listing, unit: Unit, policy: Policy, evidence: Evidence) -> Outcome:
    """Return what ``unit`` does to ``listing``."""
    return _Judge(listing, unit, policy, evidence).outcome()


def is_refused(listing: Listing, unit: Unit, policy: Policy, evidence: Evidence) -> bool:
    """Tell whether ``unit`` is refused whatever the refs are."""
    return _Judge(listing, unit, policy, evidence).refusal() is not None


def judge_if_it_fits(
    listing: Listing, unit: Unit, policy: Policy, evidence: Evidence
) -> Outcome | None:
    """Return what ``unit`` does to ``listing`` if it is allowed and fits; None if not."""
    judging = _Judge(listing, unit, policy, evidence)
    if judging.refusal() is not None:
        return None
    after = judging.applied()
    return None if isinstance(after, Reason) else judging.fitting(after)


class _Judge:
    """One unit against one listing."""

    def __init__(self, listing: Listing, unit: Unit, policy: Policy, evidence: Evidence) -> None:
        self._listing = listing
        self._unit = unit
        self._policy = policy
        self._evidence = evidence
        self._key = unit.push.key
        self._age = unit.standing.age

    def outcome(self) -> Outcome:
        if reason := self.refusal():
            return Outcome(Verdict.REFUSED, reason, self._listing)
        after = self.applied()
        return self._conflict(after) if isinstance(after, Reason) else self.fitting(after)

    def fitting(self, after: Listing) -> Outcome:
        """Return the outcome of a unit that fits, given the state with all its lines."""
        line = self._unit.lines[0]
        changes = after is not self._listing
        if changes and self._is_quorum(line) and not self._agreed(line):
            return self._wait(line)
        touched = tuple(subject_of(line.ref) for line in self._unit.lines)
        return Outcome(Verdict.APPLIED, None, self._settled(after, touched), touched)

    # -- 1. allowed

    def refusal(self) -> Reason | None:
        """Return why the unit is refused whatever the refs are now."""
        standing = self._unit.standing
        if standing.refusal is not None:
            return standing.refusal
        if not self._evidence.valid(self._unit.push, self._policy, standing.time):
            return Reason.EXPIRED
        for line in self._unit.lines:
            if reason := self._line_refusal(line):
                return reason
        head = self._head
        if head is not None and not self._policy.allows(head, self._key, Change.REWIND):
            return Reason.HEAD_NEEDS_FORCE
        # Last, since it alone needs the object.
        return None if all(map(self._is_possible, self._unit.lines)) else Reason.NO_COMMIT

    def _line_refusal(self, line: Line) -> Reason | None:
        if line.ref.startswith(CONFLICTS):
            return None if self._may_delete(line) else Reason.ONLY_DELETED
        quorum = self._policy.quorum_for(line.ref)
        if quorum is not None:
            if self._key not in quorum.keys:
                return Reason.NOT_IN_QUORUM
            return Reason.QUORUM_IN_UNIT if self._unit.ref is None else None
        if line.old is None:
            change = Change.CREATE
        elif line.new is None:
            change = Change.DELETE
        elif self._is_plain(line):
            change = Change.FORWARD
        else:
            change = Change.REWIND
        if self._granted(line.ref, change):
            return None
        forward = change is Change.REWIND and self._granted(line.ref, Change.FORWARD)
        return Reason.NEEDS_FORCE if forward else Reason.NOT_ALLOWED

    def _is_possible(self, line: Line) -> bool:
        """Tell whether git can hold what a line sets its ref to."""
        if line.new is None or not line.ref.startswith(_BRANCHES):
            return True
        return self._evidence.is_commit(line.new)

    def _may_delete(self, line: Line) -> bool:
        if line.new is not None:
            return False
        found = self._found(line)
        own = found is not None and found.key == self._key
        return own or self._policy.allows(subject_of(line.ref), self._key, Change.DELETE)

    def _granted(self, ref: RefName, change: Change) -> bool:
        if self._policy.allows(ref, self._key, change):
            return True
        if is_reserved(ref) or not Grant.PLAIN.covers(change):
            return False
        return any(
            isinstance(rule.who, WebOfTrust)
            and rule.pattern.matches(ref)
            and self._evidence.certified(self._unit.push, rule.who, self._policy, self._vouched_at)
            for rule in self._policy.rules
        )

    @property
    def _vouched_at(self) -> int:
        """The time at which a web of trust is judged.

        A key that was certified since the newest checkpoint may push before there is another.
        Source: docs/protocol/trust.md, Web of trust.
        """
        stated = min(self._unit.push.certificate.time, LAST_OPENPGP_TIME)
        return max(self._unit.standing.time, stated)

    # -- 2. fits

    def applied(self) -> Listing | Reason:
        """Return the state if the unit fits, or why it does not."""
        listing = self._listing
        for line in self._unit.lines:
            after = self._line_applied(listing, line)
            if isinstance(after, Reason):
                return after
            listing = after
        for line in self._unit.lines:
            made = line.new is not None and self._listing.value(line.ref) is None
            if made and listing.clashes(line.ref):
                return Reason.DIRECTORY
        return self._with_head(listing)

    def _line_applied(self, listing: Listing, line: Line) -> Listing | Reason:
        if line.ref.startswith(CONFLICTS):
            return self._conflict_deleted(listing, line)
        entry = listing.entry(line.ref)
        if entry.value == line.new:
            return listing
        if self._age < entry.mark:
            return Reason.REWOUND
        if entry.value != line.old and not self._between(line, entry.value):
            return Reason.MOVED
        mark = entry.mark if self._is_forward(line.ref, entry.value, line.new) else self._age
        return listing.with_entry(replace(entry, value=line.new, mark=mark))

    def _conflict_deleted(self, listing: Listing, line: Line) -> Listing | Reason:
        found = self._found(line)
        if found is None:
            return listing
        if found.value != line.old:
            return Reason.MOVED
        entry = listing.entry(found.ref)
        kept = tuple(conflict for conflict in entry.conflicts if conflict != found)
        return listing.with_entry(replace(entry, conflicts=kept))

    def _found(self, line: Line) -> Conflict | None:
        """Return the open conflict that a line names."""
        conflicts = self._listing.entry(subject_of(line.ref)).conflicts
        return next((conflict for conflict in conflicts if conflict.name == line.ref), None)

    def _between(self, line: Line, value: Oid | None) -> bool:
        """Tell whether a plain line moves forward over a value that came between."""
        if line.old is None or line.new is None or value is None or self._is_quorum(line):
            return False
        contains = self._evidence.contains
        return self._is_plain(line) and contains(value, line.old) and contains(line.new, value)

    def _is_quorum(self, line: Line) -> bool:
        return self._policy.quorum_for(line.ref) is not None

    def _is_plain(self, line: Line) -> bool:
        return self._is_forward(line.ref, line.old, line.new)

    def _is_forward(self, ref: RefName, old: Oid | None, new: Oid | None) -> bool:
        if old is None or new is None or ref.startswith(_TAGS):
            return False
        return self._evidence.contains(new, old)

    @property
    def _head(self) -> RefName | None:
        return self._unit.push.certificate.head

    def _with_head(self, listing: Listing) -> Listing | Reason:
        head = self._head
        if head is None:
            gone = self._listing.value(listing.head) is not None
            if gone and listing.value(listing.head) is None:
                return Reason.HEAD_BRANCH
            return listing
        if listing.value(head) is None:
            return Reason.HEAD_MISSING
        if head == listing.head:
            return listing
        if self._age < listing.head_mark:
            return Reason.HEAD_NEWER
        return listing.with_head(head, self._age)

    # -- 3. and 5. conflicts and waiting lines

    def _conflict(self, reason: Reason) -> Outcome:
        listing, left = self._listing, []
        for line in self._unit.lines:
            if line.new is None:
                continue
            entry = listing.entry(line.ref)
            if entry.value is not None and self._evidence.contains(entry.value, line.new):
                continue
            conflict = Conflict(line.new, self._unit.push.id, self._key, line.ref)
            left.append(conflict)
            listing = listing.with_entry(replace(entry, conflicts=(*entry.conflicts, conflict)))
        touched = tuple(conflict.ref for conflict in left)
        return self._bounded(
            Outcome(Verdict.CONFLICT, reason, self._settled(listing, touched), touched, tuple(left))
        )

    def _agreed(self, line: Line) -> bool:
        """Tell whether with this one enough keys have pushed the same line."""
        quorum = self._policy.quorum_for(line.ref)
        same = self._same(line)
        listed = () if quorum is None else quorum.keys
        keys = {waiting.key for waiting in same if waiting.key in listed} | {self._key}
        return quorum is not None and len(keys) >= quorum.needs

    def _same(self, line: Line) -> list[Waiting]:
        waiting = self._listing.entry(line.ref).waiting
        return [item for item in waiting if (item.old, item.new) == (line.old, line.new)]

    def _wait(self, line: Line) -> Outcome:
        if any(waiting.key == self._key for waiting in self._same(line)):
            return Outcome(Verdict.WAITING, None, self._listing)
        push = self._unit.push
        made = Waiting(line.old, line.new, push.id, self._age, self._key, line.ref)
        entry = self._listing.entry(line.ref)
        entry = replace(entry, waiting=(*entry.waiting, made))
        listing = self._listing.with_entry(entry)
        return self._bounded(Outcome(Verdict.WAITING, None, listing, (line.ref,)))

    def _bounded(self, outcome: Outcome) -> Outcome:
        count = outcome.listing.open_of(self._key)
        if count > MAX_OPEN and count > self._listing.open_of(self._key):
            return Outcome(Verdict.REFUSED, Reason.TOO_MANY_OPEN, self._listing)
        return outcome

    # -- 4. vanishing

    def _settled(self, listing: Listing, touched: Iterable[RefName]) -> Listing:
        for ref in touched:
            entry = listing.entry(ref)
            if entry.conflicts or entry.waiting:
                listing = listing.with_entry(self._without_absorbed(entry))
        return listing

    def _without_absorbed(self, entry: Entry) -> Entry:
        contains = self._evidence.contains
        kept: list[Conflict] = []
        for conflict in reversed(entry.conflicts):
            if entry.value is not None and contains(entry.value, conflict.value):
                continue
            newer = (other for other in kept if other.key == conflict.key)
            if not any(contains(other.value, conflict.value) for other in newer):
                kept.append(conflict)
        waiting = tuple(item for item in entry.waiting if item.old == entry.value)
        return replace(entry, conflicts=tuple(reversed(kept)), waiting=waiting)
