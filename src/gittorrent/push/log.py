"""The push log: verified entries and the state that follows from them.

Pure. A `VerifiedLog` only ever holds entries whose signatures and grammar were checked; there is
no way in but `admit`, and `recall` for what was verified before. What they come to — which
checkpoint is adopted, what is shown on top — is the business of its `Ledger`; what is asked of a
log is answered by `LogState`. Ids are computed by git and handed in (docs/protocol/trust.md,
"Which checkpoint").

Must be told with `settle` when enough was admitted: until then it says what it said before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.push.chain import CheckpointError
from gittorrent.push.composing import first_checkpoint
from gittorrent.push.entries import Entries
from gittorrent.push.ledger import Ledger
from gittorrent.push.log_state import EntryError, LogState
from gittorrent.push.object import PushKind
from gittorrent.push.recalling import Begun, begin_kept, earlier_needed, pushes_needed
from gittorrent.push.signed import read_checkpoint, read_push
from gittorrent.push.snapshot import Snapshot
from gittorrent.push.starting import beginning
from gittorrent.trust.keys import KeyKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gittorrent.ids import ObjectFormat, Oid, PushId, RefName, Refs, RepositoryId
    from gittorrent.push.checkpoint import Checkpoint
    from gittorrent.push.facts import Facts
    from gittorrent.push.object import PushObject
    from gittorrent.push.records import Record
    from gittorrent.push.replay import SignedCheckpoint
    from gittorrent.push.rule import Push

MAX_COPIES = 8
"""Copies of a push that differ in the certificates that came with it: whoever relays a push can
add to them, and each is judged until a checkpoint says which was."""


MAX_STRANGERS = 1024
"""Pushes that no checkpoint took by keys that only a web of trust can vouch for: as many as four
keys may have."""


class NotAllowedError(EntryError):
    """No policy of the log gives the key that signed an entry any say."""


class VerifiedLog(LogState):
    """What was verified of one log, and the state it comes to.

    Args:
        object_format: of the repository.
        facts: about objects and webs of trust; by default nothing is known.
    """

    @classmethod
    def recall(
        cls,
        object_format: ObjectFormat,
        records: Sequence[Record],
        read: Callable[[PushId], PushObject],
        facts: Facts | None = None,
        snapshot: Snapshot | None = None,
    ) -> VerifiedLog:
        """Return a log that was verified before and kept on this machine.

        Reads all policies (verified again), the newest whole checkpoint adopted and those after
        it (followed, not replayed; their signatures were verified), checkpoints that are not of
        the chain adopted, and the pushes that none took; nothing else, however long the log is.
        Older entries are read when they are asked for.

        Args:
            object_format: of the repository.
            records: what `records` was when the log was kept.
            read: returns an entry of those.
            facts: about objects and webs of trust.
            snapshot: what `snapshot` gave at one of the checkpoints, which takes the place of the
                newest whole one if it is later; one of another checkpoint is passed over.

        Raises:
            TrustError: what is read does not hold, or is not what the records say.
        """
        log = cls(object_format, facts)
        log._entries = Entries(object_format, records, read)
        for record in records:
            if record.kind is PushKind.POLICY:
                log._policies.admit(read(record.id), record.id, None)
        log._begin_kept(records, snapshot=snapshot)
        return log

    # -- growing

    def admit(
        self, push: PushObject, push_id: PushId, expected: RepositoryId | None = None
    ) -> bool:
        """Take note of an entry after checking its grammar and signature; `settle` judges it.

        What is held already is passed over. A checkpoint may come before the one it follows, and
        before the pushes that it takes; a policy not before the one it extends.

        Args:
            push: the push object.
            push_id: id of its commit, computed by git from this very object.
            expected: the repository id that the first policy must have, when it is known.

        Returns:
            Whether it is to be stored: it is new, or a copy of a push with other certificates
            that is of more use than the one held.

        Raises:
            IdentityError: the first policy is another repository's.
            TrustError: the entry does not hold.
            NotAllowedError: its signer has no say in this repository.
        """
        if push.kind is PushKind.CERTIFICATE:
            return self._admit_push(push, push_id)
        if push_id in self._entries.kinds:
            return False
        if push.kind is PushKind.POLICY:
            version = self._policies.admit(push, push_id, expected)
            self._entries.add(push_id, push.kind)
            if self._ledger is not None:
                self._ledger.add_policy(version)
            return True
        self.admit_checkpoint(self.read_checkpoint(push, push_id))
        return True

    def _admit_push(self, push: PushObject, push_id: PushId) -> bool:
        is_held = push_id in self._entries.kinds
        if is_held and (not push.pinned or not self._wants_copy(push_id)):
            return False
        made = self.read_push(push, push_id)
        if not self._policies.is_named(made.key):
            self._check_room(push_id)
        before = self._ledger.push(push_id) if self._ledger is not None else None
        if before is not None and before.copy == made.copy:
            return False
        if self._ledger is None:
            self._entries.add_push(made)
            return True
        self._ledger.add_push(made)
        chosen = self._ledger.push(push_id) or made
        self._entries.add_push(chosen)
        return chosen is made or push_id in self._ledger.lacking

    def _check_room(self, push_id: PushId) -> None:
        """Refuse more pushes by keys that no line names: anybody can make such keys."""
        if self._ledger is None or push_id in self._ledger.lacking:
            return
        strangers = sum(not self._policies.is_named(push.key) for push in self._ledger.unfinal)
        if strangers >= MAX_STRANGERS:
            raise NotAllowedError(
                f"push {push_id}: {MAX_STRANGERS} pushes by keys that the policy does not name"
                " wait for the keeper",
                hint="push again later, or ask an owner to add the key to the policy",
            )

    def read_push(self, push: PushObject, push_id: PushId) -> Push:
        """Check grammar and signature of a push, and take no note of it.

        Raises:
            TrustError: it does not hold.
            NotAllowedError: its signer has no say in this repository.
        """
        if push.pinned and push.signer is not None and push.signer.kind is KeyKind.SSH:
            raise EntryError(f"push {push_id} by an SSH key came with OpenPGP certificates")
        signer = self._policies.check_signer(push, push_id)
        if not self._policies.has_a_say(signer):
            raise NotAllowedError(f"push {push_id}: no policy gives {signer} a say")
        return read_push(
            push, push_id, signer,
            repository=self.repository, names=self._policies.names,
            object_format=self.object_format,
        )  # fmt: skip

    def _wants_copy(self, push: PushId) -> bool:
        """Tell whether another copy of a push could be of use: none was taken yet."""
        if self._ledger is None or push in self._ledger.lacking:
            return self._ledger is not None
        taken = self._ledger.adopted.took(push) is not None
        return not taken and self._ledger.copies(push) < MAX_COPIES

    def read_checkpoint(self, push: PushObject, push_id: PushId) -> SignedCheckpoint:
        """Check grammar and signature of a checkpoint, and take no note of it.

        Raises:
            TrustError: it does not hold.
            NotAllowedError: its signer is the keeper of no policy held.
        """
        signer = self._policies.check_signer(push, push_id)
        if not self._policies.is_keeper(signer):
            raise NotAllowedError(f"checkpoint {push_id}: {signer} is not the keeper")
        return read_checkpoint(
            push, push_id, signer, repository=self.repository, object_format=self.object_format
        )

    def admit_checkpoint(self, signed: SignedCheckpoint) -> None:
        """Take note of a checkpoint that `read_checkpoint` gave and that is not held.

        Raises:
            EntryError: it is another beginning of the log.
        """
        if signed.checkpoint.number == 1 and self._ledger is not None:
            raise EntryError(f"checkpoint {signed.id} is another beginning than this log has")
        self._entries.add_checkpoint(signed)
        if self._ledger is not None:
            self._ledger.add_checkpoint(signed)

    def settle(self, *, short: bool = False) -> None:
        """Replay the checkpoints that can be, and adopt what follows.

        Args:
            short: whether what was admitted is a clone's: it may begin at a whole checkpoint with
                those of the 30 days before it, and a checkpoint whose pushes are not here is
                believed by its signature. Whoever admitted the answer to ``fetch log ... short``
                says so; a mirror that has the log from before does not.

        Raises:
            EntryError: the log does not begin with what was admitted.
        """
        if self._begun is None:
            self._begin(short)
        if self._begun is None:
            return
        before = self._begun.ledger.adopted
        self._begun.ledger.settle(short=short)
        past = earlier_needed(self._begun, self._entries)
        if past is not None:
            self._begin_kept(self.records, until=past, followed=self.followed)
        for push in pushes_needed(self._begun, self._entries, before):
            self._begun.ledger.add_push(push)
        self._begun.ledger.settle(short=short)

    def judge_again(self, facts: Facts) -> None:
        """Replay what was believed so far, now that more objects are here.

        What still cannot be judged stays believed (see `followed`). The pushes on top are judged
        again too.

        Args:
            facts: about the objects that are here now; also those of later calls.

        Raises:
            EntryError: an adopted checkpoint is refuted; the log must not be committed.
        """
        self._facts = facts
        if self._ledger is None:
            return
        try:
            self._ledger.judge_again(self.evidence)
        except CheckpointError as error:
            raise EntryError(f"the keeper signed what is not so: {error}") from error
        self._now.settle()

    def first_checkpoint(self, *, tagger: bytes, time: int) -> Checkpoint:
        """Return checkpoint number 1, for the keeper to sign when there is only a policy.

        Args:
            tagger: who makes it, as git writes people.
            time: now, in seconds.
        """
        first = self._policies.first
        if first is None:
            raise EntryError("an empty log has no policy")
        return first_checkpoint(
            self.repository, first, self.object_format, tagger=tagger, time=time
        )

    # -- beginning

    def _begin(self, short: bool) -> None:
        """Begin with what was admitted, if there is a checkpoint among it."""
        checkpoints = {signed.id: signed for signed in self._entries.known_checkpoints}
        if not checkpoints:
            return
        point, below = beginning(checkpoints, self._policies, short=short)
        ledger = Ledger(point, self.evidence)
        for version in self._policies.versions:
            ledger.add_policy(version)
        used = {point.id, *(record.id for record in below)}
        for entry, signed in checkpoints.items():
            if entry not in used:
                ledger.add_checkpoint(signed)
        for push in self._entries.pushes_not_in(()):
            ledger.add_push(push)
        self._begun = Begun(ledger, below)

    def _begin_kept(
        self,
        records: Sequence[Record],
        *,
        until: int | None = None,
        followed: Collection[PushId] = (),
        snapshot: Snapshot | None = None,
    ) -> None:
        self._entries.records = {record.id: record for record in records}
        self._begun = begin_kept(
            self._entries, self._policies, self.evidence, records,
            until=until, followed=followed, snapshot=snapshot,
        )  # fmt: skip


def changes_between(old: Refs, new: Refs) -> list[tuple[RefName, Oid | None, Oid | None]]:
    """Return (name, old value, new value) of each ref that differs, sorted by name."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            found.append((name, old.get(name), new.get(name)))
    return found
