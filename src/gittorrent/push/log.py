"""The push log: verified entries and the state that follows from them.

Pure. A `VerifiedLog` only ever holds entries whose signatures and grammar were checked; there is
no way in but `admit`. What they come to — which checkpoint is adopted, what is shown on top — is
the business of its `Ledger`. Ids are computed by git and handed in
(docs/protocol/trust.md, "The push log").

Must be told again of a change with `settle`: until then nothing that was admitted counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from gittorrent.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gittorrent.ids import ObjectFormat, Oid, PushId, RefName, Refs, RepositoryId
    from gittorrent.push.checkpoint import Checkpoint
    from gittorrent.push.ledger import Ledger, SignedCheckpoint
    from gittorrent.push.object import PushKind, PushObject
    from gittorrent.push.rule import Push
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.policy import WebOfTrust
    from gittorrent.trust.signed_policy import VerifiedPolicy


class EntryError(TrustError):
    """A log entry contradicts its own past."""


class NotAllowedError(EntryError):
    """No policy of the log gives the key that signed an entry any say."""


class Facts(Protocol):
    """What neither the log nor its policies tell. Port; git and gpg answer it."""

    def contains(self, outer: Oid, inner: Oid) -> bool:
        """Tell whether ``inner`` is ``outer``, or both are commits and it is an ancestor.

        Raises:
            UnknownObjectError: that cannot be said, for want of an object
                (`gittorrent.push.rule`). An object that is here and no commit is not unknown.
        """

    def certified(
        self,
        key: KeyRef,
        rule: WebOfTrust,
        roots: Sequence[KeyRef],
        certificates: Mapping[KeyRef, bytes],
        time: int,
    ) -> bool:
        """Tell whether ``roots`` vouched for ``key`` at ``time`` as ``rule`` asks.

        Args:
            key: an OpenPGP key.
            rule: depth and how many are needed.
            roots: the root keys of the policy in force.
            certificates: those that this policy pins, and those that travel with the push.
            time: in seconds.
        """


class NoObjects:
    """`Facts` of who has no object and no gpg: refs are listed before objects are there."""


class Record(Struct, frozen=True):
    """What storage keeps on one line for an entry, so that it need not be read at every start.

    Args:
        id: its push id.
        kind: what it is.
        number: of a checkpoint its number; of a push that of the checkpoint that took it, 0 while
            none did; of a policy its version.
        time: of a checkpoint, in seconds; else 0.
        version: of the policy in force at a checkpoint; else 0.
        size: bytes of what a checkpoint's listing takes, as far as not listed since; else 0.
        is_whole: whether a checkpoint has the whole listing.
        is_adopted: whether a checkpoint is of the chain that was adopted.
        is_followed: whether a checkpoint was believed rather than replayed.
    """

    id: PushId
    kind: PushKind
    number: int = 0
    time: int = 0
    version: int = 0
    size: int = 0
    is_whole: bool = False
    is_adopted: bool = False
    is_followed: bool = False

    def line(self) -> str:
        """Return the line, without its line feed."""
        raise NotImplementedError


def parse_record(line: str, object_format: ObjectFormat) -> Record:
    """Read a line that `Record.line` wrote.

    Raises:
        ValueError: it is not one.
    """
    raise NotImplementedError


class Snapshot(Struct, frozen=True):
    """The whole listing at a checkpoint, kept to make starts short; it can be thrown away."""

    checkpoint: PushId
    listing: bytes


class VerifiedLog:
    """What was verified of one log, and the state it comes to.

    Args:
        object_format: of the repository.
        facts: about objects; by default none is here.
    """

    object_format: ObjectFormat

    def __init__(self, object_format: ObjectFormat, facts: Facts | None = None) -> None:
        raise NotImplementedError

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
        it (followed, not replayed; no signatures again), and the pushes that none took; nothing
        else, however long the log is. Older entries are read when `refs_at` asks for them.

        Args:
            object_format: of the repository.
            records: what `records` was when the log was kept.
            read: returns an entry of those.
            facts: about objects.
            snapshot: what `snapshot` gave at one of the adopted checkpoints, which then takes the
                place of the newest whole one, if it is later.

        Raises:
            TrustError: what is read does not hold, or is not what the records say.
        """
        raise NotImplementedError

    # -- growing

    def admit(
        self, push: PushObject, push_id: PushId, expected: RepositoryId | None = None
    ) -> None:
        """Take note of an entry after checking its grammar and signature; `settle` judges it.

        What is held already is passed over. A checkpoint may come before the one it follows, and
        before the pushes that it takes; a policy not before the one it extends.

        Args:
            push: the push object.
            push_id: id of its commit, computed by git from this very object.
            expected: the repository id that the first policy must have, when it is known.

        Raises:
            IdentityError: the first policy is another repository's.
            TrustError: the entry does not hold.
            NotAllowedError: its signer has no say in this repository.
        """
        raise NotImplementedError

    def settle(self, *, short: bool = False) -> None:
        """Replay the checkpoints that can be, and adopt what follows.

        Args:
            short: whether what was admitted is a clone's: it may begin at a whole checkpoint with
                those of the 30 days before it, and a checkpoint whose pushes are not here is
                believed by its signature. Whoever admitted the answer to ``fetch log ... short``
                says so; a mirror that has the log from before does not.
        """
        raise NotImplementedError

    def judge_again(self, facts: Facts) -> None:
        """Replay what was believed so far, now that more objects are here.

        What still cannot be judged stays believed (see `followed`). The pushes on top are judged
        again too.

        Args:
            facts: about the objects that are here now; also those of later calls.

        Raises:
            EntryError: an adopted checkpoint is refuted; the log must not be committed.
        """
        raise NotImplementedError

    def first_checkpoint(self, *, tagger: bytes, time: int) -> Checkpoint:
        """Return checkpoint number 1, for the keeper to sign when there is only a policy."""
        raise NotImplementedError

    # -- what it holds

    @property
    def ids(self) -> list[PushId]:
        """The adopted chain's checkpoints, oldest first, as far as their refs are known here."""
        raise NotImplementedError

    @property
    def entries(self) -> list[PushId]:
        """Everything held, in the order in which it was admitted: each after what it names."""
        raise NotImplementedError

    @property
    def records(self) -> list[Record]:
        """What storage keeps of each of `entries`, in that order."""
        raise NotImplementedError

    def snapshot(self) -> Snapshot:
        """Return the state at `head` for a quick start; worth keeping if `since_whole` is large."""
        raise NotImplementedError

    @property
    def since_whole(self) -> int:
        """How many checkpoints a start would have to follow after a whole one or the snapshot."""
        raise NotImplementedError

    def __contains__(self, push: PushId) -> bool:
        raise NotImplementedError

    def __len__(self) -> int:
        """Return the number of the checkpoint adopted; 0 while there is none."""
        return self.number

    # -- what it comes to

    @property
    def ledger(self) -> Ledger:
        """What a node knows: verdicts and reasons, nonce, proposal, proofs against a keeper.

        Raises:
            EntryError: there is no checkpoint yet.
        """
        raise NotImplementedError

    @property
    def head(self) -> PushId | None:
        """The id of the checkpoint adopted; None while there is none."""
        raise NotImplementedError

    @property
    def number(self) -> int:
        """Its number in the chain; 0 while there is none."""
        raise NotImplementedError

    @property
    def refs(self) -> Refs:
        """What is shown: final and provisional, open conflicts as ``refs/conflicts/...``."""
        raise NotImplementedError

    @property
    def final_refs(self) -> Refs:
        """The refs at `head`, open conflicts too."""
        raise NotImplementedError

    @property
    def default_branch(self) -> RefName | None:
        """The branch that HEAD names in what is shown; None if there is no such branch."""
        raise NotImplementedError

    def refs_at(self, checkpoint: PushId) -> Refs:
        """Return the refs at one of `ids`, open conflicts too.

        Raises:
            EntryError: it is none of these.
        """
        raise NotImplementedError

    def checkpoint(self, checkpoint: PushId) -> SignedCheckpoint:
        """Return what a checkpoint of `entries` says.

        Raises:
            EntryError: it is none of these.
        """
        raise NotImplementedError

    @property
    def unfinal(self) -> tuple[Push, ...]:
        """The pushes held that no adopted checkpoint has taken."""
        raise NotImplementedError

    @property
    def unjudged(self) -> tuple[Push, ...]:
        """Those of `unfinal` that cannot be judged for want of objects, and are not shown."""
        raise NotImplementedError

    @property
    def lacking(self) -> frozenset[PushId]:
        """Pushes and checkpoints that those held name, and that are needed and not here."""
        raise NotImplementedError

    @property
    def followed(self) -> frozenset[PushId]:
        """The checkpoints believed rather than replayed since this log was begun or opened."""
        raise NotImplementedError

    # -- policy

    @property
    def policy(self) -> VerifiedPolicy:
        """The newest policy that counts.

        Raises:
            EntryError: the log is empty.
        """
        raise NotImplementedError

    @property
    def policies(self) -> list[VerifiedPolicy]:
        """All versions held, rivals too, each after the one it extends."""
        raise NotImplementedError

    @property
    def repository(self) -> RepositoryId:
        """The repository id, which the first policy's text decides."""
        raise NotImplementedError

    @property
    def former_names(self) -> tuple[str, ...]:
        """The names that earlier policies gave the repository, oldest first; not its name now."""
        raise NotImplementedError


def changes_between(old: Refs, new: Refs) -> list[tuple[RefName, Oid | None, Oid | None]]:
    """Return (name, old value, new value) of each ref that differs, sorted by name."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            found.append((name, old.get(name), new.get(name)))
    return found
