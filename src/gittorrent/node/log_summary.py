"""What the event loop has to know of a log, read once by a thread whenever the log changed.

Looking into the log itself takes its lock, which whoever takes pushes in may hold for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.spreading import Item

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gittorrent.ids import Oid, PushId, RefName
    from gittorrent.push.log import VerifiedLog


class LogSummary(Struct, frozen=True):
    """A log at one moment.

    Args:
        head: the checkpoint adopted.
        begins: number of the first checkpoint that is known.
        open: what no checkpoint names: policies, then pushes whose objects are here.
        policy: digest of the newest policy that counts.
        private_by: id of that policy, if it makes the repository private.
        keeper: the key that signs checkpoints, by name.
        is_stopped: whether no checkpoint can follow for now.
        has_news: whether the keeper could sign something.
        entries: ids of everything held, but for pushes whose objects are not here.
        lacking: those, with the refs that they set and to what.
    """

    head: Item
    begins: int
    open: tuple[PushId, ...]
    policy: str
    private_by: PushId | None
    keeper: str
    is_stopped: bool
    has_news: bool
    entries: frozenset[PushId]
    lacking: Mapping[PushId, tuple[tuple[RefName, Oid], ...]]

    def opened_since(self, before: LogSummary) -> list[PushId]:
        """Return what no checkpoint names and was not held before."""
        return [entry for entry in self.open if entry not in before.entries]


def summary_of(log: VerifiedLog, without_objects: frozenset[PushId]) -> LogSummary:
    """Return what the event loop has to know of a log that has a checkpoint.

    Args:
        log: it.
        without_objects: its pushes whose objects are not here: who tells of them is asked.
    """
    ledger = log.ledger
    point = ledger.adopted
    policies = ledger.policy.since(point.policy) or ()
    return LogSummary(
        head=Item(point.id, point.number),
        begins=point.older.begins,
        open=(
            *(version.id for version in policies),
            *(push.id for push in log.unfinal if push.id not in without_objects),
        ),
        policy=ledger.policy.digest,
        private_by=ledger.policy.id if ledger.policy.policy.private else None,
        keeper=str(ledger.policy.policy.keeper),
        is_stopped=bool(ledger.stopped),
        has_news=bool(policies) or bool(ledger.view().judged),
        entries=frozenset(log.entries) - without_objects,
        lacking={
            push.id: tuple((x.ref, x.new) for x in push.certificate.lines if x.new is not None)
            for push in log.unfinal
            if push.id in without_objects
        },
    )
