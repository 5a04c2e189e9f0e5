"""Takes a log as a mirror sends it: verified batch by batch, and no more held than a batch.

Whoever sends a log may send anything. So grammar and signature of each entry are judged as it
comes, and the first that does not hold ends the intake; what is held unverified is one batch, or
one entry if that is larger. Entries that hold are stored at once: they are signed, and count for
nothing before the log that lists them is committed. What they come to is judged when all are here.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.push.commit import entry_parents
from gittorrent.push.fresh import MAX_AHEAD
from gittorrent.push.object import PushKind, parse_push_object
from gittorrent.push.starting import NoBeginningError
from gittorrent.repository.logstore import identify
from gittorrent.sizes import show_bytes
from gittorrent.transfer.working import stoppable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.git.runner import Git
    from gittorrent.ids import PushId, RepositoryId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.object import PushObject
    from gittorrent.push.replay import SignedCheckpoint
    from gittorrent.repository.logstore import LogStore
    from gittorrent.transfer.mirror import LogEntry

MAX_LOG_BYTES = 1 << 30
"""Bytes of push objects taken in one go: what a repository's owners could make a stranger store."""

MAX_AHEAD_BYTES = 64 << 20
"""Bytes of checkpoints that are left out for their date, and of pushes made on them, which may be
wanted when more has come: a keeper whose clock is wrong for a month signs so many."""


class DatedAheadError(TrustError):
    """A checkpoint is dated ahead of this machine's clock, and counts no sooner."""


class BehindError(TrustError):
    """A mirror's newest checkpoint is from before those that are known here.

    It may be one of their past, which a clone does not have, or be another's: it does not matter.
    """


