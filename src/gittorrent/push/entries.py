"""The entries that a log holds: those that were admitted, and those kept from before.

Pure. What was kept is described by records and read only when it is asked for; it was verified
then, so it is only taken apart again.

Tracks: the kind of every entry in the order in which they came, the records kept, and what was
read of checkpoints and pushes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.push.certificate import parse_certificate
from gittorrent.push.chain import WINDOW, follow
from gittorrent.push.checkpoint import parse_checkpoint
from gittorrent.push.ledger import SignedCheckpoint
from gittorrent.push.object import PushKind
from gittorrent.push.records import Held
from gittorrent.push.rule import Push
from gittorrent.push.starting import point_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gittorrent.ids import ObjectFormat, PushId
    from gittorrent.push.chain import Point
    from gittorrent.push.object import PushObject
    from gittorrent.push.policies import Policies
    from gittorrent.push.records import Record
    from gittorrent.push.snapshot import Snapshot
    from gittorrent.trust.keys import KeyRef


class KeptEntryError(TrustError):
    """What storage returns for an entry is not what it was recorded as."""


class Entries:
    """The entries of one log.

    Args:
        object_format: of the repository.
        records: of those kept from before, in order.
        read: returns one of these.
    """

    def __init__(
        self,
        object_format: ObjectFormat,
        records: Sequence[Record] = (),
        read: Callable[[PushId], PushObject] | None = None,
    ) -> None:
        self.kinds: dict[PushId, PushKind] = {record.id: record.kind for record in records}
        self.records: dict[PushId, Record] = {record.id: record for record in records}
        self._format = object_format
        self._read = read
        self._checkpoints: dict[PushId, SignedCheckpoint] = {}
        self._pushes: dict[PushId, Push] = {}

    def add(self, entry: PushId, kind: PushKind) -> None:
        """Take note of an entry that was verified."""
        self.kinds[entry] = kind

    def add_checkpoint(self, signed: SignedCheckpoint) -> None:
        """Keep a checkpoint that was verified."""
        self.kinds[signed.id] = PushKind.CHECKPOINT
        self._checkpoints[signed.id] = signed

    def add_push(self, push: Push) -> None:
        """Keep a push that was verified."""
        self.kinds[push.id] = PushKind.CERTIFICATE
        self._pushes[push.id] = push

    def checkpoint(self, entry: PushId) -> SignedCheckpoint:
        """Return a checkpoint that is held.

        Raises:
            TrustError: it is none, or not as it was recorded.
        """
        found = self._checkpoints.get(entry)
        if found is None:
            push, signer = self._entry(entry, PushKind.CHECKPOINT)
            found = SignedCheckpoint(entry, parse_checkpoint(push.text, self._format), signer)
            record = self.records[entry]
            if found.checkpoint.number != record.number or record.pushes != found.checkpoint.pushes:
                raise KeptEntryError(f"checkpoint {entry} is not the one that was recorded")
            self._checkpoints[entry] = found
        return found

    def push(self, entry: PushId) -> Push:
        """Return a push that is held.

        Raises:
            TrustError: it is none, or not as it was recorded.
        """
        found = self._pushes.get(entry)
        if found is None:
            push, signer = self._entry(entry, PushKind.CERTIFICATE)
            certificate = parse_certificate(push.text, self._format)
            found = Push(entry, signer, certificate, push.pinned)
            self._pushes[entry] = found
        return found

    def _entry(self, entry: PushId, kind: PushKind) -> tuple[PushObject, KeyRef]:
        if self._read is None or self.kinds.get(entry) is not kind:
            raise KeptEntryError(f"the log has no {kind.value} {entry}")
        push = self._read(entry)
        if push.kind is not kind or push.signer is None:
            raise KeptEntryError(f"push {entry} is kept as a {kind.value}, and is none")
        return push, push.signer

    def of_kind(self, kind: PushKind) -> list[PushId]:
        """Return the entries of one kind, in order."""
        return [entry for entry, found in self.kinds.items() if found is kind]

    @property
    def known_checkpoints(self) -> list[SignedCheckpoint]:
        """The checkpoints that were admitted, or read already."""
        return list(self._checkpoints.values())

    def pushes_not_in(self, chain: Sequence[Record]) -> list[Push]:
        """Return the pushes that none of these checkpoints took."""
        taken = {push for record in chain for push in record.pushes}
        return [
            self.push(entry) for entry in self.of_kind(PushKind.CERTIFICATE) if entry not in taken
        ]

    def keeper_version(self, record: Record, policies: Policies) -> int:
        """Return the number of the policy version that named the keeper of a checkpoint."""
        version = policies.policy_version(self.checkpoint(record.id).checkpoint.policy)
        while version is not None and version.previous is not None:
            if version.policy.keeper != version.previous.policy.keeper:
                return version.policy.version
            version = version.previous
        return 1

    def points(
        self,
        chain: Sequence[Record],
        policies: Policies,
        *,
        until: int,
        base: int,
        snapshot: Snapshot | None = None,
    ) -> Point:
        """Return the state at a checkpoint, by following from the nearest whole one.

        Args:
            chain: records of the checkpoints adopted, in order.
            policies: of the log.
            until: number of the checkpoint.
            base: number up to which the whole one is looked for; `Point.previous` goes back to it.
            snapshot: a state to begin with where it suits.

        Raises:
            TrustError: what was kept does not hang together.
        """
        start = max((i for i, r in enumerate(chain) if r.is_whole and r.number <= base), default=-1)
        place = -1 if snapshot is None else _place_of(chain, snapshot, base)
        if place > start:
            start = place
        else:
            snapshot = None
        if start < 0:
            raise KeptEntryError(f"no whole checkpoint up to number {base} is kept")
        point = self._begin(chain[: start + 1], policies, snapshot)
        for record in chain[start + 1 :]:
            if record.number > until:
                break
            signed = self.checkpoint(record.id)
            point = follow(point, signed.id, signed.checkpoint, signed.signer, policies)
        return point

    def _begin(
        self, chain: Sequence[Record], policies: Policies, snapshot: Snapshot | None
    ) -> Point:
        signed = self.checkpoint(chain[-1].id)
        policy = policies.policy_version(signed.checkpoint.policy)
        if policy is None:
            raise KeptEntryError(f"checkpoint {signed.id} names a policy that is not kept")
        if snapshot is not None:
            return snapshot.point(signed, policy)
        return point_at(signed, policy, list(_window(chain))[::-1])


def _place_of(chain: Sequence[Record], snapshot: Snapshot, base: int) -> int:
    """Return the place in ``chain`` of the checkpoint that a snapshot is of; -1 beyond ``base``."""
    for place in range(len(chain) - 1, -1, -1):
        if chain[place].id == snapshot.checkpoint:
            return place if chain[place].number <= base else -1
    return -1


def _window(chain: Sequence[Record]) -> Iterator[Record]:
    """Yield the last of a chain and those before it that pushes on it can name, newest first."""
    for record in reversed(chain):
        yield record
        if record.time < chain[-1].time - WINDOW:
            return


def chain_of(records: Sequence[Record]) -> list[Record]:
    """Return the checkpoints among them that were adopted, in order."""
    chain = [record for record in records if record.held in (Held.ADOPTED, Held.FOLLOWED)]
    return sorted(
        (record for record in chain if record.kind is PushKind.CHECKPOINT),
        key=lambda record: record.number,
    )
