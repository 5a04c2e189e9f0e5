"""What a push log holds and comes to: the reading half of `gittorrent.push.log`.

Pure. Everything here follows from entries, policies and the `Ledger`; nothing here changes one of
them, or lets an entry in (docs/protocol/trust.md, "Which checkpoint").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.push.entries import Entries
from gittorrent.push.facts import NoObjects
from gittorrent.push.head_branch import default_branch
from gittorrent.push.policies import LogEvidence, Policies
from gittorrent.push.recalling import adopted_by, listing_at, records_of, records_since
from gittorrent.push.snapshot import Snapshot

if TYPE_CHECKING:
    from gittorrent.ids import ObjectFormat, PushId, RefName, Refs, RepositoryId
    from gittorrent.push.facts import Facts
    from gittorrent.push.ledger import Ledger
    from gittorrent.push.listing import Listing
    from gittorrent.push.recalling import Begun
    from gittorrent.push.records import Record
    from gittorrent.push.replay import SignedCheckpoint
    from gittorrent.push.rule import Push
    from gittorrent.trust.signed_policy import VerifiedPolicy

_CHECKPOINT_SIZE = 1024
"""Bytes of a listing that are taken apart in the time that a checkpoint takes apart from these."""


_LINE_SIZE = 100
"""The same for a line that says what became of a push."""


class EntryError(TrustError):
    """A log entry contradicts its own past, or is none of this log."""


class LogState:
    """What is held of one log, and the state it comes to.

    Args:
        object_format: of the repository.
        facts: about objects and webs of trust; by default nothing is known.
    """

    def __init__(self, object_format: ObjectFormat, facts: Facts | None = None) -> None:
        self.object_format = object_format
        self._facts = facts or NoObjects()
        self._policies = Policies()
        self._entries = Entries(object_format)
        self._begun: Begun | None = None
        self._listed: tuple[Listing, Refs] | None = None

    # -- what it holds

    @property
    def ids(self) -> list[PushId]:
        """The adopted chain's checkpoints, oldest first, as far as their refs are known here."""
        chain = adopted_by(self._begun, self._entries)
        start = next((n for n, record in enumerate(chain) if record.is_whole), len(chain))
        return [record.id for record in chain[start:]]

    @property
    def begins_late(self) -> bool:
        """Whether there are older checkpoints than `ids` has, as in a clone's log."""
        return self.number > len(self.ids)

    @property
    def entries(self) -> list[PushId]:
        """Everything held, in the order in which it was admitted: each after what it names."""
        return list(self._entries.kinds)

    @property
    def records(self) -> list[Record]:
        """What storage keeps of each of `entries`, in that order."""
        return records_of(self._begun, self._entries)

    @property
    def is_linear(self) -> bool:
        """Whether the records of what it holds will not change by what is admitted next.

        Unless that makes it say otherwise here.
        """
        return self._ledger is not None and self._ledger.is_linear

    def records_since(self, count: int) -> list[Record]:
        """Return the records of all `entries` but the first so many, of a log that `is_linear`."""
        return records_since(self._entries, count)

    def snapshot(self) -> Snapshot:
        """Return the state at `head` for a quick start; worth keeping if `start_size` is large."""
        return Snapshot.of(self._now.adopted)

    def start_size(self, snapshot: PushId | None) -> int:
        """Return how many bytes of checkpoints and refs a start would have to take apart.

        Args:
            snapshot: the checkpoint whose snapshot is kept; None if there is none.
        """
        size, at = 0, None if self._ledger is None else self._ledger.adopted
        while at is not None:
            said = at.checkpoint
            size += len(said.listing) + _LINE_SIZE * len(said.taken) + _CHECKPOINT_SIZE
            at = None if said.whole or at.id == snapshot else at.previous
        return size

    def __contains__(self, push: PushId) -> bool:
        return push in self._entries.kinds

    def __len__(self) -> int:
        """Return the number of the checkpoint adopted; 0 while there is none."""
        return self.number

    # -- what it goes by

    @property
    def facts(self) -> Facts:
        """What it goes by about objects and webs of trust."""
        return self._facts

    @property
    def evidence(self) -> LogEvidence:
        """What pushes of this log are judged by."""
        return LogEvidence(self._policies, self._facts)

    # -- what it comes to

    @property
    def ledger(self) -> Ledger:
        """What a node knows: verdicts and reasons, nonce, proposal, proofs against a keeper.

        Raises:
            EntryError: there is no checkpoint yet.
        """
        return self._now

    @property
    def _ledger(self) -> Ledger | None:
        return None if self._begun is None else self._begun.ledger

    @property
    def _now(self) -> Ledger:
        if self._ledger is None:
            raise EntryError("the log has no checkpoint")
        return self._ledger

    @property
    def head(self) -> PushId | None:
        """The id of the checkpoint adopted; None while there is none."""
        return None if self._ledger is None else self._ledger.adopted.id

    @property
    def number(self) -> int:
        """Its number in the chain; 0 while there is none."""
        return 0 if self._ledger is None else self._ledger.adopted.number

    @property
    def refs(self) -> Refs:
        """What is shown: final and provisional, open conflicts as ``refs/conflicts/...``."""
        if self._ledger is None:
            return {}
        return self._refs_of(self._ledger.view().listing)

    @property
    def final_refs(self) -> Refs:
        """The refs at `head`, open conflicts too."""
        return {} if self._ledger is None else self._refs_of(self._ledger.adopted.listing)

    def _refs_of(self, listing: Listing) -> Refs:
        """Return the refs of a listing, read once while nothing else is asked for.

        What is shown and what is final is one listing unless pushes wait for the keeper.
        """
        if self._listed is None or self._listed[0] is not listing:
            self._listed = (listing, listing.shown_refs())
        return dict(self._listed[1])

    @property
    def default_branch(self) -> RefName | None:
        """The branch that is HEAD in what is shown; None if there is no branch."""
        return None if self._ledger is None else default_branch(self._ledger.view().listing)

    @property
    def final_default_branch(self) -> RefName | None:
        """The branch that is HEAD at `head`; None if there is no branch."""
        return None if self._ledger is None else default_branch(self._ledger.adopted.listing)

    def refs_at(self, checkpoint: PushId) -> Refs:
        """Return the refs at one of `ids`, open conflicts too.

        Raises:
            EntryError: it is none of these.
        """
        point = None if self._ledger is None else self._ledger.point(checkpoint)
        if point is None:
            below = [] if self._begun is None else self._begun.below
            number = next((r.number for r in below if r.id == checkpoint), 0)
            if not number:
                raise EntryError(f"no checkpoint {checkpoint} is held whose refs are known")
            return listing_at(self._entries, self._policies, below, number).shown_refs()
        return point.listing.shown_refs()

    def checkpoint(self, checkpoint: PushId) -> SignedCheckpoint:
        """Return what a checkpoint of `entries` says.

        Raises:
            TrustError: it is none of these.
        """
        return self._entries.checkpoint(checkpoint)

    def push(self, push: PushId) -> Push:
        """Return a push of `entries`.

        Raises:
            TrustError: it is none of these.
        """
        return self._entries.push(push)

    @property
    def unfinal(self) -> tuple[Push, ...]:
        """The pushes held that no adopted checkpoint has taken."""
        return () if self._ledger is None else self._ledger.unfinal

    @property
    def unjudged(self) -> tuple[Push, ...]:
        """Those of `unfinal` that cannot be judged for want of objects, and are not shown."""
        return () if self._ledger is None else self._ledger.view().unjudged

    @property
    def lacking(self) -> frozenset[PushId]:
        """Entries that those held name, and that are needed and not here."""
        if self._ledger is None:
            return frozenset()
        return self._ledger.lacking - self._entries.kinds.keys()

    @property
    def followed(self) -> frozenset[PushId]:
        """The checkpoints believed rather than replayed since this log was begun or opened."""
        return frozenset() if self._ledger is None else self._ledger.followed

    # -- policy

    @property
    def policy(self) -> VerifiedPolicy:
        """The newest policy that counts.

        Raises:
            EntryError: the log is empty.
        """
        version = self._policies.newest if self._ledger is None else self._ledger.policy
        if version is None:
            raise EntryError("an empty log has no policy")
        return self._policies.verified(version)

    @property
    def policies(self) -> list[VerifiedPolicy]:
        """All versions held, rivals too, each after the one it extends."""
        return self._policies.all

    @property
    def repository(self) -> RepositoryId:
        """The repository id, which the first policy's text decides."""
        return self.policy.repository

    @property
    def former_names(self) -> tuple[str, ...]:
        """The names that earlier policies gave the repository, oldest first; not its name now."""
        now = self.policy.policy.name
        return tuple(name for name in self._policies.names if name != now)