class LogIntake:
    """Continues one verified log by what one mirror sends.

    Args:
        log: verified so far; entries are admitted to it. After one that does not hold it is of no
            more use; where the mirror merely failed, another one may go on.
        store: where push objects are kept; the log is not committed.
        git: hashes entries.
        url: of the mirror, for people.
        expected: the repository id that a first policy must have.
        clock: seconds since 1970.
        most: bytes of entries that are taken in.
        most_ahead: bytes of what is left out for its date.
    """

    def __init__(
        self,
        log: VerifiedLog,
        store: LogStore,
        git: Git,
        url: str,
        expected: RepositoryId,
        clock: Callable[[], float],
        *,
        most: int = MAX_LOG_BYTES,
        most_ahead: int = MAX_AHEAD_BYTES,
    ) -> None:
        self._most = most
        self._most_ahead = most_ahead
        self._log = log
        self._store = store
        self._git = git
        self._url = url
        self._expected = expected
        self._clock = clock
        self._bytes = 0
        self._ahead: dict[PushId, tuple[SignedCheckpoint, PushObject]] = {}
        self._on_ahead: dict[PushId, PushObject] = {}
        self._ahead_bytes = 0

    async def admit(self, entries: Sequence[LogEntry]) -> None:
        """Verify the next entries and store them; when cancelled, wait until the thread is done.

        Raises:
            IdentityError: the log belongs to another repository.
            TrustError: an entry does not hold.
        """
        await stoppable(self._admit, entries)

    async def settle(self, latest: PushId, *, short: bool) -> None:
        """Judge what came, and adopt what follows.

        A checkpoint that is dated ahead of the clock is left out until then, with those after it;
        everything else that came counts all the same.

        Args:
            latest: the checkpoint that the mirror says is its newest.
            short: whether a clone's log was asked for.

        Raises:
            BehindError: that checkpoint is older than all known ones; the log is of no more use.
            DatedAheadError: the checkpoint that it spoke of is dated ahead.
            TrustError: the mirror did not send what it spoke of, or that does not follow.
        """
        await stoppable(self._settle, latest, short)

    def _admit(self, entries: Sequence[LogEntry]) -> None:
        self._bytes += sum(len(data) for _, data in entries)
        if self._bytes > self._most:
            raise TrustError(f"{self._url} has a log of more than {show_bytes(self._most)}")
        object_format = self._log.object_format
        pushes = [parse_push_object(data) for _, data in entries]
        ids = identify(self._git, pushes, object_format, write=False)
        self._store.expect(self._log, pushes)
        held: dict[PushId, PushObject] = {}
        try:
            for (announced, _), push_id, push in zip(entries, ids, pushes, strict=True):
                if announced != push_id:
                    raise TrustError(f"{self._url} sent push {push_id} under the name {announced}")
                # A mirror that has not adopted the newest checkpoint known here sends all it has.
                if self._admit_one(push_id, push):
                    held[push_id] = push
        finally:
            self._store.store_pushes(held)

    def _admit_one(self, push_id: PushId, push: PushObject) -> bool:
        """Verify an entry and admit it; tells whether it is to be stored."""
        log = self._log
        if push.kind is PushKind.CERTIFICATE:
            (base,) = entry_parents(push, log.object_format)
            if base in self._ahead:
                # It is not shown before that is here, so its objects would not be asked for.
                self._leave_out(self._ahead[base][0], push)
                self._on_ahead[push_id] = push
                return False
        if push.kind is not PushKind.CHECKPOINT:
            return log.admit(push, push_id, self._expected)
        if push_id in log:
            return False
        signed = log.read_checkpoint(push, push_id)
        if signed.checkpoint.time <= self._clock() + MAX_AHEAD:
            log.admit_checkpoint(signed)
            return True
        self._leave_out(signed, push)
        self._ahead[push_id] = (signed, push)
        return False

    def _leave_out(self, signed: SignedCheckpoint, push: PushObject) -> None:
        """Count what is held for it may be wanted; raises DatedAheadError if that is too much."""
        self._ahead_bytes += len(push.text)
        if self._ahead_bytes > self._most_ahead:
            raise self._ahead_error(signed)

    def _admit_passed_over(self) -> bool:
        """Admit those that the chain goes on without, whose dates mean nothing; tells of any.

        Later entries name them, so what git keeps of the log would not be whole without them.
        """
        log = self._log
        if not self._ahead or log.head is None:
            return False
        ledger = log.ledger
        found = {
            push_id: (signed, push)
            for push_id, (signed, push) in self._ahead.items()
            if ledger.passes_over(signed.checkpoint)
        }
        taken = {push_id: push for push_id, (_, push) in found.items()}
        for push_id, (signed, _) in found.items():
            del self._ahead[push_id]
            log.admit_checkpoint(signed)
        for push_id, push in self._on_ahead.items():
            (base,) = entry_parents(push, log.object_format)
            if base in found and log.admit(push, push_id):
                taken[push_id] = push
        self._store.store_pushes(taken)
        return bool(found)

    def _ahead_error(self, signed: SignedCheckpoint) -> DatedAheadError:
        ahead = signed.checkpoint.time - self._clock()
        return DatedAheadError(
            f"checkpoint {signed.id} is dated {ahead:.0f} seconds ahead of this machine's clock",
            hint="set the clock; if it is right, the keeper's was not, and its owners can go on"
            " from an earlier checkpoint: 'gittorrent keeper here --from'",
        )

    def _settle(self, latest: PushId, short: bool) -> None:
        log = self._log
        if latest not in log and latest not in self._ahead:
            raise TrustError(f"{self._url} announced checkpoint {latest} and did not send it")
        known = log.head
        with contextlib.suppress(NoBeginningError):
            log.settle(short=short)
        if self._admit_passed_over():
            log.settle(short=short)
        if latest in self._ahead:
            raise self._ahead_error(self._ahead[latest][0])
        if known is None and latest not in log.ids:
            # Who sent it may have been a clone once: what that lacked may be nowhere any more.
            log.settle(short=True)
        if log.head is None:
            raise TrustError(f"{self._url} has a log without a checkpoint that it begins with")
        ledger = log.ledger
        if latest in ledger.refuted:
            raise TrustError(f"{self._url} has a log that does not hold: {ledger.refuted[latest]}")
        if latest not in log.ids and ledger.point(latest) is None:
            numbers = {record.id: record.number for record in log.records}
            if numbers[latest] < numbers[log.ids[0]]:
                raise BehindError(f"{self._url} is behind: checkpoint {log.head} is newer by far")
            raise TrustError(
                f"{self._url} has a log that does not continue the one verified before,"
                f" whose head is {known}",
                hint="it withholds pushes, or its repository was made anew under the same id",
            )
