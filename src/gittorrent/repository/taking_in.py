"""Takes what other mirrors tell of into a carried repository: entries, objects, refs, in one step.

The counterpart of a depot for pushes that were accepted elsewhere, and for checkpoints and
policies. Tracks what waits for what it builds on (`gittorrent.push.admission`), and which packs
came with pushes, to pass them on as they were.

Rules: nothing is visible before all that the new values reach is there; the log file is replaced
last, and then it has happened; what does not hold is told of with who is to blame left to the
caller. Must not know conversations. Blocks; use it in threads, one at a time.
Source: docs/protocol/push.md, Bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.errors import TrustError
from gittorrent.git import history
from gittorrent.push.admission import Admission, Admitted
from gittorrent.push.certificate import CertificateError
from gittorrent.push.log import NotAllowedError
from gittorrent.push.object import PushKind, parse_push_object
from gittorrent.push.spreading import Item
from gittorrent.repository.arrived_objects import Arrived, ArrivedObjects, HeldEntry
from gittorrent.repository.evidence import GitEvidence
from gittorrent.repository.small_intake import (
    identified,
    unpack,
)
from gittorrent.repository.uploads import install_all, uploading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from gittorrent.ids import Oid, PushId
    from gittorrent.push.admission import Decision
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.rule import Push
    from gittorrent.repository.kept_log import KeptLog
    from gittorrent.repository.uploads import Upload


DATE_SECONDS = 10.0
"""How often the clock is looked at while something waits for its date."""


class TakenIn(Struct):
    """What became of entries.

    Args:
        new: in the log now, in order.
        kept: waiting for what they build on, or for their time.
        refused: true, and not wanted; whether the next checkpoint may change that.
        faults: do not hold, and why: whoever sent them is to blame.
        incomplete: objects of theirs are missing; pushes of the log too, whose objects something
            that came needs.
        lacking: what entries here name and is not here.
        without_policy: checkpoints here whose policy is not.
        refuted: checkpoints by the keeper that do not follow, and why.
    """

    new: list[Item] = field(default_factory=list)
    kept: list[PushId] = field(default_factory=list)
    refused: dict[PushId, bool] = field(default_factory=dict)
    faults: dict[PushId, str] = field(default_factory=dict)
    incomplete: list[Arrived] = field(default_factory=list)
    lacking: frozenset[PushId] = frozenset()
    without_policy: frozenset[PushId] = frozenset()
    refuted: dict[PushId, str] = field(default_factory=dict)


class TakingIn:
    """Takes entries into one repository.

    Args:
        kept: its log.
        clock: seconds since 1970.
        steady: seconds that never run backwards.
    """

    def __init__(
        self, kept: KeptLog, clock: Callable[[], float], steady: Callable[[], float]
    ) -> None:
        self._kept = kept
        self._carried = kept.carried
        self._clock = clock
        self._steady = steady
        self._waiting: dict[PushId, HeldEntry] = {}
        self._whole: frozenset[PushId] = frozenset()
        self._lacking: frozenset[PushId] = frozenset()
        self._objects = ArrivedObjects(kept, steady)
        self.admission = Admission(kept.facts, kept.quota)

    @property
    def waiting(self) -> frozenset[PushId]:
        """What is held until its time has come, or what it builds on has."""
        return frozenset(self._waiting)

    def without_objects(self, log: VerifiedLog) -> frozenset[PushId]:
        """Return pushes of the log whose objects are not here, as far as that was noticed.

        They are taken in again when they come with them.
        """
        unfinal = {push.id for push in log.unfinal}
        return self._lacking & unfinal | {push.id for push in log.unjudged}

    def next_deadline(self) -> float | None:
        """Return when `due` may have something, by the steady clock; None if nothing waits.

        What waits for its date may be due at any moment: the clock can be set.
        """
        found = self.admission.next_deadline()
        if not self.admission.is_date_awaited:
            return found
        look = self._steady() + DATE_SECONDS
        return look if found is None else min(found, look)

    def take(self, arrived: Sequence[Arrived], brought: Sequence[Path] = ()) -> TakenIn:
        """Take entries in, as far as they hold, are wanted, and everything of theirs is here.

        Args:
            arrived: in any order, but for policies, which come after those they extend.
            brought: packs in the repository that came for these from elsewhere. What else it has
                and does not show is not theirs to show.

        Raises:
            GitTorrentError: this machine let us down; nothing happened.
        """
        done = TakenIn()
        held = [item for item in map(self._read, arrived, [done] * len(arrived)) if item]
        policies = [item for item in held if item.entry.push.kind is PushKind.POLICY]
        others = [item for item in held if item.entry.push.kind is not PushKind.POLICY]
        for group in (policies, others):
            with self._kept.reading() as log:
                now = [each for item in group for each in self._decided(log, item, done)]
            self._take(now, done, brought)
        with self._kept.reading() as log:
            done.lacking |= self._lacking_ahead(log)
            done.lacking |= {each.id for each in done.incomplete if each.id in log}
        return done

    def due(self) -> TakenIn:
        """Take in what waited and need not wait any more."""
        done = TakenIn()
        self._take_due(done)
        return done

    def adopt(self, previous: PushId, made: Arrived) -> TakenIn | None:
        """Take in a checkpoint that was signed here, as long as it follows the one adopted.

        Args:
            previous: the checkpoint that it follows.
            made: it.

        Returns:
            What became of it; None if the log has gone on meanwhile, or objects are missing of what
            it takes, so that it must not be seen.
        """
        done = TakenIn()
        held = self._read(made, done)
        if held is None:
            return done
        with uploading(self._carried.layout, self._carried.object_format) as upload:
            entries = [held.entry]
            unpack(upload.staging, [], entries, self._carried.object_format, None)
            with self._kept.changing() as log:
                if log.head != previous:
                    self._kept.keep(log)
                    return None
                if self._grow(log, upload, [held], done):
                    return None
        with self._kept.reading() as log:
            self.admission.settle(log.ledger)
        return done

    # -- deciding

    def _read(self, arrived: Arrived, done: TakenIn) -> HeldEntry | None:
        try:
            entry = identified(parse_push_object(arrived.data), self._carried.object_format)
            if entry.id != arrived.id:
                raise TrustError(f"it is entry {entry.id}")
        except TrustError as error:
            done.faults[arrived.id] = str(error)
            return None
        return HeldEntry(arrived, entry)

    def _decided(self, log: VerifiedLog, item: HeldEntry, done: TakenIn) -> list[HeldEntry]:
        """Return what is to be taken in now because an entry arrived: it, and what waited."""
        push, push_id = item.entry.push, item.id
        if push_id in log:
            return [item] if push_id in self.without_objects(log) else []
        if push_id in self._waiting:
            return []
        try:
            if push.kind is PushKind.POLICY:
                return [item]
            if push.kind is PushKind.CHECKPOINT:
                return self._decided_checkpoint(log, item, done)
            made = log.read_push(push, push_id)
        except (NotAllowedError, CertificateError):
            done.refused[push_id] = False  # a policy may be under way that says otherwise
            return []
        except TrustError as error:
            done.faults[push_id] = str(error)
            return []
        decision = self.admission.push(made, item.size, log.ledger, self._steady())
        return [item] if self._is_now(item, decision, done) else []

    def _decided_checkpoint(
        self, log: VerifiedLog, item: HeldEntry, done: TakenIn
    ) -> list[HeldEntry]:
        signed = log.read_checkpoint(item.entry.push, item.id)
        decision = self.admission.checkpoint(signed, log.ledger, self._clock())
        if not self._is_now(item, decision, done):
            return []
        named = self._released(self.admission.named(signed))
        return [*named, item]

    def _lacking_ahead(self, log: VerifiedLog) -> frozenset[PushId]:
        """Return pushes that checkpoints take that wait for their date, and that are not here.

        Who has adopted such a checkpoint tells of them no more; here they are shown until then.
        """
        named = (push for each in self.admission.dated_ahead for push in each.checkpoint.pushes)
        return frozenset(push for push in named if push not in log and push not in self._waiting)

    def _is_now(self, item: HeldEntry, decision: Decision, done: TakenIn) -> bool:
        if decision.admitted is Admitted.LATER:
            self._waiting[item.id] = item
            still = frozenset(self.admission.waiting)  # one that gave way is to come again
            self._waiting = {entry: held for entry, held in self._waiting.items() if entry in still}
            done.kept.append(item.id)
        elif decision.admitted is Admitted.REFUSED:
            done.refused[item.id] = decision.again
        return decision.admitted is Admitted.NOW

    def _released(self, pushes: Iterable[Push]) -> list[HeldEntry]:
        found = [self._waiting.pop(push.id, None) for push in pushes]
        return [item for item in found if item is not None]

    # -- taking

    def _take(self, items: Sequence[HeldEntry], done: TakenIn, brought: Sequence[Path]) -> None:
        if items:
            self._store(items, done, brought)
            self._take_due(done)

    def _take_due(self, done: TakenIn) -> None:
        """Take in what waited for what is here now, and again what waited for that."""
        while True:
            with self._kept.reading() as log:
                self.admission.settle(log.ledger)
                ready = self._released(self.admission.due(log.ledger, self._steady()))
                dated = self.admission.due_checkpoints(log.ledger, self._clock())
                ready += [self._waiting.pop(signed.id) for signed in dated]
            if not ready:
                return
            self._store(ready, done)

    def _store(
        self, items: Sequence[HeldEntry], done: TakenIn, brought: Sequence[Path] = ()
    ) -> None:
        """Put entries and their objects into the repository, as far as the objects are whole."""
        carried = self._carried
        with uploading(carried.layout, carried.object_format) as upload:
            upload.note_packs(brought)
            whole = self._objects.unpacked(upload, items)
            found = {item.id for item in whole}
            done.incomplete += [item.arrived for item in items if item.id not in found]
            if not whole:
                return
            with self._kept.changing() as log:
                held_up = self._grow(log, upload, whole, done)
        if held_up:
            self._store([item for item in whole if item not in held_up], done)

    def _grow(
        self, log: VerifiedLog, upload: Upload, items: Sequence[HeldEntry], done: TakenIn
    ) -> Sequence[HeldEntry]:
        """Let the log judge entries whose objects are whole, and make it the repository's.

        Returns:
            What has to wait for objects of pushes that are in the log; then nothing happened.
        """
        before, unfinal = set(log.ledger.refuted), log.unfinal
        again = {push.id for push in unfinal}.intersection(item.id for item in items)
        # No longer than this: once they are installed they are not there any more. That what the
        # pushes set refs to is here with all that it reaches was proved.
        with self._kept.facts.looking_in(GitEvidence(upload.staging, is_whole=True)):
            new = [item for item in items if self._admit(log, item, done)]
            log.settle()
            if again:
                log.judge_again(self._kept.facts)
        if lacking := self._taken_without_objects(log, unfinal, items):
            return self._hold_up(items, lacking, done)
        if new or again:
            store, pushes = self._carried.log_store, {i.id: i.entry.push for i in new}
            install_all([upload], lambda files: store.add_pushes(files, pushes))
            # The last step: whatever failed before, the log is read again.
            self._kept.commit(log)
        else:
            self._kept.keep(log)
        self._note_whole(log, items)
        refuted = log.ledger.refuted
        done.refuted.update({k: why for k, why in refuted.items() if k not in before})
        came = [item for item in items if item in new or item.id in again]
        done.new += [_item(log, each) for each in came if each.id not in refuted]
        done.lacking = log.lacking
        done.without_policy = log.ledger.without_policy
        return ()

    def _taken_without_objects(
        self, log: VerifiedLog, unfinal: Iterable[Push], items: Sequence[HeldEntry]
    ) -> list[Push]:
        """Return pushes that are final now though what they set refs to is not here.

        They came into the log otherwise than with their objects, such as with the log of a mirror
        that did not give these.

        Args:
            log: as it would be.
            unfinal: pushes that were not final before.
            items: what came, whose objects are here.
        """
        known = self._whole.union((item.id for item in items), (push.id for push in log.unfinal))
        unsure = [push for push in unfinal if push.id not in known]
        if not unsure:
            return []
        shown = set(log.refs.values())  # what was refused, or is overtaken, is not needed
        values = {push.id: sorted(push.values & shown) for push in unsure}
        if self._are_here([oid for found in values.values() for oid in found]):
            return []
        return [push for push in unsure if not self._are_here(values[push.id])]

    def _are_here(self, tips: Sequence[Oid]) -> bool:
        """Tell whether the repository has everything that some values reach."""
        git = self._carried.git
        if not tips or history.is_connected_to_refs(git, tips):
            return True
        # Something else may be broken that refs lead to.
        return None not in history.describe(git, tips) and history.is_connected(git, tips)

    def _hold_up(
        self, items: Sequence[HeldEntry], lacking: Sequence[Push], done: TakenIn
    ) -> Sequence[HeldEntry]:
        """Take note that pushes of the log lack objects; return what has to wait for them."""
        store = self._carried.log_store
        self._lacking |= {push.id for push in lacking}
        data = {push.id: store.push_file(push.id) for push in lacking}
        done.incomplete += [Arrived(push, found) for push, found in data.items() if found]
        held_up = [item for item in items if item.entry.push.kind is PushKind.CHECKPOINT] or items
        done.incomplete += [item.arrived for item in held_up]
        return held_up

    def _note_whole(self, log: VerifiedLog, items: Sequence[HeldEntry]) -> None:
        """Remember of what is not final that its objects are here."""
        unfinal = {push.id for push in log.unfinal}
        self._whole = (self._whole | {item.id for item in items}) & unfinal
        self._lacking = self._lacking & unfinal - self._whole

    def _admit(self, log: VerifiedLog, item: HeldEntry, done: TakenIn) -> bool:
        try:
            return log.admit(item.entry.push, item.id)
        except TrustError as error:
            done.faults[item.id] = str(error)
            return False


def _item(log: VerifiedLog, held: HeldEntry) -> Item:
    if held.entry.push.kind is PushKind.CHECKPOINT:
        return Item(held.id, log.checkpoint(held.id).checkpoint.number)
    return Item(held.id)
