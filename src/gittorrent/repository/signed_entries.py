"""Signs entries of a log and adds them: policies, checkpoints and pushes made on this machine.

Each is signed, gets its id from git, is judged by the log as a stranger's would be, and its push
object is stored. Nothing of it counts before the log is committed (`Carried.commit`); a crash
leaves stale files.

Must not know what is worth saying: that is for whoever publishes, changes a policy or keeps the
log.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import LocalError
from gittorrent.git.repository import committer
from gittorrent.git.small_pack import joined_pack
from gittorrent.push.log import NotAllowedError
from gittorrent.push.object import PushKind, PushObject
from gittorrent.push.publication import CertificateHead
from gittorrent.push.rule import Verdict
from gittorrent.repository.small_intake import identified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.provisional import Judged
    from gittorrent.push.publication import Part
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.evidence import GitEvidence
    from gittorrent.signing.keys import Signer
    from gittorrent.trust.policy import Policy


class UnjudgedError(LocalError):
    """A push cannot be judged, for want of objects."""


class Author(Struct, frozen=True):
    """Whose name goes into certificates and checkpoints, and the clock to date them by."""

    person: bytes
    clock: Callable[[], float] = time.time

    @property
    def now(self) -> int:
        """The time in seconds."""
        return int(self.clock())


def author_in(git_dir: Path, clock: Callable[[], float] = time.time) -> Author:
    """Return the person git takes the user for, or a neutral one where git knows none.

    Args:
        git_dir: of the repository.
        clock: what is signed is dated by (`gittorrent.store.signing_time`).
    """
    person = committer(git_dir)
    return Author(b"gittorrent <gittorrent@localhost>" if person is None else person, clock)


class EntrySigner:
    """Adds signed entries to a log.

    Args:
        carried: the repository, whose lock is held.
        log: a copy of its log, which grows.
        signer: the key to sign with.
        author: goes into what is signed, which everybody can read.
        evidence: what the log judges pushes by, told of each beforehand to answer at once.
    """

    def __init__(
        self,
        carried: Carried,
        log: VerifiedLog,
        signer: Signer,
        author: Author,
        evidence: GitEvidence | None = None,
    ) -> None:
        self._evidence = evidence
        self._carried = carried
        self._log = log
        self._signer = signer
        self._author = author
        self.made: list[PushId] = []

    @property
    def is_keeper(self) -> bool:
        """Whether this key signs checkpoints, by the newest policy that counts."""
        return self._signer.key == self._log.policy.policy.keeper

    def policy(self, policy: Policy, pinned: tuple[bytes, ...] = ()) -> PushId:
        """Add a version of the policy that one root key suffices for.

        Args:
            policy: what it says.
            pinned: the OpenPGP certificates that it names.
        """
        text = policy.text()
        return self._add(
            PushObject(PushKind.POLICY, text, (self._signer.sign(text),), pinned=pinned)
        )

    def first_checkpoint(self) -> PushId:
        """Add checkpoint number 1, which takes nothing in."""
        made = self._log.first_checkpoint(tagger=self._author.person, time=self._author.now)
        return self._signed(PushKind.CHECKPOINT, made.text())

    def checkpoint(self) -> PushId:
        """Add the checkpoint that takes in everything that is shown.

        Raises:
            CheckpointError: none can follow, as when the keeper signed two in one place.
        """
        made = self._log.ledger.proposal(tagger=self._author.person, time=self._author.now)
        return self._signed(PushKind.CHECKPOINT, made.text())

    def push(self, part: Part) -> list[Judged]:
        """Add a push certificate on top of everything that is shown.

        Args:
            part: what it changes.

        Returns:
            What became of it, unit by unit; none was refused.

        Raises:
            NotAllowedError: the rule refuses some of it, so it must not be published.
            UnjudgedError: objects are missing that the rule asks about.
        """
        policy = self._log.policy.policy
        head = CertificateHead(
            self._carried.object_format,
            self._author.person,
            self._author.now,
            f"gittorrent://{self._log.repository}/{policy.name}.git".encode(),
        )
        text = head.certificate(part, self._log.ledger.nonce()).text()
        own = self._signer.certificate
        is_pinned = own is None or self._signer.key in self._log.policy.keyring
        pinned = () if is_pinned or own is None else (own,)
        push = self._signed(PushKind.CERTIFICATE, text, pinned)
        judged = [item for item in self._log.ledger.view().judged if item.unit.push.id == push]
        if not judged:
            raise UnjudgedError(
                f"{self._carried.layout.git_dir} lacks objects of what was published before, so"
                " whether changes are allowed cannot be told",
                hint="fetch the repository into it from a mirror, and publish again",
            )
        for item in judged:
            if item.outcome.verdict is Verdict.REFUSED:
                raise _refusal(item, str(self._signer.key))
        return judged

    def _signed(self, kind: PushKind, text: bytes, pinned: tuple[bytes, ...] = ()) -> PushId:
        signature = self._signer.sign(text)
        return self._add(
            PushObject(kind, text, (signature,), signer=self._signer.key, pinned=pinned)
        )

    def _add(self, push: PushObject) -> PushId:
        if self._evidence is not None:
            self._evidence.expect([push])
        push_id = add_entry(self._carried, self._log, push)
        self.made.append(push_id)
        return push_id


def add_entry(carried: Carried, log: VerifiedLog, push: PushObject) -> PushId:
    """Add an entry that is signed, as if a stranger had sent it; the log is to be committed.

    Args:
        carried: the repository, whose lock is held.
        log: a copy of its log, which grows.
        push: the entry.

    Raises:
        TrustError: it does not hold.
    """
    entry = identified(push, carried.object_format)
    # By one run of git, which finds the same ids.
    pack = joined_pack([], entry.objects, carried.object_format)
    carried.git.run("unpack-objects", "-q", stdin=pack)
    log.admit(push, entry.id)
    log.settle()
    carried.log_store.store_push(entry.id, push)
    return entry.id


def _refusal(item: Judged, key: str) -> NotAllowedError:
    reason = item.outcome.reason
    names = b", ".join(line.ref for line in item.unit.lines).decode(errors="backslashreplace")
    why = "" if reason is None else reason.value
    return NotAllowedError(
        f"{key} cannot publish {names}: {why}",
        hint="ask the repository's owner for that right, or set the ref back and publish the rest",
    )
