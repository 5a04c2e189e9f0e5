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
from gittorrent.push.checkpoint import parse_checkpoint
from gittorrent.push.object import PushKind
from gittorrent.push.replay import SignedCheckpoint
from gittorrent.push.rule import Push

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.ids import ObjectFormat, PushId
    from gittorrent.push.object import PushObject
    from gittorrent.push.records import Record
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

    @property
    def known_pushes(self) -> list[Push]:
        """The pushes that were admitted, or read already."""
        return list(self._pushes.values())

    def pushes_not_in(self, chain: Sequence[Record]) -> list[Push]:
        """Return the pushes that none of these checkpoints took."""
        taken = {push for record in chain for push in record.pushes}
        return [
            self.push(entry) for entry in self.of_kind(PushKind.CERTIFICATE) if entry not in taken
        ]
